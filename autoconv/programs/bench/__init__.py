"""What `autoconv bench` measures: the built-in nets, their kernels against this machine's ceilings, and the page of it.

Every number is a median over rounds, every ratio is taken within a round, and every round is kept in the results.
"""
