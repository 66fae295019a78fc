"""Parses PTX text into a kernel: its parameters, its variables, and one flat list of instructions.

To make the list flat, the parser inlines device functions at each call, turns predicated instructions into branches
around them, and renames the registers of inner scopes.
"""

import itertools
import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import UnsupportedError

SIZES = {"pred": 1, "b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "b32": 4, "u32": 4, "s32": 4,
         "f32": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}


class Register(NamedTuple):
    name: str


class Special(NamedTuple):
    """A read-only special register, such as %tid.x."""

    name: str


class Immediate(NamedTuple):
    """A constant: an int, or the bits of a float (`bits` is 32 or 64)."""

    value: int
    bits: int = 0


class Symbol(NamedTuple):
    name: str
    offset: int = 0


class Address(NamedTuple):
    """An address in brackets: a register, a symbol or a number, plus an offset in bytes."""

    base: "Register | Symbol | Immediate"
    offset: int = 0


class Vector(NamedTuple):
    parts: tuple


class Instruction(NamedTuple):
    """An instruction: `op` with its modifiers, the operands, and the text for messages."""

    op: str
    operands: tuple
    text: str
    predicate: str = ""
    negated: bool = False


@dataclass
class Variable:
    """A .shared, .local, .global or .const variable of `size` bytes; -1 if the launch sets the size."""

    space: str
    size: int
    alignment: int
    data: bytes = b""


@dataclass
class Kernel:
    name: str
    parameters: list[tuple[str, str]]  # (type, name)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # label -> index of the next instruction
    registers: dict[str, str] = field(default_factory=dict)  # name -> declared type
    variables: dict[str, Variable] = field(default_factory=dict)
    most_threads: int | None = None  # maximum threads per block, if declared


_DECLARATION = re.compile(
    r"(?:\.(?:extern|visible|weak|common)\s+)*\.(shared|local|global|const)\s+(?:\.align\s+(\d+)\s+)?"
    r"(?:\.(?:v2|v4)\s+)?\.(\w+)\s+([\w$%]+)((?:\[\d*\])*)\s*(?:=\s*(.*))?$", re.S)
_HEADER = re.compile(
    r"(?:\.(?:visible|weak|extern)\s+)?\.(entry|func)\s*(\([^()]*\))?\s*([\w$]+)\s*\(([^()]*)\)([^{};]*)([{;])", re.S)
_PARAMETER = re.compile(r"\.(?:param|reg)\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+"
                        r"(?:\.ptr\s*(?:\.\w+\s*)*(?:\.align\s+\d+\s+)?)?([\w$%]+)(\[\d+\])?")
_LABEL = re.compile(r"([\w$]+)\s*:(?!:)")
_SPECIAL = re.compile(r"%(tid|ntid|ctaid|nctaid)\.[xyz]$|%(laneid|warpid|nwarpid|smid|nsmid|clock|clock64|lanemask_\w+|"
                      r"dynamic_smem_size|total_smem_size|globaltimer)$")


def parse(text: str) -> Kernel:
    """Parses the only kernel of a PTX module."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = "\n".join(line.split("//")[0] for line in text.splitlines()
                     if not re.match(r"\s*\.(loc|file|version|target|address_size)\b", line))
    functions, entries, module = {}, [], []
    at = 0
    while header := _HEADER.search(text, at):
        module.append(text[at : header.start()])
        kind, results, name, parameters, directives, opening = header.groups()
        at = header.end()
        if opening == "{":
            end = _matching(text, at)
            found = (name, _parameters(results or ""), _parameters(parameters), text[at:end])
            at = end + 1
            if kind == "entry":
                entries.append((*found, directives))
            else:
                functions[name] = found
    module.append(text[at:])
    if len(entries) != 1:
        raise UnsupportedError(f"A PTX module must contain one kernel. This module contains {len(entries)}.")
    name, _, parameters, body, directives = entries[0]
    kernel = Kernel(name, parameters, most_threads=_most_threads(directives))
    for statement in "".join(module).split(";"):
        _declare(kernel, statement.strip(), {})
    _Body(kernel, functions).read(body, {}, None)
    return kernel


def _most_threads(directives: str) -> int | None:
    """Returns the limit from .maxntid, which is between a kernel's parameters and its body."""
    found = re.search(r"\.maxntid\s+([\d,\s]+)", directives)
    return math.prod(map(int, found[1].split(","))) if found else None


