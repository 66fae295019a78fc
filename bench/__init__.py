"""The benchmark harness: compares autoconv with other frameworks, and autoconv's kernels with the
maximum speeds that this machine reaches.

docs/benchmarks.md explains the method.
"""
