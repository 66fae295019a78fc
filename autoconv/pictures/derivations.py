"""Takes one number of a net apart: the op that computed it, the numbers that the op read, and their weights.

All sums and functions are computed again in float64, and a sum's products are added in order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import erf
from typing import NamedTuple, SupportsIndex

import numpy as np

from ..arguments.shapes import Window
from ..operators.arith import normalize_axes
from .computation import CONSTANT, Element, Place, Result

ROUNDING = 1e-5  # maximum error, in pixels, of a position that a resize computes in float32
LARGEST = 12  # number of numbers that are listed, the largest contribution first
COPIES = ("reshape", "transpose", "getitem", "pad")  # ops that copy numbers to other places
AXES = {1: ("number",), 3: ("row", "column", "channel")}  # the names of a result's axes, by their count


class Sources(NamedTuple):
    """Elements of one result, at `places` (n, rank), and the weights (n,) that multiply them."""

    result: Result
    places: np.ndarray
    weights: np.ndarray

    @property
    def values(self) -> np.ndarray:
        return np.asarray(self.result.array[tuple(self.places.T)], np.float64).reshape(-1)

    @property
    def products(self) -> np.ndarray:
        return self.values * self.weights

    def describe(self) -> str:
        """Describes the places, such as "rows 5..7, columns 7..9, channels 0..15 of re_lu"."""
        if len(self.places) == 1:
            return Element(self.result, tuple(self.places[0].tolist())).label
        spans = list(zip(self.places.min(0)[1:], self.places.max(0)[1:]))
        return f"{', '.join(map(name_range, name_axes(len(spans)), spans))} of {self.result.title}"


class Derivation(NamedTuple):
    """The derivation of one number: the op that computed it and the numbers that the op read.

    kind: "sum" (of products, and `bias`), "mean", "maximum", "softmax", "function" or "copy" (of one number), "pair" (a
    function of two numbers), "constant" or "unknown". words: the formula. exact: the number in float64. outside: how
    many numbers of a window are padding.
    """

    result: Result
    place: Place
    kind: str = "unknown"
    words: str = ""
    exact: float | None = None
    sources: tuple[Sources, ...] = ()
    bias: float | None = None
    outside: int = 0

    @property
    def number(self) -> Element:
        return Element(self.result, self.place)

    @property
    def is_sum(self) -> bool:
        return self.kind in ("sum", "mean")

    @property
    def follows(self) -> Element | None:
        """The only number that the op read, or a softmax's own number; None for several numbers and for a pixel."""
        numbers = [each for each in self.numbers() if self.kind != "softmax" or each.weight]
        return numbers[0] if len(numbers) == 1 and numbers[0].result.op != "picture" else None

    def numbers(self) -> list[Element]:
        """Returns all numbers that the op read, in order."""
        return [Element(each.result, tuple(place), weight) for each in self.sources
                for place, weight in zip(each.places.tolist(), each.weights.tolist())]

    def shares(self) -> np.ndarray:
        """Returns each number's contribution, as a fraction of all contributions."""
        values = self.join("values")
        if self.kind == "maximum":
            return (np.arange(len(values)) == values.argmax()).astype(np.float64)
        sizes = np.exp(values - values.max()) if self.kind == "softmax" else np.abs(self.join("products"))
        return sizes / (sizes.sum() or 1)

    def largest(self) -> list[int]:
        """Returns the indices of the numbers that contribute most, the largest first."""
        return np.argsort(-self.shares(), kind="stable")[:LARGEST].tolist()

    def rest(self, shown: Sequence[int]) -> list[tuple[str, float]]:
        """Returns what a list of these products of a sum leaves out: the other products, the bias, and the sum."""
        products = self.join("products")
        hidden = len(products) - len(shown)
        others = [(f"the other {hidden:,} products", float(np.delete(products, shown).sum()))] * bool(hidden)
        return others + [("the bias", b) for b in (self.bias,) if b is not None] + [("the sum", self.exact or 0.0)]

    def join(self, name: str) -> np.ndarray:
        """Returns the "values", "weights" or "products" of all sources as one array."""
        return np.concatenate([getattr(each, name) for each in self.sources] or [np.zeros(0)])

    def describe(self) -> str:
        """Returns a sentence that says how the number was computed."""
        kind = self.result.kind
        if self.kind == "unknown":
            inputs = ", ".join(f"{each.title} {each.array.shape[1:]}" for each in self.result.sources)
            return f"{kind}: the op {self.result.op} is not taken apart. It reads {inputs or 'no other layer'}."
        if self.kind == CONSTANT:
            return f"{kind}: {self.words or 'a constant'}."
        names = [each.describe() for each in self.sources]
        text = f"{kind}: {self.words}" + ", plus the bias" * (self.bias is not None)
        if self.kind == "copy":
            return f"{kind}: a copy of {names[0]}."
        if len(names) == 2:
            return f"{text}, with a = {names[0]} and b = {names[1]}."
        text += f", with x = {names[0]}." if self.kind == "function" else f": {names[0]}."
        zeros = " and count as 0" * (self.kind == "sum")
        return text + f" {self.outside} numbers of the window are padding{zeros}." * bool(self.outside)

    def difference(self) -> str:
        """Returns a sentence that compares the net's number with the number in float64."""
        exact = self.exact or 0.0
        return (f"{self.number.label} is {exact:.9g} in float64. The net's {self.result.array.dtype} kernel computed "
                f"{self.number.value:.9g}, a difference of {abs(self.number.value - exact):.2g}.")


