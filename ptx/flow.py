"""Control flow: a kernel's basic blocks, the registers that each reads and writes, and the parameters that the kernel
stores through.
"""

from dataclasses import dataclass, field

from .errors import UnsupportedError
from .parser import Address, Instruction, Kernel, Register, Vector

NO_RESULT = ("st", "bra", "bar", "barrier", "ret", "exit", "cp", "red", "membar", "fence", "trap", "nanosleep")
WAITS = ("bar", "barrier")


@dataclass
class Block:
    """A basic block: instructions that always run one after the other.

    `needs` names the registers that the block reads before it writes them, `leaves` the registers it writes that are
    read later, and `alive` all registers that are read from the start of this block on. Control continues at `target`
    if `condition` is true (if `negated`: false), else at `following`; if both are None, the thread ends. `end` is the
    branch, return or barrier at the end of the block, and `waits` is the barrier if there is one.
    """

    instructions: list[Instruction] = field(default_factory=list)
    end: Instruction | None = None
    condition: str = ""
    negated: bool = False
    target: int | None = None
    following: int | None = None
    waits: Instruction | None = None
    needs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()


def results(instruction: Instruction) -> list[str]:
    """Returns the registers that an instruction writes."""
    head = instruction.op.partition(".")[0]
    return [] if head in NO_RESULT or not instruction.operands else _registers(instruction.operands[:1])


def sources(instruction: Instruction) -> list[str]:
    """Returns the registers that an instruction reads."""
    head = instruction.op.partition(".")[0]
    return _registers(instruction.operands if head in NO_RESULT else instruction.operands[1:])


def _registers(operands: tuple) -> list[str]:
    found = []
    for operand in operands:
        if isinstance(operand, Register):
            found.append(operand.name)
        elif isinstance(operand, Address):
            found += _registers((operand.base,))
        elif isinstance(operand, Vector):
            found += _registers(operand.parts)
    return found


def blocks(kernel: Kernel) -> list[Block]:
    """Returns the basic blocks in the order of the text, with the registers that they read and write."""
    made, number = _cut(kernel)
    for block, (condition, negated, target, following) in zip(made, number):
        block.condition, block.negated, block.target, block.following = condition, negated, target, following
    _liveness(made)
    return made


def _cut(kernel: Kernel) -> tuple[list[Block], list[tuple]]:
    starts = {0, *kernel.labels.values()}
    for i, instruction in enumerate(kernel.instructions):
        if _ends(instruction):
            starts.add(i + 1)
    order = sorted(s for s in starts if s < len(kernel.instructions))
    place = {start: n for n, start in enumerate(order)}
    place[len(kernel.instructions)] = len(order)
    made, goes = [], []
    for n, start in enumerate(order):
        part = kernel.instructions[start : order[n + 1] if n + 1 < len(order) else None]
        last = part[-1]
        block = Block(part[:-1], last) if _ends(last) else Block(part)
        if last.op == "bra":
            if last.operands[0].name not in kernel.labels:
                raise UnsupportedError(f"The label of this branch is not defined: {last.text}")
            target = place[kernel.labels[last.operands[0].name]]
            goes.append((last.predicate, last.negated, target, n + 1 if last.predicate else None))
        elif last.op in ("ret", "ret.uni", "exit"):
            goes.append(("", False, None, None))
        else:
            if _waits(last):
                _known_barrier(last)
                block.waits = last
            goes.append(("", False, None, n + 1))
        made.append(block)
    made.append(Block())  # after the last instruction the thread ends
    goes.append(("", False, None, None))
    return made, goes


def _waits(instruction: Instruction) -> bool:
    return instruction.op.partition(".")[0] in WAITS


def _known_barrier(instruction: Instruction) -> None:
    """Raises UnsupportedError for barriers other than barrier 0 of the whole block and those of a whole warp."""
    kinds, whole = set(instruction.op.split(".")), (0xFFFFFFFF, -1) if ".warp." in instruction.op else (0,)
    if not kinds <= {"bar", "barrier", "cta", "sync", "aligned", "warp"} or "sync" not in kinds or \
            len(instruction.operands) != 1 or getattr(instruction.operands[0], "value", None) not in whole:
        raise UnsupportedError(f"{instruction.text}: only barriers of a whole block or warp are supported.")


def _ends(instruction: Instruction) -> bool:
    return instruction.op in ("bra", "ret", "ret.uni", "exit") or _waits(instruction)


def _liveness(made: list[Block]) -> None:
    reads, writes = [], []
    for block in made:
        read, written = {}, {}
        for instruction in block.instructions:
            for name in sources(instruction):
                if name not in written:
                    read[name] = None
            written.update(dict.fromkeys(results(instruction)))
        if block.condition and block.condition not in written:
            read[block.condition] = None
        reads.append(read)
        writes.append(written)
    alive = [set(read) for read in reads]
    changed = True
    while changed:
        changed = False
        for n in reversed(range(len(made))):
            later = _later(made, alive, n)
            now = set(reads[n]) | (later - writes[n].keys())
            if now != alive[n]:
                alive[n], changed = now, True
    for n, block in enumerate(made):
        later = _later(made, alive, n)
        block.needs, block.alive = tuple(reads[n]), tuple(alive[n])
        block.leaves = tuple(name for name in writes[n] if name in later)


def _later(made: list[Block], alive: list[set], n: int) -> set:
    after = [b for b in (made[n].target, made[n].following) if b is not None]
    return set().union(*(alive[b] for b in after))


def stored_parameters(kernel: Kernel) -> set[str]:
    """Returns the parameters from which an address of a store to global memory may come, on any path."""
    origins: dict[str, set[str]] = {}
    changed = True
    while changed:
        changed = False
        for instruction in kernel.instructions:
            found = set()
            if instruction.op.startswith("ld.param"):
                found = {instruction.operands[1].base.name}
            elif not instruction.op.startswith("ld."):  # kernels do not keep addresses in memory
                found = found.union(*(origins.get(name, ()) for name in sources(instruction)))
            for name in results(instruction):
                known = origins.setdefault(name, set())
                if not found <= known:
                    known |= found
                    changed = True
    stores = [i for i in kernel.instructions
              if i.op.startswith("st.") and i.op.split(".")[1] not in ("shared", "local", "param")]
    return set().union(*(origins.get(name, ()) for i in stores for name in _registers(i.operands[:1])))
