"""What a launch would cost a GPU, as far as its PTX tells: instructions of warps, traffic, conflicts. No times.

PTX is not the last word: 64-bit integers take two machine instructions, a move often none. So compare one kernel with
another rather than with a GPU's peak.
"""

from dataclasses import dataclass, field

import numpy as np

from .limits import occupancy, registers
from .parser import Instruction

SECTOR, BANKS = 32, 32  # bytes that memory is read and written in; 4-byte columns of shared memory
_FLOATS = ("add", "sub", "mul", "div", "min", "max", "neg", "abs", "setp", "selp", "rcp", "sqrt", "rsqrt", "ex2", "lg2",
           "sin", "cos", "tanh", "copysign", "testp")
_MOVES = ("mov", "cvta", "cvt")
_CONTROL = ("bra", "ret", "exit", "bar", "barrier", "trap", "membar", "fence")


def kind(instruction: Instruction) -> str:
    """The class that an instruction is counted in."""
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
    """Sums over all warps of all launches that were given this object.

    `instructions` by class, one for each warp that runs one, with however many of its threads. `sectors` of 32 bytes
    that `requests`, one a warp and instruction, read or write in global memory: 4 a request is what 32 floats side by
    side take. `conflicts` are the extra turns that shared memory takes in `turns`, because lanes want different words
    of one bank. `shapes` are the different launches: the PTX, the threads and bytes of shared memory of a block.
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
        """How many blocks a multiprocessor of that compute capability holds at once, by threads, registers and shared
        memory: the fewest of all launches. The first call has the assembler count the registers.
        """
        return min(occupancy(registers(text), threads, shared, capability) for text, threads, shared in self.shapes)

    def ran(self, kinds: dict[str, int], warps: int) -> None:
        for name, count in kinds.items():
            self.instructions[name] = self.instructions.get(name, 0) + count * warps

    def accessed(self, warp, address, size: int) -> None:
        """One instruction's accesses to global memory, by the lanes of these warps."""
        self.requests += np.unique(warp).size
        self.sectors += np.unique((warp << 40) + (address >> 5)).size

    def accessed_shared(self, warp, lane, address, size: int) -> None:
        """One instruction's accesses to shared memory. Of 8 bytes half a warp goes at once, of 16 a quarter."""
        words = max(size // 4, 1)
        phase = warp * words + lane // (32 // words)
        touched = np.broadcast_to(address, lane.shape)[:, None] // 4 + np.arange(words)
        wanted = np.unique((phase[:, None] << 32) + touched)
        banks, counts = np.unique((wanted >> 32) * BANKS + wanted % BANKS, return_counts=True)
        starts = np.flatnonzero(np.diff(banks // BANKS, prepend=-1))
        turns = np.maximum.reduceat(counts, starts)
        self.turns += int(turns.sum())
        self.conflicts += int(turns.sum()) - turns.size
