"""The kernels for CPU threads, compiled by Numba."""

import os

import numpy as np

# With this setting, a waiting OpenMP thread spins for about 0.1 ms and then sleeps. GNU OpenMP's
# default is about 3 ms. With the default, steps take ten times as long if another program is
# running.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# By default, GNU's C library returns all but 128 KiB of the free memory at the end of its heap to
# the system. Kernels would then allocate fresh pages for their buffers in every step. Once the
# library has freed a large block, it keeps up to twice that block's size. This block, just under
# 32 MiB, is the largest that has this effect. Its pages are never touched, so they use no memory.
np.empty((32 << 20) - (64 << 10), np.uint8)
