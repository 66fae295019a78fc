"""The costs of a net: counted parameters, multiply-adds and memory; measured times and this machine's ceilings."""
