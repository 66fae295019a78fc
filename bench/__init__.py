"""The benchmark harness: compares autoconv with other frameworks, and its kernels with this
machine's ceilings.

docs/benchmarks.md explains the method.
"""
