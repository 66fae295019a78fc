"""What a net costs: parameters, multiply-adds and memory by counting, time and this machine's ceilings by measuring."""
