"""Translates a basic block to a Python function that runs it in NumPy, for any number of lanes at once.

A register is a local variable: an array with one value per lane, or a NumPy scalar if all lanes have the same value.
Integer registers are stored as signed numbers; the type of an instruction determines how it reads the bits (`view`).
"""

import re

import numpy as np

from . import arithmetic, flow
from .errors import UnsupportedError
from .parser import SIZES, Immediate, Instruction, Kernel, Register, Special, Symbol, Vector

# initial contents of memory and registers: NaN if read as a float
POISON = {1: 0x5D, 2: 0x5EAD, 4: 0x7FC0DEAD, 8: 0x7FF8DEAD7FC0DEAD}

_NAMES = {"f32": "F32", "f64": "F64", "pred": "BOOL"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">",
            "hs": ">="}
_OPPOSITE = {"ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}
_UNARY_FLOATS = {"sqrt": "sqrt", "ex2": "exp2", "lg2": "log2", "sin": "sin", "cos": "cos", "tanh": "tanh"}
_MODIFIERS = {"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "approx", "full", "uni", "rna"}


def storage(type_: str) -> str:
    """Returns the name of the NumPy type in which a register of this type is stored."""
    return _NAMES.get(type_) or f"I{SIZES[type_] * 8}"


def reading(type_: str) -> str:
    """Returns the name of the NumPy type as which an instruction of this type reads its operands."""
    return f"U{SIZES[type_] * 8}" if type_[0] == "u" else storage(type_)


DTYPES = {**{n: getattr(np, f"{'u' if n[0] == 'U' else ''}int{n[1:]}") for n in
             ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")},
          "F32": np.float32, "F64": np.float64, "BOOL": np.bool_}


def poison(type_: str):
    """Returns the value of a register that was never written."""
    name = storage(type_)
    if name == "BOOL":
        return np.bool_(False)
    size = SIZES[type_]
    return DTYPES[f"U{size * 8}"](POISON[size]).view(DTYPES[name])


class Translator:
    """Generates the functions for a kernel's blocks. `symbols` maps its variables to addresses."""

    def __init__(self, kernel: Kernel, symbols: dict[str, int], parameters: dict[str, int]) -> None:
        self.kernel, self.symbols, self.parameters = kernel, symbols, parameters
        self.variables = {name: f"v{i}" for i, name in enumerate(kernel.registers)}
        self.constants: dict[str, object] = {}
        self.sites: list[Instruction] = []  # memory accesses, by the number they pass for messages
        self.lines: list[str] = []

    def functions(self, blocks: list[flow.Block]) -> list:
        """Returns one function per block: (machine, lanes, *needs) -> (leaves, condition)."""
        for n, block in enumerate(blocks):
            names = [self.variables[name] for name in block.needs]
            self.lines.append(f"def block{n}({', '.join(['m', 'lanes', *names])}):")
            for instruction in block.instructions:
                self._translate(instruction)
            left = "".join(f"{self.variables[name]}, " for name in block.leaves)
            self.lines.append(f"    return ({left}), {self.variables.get(block.condition, 'None')}")
        room = {"np": np, **vars(arithmetic), **DTYPES, **self.constants, "m_parameters": self.parameters}
        exec("\n".join(self.lines), room)
        return [room[f"block{n}"] for n in range(len(blocks))]

    # Operands.

    def constant(self, value) -> str:
        name = f"K{type(value).__name__}_{value.tobytes().hex()}"
        self.constants[name] = value
        return name

    def source(self, operand, type_: str) -> str:
        """Returns an expression for an operand, read as this type."""
        wanted = reading(type_)
        if isinstance(operand, Immediate):
            return self.constant(_number(operand, wanted))
        if isinstance(operand, Special):
            return self._as(f"m.special({operand.name!r}, lanes)", "u64" if "64" in operand.name else "u32", type_)
        if isinstance(operand, Symbol):
            if operand.name not in self.symbols:
                raise UnsupportedError(f"The name {operand.name} is not declared.")
            return self.constant(DTYPES[wanted](self.symbols[operand.name] + operand.offset))
        return self._as(self.variables[operand.name], self.kernel.registers[operand.name], type_, kept=True)

    def _as(self, expression: str, has: str, type_: str, kept: bool = False) -> str:
        """Converts `expression` of type `has` to type_; with `kept`, to the form in which registers are stored."""
        have, want = storage(has) if kept else reading(has), reading(type_)
        if have == want:
            return expression
        if SIZES[has] == SIZES[type_]:
            return f"{expression}.view({want})"
        if "F" in (have[0], want[0]) or "BOOL" in (have, want):
            raise UnsupportedError(f"A register of type {has} cannot be read as {type_}.")
        return f"{expression}.astype({want})"  # a wider register: its low bits

    def assign(self, operand, expression: str, type_: str) -> None:
        """Assigns the result of an instruction, which has this type, to a register."""
        if isinstance(operand, Symbol) and operand.name == "_":
            self.lines.append(f"    {expression}")
            return
        declared = self.kernel.registers[operand.name]
        kept, have = storage(declared), reading(type_)
        if kept != have:
            if SIZES[declared] == SIZES[type_] and "BOOL" not in (kept, have):
                expression = f"({expression}).view({kept})"
            elif SIZES[declared] > SIZES[type_] and kept[0] == "I" and have[0] in "IU":
                expression = f"({expression}).astype({kept})"
            else:
                raise UnsupportedError(f"A result of type {type_} cannot be written to a register of type {declared}.")
        self.lines.append(f"    {self.variables[operand.name]} = {expression}")

    def address(self, operand) -> str:
        base = self.source(operand.base, "s64") if not isinstance(operand.base, Register) or \
            SIZES[self.kernel.registers[operand.base.name]] == 8 else f"{self.source(operand.base, 'u32')}.astype(I64)"
        return f"({base} + {operand.offset})" if operand.offset else base

    # Instructions.

    def _translate(self, instruction: Instruction) -> None:
        parts = instruction.op.split(".")
        method = getattr(self, f"_{parts[0]}", None)
        try:
            if parts[0] in ("atom", "red"):
                raise UnsupportedError("autoconv's kernels use no atomics: the order of every sum is fixed.")
            if method is None:
                raise UnsupportedError("The emulator does not support this instruction.")
            self.sites.append(instruction)
            method(parts, *instruction.operands)
        except (UnsupportedError, KeyError, TypeError, IndexError) as error:
            raise UnsupportedError(f"{instruction.text}: {error}") from error

    @property
    def site(self) -> int:
        return len(self.sites) - 1

    def _binary(self, parts, d, a, b, form: str, exact: str = "") -> None:
        """Assigns `form` with {a} and {b}. With directed rounding, `exact` is computed with more digits."""
        t = parts[-1]
        a, b = self.source(a, t), self.source(b, t)
        rounding = next((p[1] for p in parts if p in ("rz", "rm", "rp")), "")
        if t[0] == "f" and rounding:
            if not exact:
                raise UnsupportedError("This rounding mode is not supported.")
            expression = f"directed({exact.format(a=f'wider({a})', b=f'wider({b})')}, {rounding!r}, {reading(t)})"
        else:
            expression = form.format(a=a, b=b)
        self.assign(d, self._modified(parts, expression), t)

    def _modified(self, parts, expression: str) -> str:
        if "ftz" in parts:
            expression = f"flushed({expression})"
        return f"saturated({expression})" if "sat" in parts else expression

    def _add(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} + {b}", "{a} + {b}")

    def _sub(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} - {b}", "{a} - {b}")

    def _mul(self, parts, d, a, b) -> None:
        if "wide" in parts:
            self.assign(d, self._wide(parts[-1], a, b), _double(parts[-1]))
        elif "hi" in parts:
            self._binary(parts, d, a, b, "high({a}, {b})")
        else:
            self._binary(parts, d, a, b, "{a} * {b}", "{a} * {b}")

    def _wide(self, t, a, b) -> str:
        wide = reading(_double(t))
        return f"{self.source(a, t)}.astype({wide}) * {self.source(b, t)}.astype({wide})"

    def _mad(self, parts, d, a, b, c) -> None:
        t = parts[-1]
        if t[0] == "f":
            return self._fma(parts, d, a, b, c)
        if "wide" in parts:
            wide = _double(t)
            return self.assign(d, f"{self._wide(t, a, b)} + {self.source(c, wide)}", wide)
        form = "high({a}, {b})" if "hi" in parts else "{a} * {b}"
        self._binary(parts, d, a, b, f"{form} + {self.source(c, t)}")

    def _fma(self, parts, d, a, b, c) -> None:
        t = parts[-1]
        operands = ", ".join(self.source(x, t) for x in (a, b, c))
        rounding = next((p[1] for p in parts if p in ("rz", "rm", "rp")), "")
        done = f"fma_directed({operands}, {rounding!r})" if rounding else f"fma({operands})"
        self.assign(d, self._modified(parts, done), t)

    def _div(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} / {b}" if parts[-1][0] == "f" else "quotient({a}, {b})")

    def _rem(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "remainder({a}, {b})")

    def _min(self, parts, d, a, b) -> None:
        self._extreme(parts, d, a, b, "min")

    def _max(self, parts, d, a, b) -> None:
        self._extreme(parts, d, a, b, "max")

    def _extreme(self, parts, d, a, b, which) -> None:
        name = f"np.f{which}" if parts[-1][0] == "f" and "NaN" not in parts else f"np.{which}imum"
        self._binary([p for p in parts if p != "NaN"], d, a, b, f"{name}({{a}}, {{b}})")

    def _unary(self, parts, d, a, form: str) -> None:
        t = parts[-1]
        source = self.source(a, t)
        if "ftz" in parts:
            source = f"flushed({source})"
        self.assign(d, self._modified(parts, form.format(a=source)), t)

    def _neg(self, parts, d, a) -> None:
        self._unary(parts, d, a, "-{a}")

    def _abs(self, parts, d, a) -> None:
        self._unary(parts, d, a, "abs({a})")

    def _not(self, parts, d, a) -> None:
        self._unary(parts, d, a, "~{a}")

    def _rcp(self, parts, d, a) -> None:
        self._unary(parts, d, a, f"{reading(parts[-1])}(1) / {{a}}")

    def _rsqrt(self, parts, d, a) -> None:
        self._unary(parts, d, a, f"{reading(parts[-1])}(1) / np.sqrt({{a}})")

    def _function(self, parts, d, a) -> None:
        self._unary(parts, d, a, f"np.{_UNARY_FLOATS[parts[0]]}({{a}})")

    _sqrt = _ex2 = _lg2 = _sin = _cos = _tanh = _function

    def _and(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} & {b}")

    def _or(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} | {b}")

    def _xor(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "{a} ^ {b}")

    def _lop3(self, parts, d, a, b, c, table) -> None:
        operands = ", ".join(self.source(x, "u32") for x in (a, b, c))
        self.assign(d, f"logic({operands}, {table.value})", "u32")

    def _shl(self, parts, d, a, n) -> None:
        self._shift(parts[-1], d, a, n, "<<")

    def _shr(self, parts, d, a, n) -> None:
        t = parts[-1]
        self._shift(t if t[0] in "su" else f"u{t[1:]}", d, a, n, ">>")

    def _shift(self, t, d, a, n, sign) -> None:
        source = self.source(a, t)
        if isinstance(n, Immediate) and n.value < SIZES[t] * 8:
            self.assign(d, f"{source} {sign} {self.constant(DTYPES[reading(t)](n.value))}", t)
        else:
            self.assign(d, f"shift({source}, {self.source(n, 'u32')}, {sign == '<<'})", t)

    def _shf(self, parts, d, a, b, n) -> None:
        operands = ", ".join(self.source(x, "u32") for x in (a, b, n))
        self.assign(d, f"funnel({operands}, {parts[1] == 'l'}, {parts[2] == 'clamp'})", "u32")

    def _bfe(self, parts, d, a, position, length) -> None:
        t = parts[-1]
        self.assign(d, f"extracted({self.source(a, t)}, {self.source(position, 'u32')}, {self.source(length, 'u32')})",
                    t)

    def _bfi(self, parts, d, a, b, position, length) -> None:
        t = f"u{parts[-1][1:]}"
        operands = ", ".join([self.source(a, t), self.source(b, t), self.source(position, "u32"),
                              self.source(length, "u32")])
        self.assign(d, f"inserted({operands})", t)

    def _prmt(self, parts, d, a, b, selector) -> None:
        self.assign(d, f"permuted({', '.join(self.source(x, 'u32') for x in (a, b, selector))})", "u32")

    def _popc(self, parts, d, a) -> None:
        self.assign(d, f"np.bitwise_count({self.source(a, 'u' + parts[-1][1:])}).astype(U32)", "u32")

    def _clz(self, parts, d, a) -> None:
        self.assign(d, f"leading_zeros({self.source(a, 'u' + parts[-1][1:])})", "u32")

    def _copysign(self, parts, d, a, b) -> None:
        self._binary(parts, d, a, b, "np.copysign({b}, {a})")

    def _testp(self, parts, d, a) -> None:
        test = {"finite": "np.isfinite({a})", "infinite": "np.isinf({a})", "notanumber": "np.isnan({a})",
                "number": "~np.isnan({a})"}[parts[1]]
        self.assign(d, test.format(a=self.source(a, parts[-1])), "pred")

    def _setp(self, parts, d, a, b, c=None) -> None:
        t = parts[-1]
        test = self._comparison(parts[1], self.source(a, t), self.source(b, t), t)
        outs = d.parts if isinstance(d, Vector) else (d,)
        if c is None:
            found = [test, f"~({test})"]
        else:
            sign = {"and": "&", "or": "|", "xor": "^"}[parts[2]]
            found = [f"({one}) {sign} {self.source(c, 'pred')}" for one in (test, f"~({test})")]
        for out, expression in zip(outs, found):
            self.assign(out, expression, "pred")

    def _comparison(self, name, a, b, t) -> str:
        if t[0] == "f":
            if name in ("num", "nan"):
                return f"np.isnan({a}) | np.isnan({b})" if name == "nan" else f"~(np.isnan({a}) | np.isnan({b}))"
            if name in ("ne", "equ"):  # ordered; unordered
                either = f"(({a} < {b}) | ({a} > {b}))"
                return either if name == "ne" else f"~{either}"
            if name == "neu":
                return f"{a} != {b}"
            if name in _OPPOSITE:
                return f"~({a} {_OPPOSITE[name]} {b})"
        return f"{a} {_COMPARE[name]} {b}"

    def _selp(self, parts, d, a, b, p) -> None:
        t = parts[-1]
        self.assign(d, f"np.where({self.source(p, 'pred')}, {self.source(a, t)}, {self.source(b, t)})", t)

    def _mov(self, parts, d, a) -> None:
        t = parts[-1]
        if isinstance(d, Vector):
            self._unpack(t, d.parts, a)
        elif isinstance(a, Vector):
            self._pack(t, d, a.parts)
        else:
            self.assign(d, self.source(a, t), t)

    def _unpack(self, t, outs, a) -> None:
        each = SIZES[t] // len(outs)
        self.lines.append(f"    whole = {self.source(a, f'u{SIZES[t] * 8}')}")
        for i, out in enumerate(outs):
            if isinstance(out, Register):
                moved = f"whole >> {self.constant(DTYPES[f'U{SIZES[t] * 8}'](8 * each * i))}" if i else "whole"
                self.assign(out, f"({moved}).astype(U{8 * each})", f"u{8 * each}")

    def _pack(self, t, d, parts) -> None:
        wide, each = f"U{SIZES[t] * 8}", SIZES[t] // len(parts)
        terms = [f"({self.source(p, f'u{8 * each}')}.astype({wide}) << {self.constant(DTYPES[wide](8 * each * i))})"
                 for i, p in enumerate(parts)]
        self.assign(d, " | ".join(terms), f"u{SIZES[t] * 8}")

    def _cvt(self, parts, d, a) -> None:
        types = [p for p in parts[1:] if p not in _MODIFIERS]
        to, source = types
        rounding = next((p for p in parts if re.fullmatch(r"r[nzmp]i?", p)), "rn")
        self.assign(d, self._converted(self.source(a, source), source, to, rounding, parts), to)

    def _converted(self, a, source, to, rounding, parts) -> str:
        want = reading(to)
        if source[0] == "f" and to[0] == "f":
            if rounding.endswith("i"):
                function = {"n": "rint", "z": "trunc", "m": "floor", "p": "ceil"}[rounding[1]]
                a = f"np.{function}({a})"
            done = f"{a}.astype({want})" if rounding[1] == "n" or rounding.endswith("i") or SIZES[to] >= SIZES[source] \
                else f"directed({a}, {rounding[1]!r}, {want})"
            return self._modified(parts, done)
        if source[0] == "f":
            return f"to_integer({a}, {rounding[1]!r}, {want})"
        if to[0] == "f":
            return f"{a}.astype({want})" if rounding == "rn" else \
                f"directed({a}.astype(np.longdouble), {rounding[1]!r}, {want})"
        return f"narrowed({a}, {want})" if "sat" in parts else f"{a}.astype({want})"

    def _cvta(self, parts, d, a) -> None:
        space = "global" if {"global", "const"} & set(parts) else next(p for p in parts if p in ("shared", "local"))
        to = -1 if "to" in parts else 1
        self.assign(d, f"m.generic({space!r}, {to}, {self.source(a, 's64')}, lanes, {self.site})", "s64")

    # Memory.

    def _ld(self, parts, d, place) -> None:
        t = parts[-1]
        if "param" in parts:
            offset = self.parameters[place.base.name] + place.offset
            return self.assign(d, f"m.parameter({offset}, {reading(t)})", t)
        outs = d.parts if isinstance(d, Vector) else (d,)
        space = next((p for p in parts[1:] if p in ("global", "shared", "local", "const")), "generic")
        call = f"m.load({space!r}, lanes, {self.address(place)}, {reading(t)}, {len(outs)}, {self.site})"
        if len(outs) == 1:
            return self.assign(outs[0], call, t)
        self.lines.append(f"    whole = {call}")
        for i, out in enumerate(outs):
            self.assign(out, f"whole[{i}]", t)

    _ldu = _ld

    def _st(self, parts, place, value) -> None:
        t = parts[-1]
        values = value.parts if isinstance(value, Vector) else (value,)
        space = next((p for p in parts[1:] if p in ("global", "shared", "local")), "generic")
        given = ", ".join(self.source(v, t) for v in values)
        self.lines.append(f"    m.store({space!r}, lanes, {self.address(place)}, ({given},), {reading(t)}, "
                          f"{self.site})")

    def _cp(self, parts, *operands) -> None:
        if parts[1:3] != ["async", "ca"] and parts[1:3] != ["async", "cg"]:
            kind = {"commit_group": "commit", "wait_group": "wait", "wait_all": "wait_all"}.get(parts[2])
            if kind is None:
                raise UnsupportedError("The emulator does not support this instruction.")
            left = operands[0].value if operands else 0
            self.lines.append(f"    m.copy_{kind}(lanes{f', {left}' if kind == 'wait' else ''})")
            return
        to, source, size, *taken = operands
        if size.value not in (4, 8, 16) or ("cg" in parts and size.value != 16):
            raise UnsupportedError("cp.async must copy 4, 8 or 16 bytes, and 16 with .cg.")
        read = self.source(taken[0], "u32") if taken else self.constant(np.uint32(size.value))
        self.lines.append(f"    m.copy_async(lanes, {self.address(to)}, {self.address(source)}, {size.value}, {read}, "
                          f"{self.site})")

    def _ldmatrix(self, parts, d, place) -> None:
        if "trans" in parts or "m8n8" not in parts or parts[-1] != "b16":
            raise UnsupportedError("Only ldmatrix.sync.aligned.m8n8 with .x1, .x2 or .x4 and .b16 is supported.")
        outs = d.parts if isinstance(d, Vector) else (d,)
        self.lines.append(f"    whole = m.load_matrices(lanes, {self.address(place)}, {len(outs)}, {self.site})")
        for i, out in enumerate(outs):
            self.assign(out, f"whole[{i}]", "b32")

    # Instructions of a whole warp.

    def _shfl(self, parts, d, a, b, c, mask) -> None:
        out, valid = d.parts if isinstance(d, Vector) else (d, None)
        operands = ", ".join([self.source(a, "b32"), *(self.source(x, "u32") for x in (b, c, mask))])
        self.lines.append(f"    whole = m.shuffle({parts[2]!r}, lanes, {operands}, {self.site})")
        self.assign(out, "whole[0]", "b32")
        if valid is not None:
            self.assign(valid, "whole[1]", "pred")

    def _vote(self, parts, d, a, mask) -> None:
        call = f"m.vote({parts[2]!r}, lanes, {self.source(a, 'pred')}, {self.source(mask, 'u32')}, {self.site})"
        self.assign(d, call, "u32" if parts[2] == "ballot" else "pred")

    def _mma(self, parts, d, a, b, c) -> None:
        if ".".join(parts[1:]) != "sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32":
            raise UnsupportedError("Only mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 is supported.")
        given = [", ".join(self.source(x, "f32") for x in operand.parts) for operand in (a, b, c)]
        self.lines.append("    whole = m.multiply(lanes, {}, {})".format(
            ", ".join(f"({part},)" for part in given), self.site))
        for i, out in enumerate(d.parts):
            self.assign(out, f"whole[{i}]", "f32")

    def _membar(self, parts) -> None:
        """Does nothing: no thread may read what another one wrote in the same launch, so the order is irrelevant."""

    _fence = _membar

    def _nanosleep(self, parts, time) -> None:
        """Does nothing: the emulator has no time."""

    def _trap(self, parts) -> None:
        self.lines.append(f"    m.trap(lanes, {self.site})")


def _double(t: str) -> str:
    return f"{t[0]}{2 * int(t[1:])}"


def _number(operand: Immediate, wanted: str):
    """Converts an immediate to a NumPy scalar of this type."""
    dtype = DTYPES[wanted]
    if wanted == "BOOL":
        return np.bool_(operand.value)
    if operand.bits:
        made = DTYPES[f"U{operand.bits}"](operand.value).view(DTYPES[f"F{operand.bits}"])
        return made.astype(dtype) if wanted[0] == "F" else made.view(dtype)
    if wanted[0] == "F":
        return dtype(operand.value)
    size = np.dtype(dtype).itemsize * 8
    return DTYPES[f"U{size}"](operand.value % (1 << size)).view(dtype)
