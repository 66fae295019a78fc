"""What makes the site of docs/: runs the pages' code, and writes the tables and the reference. No part of the package."""
