"""Kernels are functions that read arrays and write arrays. The CPU and the GPU have one folder
each. The functions that ops call have the same files, names and signatures in both folders.
"""
