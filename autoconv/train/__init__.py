"""The training step, and the loops that run it."""
