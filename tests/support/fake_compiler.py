"""Compiles nothing: writes down who was asked for what, and takes a while or dies where a name says so."""

import os
import sys
import time

with open(sys.argv[1], "a") as asked:
    for line in sys.stdin:
        if line.startswith("deadly"):
            break
        time.sleep(0.2 if line.startswith("slow") else 0)
        asked.write(f"{os.getpid()} {line}")
        asked.flush()
        sys.stdout.write(line)
        sys.stdout.flush()
