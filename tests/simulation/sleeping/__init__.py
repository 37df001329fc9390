"""Simulated histories of flow runs that sleep: workers, wakers and Prefect's server join the world of the buyers.

A package of its own, because it needs Prefect, whose import takes longer than all the rest.
"""
