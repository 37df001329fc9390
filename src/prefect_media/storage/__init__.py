"""A bucket or a folder behind one set of verbs; imports runtime and the nouns."""
