"""A process that compiles kernels into the disk cache: `python -m autoconv.backend.cpu.compiling`.

It reads names such as `conv._forward:float32` from its input, a line each, and answers each with the name once it is
compiled.
"""

import importlib
import sys


def main() -> None:
    for line in sys.stdin:
        kernel, dtype = line.strip().split(":")
        module, name = kernel.split(".")
        getattr(importlib.import_module(f"{__package__}.{module}"), name).compile(dtype)
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
