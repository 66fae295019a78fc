"""The costs of a net: its parameters, multiply-adds and memory, its measured times, and this machine's speed limits."""
