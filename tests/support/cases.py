"""The case table: one row a case, at least one an op. `test_operators.py` checks every row in the same ways.

A row names the op, how the public face calls it, its plain-loop reference, the shapes of its inputs and its parameters.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np
import reference
from autoconv.tensor import apply, tensor

from autoconv import functional as F
from autoconv.arguments import shapes
from autoconv.operators import activations as activation_ops
from autoconv.operators import conv as conv_ops
from autoconv.operators import dense as dense_ops
from autoconv.operators import elementwise, fused, noise


@dataclass(frozen=True)
class Case:
    op: str
    call: Callable  # on tensors
    reference: Callable  # on arrays
    shapes: tuple  # of the inputs; None for an input that is left out
    parameters: dict[str, Any] = field(default_factory=dict)
    low: float = -2.0  # the inputs are drawn from low..high
    high: float = 2.0
    note: str = ""
    window: dict[str, Any] = field(default_factory=dict)  # of a convolution whose parameters are no arguments
    batched: tuple[int, ...] = (0,)  # inputs whose first axis is a batch, which may be empty; () if it may not

    @property
    def id(self) -> str:
        shapes = "_".join("none" if s is None else "x".join(map(str, s)) or "scalar" for s in self.shapes)
        return " ".join(filter(None, (self.op, shapes, self.note)))

    def inputs(self, dtype: str = "float64") -> list[np.ndarray | None]:
        """The same numbers in every run."""
        rng = np.random.default_rng(crc32(self.id.encode()))
        return [None if s is None else rng.uniform(self.low, self.high, s).astype(dtype) for s in self.shapes]


NONLINEAR = {  # by the name of the activation, on arrays
    "relu": reference.relu,
    "relu6": reference.itemwise(lambda x: min(max(x, 0), 6)),
    "hard_sigmoid": reference.itemwise(lambda x: min(max(x / 6 + 0.5, 0), 1)),
    "hard_silu": reference.itemwise(lambda x: x * min(max(x / 6 + 0.5, 0), 1)),
    "silu": reference.itemwise(lambda x: x * reference.sigmoid(x)),
}


def conv(x, w, bias=True, **parameters):
    """x (N, H, W, C), w (KH, KW, C / groups, F)."""
    shapes = (x, w, (w[3],) if bias else None)
    return Case("conv2d", F.conv2d, reference.conv2d, shapes, parameters, note=said(parameters))


def noisy(x, **parameters):
    return apply(noise.gaussian_noise, x, **parameters)


def transposed(x, w, bias=True, **parameters):
    """x (N, H, W, C), w (KH, KW, F, C)."""
    shapes = (x, w, (w[2],) if bias else None)
    return Case("conv2d_transpose", F.conv2d_transpose, reference.conv2d_transpose, shapes, parameters,
                note=said(parameters))


def depthwise(x, w, bias=True, **parameters):
    """x (N, H, W, C), w (KH, KW, C, M)."""
    shapes = (x, w, (w[2] * w[3],) if bias else None)
    return Case("depthwise_conv2d", F.depthwise_conv2d, reference.depthwise_conv2d, shapes, parameters,
                note=said(parameters))


def read_twice(case):
    """The case's result added to itself: its op is given two gradients."""

    def call(*inputs, **parameters):
        y = case.call(*inputs, **parameters)
        return y + y

    return replace(case, call=call, reference=lambda *inputs, **parameters: 2 * case.reference(*inputs, **parameters),
                   note=f"{case.note} read twice".strip())


def added(shape):
    """An addition and a ReLU as one op."""
    return Case("add_relu", lambda a, b: apply(activation_ops.add_relu, a, b), lambda a, b: reference.relu(a + b),
                (shape, shape), batched=(0, 1))


def fused_pool(x, w, bias=True, **window):
    """Convolution, ReLU and 2x2 pooling as one op, against the three one after the other."""

    def call(x, w, b):
        return apply(fused.conv2d_relu_pool, x, w, b, window=shapes.window(x.shape[1:3], w.shape[:2], **window))

    def loops(x, w, b):
        return reference.max_pool2d(reference.relu(reference.conv2d(x, w, b, **window)))

    return Case("conv2d_relu_pool", call, loops, (x, w, (w[3],) if bias else None), note=said(window),
                window=window)


def pools(x, **parameters):
    note = said(parameters)
    return (Case("max_pool2d", F.max_pool2d, reference.max_pool2d, (x,), parameters, note=note),
            Case("avg_pool2d", F.avg_pool2d, reference.avg_pool2d, (x,), parameters, note=note))


