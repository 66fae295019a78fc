"""Checks of a user's arguments: names with suggestions, windows and paddings."""
