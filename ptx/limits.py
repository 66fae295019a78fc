"""The limits that a GPU checks before a launch, and the number of blocks that a multiprocessor holds at once.

The figures are from "Compute Capabilities" in NVIDIA's CUDA C++ Programming Guide. The allocation units of registers
and shared memory are from NVIDIA's occupancy calculator.
"""

import re
from functools import cache
from typing import NamedTuple

from .errors import LimitError

GRID, BLOCK, THREADS = (2**31 - 1, 65_535, 65_535), (1024, 1024, 64), 1024
SHARED = 48 << 10  # bytes per block, unless a launch opts in to more than all GPUs have
REGISTERS = 1 << 16  # registers of a multiprocessor, and so the maximum of a block
PARAMETERS = 4 << 10  # bytes
# registers are allocated per warp, and warps in groups of four
WARP, REGISTER_UNIT, WARP_UNIT, SHARED_UNIT = 32, 256, 4, 128


class Multiprocessor(NamedTuple):
    """Resources that blocks share: resident warps and blocks, bytes of shared memory, and bytes reserved per block."""

    warps: int
    blocks: int
    shared: int
    reserved: int


MULTIPROCESSORS = {
    (7, 5): Multiprocessor(32, 16, 64 << 10, 0),
    (8, 0): Multiprocessor(64, 32, 164 << 10, 1 << 10),
    (8, 6): Multiprocessor(48, 16, 100 << 10, 1 << 10),
    (8, 9): Multiprocessor(48, 24, 100 << 10, 1 << 10),
    (9, 0): Multiprocessor(64, 32, 228 << 10, 1 << 10),
    (10, 0): Multiprocessor(64, 32, 228 << 10, 1 << 10),
    (12, 0): Multiprocessor(48, 24, 100 << 10, 1 << 10),
}


def check(program, grid: tuple, block: tuple, dynamic: int) -> None:
    """Raises LimitError if a GPU would refuse this launch."""
    for what, given, most in (("grid", grid, GRID), ("block", block, BLOCK)):
        for axis, n, limit in zip("xyz", given, most):
            if not 1 <= n <= limit:
                raise LimitError(f"{program.kernel.name}: a {what}'s {axis} must be 1..{limit:,}. Received: {given}.")
    threads = block[0] * block[1] * block[2]
    if threads > THREADS:
        raise LimitError(f"{program.kernel.name}: a block has at most {THREADS:,} threads. Received: {block}, which is "
                         f"{threads:,}.")
    declared = program.kernel.most_threads
    if declared is not None and threads > declared:
        raise LimitError(f"{program.kernel.name}: it was compiled for blocks of at most {declared} threads (.maxntid). "
                         f"Received: {block}, which is {threads:,}.")
    shared = program.extents["shared"]
    if shared + dynamic > SHARED:
        raise LimitError(f"{program.kernel.name}: a block has at most {SHARED:,} bytes of shared memory. Declared: "
                         f"{shared:,}; the launch requests {dynamic:,} more.")
    if program.size > PARAMETERS:
        raise LimitError(f"{program.kernel.name}: parameters may have at most {PARAMETERS:,} bytes. These take "
                         f"{program.size:,}: pass fewer arrays.")
    if threads > REGISTERS // 256:  # with fewer threads, even 255 registers per thread fit: no need to assemble
        needed = _of_a_warp(registers(program.text)) * -(-threads // WARP)
        if needed > REGISTERS:
            raise LimitError(f"{program.kernel.name}: a block has at most {REGISTERS:,} registers. {threads:,} threads "
                             f"with {registers(program.text)} each take {needed:,}: launch smaller blocks.")


@cache
def registers(text: str) -> int:
    """Returns the number of registers per thread, from NVIDIA's assembler."""
    from autoconv.kernels.cuda import assembly

    major, minor = re.search(r"^\s*\.target sm_(\d+)(\d)", text, re.MULTILINE).groups()
    return assembly.assemble_ptx(text, (int(major), int(minor))).registers


def occupancy(registers: int, threads: int, shared: int, capability: tuple[int, int] = (8, 0)) -> int:
    """Returns the number of blocks that a multiprocessor of this compute capability holds at once.

    `registers` is per thread; `threads`, and the bytes of `shared` memory, are per block.
    """
    has, warps = MULTIPROCESSORS[capability], -(-threads // WARP)
    fits = REGISTERS // _of_a_warp(registers) // WARP_UNIT * WARP_UNIT // warps
    taken = -(-(shared + has.reserved) // SHARED_UNIT) * SHARED_UNIT
    return min(has.blocks, has.warps // warps, fits, has.shared // taken if taken else has.blocks)


def _of_a_warp(registers: int) -> int:
    return -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