def said(parameters):
    return " ".join(f"{name}={value}".replace(" ", "") for name, value in parameters.items())


CONVOLUTIONS = [
    conv((2, 7, 7, 1), (3, 3, 1, 32)),
    conv((2, 8, 7, 3), (3, 3, 3, 5)),
    conv((1, 5, 6, 3), (3, 3, 3, 16), padding="same"),
    conv((3, 6, 6, 17), (3, 3, 17, 32)),
    conv((1, 5, 9, 32), (3, 3, 32, 17)),
    conv((2, 13, 13, 32), (3, 3, 32, 64), bias=False),
    conv((2, 5, 5, 5), (1, 1, 5, 3)),
    conv((1, 9, 7, 3), (5, 5, 3, 5), padding="same"),
    conv((2, 16, 16, 2), (3, 3, 2, 4)),  # few filters: pixels take the lanes
    conv((1, 14, 14, 3), (5, 5, 3, 6), padding="same"),
    conv((2, 9, 9, 1), (7, 7, 1, 3)),
    conv((2, 6, 8, 3), (2, 3, 3, 17), padding="same"),
    conv((2, 6, 8, 5), (2, 3, 5, 1), bias=False),
    conv((1, 1, 1, 1), (1, 1, 1, 1)),
    conv((1, 3, 3, 5), (3, 3, 5, 17)),
    conv((2, 9, 11, 3), (3, 3, 3, 5), strides=2),
    conv((2, 10, 9, 5), (3, 3, 5, 3), strides=(2, 3), padding="same"),
    conv((2, 9, 9, 3), (2, 2, 3, 5), strides=3),  # pixels between the windows belong to none
    conv((1, 11, 8, 17), (1, 1, 17, 5), strides=(3, 2)),
    conv((2, 9, 8, 3), (3, 3, 3, 5), dilation_rate=2),
    conv((1, 8, 10, 5), (2, 3, 5, 3), dilation_rate=(3, 2), padding="same"),
    conv((1, 11, 11, 3), (3, 3, 3, 5), dilation_rate=2, strides=2, padding=3),
    conv((2, 6, 7, 3), (3, 3, 3, 5), padding=(2, 0)),
    conv((2, 5, 6, 3), (3, 3, 3, 17), padding=((1, 0), (0, 2))),
    conv((1, 6, 5, 5), (3, 5, 5, 3), padding=((0, 3), (4, 1)), strides=(3, 1)),
    conv((1, 2, 2, 3), (5, 5, 3, 5), padding=4),  # windows that see nothing but padding
    conv((1, 10, 11, 70), (1, 1, 70, 80)),  # two panels of columns, or more, and some left over
    conv((1, 12, 10, 64), (1, 1, 64, 32)),  # a narrow tile
    conv((2, 9, 10, 40), (1, 1, 40, 100)),  # a panel, a narrow tile and some left over
    conv((2, 32, 33, 3), (1, 1, 3, 70)),  # so many pixels that the weights are packed
    conv((2, 25, 27, 2), (3, 3, 2, 130), strides=2, padding="same"),  # the same, with windows
    conv((2, 25, 27, 130), (1, 1, 130, 2), strides=2),  # the same in the input gradient
    conv((2, 7, 11, 9), (1, 1, 9, 128)),  # whole panels, more rows than a weight gradient takes at a time
    conv((3, 6, 6, 8), (1, 1, 8, 16)),  # partial sums over whole samples, whose number does not divide the samples
    conv((1, 8, 13, 66), (1, 2, 66, 130), bias=False),  # a weight gradient that copies dy
    conv((2, 4, 29, 16), (3, 3, 16, 16), padding="same"),  # by Winograd's products along rows, in float32 ...
    conv((1, 3, 14, 24), (3, 3, 24, 32), padding=((2, 0), (1, 1))),
    conv((2, 5, 30, 8), (3, 3, 8, 8), padding=((1, 1), (2, 0))),  # ... and in float64
    conv((1, 9, 15, 8), (3, 3, 8, 4), padding="same"),
    conv((2, 8, 9, 64), (3, 3, 64, 64), padding="same"),  # from here on by Winograd's products
    conv((1, 10, 10, 64), (3, 3, 64, 80), bias=False),
    conv((1, 9, 7, 48), (3, 3, 48, 96), padding=((0, 1), (2, 2))),
    conv((2, 6, 6, 6), (3, 3, 2, 9), groups=3),
    conv((2, 7, 5, 34), (3, 3, 17, 34), groups=2, padding="same"),
    conv((1, 6, 6, 5), (3, 3, 1, 10), groups=5, strides=2, bias=False),
]

