"""Kernels: functions that read arrays and write arrays. Each device has one folder; both folders
have the same files and function signatures.
"""
