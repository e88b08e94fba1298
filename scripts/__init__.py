"""Building and checking the virtual environment."""