TRANSPOSED = [
    transposed((2, 4, 5, 3), (3, 3, 5, 3)),
    transposed((1, 5, 4, 17), (2, 3, 32, 17), bias=False),
    transposed((2, 4, 4, 5), (3, 3, 3, 5), strides=2),
    transposed((2, 4, 5, 3), (3, 3, 17, 3), strides=2, padding="same"),
    transposed((1, 3, 4, 1), (2, 2, 5, 1), strides=3),  # stride > kernel leaves pixels free
    transposed((1, 3, 4, 3), (1, 1, 5, 3), strides=2, padding="same"),
    transposed((1, 4, 3, 3), (5, 5, 3, 3), strides=(2, 3), padding="same"),
    transposed((1, 4, 3, 5), (3, 3, 3, 5), dilation_rate=2),
    transposed((1, 8, 8, 64), (3, 3, 64, 64)),
    transposed((1, 4, 4, 3), (3, 2, 1, 3), dilation_rate=(2, 1), padding="same"),
]

DEPTHWISE = [
    depthwise((2, 7, 6, 5), (3, 3, 5, 1)),
    depthwise((1, 6, 7, 3), (3, 3, 3, 2), padding="same"),
    depthwise((2, 9, 8, 17), (2, 3, 17, 1), strides=2, bias=False),
    depthwise((1, 9, 9, 1), (5, 5, 1, 3), strides=(1, 2), padding="same"),
    depthwise((1, 8, 9, 32), (3, 3, 32, 1), dilation_rate=2),
    depthwise((2, 5, 5, 3), (3, 3, 3, 2), padding=((2, 0), (0, 1)), strides=4),
    depthwise((1, 7, 7, 5), (1, 1, 5, 1), strides=3),
    depthwise((2, 4, 17, 16), (3, 3, 16, 1), padding="same"),  # tiles of neighbouring pixels, the last one overlaps
    depthwise((1, 3, 12, 37), (2, 3, 37, 1), bias=False),
    depthwise((9, 5, 9, 3), (5, 3, 3, 1), padding="same", strides=(2, 1)),
    depthwise((1, 10, 13, 2), (4, 5, 2, 1), strides=(3, 2), dilation_rate=(2, 3), padding=((3, 4), (1, 6))),
    depthwise((1, 2, 3, 5), (2, 2, 5, 2), padding=4),  # windows that see nothing but padding
]

FUSED = [
    fused_pool((2, 8, 8, 1), (3, 3, 1, 32)),
    fused_pool((1, 5, 6, 3), (3, 3, 3, 16), padding="same"),
    fused_pool((3, 7, 9, 5), (3, 3, 5, 17)),  # an odd row and column that no window reads
    fused_pool((1, 6, 6, 32), (3, 3, 32, 64), bias=False),
    fused_pool((2, 10, 11, 64), (3, 3, 64, 64)),
    fused_pool((1, 8, 9, 64), (3, 3, 64, 128), padding="same"),
    fused_pool((2, 5, 6, 3), (2, 3, 3, 70), padding="same"),
    fused_pool((11, 4, 4, 17), (3, 3, 17, 5)),  # one pooled pixel a sample
    fused_pool((2, 11, 9, 3), (3, 3, 3, 5), strides=2, padding=((0, 1), (2, 0))),
    fused_pool((1, 9, 9, 16), (3, 3, 16, 16), dilation_rate=2),
    fused_pool((2, 7, 8, 16), (3, 3, 16, 33)),  # a run of 48 items, half of a tile of runs
    fused_pool((2, 8, 9, 12), (4, 4, 12, 8)),  # the same, of four rows: the last tile repeats one
    Case("conv2d", lambda x, w, b: apply(conv_ops.conv2d, x, w, b, window=shapes.Window(3, 3), activation="relu"),
         lambda x, w, b: reference.relu(reference.conv2d(x, w, b)), ((2, 6, 5, 3), (3, 3, 3, 17), (17,)), note="relu"),
    Case("depthwise_conv2d",
         lambda x, w, b: apply(conv_ops.depthwise_conv2d, x, w, b, window=shapes.Window(3, 3), activation="relu"),
         lambda x, w, b: reference.relu(reference.depthwise_conv2d(x, w, b)), ((2, 5, 9, 18), (3, 3, 18, 1), (18,)),
         note="relu"),
    Case("dense", lambda x, w, b: apply(dense_ops.dense, x, w, b, activation="relu"),
         lambda x, w, b: reference.relu(reference.dense(x, w, b)), ((5, 65), (65, 17), (17,)), note="relu"),
]

