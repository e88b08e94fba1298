"""Many files: what they say, as pages for people."""
