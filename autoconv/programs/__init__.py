"""Programs of autoconv: the command line, the demo, the timings, and the pages that they write."""
