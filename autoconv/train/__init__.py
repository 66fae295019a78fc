"""The training step and the loops around it."""
