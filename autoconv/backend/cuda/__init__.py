"""The kernels for NVIDIA GPUs, compiled by numba-cuda. `runtime.py` alone imports it."""
