"""Files that are whole or not there, folders that are replaced at one stroke, and where caches lie."""
