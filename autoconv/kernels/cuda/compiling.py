"""Compiles kernels into the disk cache as a separate process: `python -m
autoconv.kernels.cuda.compiling 8 0`.

The arguments are the major and minor version of the compute capability. The process opens no GPU,
because it would occupy some of the GPU's memory. It reads names such as `conv._forward:float32`
from standard input, one per line, and prints each name when that kernel is compiled.
"""

import sys

from .assembly import kernels


def main() -> None:
    kernels_by_name, (major, minor) = kernels(), sys.argv[1:]
    for line in sys.stdin:
        name, dtype = line.strip().split(":")
        kernels_by_name[name].compile_to_cache(dtype, (int(major), int(minor)))
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
