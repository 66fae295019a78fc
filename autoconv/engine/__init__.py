"""What nets run on: tensors and their tape, symbolic tensors, graphs, fusion, change counters, costs."""
