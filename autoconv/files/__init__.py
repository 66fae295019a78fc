"""Files that are complete or absent, folders replaced in one step, and where caches are."""
