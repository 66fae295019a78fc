"""Compiles kernels into the disk cache in a separate process, which is started as `python -m
autoconv.kernels.cpu.compiling`.

The process reads lines such as `conv._forward:float32` from standard input. It writes each line to
standard output once that kernel is compiled.
"""

import gc
import importlib
import os
import sys

from llvmlite import binding

from ..kernel import find_kernels

# number of kernels per garbage collection, which takes as long as compiling a small kernel
SHARE = 12

# turns off highlighting in error messages, most of which Numba discards while it infers types
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")


def main() -> None:
    gc.disable()
    # stops Numba from registering callbacks that would run at each LLVM call and do nothing
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