POOLS = [
    *pools((2, 6, 8, 3)),
    *pools((2, 7, 5, 17)),
    *pools((1, 26, 26, 32)),
    *pools((2, 7, 5, 5), padding="same"),
    *pools((1, 8, 9, 3), pool_size=3),
    *pools((2, 8, 9, 1), pool_size=3, strides=1, padding="same"),
    *pools((1, 9, 8, 5), pool_size=(2, 3), strides=(3, 1)),
    *pools((2, 9, 10, 3), pool_size=2, strides=3),  # stride > window
    *pools((1, 7, 7, 3), pool_size=3, strides=2, padding=1),
    *pools((1, 6, 7, 5), pool_size=(3, 2), strides=2, padding=((1, 0), (0, 1))),
    *pools((3, 5, 5, 32), pool_size=1, strides=2),
    *pools((1, 5, 4, 3), pool_size=(5, 4)),
    *pools((2, 4, 15, 18), pool_size=3, strides=1),
    *pools((1, 11, 6, 35), pool_size=(4, 3), strides=(3, 2), padding="same"),
]

DENSE = [
    Case("dense", F.dense, reference.dense, ((2, 3), (3, 5), (5,))),
    Case("dense", F.dense, reference.dense, ((1, 17), (17, 32), None)),
    Case("dense", F.dense, reference.dense, ((1, 6), (6, 665), (665,))),  # all of a single row's tiles, on two threads
    Case("dense", F.dense, reference.dense, ((9, 32), (32, 10), (10,))),
    Case("dense", F.dense, reference.dense, ((5, 65), (65, 1), (1,))),
    Case("dense", F.dense, reference.dense, ((18, 33), (33, 50), (50,))),
    Case("dense", F.dense, reference.dense, ((64, 5), (5, 17), (17,))),
]


def two_sided(name, f, low=-2.0, loops=None):
    """One op of two inputs, over the ways in which shapes broadcast."""
    pairs = [((2, 3), (2, 3)), ((4, 1, 3), (2, 1)), ((), (2, 3)), ((1, 5), (5,)), ((3, 1), (1, 4)), ((2, 3, 1), (1, 1))]
    return [Case(name, f, reference.itemwise(loops or f), pair, low=low, batched=broadcast_batch(pair))
            for pair in pairs]


def broadcast_batch(pair):
    """The inputs that have the result's first axis."""
    shape = np.broadcast_shapes(*pair)
    return tuple(i for i, s in enumerate(pair) if len(s) == len(shape) and s[0] == shape[0])


def reductions(name, call, combine):
    table = [((3, 4), {}), ((3, 4), {"axis": 0}), ((2, 3, 5), {"axis": (0, 2)}), ((2, 5, 4, 3), {"axis": (1, 2)}),
             ((2, 3, 5), {"axis": -1, "keepdims": True}), ((), {}), ((2, 3), {"axis": (), "keepdims": True})]
    return [Case(name, call, reference.reduction(combine), (shape,), parameters, note=said(parameters),
                 batched=(0,) if parameters.get("axis", 0) in (-1, (1, 2), ()) else ())
            for shape, parameters in table]


def indexed(shape, index, note, batched=(0,)):
    return Case("getitem", lambda x: x[index], lambda x: x[index], (shape,), note=note, batched=batched)


