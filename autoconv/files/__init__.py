"""Atomic writing of files, atomic replacement of folders, bounded reading, cache locations."""
