"""Programs, which are run rather than imported: command line, demo, timings, pages, their start."""
