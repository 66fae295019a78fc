"""A program that keeps a processor busy, one of those that frameworks with so many threads have, until who started it
ends: `python -m bench.busy_program THREADS`. It imports little, so that it is busy at once.
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
