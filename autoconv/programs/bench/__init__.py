"""`autoconv bench`: times nets, compares their kernels with this machine's ceilings, and writes a
page of results.

Every number is a median over rounds, ratios are taken within a round, and all rounds are kept.
"""