def _matching(text: str, at: int) -> int:
    """Returns the index of the brace that closes the one before `at`."""
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.start()
    raise UnsupportedError("A brace is not closed.")


def _parameters(text: str) -> list[tuple[str, str]]:
    return [(type_ + (count or ""), name) for type_, name, count in _PARAMETER.findall(text)]


def _declare(kernel: Kernel, statement: str, names: dict[str, str]) -> bool:
    """Adds a declared variable to the kernel. Returns False if the statement declares no variable."""
    found = _DECLARATION.match(statement)
    if not found:
        return False
    space, alignment, type_, name, extents, initial = found.groups()
    sizes = re.findall(r"\[(\d*)\]", extents)
    count = 1
    for n in sizes:
        count = -1 if n == "" else count * int(n)
    size = -1 if count < 0 else count * SIZES[type_]
    data = b""
    if initial:
        numbers = [int(number, 0) for number in re.findall(r"-?(?:0x[0-9a-fA-F]+|\d+)", initial)]
        width = SIZES[type_]
        data = b"".join((n % (1 << 8 * width)).to_bytes(width, "little") for n in numbers).ljust(max(size, 0), b"\0")
    unique = name
    if unique in kernel.variables:
        unique = f"{name}'{len(kernel.variables)}"
    names[name] = unique
    kernel.variables[unique] = Variable(space, size, int(alignment or SIZES[type_]), data)
    return True