def derive(result: Result, place: Place) -> Derivation:
    """Returns how the number `result.array[place]` was computed. The kind of an unsupported op is "unknown"."""
    step = Derivation(result, place)
    if result.is_constant or result.op == "picture":
        return step._replace(kind=CONSTANT, words="a pixel" * (result.op == "picture"), exact=step.number.value)
    rule = RULES.get(result.op)
    if rule is None or not result.sources or result.parameters.get("activation", "linear") != "linear":
        return step
    with np.errstate(all="ignore"):
        return rule(step) or step


def name_range(axis: str, span: tuple[int, int]) -> str:
    """Returns a range of indices along an axis as text, such as "rows 5..7" or "row 5"."""
    return f"{axis} {span[0]}" if span[0] == span[1] else f"{axis}s {span[0]}..{span[1]}"


def name_axes(count: int) -> Sequence[str]:
    """Returns the names of a result's axes without the batch."""
    return AXES.get(count) or [f"axis {i + 1}" for i in range(count)]


def _sum(step: Derivation, words: str, *sources: Sources, bias: float | None = None, outside: int = 0) -> Derivation:
    """Returns the derivation of a sum. Adds the products in order, and the bias last."""
    step = step._replace(kind="sum", words=words, sources=sources, bias=bias, outside=outside)
    return step._replace(exact=float(np.add.accumulate([*step.join("products"), bias or 0.0])[-1]))


def _mean(step: Derivation, sources: Sources, outside: int = 0) -> Derivation:
    count = len(sources.places)
    mean = sources._replace(weights=np.full(count, 1 / count))
    return _sum(step, f"the mean of {count:,} numbers", mean, outside=outside)._replace(kind="mean")


def _maximum(step: Derivation, sources: Sources, outside: int = 0) -> Derivation:
    return step._replace(kind="maximum", words=f"the largest of {len(sources.places):,} numbers", outside=outside,
                         exact=float(sources.values.max()), sources=(sources,))


def _function(step: Derivation, words: str, function: Callable[[float], float], kind: str = "function",
              x: Result | None = None, place: Sequence[SupportsIndex] | None = None) -> Derivation:
    """Returns the derivation of a function of one number, which is x[place], or x[step.place] of the only source x."""
    source = _pick(x or step.result.sources[0], step.place if place is None else place)
    exact = float(function(float(source.values[0])))
    if source.result.is_constant:
        return step._replace(kind=CONSTANT, words="a constant", exact=exact)
    return step._replace(kind=kind, words=words, exact=exact, sources=(source,))


_copy = partial(_function, words="", function=float, kind="copy")


