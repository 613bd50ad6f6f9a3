"""A drill: real workers, faults on purpose, and the history that shows what came of them."""