class _Body:
    """Parses the statements of a body into a kernel."""

    def __init__(self, kernel: Kernel, functions: dict) -> None:
        self.kernel, self.functions = kernel, functions
        self.fresh = itertools.count()

    def read(self, text: str, names: dict[str, str], leave: str | None, labels: str = "") -> None:
        """Parses `text`. `names` maps this scope's names to unique names; `ret` branches to the label `leave`."""
        scopes, at = [names], 0
        while True:
            at = _skip(text, at)
            if at >= len(text):
                return
            if text[at] == "{":
                scopes.append(dict(scopes[-1]))
                at += 1
            elif text[at] == "}":
                scopes.pop()
                at += 1
            elif label := _LABEL.match(text, at):
                self._mark(labels + label[1])
                at = label.end()
            else:
                end = text.index(";", at)
                self._statement(" ".join(text[at:end].split()), scopes, leave, labels)
                at = end + 1

    def _mark(self, label: str) -> None:
        self.kernel.labels[label] = len(self.kernel.instructions)

    def _statement(self, text: str, scopes: list, leave: str | None, labels: str) -> None:
        names = scopes[-1]
        if not text or text.startswith((".pragma", ".branchtargets")):
            return
        if text.startswith(".reg"):
            self._registers(text, names, inner=len(scopes) > 1 or leave is not None)
        elif text.startswith(".param"):
            for type_, name in _parameters(text):
                self._register(name, type_, names, True)
        elif text.startswith("."):
            if not _declare(self.kernel, text, names):
                raise UnsupportedError(f"This declaration is not supported: {text}")
        else:
            self._instruction(text, names, leave, labels)

    def _registers(self, text: str, names: dict, inner: bool) -> None:
        type_, rest = re.match(r"\.reg\s+\.(\w+)\s+(.*)", text).groups()
        for item in re.split(r"\s*,\s*", rest):
            family = re.match(r"(.*)<(\d+)>$", item)
            for name in [f"{family[1]}{i}" for i in range(int(family[2]))] if family else [item]:
                self._register(name, type_, names, inner)

    def _register(self, name: str, type_: str, names: dict, inner: bool) -> None:
        unique = f"{name}'{next(self.fresh)}" if inner else name
        names[name] = unique
        self.kernel.registers[unique] = type_

    def _instruction(self, text: str, names: dict, leave: str | None, labels: str) -> None:
        predicate, negated, bare = "", False, text
        if guard := re.match(r"@(!?)([\w$%]+)\s+", text):
            negated, predicate, bare = bool(guard[1]), names[guard[2]], text[guard.end() :]
        op, _, rest = bare.partition(" ")
        if op.startswith("call"):
            return self._call(rest, names)
        operands = tuple(self._operand(part, names) for part in _split(rest))
        if op in ("ret", "ret.uni") and leave is not None:
            op, operands = "bra", (Symbol(leave),)
        elif op.startswith("bra"):
            op, operands = "bra", (Symbol(labels + operands[0].name),)
        if op.startswith(("ld.param", "st.param")):
            op, operands = self._parameter(op, operands)
        if predicate and op != "bra":  # becomes a branch around the instruction
            after = f"'{next(self.fresh)}"
            self._add(Instruction("bra", (Symbol(after),), text, predicate, not negated))
            self._add(Instruction(op, operands, text))
            self._mark(after)
        else:
            self._add(Instruction(op, operands, text, predicate, negated))

    def _add(self, instruction: Instruction) -> None:
        self.kernel.instructions.append(instruction)

    def _parameter(self, op: str, operands: tuple) -> tuple:
        """Turns loads and stores of a device function's parameters into moves between registers."""
        which = 0 if op.startswith("st") else 1
        place = operands[which]
        if not isinstance(place.base, Register):
            return op, operands
        if place.offset:
            raise UnsupportedError("A device function's parameter of more than one number is not supported.")
        moved = list(operands)
        moved[which] = place.base
        return f"mov.{op.rpartition('.')[2]}", tuple(moved)

    def _call(self, rest: str, names: dict) -> None:
        found = re.match(r"(?:\(([^()]*)\)\s*,\s*)?([\w$]+)\s*(?:,\s*\(([^()]*)\))?", rest)
        given, passed = ([names[n.strip()] for n in (found[g] or "").split(",") if n.strip()] for g in (1, 3))
        if found[2] not in self.functions:
            raise UnsupportedError(f"The called function {found[2]} is not defined in this module.")
        _, results, parameters, body = self.functions[found[2]]
        number = next(self.fresh)
        inner, after = {}, f"'after{number}"
        for (type_, formal), actual in zip(parameters, passed):
            self._register(formal, type_, inner, True)
            self._move(type_, inner[formal], actual)
        for type_, formal in results:
            self._register(formal, type_, inner, True)
        self.read(body, inner, after, f"'{number}")
        self._mark(after)
        for (type_, formal), actual in zip(results, given):
            self._move(type_, actual, inner[formal])

    def _move(self, type_: str, to: str, source: str) -> None:
        self._add(Instruction(f"mov.{type_}", (Register(to), Register(source)), "a call's parameter"))

    def _operand(self, text: str, names: dict):
        if text.startswith("{"):
            return Vector(tuple(self._operand(part, names) for part in _split(text[1:-1])))
        if text.startswith("["):
            found = re.match(r"\[\s*([\w$%.]+)\s*(?:\+\s*(-?\w+)\s*)?\]$", text)
            if not found:
                raise UnsupportedError(f"This address is not supported: {text}")
            return Address(self._operand(found[1], names), int(found[2] or "0", 0))
        if "|" in text:
            return Vector(tuple(self._operand(part.strip(), names) for part in text.split("|")))
        if text in names:
            unique = names[text]
            return Register(unique) if unique in self.kernel.registers else Symbol(unique)
        if _SPECIAL.match(text):
            return Special(text[1:])
        if text == "WARP_SZ":
            return Immediate(32)
        if found := re.match(r"0([fFdD])([0-9a-fA-F]+)$", text):
            return Immediate(int(found[2], 16), 32 if found[1] in "fF" else 64)
        if re.match(r"-?(0x[0-9a-fA-F]+|\d+)U?$", text):
            return Immediate(int(text.rstrip("U"), 0))
        if found := re.match(r"([\w$]+)\+(\d+)$", text):
            return Symbol(names.get(found[1], found[1]), int(found[2]))
        return Symbol(text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n;":
        at += 1
    return at


def _split(text: str) -> list[str]:
    """Splits a text at the commas that are outside braces and brackets."""
    parts, depth, last = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "{[") - (c in "}]")
        if c == "," and not depth:
            parts.append(text[last:i].strip())
            last = i + 1
    tail = text[last:].strip()
    return [*parts, tail] if tail else parts
