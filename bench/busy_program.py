"""Keeps a processor busy until the parent process ends: `python -m bench.busy_program THREADS`.

It is confined to the same processors as a framework with THREADS threads. It imports little, so
that it is busy immediately.
"""

import os
import sys

from .environment import confine

if __name__ == "__main__":
    parent = os.getppid()
    confine(int(sys.argv[1]))
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass
