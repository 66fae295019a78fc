"""Runs a kernel on NumPy arrays: prepares its parameters as Numba does, and copies the results back.

An array with d axes becomes the parameters meminfo, parent, element count, element size, address of the first element,
d extents and d strides in bytes. A tuple becomes its numbers. All parameters have 64 bits, except booleans with 8.
"""

import math
from collections import Counter

import numba
import numpy as np
from numba import types

from . import flow, limits, parser, texts, translate
from .counters import Counters, kind
from .machine import Machine
from .memory import Global, Owners, Windows

LANES = 1 << 16  # maximum number of lanes that run at once; larger launches run in several rounds
CAPABILITY = (8, 0)


class Program:
    """A parsed and translated kernel, ready to run."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kernel = kernel = parser.parse(text)
        self.offsets, at = {}, 0
        for type_, name in kernel.parameters:
            size = parser.SIZES[type_]
            at = -(-at // size) * size
            self.offsets[name] = at
            at += size
        self.size = at
        stored = flow.stored_parameters(kernel)
        self.written = [i for i, (_, name) in enumerate(kernel.parameters) if name in stored]
        self.constants = Global()
        self.extents, symbols, self.open = {"shared": 0, "local": 0}, {}, False
        self._place(symbols)
        self.blocks = flow.blocks(kernel)
        translator = translate.Translator(kernel, symbols, self.offsets)
        self.functions = translator.functions(self.blocks)
        self.sites, self.names = translator.sites, list(kernel.registers)
        self.poisons = [translate.poison(type_) for type_ in kernel.registers.values()]
        number = {name: i for i, name in enumerate(self.names)}
        self.layout = [([number[n] for n in b.needs], [number[n] for n in b.leaves]) for b in self.blocks]
        self.alive = [[number[n] for n in b.alive] for b in self.blocks]
        self.kinds = [dict(Counter(kind(i) for i in (*b.instructions, b.end) if i is not None)) for b in self.blocks]
        self.unit = 1 if any(_narrow(i.op) for i in kernel.instructions) else 4

    def _place(self, symbols: dict[str, int]) -> None:
        """Assigns addresses to the kernel's variables."""
        for name, variable in self.kernel.variables.items():
            if variable.space in ("global", "const"):
                raw = np.zeros(max(variable.size, 1) + 256, np.uint8)
                start = -raw.ctypes.data % 256
                raw = raw[start : start + max(variable.size, 1)]
                raw[: len(variable.data)] = np.frombuffer(variable.data, np.uint8)
                symbols[name] = self.constants.add(name, raw, 1, constant=True).base
            else:
                at = -(-self.extents[variable.space] // variable.alignment) * variable.alignment
                symbols[name] = at
                if variable.size < 0:
                    self.open = True  # its size is set by the launch; it follows all other variables
                else:
                    self.extents[variable.space] = at + variable.size

    def written_arguments(self, arguments: tuple) -> list[int]:
        """Returns the positions of the array arguments that the kernel may write."""
        addresses, at = {}, 0
        for position, value in enumerate(arguments):
            if isinstance(value, np.ndarray):
                addresses[at + 4] = position
            at += 5 + 2 * value.ndim if isinstance(value, np.ndarray) else len(list(_flat(value)))
        return [addresses[i] for i in self.written if i in addresses]

    def windows(self, space: str, count: int, dynamic: int = 0) -> Windows:
        """Allocates memory of this space for `count` blocks (shared) or threads (local)."""
        return Windows(space, self.extents[space] + dynamic, count)


def _narrow(op: str) -> bool:
    """Whether an instruction may access less than four bytes of shared memory."""
    parts = op.split(".")
    return parts[0] in ("ld", "st") and not {"global", "param", "local", "const"} & set(parts) and \
        parser.SIZES[parts[-1]] < 4


_programs: dict = {}


def compiled(kernel, signature, capability=CAPABILITY) -> Program:
    """Returns the program of an autoconv kernel or a plain function for these argument types. Programs are cached."""
    key = getattr(kernel, "function", kernel), signature, capability
    if key not in _programs:
        _programs[key] = Program(*texts.texts(kernel, signature, capability))
    return _programs[key]


def signature_of(arguments) -> tuple:
    """Returns Numba's types of these arguments, as for a launch."""
    return tuple(map(_type, arguments))


def _type(value):
    if isinstance(value, np.ndarray):
        contiguous = "C" if value.flags.c_contiguous else "A"
        return types.Array(numba.from_dtype(value.dtype), value.ndim, contiguous)
    return numba.typeof(value)


def launch(kernel, grid, block, arguments, capability=CAPABILITY, dynamic: int = 0,
           counters: Counters | None = None) -> None:
    """Runs an autoconv kernel or a plain function on NumPy arrays. The kernel writes its results into these arrays.

    `grid` and `block` are an int, or a tuple of up to three ints. `dynamic` is the number of bytes of shared memory in
    addition to the declared ones.
    """
    run(compiled(kernel, signature_of(arguments), capability), grid, block, arguments, dynamic, counters)


def run(program: Program, grid, block, arguments, dynamic: int = 0, counters: Counters | None = None) -> None:
    """Runs a program with the same arguments as `launch`."""
    grid, block = _three(grid), _three(block)
    limits.check(program, grid, block, dynamic)
    arguments = [_Argument(value, i) for i, value in enumerate(arguments)]
    place = Global()
    for piece in program.constants.pieces:
        place.add(piece.name, piece.raw, piece.unit, constant=True)
    pieces = _pieces(place, arguments)
    numbers = [n for a in arguments for n in a.numbers(pieces)]
    if len(numbers) != len(program.kernel.parameters):
        raise TypeError(f"The kernel has {len(program.kernel.parameters)} parameters, but these arguments "
                        f"become {len(numbers)}.")
    packed = _packed(program, numbers)
    for i in program.written:
        piece = place.at(numbers[i]) if isinstance(numbers[i], int) else None
        if piece is not None and piece.owners is None:
            piece.owners = Owners(piece.raw.size // piece.unit + 1)
    threads, blocks = math.prod(block), math.prod(grid)
    each = max(LANES // threads, 1)
    for first in range(0, blocks, each):
        Machine(program, place, grid, block, first, min(each, blocks - first), dynamic, counters).run(packed)
    if counters is not None:
        counters.launched(program.text, threads, program.extents["shared"] + dynamic)
    for argument in arguments:
        argument.write_back()


def _three(extents) -> tuple[int, int, int]:
    given = extents if isinstance(extents, tuple) else (extents,)
    return tuple(int(n) for n in (*given, 1, 1)[:3])


def _packed(program: Program, numbers) -> bytes:
    out = bytearray(program.size)
    for (type_, name), value in zip(program.kernel.parameters, numbers):
        size = parser.SIZES[type_]
        raw = np.array(value, f"f{size}").tobytes() if type_[0] == "f" else \
            (int(value) % (1 << 8 * size)).to_bytes(size, "little")
        out[program.offsets[name] : program.offsets[name] + size] = raw
    return bytes(out)


class _Argument:
    """A kernel argument and the parameters that it becomes."""

    def __init__(self, value, position: int) -> None:
        self.value, self.position = value, position
        self.raw = None
        if isinstance(value, np.ndarray):
            self.raw = self._bytes(value)

    def _bytes(self, value) -> np.ndarray:
        """Returns the bytes of an array; a copy if the array is not aligned like GPU memory."""
        if not value.flags.c_contiguous:
            raise ValueError("Arrays passed to a kernel must be contiguous.")
        self.copied = value.ctypes.data % value.itemsize != 0 or not isinstance(value, Aligned)
        if self.copied:
            source, value = value, aligned_empty(value.nbytes).view(value.dtype)
            value[:] = source.reshape(-1)
        return np.asarray(value).reshape(-1).view(np.uint8)

    def write_back(self) -> None:
        if self.raw is not None and self.copied:
            self.value.reshape(-1)[:] = self.raw.view(self.value.dtype)

    def numbers(self, pieces: dict):
        """Returns the parameters: ints for 64 bits, NumPy scalars for other sizes."""
        value = self.value
        if isinstance(value, np.ndarray):
            piece, start = pieces[self.position]
            strides = [value.itemsize * math.prod(value.shape[i + 1 :]) for i in range(value.ndim)]
            return [0, 0, value.size, value.itemsize, piece.base + start, *value.shape, *strides]
        return list(_flat(value))


def _flat(value):
    """Yields the numbers of a tuple and of the tuples in it, or the number itself."""
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


class Aligned(np.ndarray):
    """An array whose memory is aligned like a GPU's, so the emulator uses it without a copy."""


def aligned_empty(size: int) -> np.ndarray:
    """Allocates `size` bytes at an address that is a multiple of 256."""
    raw = np.empty(size + 256, np.uint8)
    start = -raw.ctypes.data % 256
    return raw[start : start + size].view(Aligned)


def _pieces(place: Global, arguments) -> dict:
    """Maps each array argument's position to its piece of memory and its offset there. Overlapping arrays share one."""
    spans = sorted((a.raw.ctypes.data, a.raw.ctypes.data + a.raw.size, a.position, a) for a in arguments
                   if a.raw is not None)
    found, run = {}, []
    for span in [*spans, None]:
        if run and (span is None or span[0] >= max(s[1] for s in run)):
            start, end = run[0][0], max(s[1] for s in run)
            longest = max((s[3] for s in run), key=lambda a: a.raw.size)
            raw = longest.raw
            if raw.ctypes.data != start or raw.size != end - start:
                raise ValueError("Two arguments overlap, and neither contains the other.")
            name = " = ".join(f"argument {s[2]} {s[3].value.shape}" for s in sorted(run, key=lambda s: s[2]))
            piece = place.add(name, raw, min(s[3].value.itemsize for s in run))
            for s in run:
                found[s[2]] = piece, s[0] - start
            run = []
        if span is not None:
            run.append(span)
    return found
