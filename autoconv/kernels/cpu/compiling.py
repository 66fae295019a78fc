"""A process that compiles kernels into the disk cache: `python -m autoconv.kernels.cpu.compiling`.

It reads names such as `conv._forward:float32` from its input, a line each, and answers each with the name once it is
compiled.
"""

import gc
import importlib
import os
import sys

from llvmlite import binding

from ..kernel import kernels_of

SHARE = 12  # kernels between two collections of garbage, each of which takes the time of a small kernel

os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")  # of errors that Numba drops while it looks on


def main() -> None:
    gc.disable()
    binding.ffi.register_lock_callback = lambda *_: None  # else Numba announces each call of LLVM, to no listener
    importlib.import_module(f"{__package__}.jit").make_ready()
    gc.freeze()  # what was imported stays
    for done, line in enumerate(sys.stdin, 1):
        kernel, dtype = line.strip().split(":")
        module = kernel.partition(".")[0]
        kernels_of(importlib.import_module(f"{__package__}.{module}"))[kernel].compile(dtype)
        sys.stdout.write(line)
        sys.stdout.flush()
        if done % SHARE == 0:
            gc.collect()


if __name__ == "__main__":
    main()
