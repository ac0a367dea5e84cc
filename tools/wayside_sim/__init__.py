"""A simulated board for the real firmware."""
