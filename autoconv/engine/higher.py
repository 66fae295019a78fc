"""Gradients that are tensors with a tape of their own, for `backward(create_graph=True)`.

A rule returns the gradients of an op's inputs, computed by ops, so that these gradients have gradients
in turn. An op without a rule is refused by name.
"""

import heapq
import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from ..operators import activations, conv, elementwise, select
from ..operators.registry import OPS, Op
from .tape import FREED, TapeNode
from .tensor import Tensor, apply

Gradients = tuple[Tensor | None, ...]
Rule = Callable[[TapeNode, Tensor, Tensor], Gradients]  # from a node, its result and the result's gradient


def walk_back(root: Tensor, gradient: Tensor, only: AbstractSet[int] | None = None) -> None:
    """Adds the gradients of `root` to the leaves' `grad`, as tensors with a tape. Keeps the tape.

    If `only` is given, keeps no gradients of tensors whose ids it does not contain. Raises
    NotImplementedError for an op whose gradient has no gradient.
    """
    if only is not None and id(root) not in only:
        return
    gradients = {id(root): gradient}
    pending: list[tuple[int, int, Tensor]] = []  # a heap, newest tensors first

    def push(t: Tensor) -> None:
        heapq.heappush(pending, (-(t._node.order if t._node else -1), id(t), t))

    push(root)
    while pending:
        _, key, t = heapq.heappop(pending)
        dy = gradients.pop(key)
        node = t._node
        if node is None or node.retains_grad:
            t.grad = dy if t.grad is None else dy + t.grad
        if node is None:
            continue
        if node.part is not None:
            node.part.recompute()
        if node.backward is None:
            raise RuntimeError(FREED)
        for x, dx in zip(node.inputs, _find_rule(node)(node, t, dy)):
            is_left_out = only is not None and id(x) not in only
            if x is None or not x.requires_grad or dx is None or is_left_out:
                continue
            dx = dx if dx.dtype == x.dtype else apply(elementwise.cast, dx, dtype=x.dtype)
            if id(x) in gradients:
                gradients[id(x)] = gradients[id(x)] + dx
            else:
                gradients[id(x)] = dx
                push(x)


def _find_rule(node: TapeNode) -> Rule:
    rule = RULES.get(node.op.name)
    if rule is None or node.parameters.get("groups", 1) != 1:
        raise NotImplementedError("backward(create_graph=True) needs ops whose gradients have gradients. "
                                  f"Received: the op {node.op.name}{' with groups' * (rule is not None)}. "
                                  f"The ops with such gradients: {', '.join(sorted(RULES))}.")
    return rule


# Gradients that are linear in dy and do not depend on the inputs' values.


def _linear(node: TapeNode, y: Tensor, dy: Tensor) -> tuple[Tensor]:
    """The rule of an op that is linear in its only input. The gradient of its gradient is the op itself."""
    return (_run_backward(node, dy, lambda g: apply(node.op, g, **node.parameters)),)


def _diagonal(node: TapeNode, y: Tensor, dy: Tensor) -> tuple[Tensor]:
    """The rule of an element-wise op of one input whose slope is piecewise constant, such as ReLU. The gradient
    multiplies dy by the slope, and so does the gradient of the gradient.
    """
    return (_run_backward(node, dy, lambda g: _diagonal(node, y, g)[0]),)


