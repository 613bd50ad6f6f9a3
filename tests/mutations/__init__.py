"""Safeguards taken away one at a time, to see which test notices."""
