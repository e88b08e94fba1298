"""Both senses of the word: which frames are looked at, and which tokens are chosen."""
