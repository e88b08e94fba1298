"""A very small SmolVLM that reads synthetic broadcast cards, and the synthetic broadcast it reads."""