ARITHMETIC = [
    *two_sided("add", operator.add),
    *two_sided("subtract", operator.sub),
    *two_sided("multiply", operator.mul),
    *two_sided("divide", operator.truediv, low=0.5),
    *(Case("power", lambda x, e=e: x**e, reference.itemwise(lambda v, e=e: v**e), ((2, 3),), {}, low, note=f"{e}")
      for e, low in ((2, -2.0), (3, -2.0), (0.5, 0.1), (-1, 0.5), (0, -2.0), (1, -2.0))),
    Case("negative", operator.neg, reference.itemwise(operator.neg), ((2, 3),)),
    Case("exp", lambda x: x.exp(), reference.itemwise(np.exp), ((2, 3),)),
    Case("expm1", F.expm1, reference.itemwise(np.expm1), ((2, 3),)),
    Case("log1p", F.log1p, reference.itemwise(np.log1p), ((2, 3),), low=-0.9),
    Case("erf", F.erf, reference.itemwise(reference.erf), ((3, 7),)),
    *(Case(f.__name__, f, reference.itemwise(getattr(np, f.__name__)), ((3, 7),), low=-0.9, high=0.9)
      for f in (F.sin, F.cos, F.sinh, F.cosh, F.arcsin, F.arccos, F.arctan)),
    *two_sided("arctan2", F.arctan2, loops=np.arctan2),
    *two_sided("tensor_power", operator.pow, low=0.2),
    *two_sided("mod", operator.mod, low=0.3),
    Case("cast", lambda x: apply(elementwise.cast, x, dtype=x.dtype), lambda x: x, ((2, 3),)),
    Case("log", lambda x: x.log(), reference.itemwise(np.log), ((2, 3),), low=0.1),
    *(Case("matmul", operator.matmul, reference.matmul, pair,
           batched=(0,) if len(pair[0]) > 1 else (1,) if len(pair[1]) > 2 else ())
      for pair in (((2, 3), (3, 5)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3,)), ((4, 2, 3), (3, 5)),
                   ((3,), (4, 3, 2)), ((2, 1, 4, 3), (5, 3, 1)), ((4, 2, 3), (3,)))),
    indexed((4, 5), 2, "row", ()),
    indexed((4, 5), (slice(None, None, -2), 1), "slice_back"),
    indexed((4, 5), (..., None, slice(1, 4)), "new_axis"),
    indexed((4, 5), [0, 2, 2, 3], "row_twice", ()),
    indexed((4, 5), (np.array([[0, 3], [3, 0]]), np.array([1, 1])), "pairs", ()),
    indexed((2, 3), np.array([[True, False, True], [False, False, True]]), "mask", ()),
    indexed((2, 3), (1, 2), "one_item", ()),
    Case("reshape", lambda x: x.reshape(3, -1), lambda x: x.reshape(3, 4), ((2, 6),)),
    Case("reshape", F.flatten, lambda x: x.reshape(2, 30), ((2, 3, 5, 2),), note="flatten"),
    Case("transpose", lambda x: x.transpose(), reference.transpose, ((2, 3, 4),)),
    Case("transpose", lambda x, axes: x.transpose(*axes), reference.transpose, ((2, 3, 4),), {"axes": (1, 2, 0)},
         note="120"),
    *reductions("sum", lambda x, **p: x.sum(**p), sum),
    *reductions("mean", lambda x, **p: x.mean(**p), lambda items: sum(items) / len(items)),
    *reductions("max", lambda x, **p: x.max(**p), reference.largest),
    Case("mean", F.global_avg_pool2d, lambda x: np.mean(x, (1, 2)), ((2, 5, 3, 17),), note="global"),
    Case("max", F.global_max_pool2d, lambda x, keepdims: reference.reduction(reference.largest)(x, (1, 2), keepdims),
         ((2, 5, 3, 17),), {"keepdims": True}, note="global"),
    Case("pad", F.zero_padding2d, reference.zero_padding2d, ((2, 3, 4, 3),), {"padding": ((1, 0), (2, 3))}),
    Case("pad", F.zero_padding2d, reference.zero_padding2d, ((1, 3, 2, 1),), {"padding": 1}, note="1"),
]

MASK = np.array([[True, False, True], [False, False, True]])

CHOOSING = [
    *two_sided("maximum", F.maximum, loops=reference.maximum),
    *two_sided("minimum", F.minimum, loops=reference.minimum),
    *(Case("where", lambda a, b, c=condition: F.where(c, a, b),
           lambda a, b, c=condition: reference.itemwise(lambda p, q, r: p if r else q)(a, b, c), pair, note=note,
           batched=(1,) if note == "row" else ())
      for condition, pair, note in ((MASK, ((2, 3), (2, 3)), ""), (MASK, ((3,), (4, 1, 1)), ""),
                                    (MASK[0], ((), (2, 3)), "row"), (MASK[:, 1:2] * 2.0, ((2, 3), ()), "numbers"))),
    Case("abs", abs, reference.itemwise(abs), ((3, 7),)),
    *(Case("clip", F.clip, reference.clip, ((3, 7),), {"x_min": least, "x_max": most}, note=f"{least}_{most}")
      for least, most in ((-1, 1.5), (None, 0.5), (0, None))),
    Case("sqrt", F.sqrt, reference.itemwise(np.sqrt), ((3, 7),), low=0.1),
]

