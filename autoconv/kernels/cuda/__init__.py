"""The kernels for NVIDIA GPUs, compiled by numba-cuda. Only `internals.py` imports numba-cuda."""
