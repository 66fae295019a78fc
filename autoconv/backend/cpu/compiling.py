"""A process that compiles kernels into the disk cache: `python -m autoconv.backend.cpu.compiling float32`.

It reads names such as `conv._forward` from its input, a line each, and answers each with the name once it is compiled.
"""

import importlib
import sys


def main() -> None:
    for line in sys.stdin:
        room, name = line.strip().split(".")
        getattr(importlib.import_module(f"{__package__}.{room}"), name).compile(sys.argv[1])
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