def _run_backward(node: TapeNode, dy: Tensor, adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the gradient of the node's input, on the tape. `adjoint(g)` is the gradient of dy."""
    (dx,) = node.backward(dy.data, (True,))
    result = Tensor(dx, dy.requires_grad, dy.device)
    if dy.requires_grad:
        result._node = TapeNode(_ADJOINT, (dy,), lambda g, needs: (adjoint(Tensor(g, False, dy.device)).data,),
                                {"adjoint": adjoint})
    return result


def gradient(k: Any, x: Any) -> Any:
    """Names the op of a gradient that `_run_backward` computed. It never runs."""


_ADJOINT = Op(gradient, "arith")
_KERNEL_GRADIENT = Op(conv.conv2d_kernel_gradient, "conv")


# Element-wise ops and arithmetic.


def _fit(gradient: Tensor, x: Tensor) -> Tensor:
    """Returns the gradient of x, whose axes may have been broadcast."""
    extra = gradient.ndim - x.ndim
    axes = (*range(extra), *(i + extra for i, n in enumerate(x.shape) if n != gradient.shape[i + extra]))
    return gradient.sum(axes, keepdims=True).reshape(x.shape) if axes else gradient


def _slope(slope: Callable[[Any, Any], Any]) -> Rule:
    """Returns the rule of an element-wise op with dy/dx = slope(x, y)."""
    return lambda node, y, dy: (dy * slope(node.inputs[0], y),)


def _slopes(slopes: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Rule:
    """Returns the rule of an element-wise op of a and b with slopes(a, b, y)."""

    def rule(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
        a, b = (t for t in node.inputs if t is not None)
        return tuple(_fit(dy * slope, x) for slope, x in zip(slopes(a, b, y), (a, b)))

    return rule


def _chosen(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    """The rule of maximum, minimum and where, whose elements come from one of two inputs."""
    a, b = (t for t in node.inputs if t is not None)
    condition = node.parameters.get("condition")
    if condition is None:
        condition = (b <= a if node.op is select.maximum else a <= b).data
    none = Tensor(dy.device.constant(dy.data.dtype.type(0).reshape(())), device=dy.device)
    return _fit(apply(select.where, dy, none, condition=condition), a), _fit(
        apply(select.where, none, dy, condition=condition), b)


def _power(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    n = node.parameters["exponent"]
    x = node.inputs[0]
    return (dy * float(n) if n in (0, 1) or x is None else dy * n * x ** (n - 1),)  # at x = 0, x ** -1 is infinite


def _softmax(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    axis = node.parameters["axis"]
    if node.op.name == "log_softmax":
        return (dy - y.exp() * dy.sum(axis, keepdims=True),)
    return (y * (dy - (dy * y).sum(axis, keepdims=True)),)


def _positive(y: Tensor, dy: Tensor) -> Tensor:
    """Returns the gradient before a ReLU with the result y."""
    return dy * apply(elementwise.cast, y > 0, dtype=dy.dtype)


def _hard_silu(x: Tensor, y: Tensor) -> Tensor:
    inside = apply(elementwise.cast, (x > -3) & (x < 3), dtype=x.dtype)
    return apply(activations.hard_sigmoid, x) + x * inside / 6.0


# Products.


def _matmul(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    a, b = (t for t in node.inputs if t is not None)
    rows = a if a.ndim > 1 else a.reshape(1, -1)
    columns = b if b.ndim > 1 else b.reshape(-1, 1)
    dy = dy.reshape(*dy.shape[: dy.ndim - (a.ndim > 1) - (b.ndim > 1)], rows.shape[-2], columns.shape[-1])
    da, db = dy @ _turn(columns), _turn(rows) @ dy
    return _fit(da, rows).reshape(a.shape), _fit(db, columns).reshape(b.shape)


def _turn(x: Tensor) -> Tensor:
    """Returns x with its last two axes exchanged."""
    return x.transpose(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)


def _dense(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    x, w, b = node.inputs
    if x is None or w is None:
        return ()
    dy = _positive(y, dy) if node.parameters.get("activation") == "relu" else dy
    return dy @ _turn(w), _turn(x) @ dy, None if b is None else dy.sum(0)


def _conv2d(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    x, w, b = node.inputs
    if x is None or w is None:
        return ()
    window = node.parameters["window"]
    dy = _positive(y, dy) if node.parameters.get("activation") == "relu" else dy
    return (apply(conv.conv2d_transpose, dy, w, None, window=window, size=x.shape[1:3]),
            apply(_KERNEL_GRADIENT, x, dy, window=window, size=w.shape[:2]),
            None if b is None else dy.sum((0, 1, 2)))


def _conv2d_transpose(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    x, w, b = node.inputs
    if x is None or w is None:
        return ()
    window = node.parameters["window"]
    return (apply(conv.conv2d, dy, w, None, window=window),
            apply(_KERNEL_GRADIENT, dy, x, window=window, size=w.shape[:2]),
            None if b is None else dy.sum((0, 1, 2)))


def _kernel_gradient(node: TapeNode, y: Tensor, dw: Tensor) -> Gradients:
    x, dy = node.inputs
    if x is None or dy is None:
        return ()
    window = node.parameters["window"]
    return (apply(conv.conv2d_transpose, dy, dw, None, window=window, size=x.shape[1:3]),
            apply(conv.conv2d, x, dw, None, window=window))


def _concatenate(node: TapeNode, y: Tensor, dy: Tensor) -> Gradients:
    axis = node.parameters["axis"] % dy.ndim
    found = []
    first = 0
    for x in node.inputs:
        last = first + x.shape[axis]  # type: ignore[union-attr]
        found.append(dy[(*[slice(None)] * axis, slice(first, last))])
        first = last
    return tuple(found)


RULES: dict[str, Rule] = {
    "gradient": lambda node, y, dy: (node.parameters["adjoint"](dy),),
    "add": _slopes(lambda a, b, y: (1.0, 1.0)), "subtract": _slopes(lambda a, b, y: (1.0, -1.0)),
    "multiply": _slopes(lambda a, b, y: (b, a)), "divide": _slopes(lambda a, b, y: (1.0 / b, -y / b)),
    "arctan2": _slopes(lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b))),
    "tensor_power": _slopes(lambda a, b, y: (b * a ** (b - 1.0), y * a.log())),
    "power": _power,
    "add_relu": lambda node, y, dy: (_positive(y, dy), _positive(y, dy)),
    "negative": lambda node, y, dy: (-dy,), "exp": _slope(lambda x, y: y), "log": _slope(lambda x, y: 1.0 / x),
    "expm1": _slope(lambda x, y: y + 1.0), "log1p": _slope(lambda x, y: 1.0 / (x + 1.0)),
    "sqrt": _slope(lambda x, y: 0.5 / y), "erf": _slope(lambda x, y: (-(x * x)).exp() * (2 / math.sqrt(math.pi))),
    "sin": _slope(lambda x, y: apply(OPS["cos"], x)), "cos": _slope(lambda x, y: -apply(OPS["sin"], x)),
    "sinh": _slope(lambda x, y: apply(OPS["cosh"], x)), "cosh": _slope(lambda x, y: apply(OPS["sinh"], x)),
    "arcsin": _slope(lambda x, y: 1.0 / (1.0 - x * x).sqrt()),
    "arccos": _slope(lambda x, y: -1.0 / (1.0 - x * x).sqrt()), "arctan": _slope(lambda x, y: 1.0 / (x * x + 1.0)),
    "tanh": _slope(lambda x, y: 1.0 - y * y), "sigmoid": _slope(lambda x, y: y * (1.0 - y)),
    "silu": _slope(lambda x, y: y + apply(activations.sigmoid, x) * (1.0 - y)),
    "hard_silu": _slope(_hard_silu), "softmax": _softmax, "log_softmax": _softmax,
    **dict.fromkeys(("relu", "leaky_relu", "relu6", "hard_sigmoid", "abs", "clip", "dropout"), _diagonal),
    **dict.fromkeys(("sum", "mean", "getitem", "reshape", "transpose", "cast", "avg_pool2d"), _linear),
    **dict.fromkeys(("maximum", "minimum", "where"), _chosen),
    "pad": lambda node, y, dy: (dy[tuple(slice(before, before + n) for (before, _), n in zip(
        node.parameters["widths"], node.inputs[0].shape))],),  # type: ignore[union-attr]
    "concatenate": _concatenate, "matmul": _matmul, "dense": _dense, "conv2d": _conv2d,
    "conv2d_transpose": _conv2d_transpose, "conv2d_kernel_gradient": _kernel_gradient,
}
