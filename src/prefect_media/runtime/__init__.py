"""Clock, background event loop, one object per loop, transfers and log redaction; imports the nouns only."""
