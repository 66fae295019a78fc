"""Arrays in, arrays out: one folder a device, twin files with the same names and the same signatures."""
