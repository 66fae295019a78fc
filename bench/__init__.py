"""The benchmarks. They compare autoconv with other frameworks, and its kernels with the maximum speed of this machine.

docs/benchmarks.md explains the method.
"""
