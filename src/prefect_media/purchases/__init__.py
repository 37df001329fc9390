"""From a request to stored assets, paid for once; imports every room above it and the nouns."""
