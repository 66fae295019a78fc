"""Counts the costs of a launch from its PTX: warp instructions, memory traffic and bank conflicts. Measures no times.

Machine code differs from PTX: an operation on 64-bit integers needs two machine instructions, and a move often none. So
compare the counts of two kernels with each other, and not with a GPU's peak.
"""

from dataclasses import dataclass, field

import numpy as np

from .limits import occupancy, registers
from .parser import Instruction

SECTOR, BANKS = 32, 32  # bytes per memory transaction; number of shared memory's banks, 4 bytes wide each
_FLOATS = ("add", "sub", "mul", "div", "min", "max", "neg", "abs", "setp", "selp", "rcp", "sqrt", "rsqrt", "ex2", "lg2",
           "sin", "cos", "tanh", "copysign", "testp")
_MOVES = ("mov", "cvta", "cvt")
_CONTROL = ("bra", "ret", "exit", "bar", "barrier", "trap", "membar", "fence")


def kind(instruction: Instruction) -> str:
    """Returns the class in which an instruction is counted."""
    parts = instruction.op.split(".")
    head, floating = parts[0], parts[-1] in ("f32", "f64")
    if head in ("ld", "st", "ldu", "ldmatrix", "cp"):
        if "async" in parts:
            return "copy"
        space = "shared" if head == "ldmatrix" else next(
            (p for p in parts if p in ("param", "shared", "local")), "global")
        return "move" if space == "param" else f"{space} {'store' if head == 'st' else 'load'}"
    if head == "fma" or (head == "mad" and floating):
        return "fma"
    if head in _MOVES:
        return "move"
    if head in _CONTROL:
        return "control"
    if head in ("mma", "shfl", "vote"):
        return head
    return "float" if floating and head in _FLOATS else "integer"


@dataclass
class Counters:
    """Totals over all warps of all launches that used this object.

    `instructions` counts the instructions of warps by class, however many threads of the warp are active. `requests`
    counts accesses of warps to global memory, and `sectors` the 32-byte sectors that they read or write: 4 sectors per
    request if 32 floats are contiguous. `turns` counts passes over shared memory; `conflicts` counts the additional
    passes, which are needed if lanes access different words of one bank. `shapes` holds the distinct launches: the PTX,
    and a block's threads and bytes of shared memory.
    """

    instructions: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    sectors: int = 0
    turns: int = 0
    conflicts: int = 0
    launches: int = 0
    shapes: set[tuple[str, int, int]] = field(default_factory=set)

    def launched(self, text: str, threads: int, shared: int) -> None:
        self.launches += 1
        self.shapes.add((text, threads, shared))

    def occupancy(self, capability: tuple[int, int] = (8, 0)) -> int:
        """The number of blocks that a multiprocessor of this compute capability holds at once, limited by threads,
        registers and shared memory; the minimum over all launches. The first call runs the assembler, which counts the
        registers.
        """
        return min(occupancy(registers(text), threads, shared, capability) for text, threads, shared in self.shapes)

    def ran(self, kinds: dict[str, int], warps: int) -> None:
        for name, count in kinds.items():
            self.instructions[name] = self.instructions.get(name, 0) + count * warps

    def accessed(self, warp, address, size: int) -> None:
        """Counts the accesses of one instruction to global memory, by the lanes of these warps."""
        self.requests += np.unique(warp).size
        self.sectors += np.unique((warp << 40) + (address >> 5)).size

    def accessed_shared(self, warp, lane, address, size: int) -> None:
        """Counts the accesses of one instruction to shared memory. Half a warp is served at once with 8 bytes per lane,
        a quarter with 16.
        """
        words = max(size // 4, 1)
        phase = warp * words + lane // (32 // words)
        touched = np.broadcast_to(address, lane.shape)[:, None] // 4 + np.arange(words)
        wanted = np.unique((phase[:, None] << 32) + touched)
        banks, counts = np.unique((wanted >> 32) * BANKS + wanted % BANKS, return_counts=True)
        starts = np.flatnonzero(np.diff(banks // BANKS, prepend=-1))
        turns = np.maximum.reduceat(counts, starts)
        self.turns += int(turns.sum())
        self.conflicts += int(turns.sum()) - turns.size
