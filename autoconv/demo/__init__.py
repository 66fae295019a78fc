"""`autoconv demo`: a page, served on this machine, where one watches a net learn."""