JOINING = [
    *(Case("concatenate", lambda *xs, **p: F.concatenate(xs, **p), reference.concatenate, arrays, parameters,
           note=said(parameters), batched=tuple(range(len(arrays))))
      for arrays, parameters in ((((2, 3, 4, 5), (2, 3, 4, 1), (2, 3, 4, 17)), {"axis": -1}), (((2, 3), (4, 3)), {}),
                                 (((2, 3, 5), (2, 1, 5), (2, 2, 5)), {"axis": -2}), (((3,),), {}))),
    *(Case("concatenate", lambda *xs, **p: F.stack(xs, **p), reference.stack, ((2, 3), (2, 3)), {"axis": axis},
           note=f"stack={axis}", batched=(0, 1)) for axis in (0, 1, -1)),
    Case("concatenate", lambda *xs: F.stack(xs), reference.stack, ((), (), ()), note="stack_of_numbers", batched=()),
    Case("getitem", lambda x: F.split(x, 3, axis=1)[1], lambda x: x[:, 2:4], ((2, 6, 3),), note="split"),
    Case("getitem", lambda x: F.split(x, [1, 4], axis=-1)[2], lambda x: x[:, 4:], ((2, 6),), note="split_at"),
    *(Case("pad", F.pad, reference.pad, (shape,), parameters, note=said(parameters), batched=())
      for shape, parameters in (((2, 3), {"pad_width": ((1, 0), (0, 2))}),
                                ((2, 1, 3), {"pad_width": ((0, 1), (2, 2), (0, 0)), "constant_values": -1.5}))),
    Case("reshape", F.squeeze, lambda x: x.reshape(2, 3), ((1, 2, 1, 3),), note="squeeze", batched=()),
    Case("reshape", lambda x: F.squeeze(x, -2), lambda x: x.reshape(1, 2, 3), ((1, 2, 1, 3),), note="squeeze=-2"),
    Case("reshape", lambda x: F.expand_dims(x, (0, -1)), lambda x: x.reshape(1, 2, 3, 1), ((2, 3),), note="expand"),
]

WHOLE = {"low": 0, "high": 3}  # numbers that are often equal, once they are rounded

# Ops without a gradient: test_operators.py and test_cuda.py check their values, on floats and on rounded ones.
WITHOUT_GRADIENT = [
    *(Case(op, call, reference.itemwise(sign), pair, **WHOLE, note=note, batched=broadcast_batch(pair))
      for op, call, sign, note in (
          ("equal", F.equal, operator.eq, ""), ("not_equal", F.not_equal, operator.ne, ""),
          ("less", F.less, operator.lt, ""), ("less_equal", F.less_equal, operator.le, ""),
          ("less", F.greater, operator.gt, "greater"), ("less_equal", F.greater_equal, operator.ge, "greater_equal"))
      for pair in (((2, 3), (2, 3)), ((4, 1, 3), (2, 1)), ((), (2, 3)))),
    *(Case(op, lambda a, b, f=f: f(a > 1, b > 1), reference.itemwise(lambda p, q, f=f: f(p > 1, q > 1)), pair, **WHOLE,
           batched=broadcast_batch(pair))
      for op, f in (("bitwise_and", operator.and_), ("bitwise_or", operator.or_), ("bitwise_xor", operator.xor))
      for pair in (((2, 3), (2, 3)), ((4, 1, 3), (2, 1)))),
    *(Case("floor_divide", operator.floordiv, reference.itemwise(operator.floordiv), pair, low=0.6, high=9,
           batched=broadcast_batch(pair))
      for pair in (((2, 3), (2, 3)), ((4, 1, 3), (2, 1)))),
    *(Case("argmax", F.argmax, reference.argmax, (shape,), parameters, **WHOLE, note=said(parameters),
           batched=(0,) if parameters else ())
      for shape, parameters in (((4, 10), {"axis": 1}), ((2, 3, 5), {"axis": -2, "keepdims": True}), ((3, 4), {}))),
]

