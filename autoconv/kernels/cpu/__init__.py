"""The kernels for CPU threads, compiled by Numba."""

import os

import numpy as np

# A waiting thread spins for about a tenth of a millisecond, then sleeps. GNU OpenMP's default is
# about thirty times as long; with it, steps take ten times as long if another program is running.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# GNU's C library returns free memory at the end of its heap to the system, by default all but 128
# KiB; kernels would then allocate fresh pages for their buffers in every step. After it has freed a
# large block, it keeps up to twice the size of that block. This block, just under 32 MiB, is the
# largest that counts. None of its pages is touched.
np.empty((32 << 20) - (64 << 10), np.uint8)
