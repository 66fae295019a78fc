"""What is run rather than imported: command line, demo, timings, pages, and their start."""
