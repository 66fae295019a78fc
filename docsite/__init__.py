"""Builds the site of docs/: runs the pages' code, writes tables and the API reference. Not part of the package."""
