"""The kernels for NVIDIA GPUs, compiled by numba-cuda. `internals.py` alone imports it."""
