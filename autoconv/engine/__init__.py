"""The engine that runs nets: tensors, the tape, symbolic tensors, graphs, fusion, change counters and costs."""
