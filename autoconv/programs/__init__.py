"""What is run, not imported: the command line, the demo, benchmarks, and the pages that they write."""
