"""Measures Dragonfly beside what it is measured against, in one run on one server."""
