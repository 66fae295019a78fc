"""Keeps a processor busy until the parent process ends: `python -m bench.busy_program THREADS`.

The program is confined to the same processors as a framework with THREADS threads. It imports little,
so that it starts computing immediately.
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
