"""Nets as graphs: the graph, the fusion of its layers into kernels, and the summary table."""
