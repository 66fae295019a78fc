"""What `autoconv bench` measures: nets, their kernels against this machine's ceilings, a page of
it.

Every number is a median over rounds, every ratio is taken within a round, all rounds are kept.
"""
