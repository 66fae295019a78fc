"""`autoconv bench`: times nets, compares their kernels with this machine's ceilings, and writes a
page of results.

Every number is a median over rounds. Ratios are computed within a round. The times of all rounds are saved.
"""
