"""One short driver per contestant: it only calls the contestant's own public package."""
