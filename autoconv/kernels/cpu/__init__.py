"""The kernels for CPU threads, compiled by Numba."""

import os

import numpy as np

# A thread that waits for the others spins for about a tenth of a millisecond, then sleeps. GNU OpenMP's default is some
# thirty times that, and on a machine where another program runs as well steps then take ten times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# GNU's C library gives free memory at the end of its heap back to the system, by default all but 128 KiB, and then a
# kernel's room to work in is made of fresh pages in every step. It keeps more, twice the largest block that was ever
# given back whole, once it has seen one: here of just under 32 MiB, the most it counts. No page of it is ever touched.
np.empty((32 << 20) - (64 << 10), np.uint8)