def _pick(result: Result, place: Sequence[SupportsIndex]) -> Sources:
    """Returns one number as sources. `place` is broadcast: an axis of length 1 has the index 0."""
    shape = result.array.shape
    index = [0 if n == 1 else i for i, n in zip(place[len(place) - len(shape) :], shape)]
    return Sources(result, np.array([index], np.intp).reshape(1, len(shape)), np.ones(1))


def _read_window(step: Derivation, kernel: np.ndarray, first: int) -> tuple[Sources, int]:
    """Returns the numbers in the window of a number, with the weights in kernel (KH, KW, C), whose first channel is
    `first`, and how many of the window's numbers are padding. For a transposed convolution, these
    are the numbers whose window contains the number.
    """
    window: Window = step.result.parameters["window"]
    x = step.result.sources[0]
    i, j, c = np.indices(kernel.shape).reshape(3, -1)
    _, row, column, _ = step.place
    if step.result.op == "conv2d_transpose":
        rows, rest = np.divmod(row + window.top - i * window.dh, window.sh)
        columns, column_rest = np.divmod(column + window.left - j * window.dw, window.sw)
        is_read = rest + column_rest == 0
    else:
        rows = row * window.sh + i * window.dh - window.top
        columns = column * window.sw + j * window.dw - window.left
        is_read = np.ones_like(i, bool)
    inside = is_read & (rows >= 0) & (rows < x.array.shape[1])
    inside &= (columns >= 0) & (columns < x.array.shape[2])
    places = np.stack([np.zeros_like(i), rows, columns, c + first], -1)[inside]
    weights = kernel.astype(np.float64).reshape(-1)[inside]
    return Sources(x, places, weights), int((is_read & ~inside).sum())


def _convolution(step: Derivation) -> Derivation:
    """Explains `conv2d`, `conv2d_transpose` and `depthwise_conv2d`."""
    kernel, bias = (None if each is None else each.array for each in step.result.inputs[1:])
    filter = step.place[3]
    channels, count = kernel.shape[2:]  # type: ignore[union-attr]
    if step.result.op == "conv2d":
        first = filter // (count // step.result.parameters.get("groups", 1)) * channels
        weights = kernel[..., filter]  # type: ignore[index]
    elif step.result.op == "conv2d_transpose":  # its kernel is (KH, KW, F, C)
        first = 0
        weights = kernel[:, :, filter]  # type: ignore[index]
    else:
        first = filter // count
        weights = kernel[:, :, first : first + 1, filter % count]  # type: ignore[index]
    sources, outside = _read_window(step, weights, first)
    return _sum(step, "the sum of input x weight", sources, bias=None if bias is None else float(bias[filter]),
                outside=outside)


def _pool(step: Derivation) -> Derivation:
    window: Window = step.result.parameters["window"]
    sources, outside = _read_window(step, np.ones((window.kh, window.kw, 1)), step.place[3])
    return (_maximum if step.result.op == "max_pool2d" else _mean)(step, sources, outside)


def _resize(step: Derivation) -> Derivation | None:
    """Explains a resize by `affine_transform`: a mean of the pixels around a position, the nearest
    ones with the largest weights.
    """
    x = step.result.sources[0]
    parameters = step.result.parameters
    transform = parameters["transform"][0].astype(np.float64)
    if np.any(transform[[1, 3, 6, 7]]) or parameters["fill_mode"] != "nearest":
        return None
    sides = []
    for axis, scale, start in ((1, transform[4], transform[5]), (2, transform[0], transform[2])):
        position = np.clip(scale * step.place[axis] + start, 0, x.array.shape[axis] - 1)
        if parameters["interpolation"] == "nearest" or abs(position - round(position)) < ROUNDING:
            position = round(position)
        first = int(position)
        share = position - first
        shares = (first, 1 - share), (first + 1, share)
        sides.append([(i, weight) for i, weight in shares if weight])
    pixels = [((0, i, j, step.place[3]), a * b) for i, a in sides[0] for j, b in sides[1]]
    if len(pixels) == 1:
        return _copy(step, place=pixels[0][0])
    places, weights = map(np.array, zip(*pixels))
    return _sum(step, f"the weighted mean of {len(places)} numbers", Sources(x, places, weights))


