"""The enforcement of a New York money judgment: interest, gates and what to do next."""
