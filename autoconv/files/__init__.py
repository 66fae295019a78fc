"""Writes files and replaces folders atomically, reads untrusted files, and locates the cache."""
