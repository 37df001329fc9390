"""When to look at a job and when to give up; imports providers, storage, runtime and the nouns."""