def _reduction(step: Derivation) -> Derivation:
    """Explains `sum`, `mean` and `max` over axes."""
    x = step.result.sources[0]
    rank = x.array.ndim
    axis = step.result.parameters.get("axis")
    axes = tuple(range(rank)) if axis is None else normalize_axes(axis, rank)
    keeps_axes = step.result.array.ndim == rank
    rest = iter([i for axis, i in enumerate(step.place) if not keeps_axes or axis not in axes])
    ranges = [np.arange(n) if axis in axes else np.array([next(rest)]) for axis, n in enumerate(x.array.shape)]
    places = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, rank)
    sources = Sources(x, places, np.ones(len(places)))
    if step.result.op == "sum":
        return _sum(step, f"the sum of {len(places):,} numbers", sources)
    return (_maximum if step.result.op == "max" else _mean)(step, sources)


def _dense(step: Derivation) -> Derivation | None:
    """Explains `dense` and a matrix product with a constant matrix."""
    x, kernel, bias = (*step.result.inputs, None)[:3]
    if x is None or kernel is None or x.is_constant == kernel.is_constant:
        return None
    matrix = kernel.array if kernel.is_constant else x.array.T
    if matrix.ndim != 2:
        return None
    axis = -1 if kernel.is_constant else -2  # the axis of the numbers that are added
    places = np.tile(np.array(step.place, np.intp), (len(matrix), 1))
    places[:, axis] = np.arange(len(places))
    weights = matrix[:, step.place[axis]].astype(np.float64)
    sources = Sources(x if kernel.is_constant else kernel, places, weights)
    return _sum(step, "the sum of input x weight", sources,
                bias=None if bias is None else float(bias.array[step.place[-1]]))


def _arithmetic(step: Derivation) -> Derivation:
    """Explains arithmetic on two results, or on a result and a constant."""
    a, b = (_pick(each, step.place) for each in step.result.inputs if each is not None)
    symbol, function = BINARY[step.result.op]
    pattern = f"{symbol}({{}}, {{}})" if symbol.isalpha() else f"{{}} {symbol} {{}}"
    left, right = (float(each.values[0]) for each in (a, b))
    if b.result.is_constant:
        return _function(step, pattern.format("x", f"{right:.6g}"), lambda x: function(x, right))
    if a.result.is_constant:
        return _function(step, pattern.format(f"{left:.6g}", "x"), lambda x: function(left, x))
    words = pattern.format("a", "b")
    if step.result.op in ("add", "subtract"):
        return _sum(step, words, a, b._replace(weights=b.weights * function(0, 1)))
    return step._replace(kind="maximum" if symbol == "max" else "pair", words=words, exact=function(left, right),
                         sources=(a, b))


def _batch_norm(step: Derivation) -> Derivation | None:
    _, gamma, beta = step.result.inputs
    parameters = step.result.parameters
    channel = step.place[-1]
    if parameters["training"]:
        return None
    mean, variance = (float(parameters[name][channel]) for name in ("mean", "variance"))
    scale = 1.0 if gamma is None else float(gamma.array[channel])
    shift = 0.0 if beta is None else float(beta.array[channel])
    epsilon = float(parameters["epsilon"])
    words = (f"gamma (x - mean) / sqrt(variance + epsilon) + beta, with gamma = {scale:.6g}, mean = {mean:.6g}, "
             f"variance = {variance:.6g}, epsilon = {epsilon:g}, beta = {shift:.6g}")
    return _function(step, words, lambda x: scale * (x - mean) / (variance + epsilon) ** 0.5 + shift)


def _softmax(step: Derivation) -> Derivation:
    x = step.result.sources[0]
    axis = step.result.parameters["axis"] % x.array.ndim
    places = np.tile(np.array(step.place, np.intp), (x.array.shape[axis], 1))
    places[:, axis] = np.arange(len(places))
    sources = Sources(x, places, (np.arange(len(places)) == step.place[axis]).astype(np.float64))
    powers = np.exp(sources.values - sources.values.max())
    return step._replace(kind="softmax", words=f"exp(x) divided by the sum of exp of {len(places):,} numbers",
                         exact=float(powers[step.place[axis]] / powers.sum()), sources=(sources,))


