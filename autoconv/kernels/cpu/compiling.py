"""Compiles kernels into the disk cache as a separate process: `python -m
autoconv.kernels.cpu.compiling`.

The process reads names such as `conv._forward:float32` from its input, one per line, and answers
each name once that kernel is compiled.
"""

import gc
import importlib
import os
import sys

from llvmlite import binding

from ..kernel import find_kernels

# kernels compiled between two garbage collections; each collection takes as long as a small kernel
SHARE = 12

# highlighting of errors that Numba drops during its search
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")


def main() -> None:
    gc.disable()
    # otherwise Numba notifies listeners, of which there are none, of each LLVM call
    binding.ffi.register_lock_callback = lambda *_: None
    importlib.import_module(f"{__package__}.jit").make_ready()
    gc.freeze()  # imported objects are never garbage
    for count, line in enumerate(sys.stdin, 1):
        kernel, dtype = line.strip().split(":")
        module = kernel.partition(".")[0]
        find_kernels(importlib.import_module(f"{__package__}.{module}"))[kernel].compile(dtype)
        sys.stdout.write(line)
        sys.stdout.flush()
        if count % SHARE == 0:
            gc.collect()


if __name__ == "__main__":
    main()