ACTIVATIONS = [
    Case("relu", F.relu, reference.relu, ((3, 7),)),
    *(f(Case("relu", F.relu, reference.relu, ((2, 5, 5, 17),)))
      for f in (lambda case: case, read_twice)),
    added((3, 7)), added((2, 5, 5, 17)), read_twice(added((4, 5, 33))),
    *(Case(name, getattr(F, name), NONLINEAR[name], ((3, 27),), low=-9, high=9)
      for name in ("relu6", "hard_sigmoid", "hard_silu", "silu")),
    *(Case("leaky_relu", F.leaky_relu, lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), ((3, 27),),
           {"negative_slope": slope}, note=str(slope)) for slope in (0.2, -1.5)),
    Case("sigmoid", F.sigmoid, reference.itemwise(reference.sigmoid), ((3, 7),), low=-30, high=30),
    Case("tanh", F.tanh, reference.itemwise(np.tanh), ((3, 7),)),
    Case("softmax", F.softmax, reference.rows(reference.softmax_row), ((4, 10),)),
    Case("softmax", F.softmax, reference.rows(reference.softmax_row), ((2, 3, 4),), {"axis": 1}, note="axis=1"),
    Case("log_softmax", F.log_softmax, reference.rows(reference.log_softmax_row), ((4, 10),)),
    Case("log_softmax", F.log_softmax, reference.rows(reference.log_softmax_row), ((2, 3, 4),),
         {"axis": -2}, note="axis=-2"),
    *(Case("gaussian_noise", noisy, reference.gaussian_noise, (shape,),
           {"stddev": stddev, "rel_stddev": rel_stddev, "key": key, "first": first}, note=f"{stddev} {rel_stddev}")
      for shape, stddev, rel_stddev, key, first in (
          ((3, 7), 0.5, 0.0, (7, 0), 0), ((2, 2, 5), 0.0, 0.8, (2**40 + 3, 2), 4))),
    *(Case("dropout", F.dropout, reference.dropout, (shape,), {"rate": rate, "seed": seed}, note=f"{rate}")
      for shape, rate, seed in (((3, 7), 0.5, 7), ((2, 2, 5), 0.2, 2**40 + 3), ((2, 4), 0.9, 0))),
]

TURNED = np.array([[0.81, -0.55, 3.13, 0.57, 0.83, -1.29, 0, 0], [1.3, 0.21, -2.17, -0.33, 0.72, 1.41, 0.02, 0.013]])
FAR_AWAY = np.array([2.3, 0.41, -9.3, -0.37, 1.9, 13.7, 0, 0])  # every border is crossed more than once

HORIZON = np.array([1.1, 0, 0.1, 0, 1, 0, -1, 0])  # which the second column looks at


def moved(x, transform=TURNED, **parameters):
    def call(x, **parameters):
        return F.affine_transform(x, transform if transform.ndim == 1 else transform[: len(x)], **parameters)

    return Case("affine_transform", call,
                lambda x, **p: reference.affine_transform(x, transform, **p), (x,), parameters,
                note=said(parameters) + ("" if transform is TURNED else " far"))


def resized(x, size, **parameters):
    parameters = {"size": size, **parameters}
    return Case("affine_transform", F.resize, reference.resize, (x,), parameters, note=f"resize {said(parameters)}")


IMAGES = [
    *(moved(shape, transform, interpolation=interpolation, fill_mode=fill_mode, fill_value=1.5)
      for shape, transform in (((2, 5, 7, 3), TURNED), ((3, 6, 4, 1), FAR_AWAY)) for interpolation in
      ("bilinear", "nearest") for fill_mode in ("constant", "nearest", "reflect", "wrap")),
    moved((2, 5, 6, 17), size=(4, 9)),
    *(moved((1, 1, 4, 2), FAR_AWAY, fill_mode=fill_mode) for fill_mode in ("reflect", "wrap")),
    *(moved((1, 3, 4, 1), HORIZON, fill_mode=fill_mode, fill_value=1.5) for fill_mode in ("constant", "nearest")),
    resized((2, 7, 5, 3), (4, 9)),
    resized((1, 3, 8, 1), (6, 4), interpolation="nearest"),
    resized((2, 4, 6, 2), (5, 9), interpolation="nearest"),  # samples that lie between two pixels
]


def normalised(shape, training, gamma=True, beta=True, activation="linear"):
    """The moving statistics are parameters; in training a case must not see what another left in them."""
    rng = np.random.default_rng(5)
    moving = rng.normal(size=shape[-1]), rng.uniform(0.5, 2, shape[-1])

    def call(x, gamma, beta):
        there = (tensor(m, dtype=x.dtype, device=x.device.name) for m in moving)
        return F.batch_norm(x, gamma, beta, *there, training, activation=activation)

    def loops(x, gamma, beta):
        y = reference.batch_norm(x, gamma, beta, *moving, training)
        return y if activation == "linear" else NONLINEAR[activation](y)

    shapes = (shape, shape[-1:] if gamma else None, shape[-1:] if beta else None)
    note = ("training" if training else "inference") + (f", {activation}" if activation != "linear" else "")
    return Case("batch_norm", call, loops, shapes, note=note)


