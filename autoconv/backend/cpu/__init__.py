"""The kernels for CPU threads, compiled by Numba."""

import os

# A thread that waits for the others spins for about a tenth of a millisecond, then sleeps. GNU OpenMP's default is some
# thirty times that, and on a machine where another program runs as well steps then take ten times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
