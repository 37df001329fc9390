"""Reads, checks and fits pictures and videos; imports storage, runtime and the nouns."""
