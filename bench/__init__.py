"""The benchmark harness: autoconv beside other frameworks, its kernels beside this machine's ceilings.

docs/benchmarks.md explains the method.
"""
