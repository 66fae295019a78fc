"""Checks of a user's arguments, such as names, numbers, windows and paddings."""
