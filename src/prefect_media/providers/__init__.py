"""One HTTP request to a server, in its dialect; imports catalog, media, runtime and the nouns."""
