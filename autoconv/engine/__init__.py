"""The engine that runs nets: tensors, their tape, symbolic tensors, graphs, fusion, change counters, costs."""
