"""The command line, the demo and the benchmark of autoconv, and the HTML pages that they write."""
