"""Many files: worked through one after the other, kept account of, and shown as pages for people."""
