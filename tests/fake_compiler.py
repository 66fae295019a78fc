"""Compiles nothing: writes down who was asked for what, and dies where a name says so."""

import os
import sys

with open(sys.argv[1], "a") as asked:
    for line in sys.stdin:
        if line.startswith("deadly"):
            break
        asked.write(f"{os.getpid()} {line}")
        asked.flush()
        sys.stdout.write(line)
        sys.stdout.flush()
