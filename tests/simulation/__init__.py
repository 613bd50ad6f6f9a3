"""The supervisor under a clock and a fate of our own: thousands of seeds, each a different life."""
