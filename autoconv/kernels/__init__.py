"""Kernels are functions that read and write arrays. One folder contains the CPU's kernels, another
the GPU's. Files and functions that ops use have the same names and signatures in both folders.
"""
