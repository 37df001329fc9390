"""What models can do, what they cost and when they end, from catalog.toml; imports runtime and the nouns."""
