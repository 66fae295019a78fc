"""What a card refuses before a kernel runs, and how many blocks of a kernel one of its multiprocessors holds at once.

Figures of NVIDIA's CUDA C++ Programming Guide, "Compute Capabilities"; registers and shared memory are handed out in
the units of its occupancy calculator.
"""

import re
from functools import cache
from typing import NamedTuple

from .errors import LimitError

GRID, BLOCK, THREADS = (2**31 - 1, 65_535, 65_535), (1024, 1024, 64), 1024
SHARED = 48 << 10  # bytes of a block, as long as the launch has not asked for more than any card has
REGISTERS = 1 << 16  # of a multiprocessor, so the most that a block has
PARAMETERS = 4 << 10  # bytes
WARP, REGISTER_UNIT, WARP_UNIT, SHARED_UNIT = 32, 256, 4, 128  # registers go to a warp, four warps are alike


class Multiprocessor(NamedTuple):
    """What blocks share: so many warps and blocks at once, bytes of shared memory, and those that each block loses."""

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
    """Raises LimitError where no card would launch that."""
    for what, given, most in (("grid", grid, GRID), ("block", block, BLOCK)):
        for axis, n, limit in zip("xyz", given, most):
            if not 1 <= n <= limit:
                raise LimitError(f"{program.kernel.name}: a {what}'s {axis} is 1..{limit:,}. Received: {given}.")
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
                         f"{shared:,}; the launch asks for {dynamic:,} more.")
    if program.size > PARAMETERS:
        raise LimitError(f"{program.kernel.name}: parameters are at most {PARAMETERS:,} bytes. These take "
                         f"{program.size:,}: pass fewer arrays.")
    if threads > REGISTERS // 256:  # with fewer, even 255 registers a thread fit: nothing needs to be assembled
        needed = _of_a_warp(registers(program.text)) * -(-threads // WARP)
        if needed > REGISTERS:
            raise LimitError(f"{program.kernel.name}: a block has at most {REGISTERS:,} registers. {threads:,} threads "
                             f"with {registers(program.text)} each take {needed:,}: launch smaller blocks.")


@cache
def registers(text: str) -> int:
    """How many registers a thread has, once NVIDIA's assembler has made machine code of the text."""
    from autoconv.kernels.cuda import assembly

    major, minor = re.search(r"^\s*\.target sm_(\d+)(\d)", text, re.MULTILINE).groups()
    return assembly.assembled(text, (int(major), int(minor))).registers


def occupancy(registers: int, threads: int, shared: int, capability: tuple[int, int] = (8, 0)) -> int:
    """How many blocks a multiprocessor of that compute capability holds at once.

    `registers` of a thread, `threads` and bytes of `shared` memory of a block.
    """
    has, warps = MULTIPROCESSORS[capability], -(-threads // WARP)
    fits = REGISTERS // _of_a_warp(registers) // WARP_UNIT * WARP_UNIT // warps
    taken = -(-(shared + has.reserved) // SHARED_UNIT) * SHARED_UNIT
    return min(has.blocks, has.warps // warps, fits, has.shared // taken if taken else has.blocks)


def _of_a_warp(registers: int) -> int:
    return -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
