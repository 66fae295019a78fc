"""What makes the site of docs/: it runs the pages' code, writes tables and the reference. No part of the package."""
