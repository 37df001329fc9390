"""Simulated histories: the real code on a virtual clock, in a world that breaks by dice. `make simulate` runs it."""