def _moved(step: Derivation) -> Derivation:
    index = int(step.result.copied_indices[step.place])
    if index < 0:
        return step._replace(kind=CONSTANT, words="padding", exact=float(step.result.parameters.get("value", 0)))
    return _copy(step, place=np.unravel_index(index, step.result.sources[0].array.shape))


def _concatenate(step: Derivation) -> Derivation | None:
    axis = step.result.parameters["axis"]
    place = list(step.place)
    for each in step.result.inputs:
        if each is not None and place[axis] < each.array.shape[axis]:
            return _copy(step, x=each, place=place)
        place[axis] -= 0 if each is None else each.array.shape[axis]
    return None


def _where(step: Derivation) -> Derivation:
    condition = np.broadcast_to(step.result.parameters["condition"], step.result.array.shape)
    return _copy(step, x=step.result.inputs[0 if condition[step.place] else 1])


def _power(step: Derivation) -> Derivation:
    exponent = step.result.parameters["exponent"]
    return _function(step, f"x ** {exponent:g}", lambda x: x**exponent)


def _leaky_relu(step: Derivation) -> Derivation:
    slope = step.result.parameters["negative_slope"]
    return _function(step, f"x if x > 0, else {slope:g} x", lambda x: x if x > 0 else slope * x)


def _clip(step: Derivation) -> Derivation:
    low, high = (step.result.parameters.get(name) for name in ("x_min", "x_max"))
    return _function(step, f"x, but at least {low} and at most {high}", lambda x: np.clip(x, low, high))


BINARY: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "add": ("+", lambda a, b: a + b), "subtract": ("-", lambda a, b: a - b), "multiply": ("*", lambda a, b: a * b),
    "divide": ("/", lambda a, b: a / b), "maximum": ("max", max), "minimum": ("min", min)}
UNARY: dict[str, tuple[str, Callable[[float], float]]] = {
    "relu": ("max(x, 0)", lambda x: max(x, 0.0)), "relu6": ("min(max(x, 0), 6)", lambda x: min(max(x, 0.0), 6.0)),
    "sigmoid": ("1 / (1 + exp(-x))", lambda x: (1 + np.tanh(x / 2)) / 2), "tanh": ("tanh(x)", np.tanh),
    "silu": ("x / (1 + exp(-x))", lambda x: x * (1 + np.tanh(x / 2)) / 2), "negative": ("-x", lambda x: -x),
    "hard_sigmoid": ("min(max(x + 3, 0), 6) / 6", lambda x: min(max(x + 3, 0.0), 6.0) / 6),
    "hard_silu": ("x min(max(x + 3, 0), 6) / 6", lambda x: x * min(max(x + 3, 0.0), 6.0) / 6),
    "abs": ("|x|", abs), "exp": ("exp(x)", np.exp), "log": ("log(x)", np.log), "sqrt": ("sqrt(x)", np.sqrt),
    "expm1": ("exp(x) - 1", np.expm1), "log1p": ("log(1 + x)", np.log1p), "erf": ("erf(x)", erf)}
RULES: dict[str, Callable[[Derivation], Derivation | None]] = {
    "conv2d": _convolution, "conv2d_transpose": _convolution, "depthwise_conv2d": _convolution,
    "max_pool2d": _pool, "avg_pool2d": _pool, "affine_transform": _resize,
    "dense": _dense, "matmul": _dense, "sum": _reduction, "mean": _reduction, "max": _reduction,
    "batch_norm": _batch_norm, "softmax": _softmax,
    **dict.fromkeys(COPIES, _moved), "concatenate": _concatenate, "where": _where, "power": _power, "clip": _clip,
    "leaky_relu": _leaky_relu,
    "identity": _copy, "cast": _copy, **dict.fromkeys(BINARY, _arithmetic),
    **{op: partial(_function, words=words, function=function) for op, (words, function) in UNARY.items()}}