def normalised_and_pooled(shape, gamma=True, beta=True):
    """In training, with a ReLU and 2x2 max pooling behind it."""
    unpooled = normalised(shape, True, gamma, beta, activation="relu")

    def call(x, gamma, beta):
        moving = (tensor(np.zeros(shape[-1]), dtype=x.dtype, device=x.device.name) for _ in range(2))
        return F.batch_norm(x, gamma, beta, *moving, True, activation="relu", pool=True)

    def loops(x, gamma, beta):
        return reference.max_pool2d(unpooled.reference(x, gamma, beta), 2)

    return Case("batch_norm_relu_pool", call, loops, unpooled.shapes, note="training")


def normalised_and_added(shape, gamma=True, beta=True):
    """In training, with an addition and a ReLU behind it."""
    alone = normalised(shape, True, gamma, beta)

    def call(x, gamma, beta, other):
        moving = (tensor(np.zeros(shape[-1]), dtype=x.dtype, device=x.device.name) for _ in range(2))
        return F.batch_norm(x, gamma, beta, *moving, True, activation="relu", other=other)

    def loops(x, gamma, beta, other):
        return reference.relu(alone.reference(x, gamma, beta) + other)

    return Case("batch_norm_add_relu", call, loops, (*alone.shapes, shape), note="training", batched=(0, 3))


def scored(op, targets, shape, low=-2.0, high=2.0, **parameters):
    """A loss: the predictions are the input, the targets stay as they are."""
    call, loops = getattr(F, op), getattr(reference, op)
    return Case(op, lambda y, **p: call(targets[: len(y)], y, **p), lambda y, **p: loops(targets, y, **p), (shape,),
                parameters, low, high, said(parameters))


def one_hot(labels, classes):
    return np.eye(classes)[labels]


LABELS, SOFT = np.array([3, 0, 9, 3]), np.random.default_rng(0).uniform(0, 1, (4, 10))

NORMALISED = [
    normalised((6, 5), True),
    normalised((2, 5, 3, 17), True),
    normalised((3, 4, 4, 1), True, gamma=False),
    normalised((3, 4, 5, 3), True, beta=False),
    normalised((7, 3), True, gamma=False, beta=False),
    normalised((6, 5), False),
    normalised((2, 5, 3, 17), False),
    normalised((2, 3, 3, 3), False, gamma=False, beta=False),
    normalised((2, 5, 3, 17), True, activation="relu"),
    normalised((50, 5), True, beta=False, activation="relu"),
    normalised((2, 3, 2, 700), True, activation="relu"),
    *(normalised((2, 5, 3, 17), True, activation=name) for name in ("relu6", "hard_sigmoid", "hard_silu", "silu")),
    normalised((2, 5, 3, 4), False, activation="relu"),
    normalised_and_pooled((2, 4, 6, 17)),
    normalised_and_pooled((3, 5, 7, 3), gamma=False),
    normalised_and_pooled((2, 3, 2, 40), beta=False),
    normalised_and_pooled((1, 2, 3, 1), gamma=False, beta=False),
    normalised_and_added((2, 5, 3, 17)),
    normalised_and_added((50, 5), beta=False),
    normalised_and_added((2, 3, 2, 700), gamma=False),
    read_twice(normalised_and_added((3, 4, 5, 16))),
    read_twice(normalised_and_added((7, 3), gamma=False, beta=False)),
]

LOSSES = [
    scored("categorical_crossentropy", one_hot(LABELS, 10), (4, 10), 0.1, 1.0),
    scored("categorical_crossentropy", SOFT, (4, 10), -5.0, 5.0, from_logits=True),
    scored("categorical_crossentropy", one_hot(np.array([[0, 2], [1, 1]]), 3), (2, 2, 3), 0.1, 1.0),
    scored("sparse_categorical_crossentropy", LABELS, (4, 10), 0.1, 1.0),
    scored("sparse_categorical_crossentropy", LABELS, (4, 10), -5.0, 5.0, from_logits=True),
    scored("binary_crossentropy", SOFT, (4, 10), 0.1, 0.9),
    scored("binary_crossentropy", SOFT.round(), (4, 10), -5.0, 5.0, from_logits=True),
    scored("mean_squared_error", SOFT, (4, 10)),
    scored("mean_absolute_error", SOFT, (4, 10)),
]

CASES = [*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *POOLS, *FUSED, *DENSE, *ARITHMETIC, *CHOOSING, *JOINING, *ACTIVATIONS,
         *NORMALISED, *LOSSES, *IMAGES]
