"""Keeps one processor busy until its parent process ends: `python -m bench.busy_program THREADS`.

It runs on the processors that a framework with THREADS threads uses. It imports few modules, so that it is busy
immediately.
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
