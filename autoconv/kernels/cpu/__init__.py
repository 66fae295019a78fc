"""The kernels for CPU threads, compiled by Numba."""
