"""A process that compiles kernels into the disk cache: `python -m autoconv.kernels.cuda.compiling 8 0`.

For a compute capability; no GPU is opened, as each process that did would take some of its memory. It reads names such
as `conv._forward:float32` from its input, a line each, and answers each with the name once it is compiled.
"""

import sys

from .assembly import kernels


def main() -> None:
    known, (major, minor) = kernels(), sys.argv[1:]
    for line in sys.stdin:
        name, dtype = line.strip().split(":")
        known[name].compile_for(dtype, (int(major), int(minor)))
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
