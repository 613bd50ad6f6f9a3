"""Faults on purpose: bad handlers, bad networks, dying processes and servers."""
