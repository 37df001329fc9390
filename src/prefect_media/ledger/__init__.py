"""Purchases and budgets on record, by compare-and-swap; imports storage, catalog, runtime and the nouns."""
