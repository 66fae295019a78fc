"""Nets as graphs: which layers run as one kernel, and the table of them."""
