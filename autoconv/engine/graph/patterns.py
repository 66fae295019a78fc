"""Finds consecutive layers that run as one op.

Words describe a layer's computation: a Conv2D with a ReLU is "conv relu". A pattern is a sequence
of words whose layers one op can compute. The longest pattern that matches is used. In a pattern, "act"
stands for any activation of IN_PASS.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from ... import activations, functional
from ...arguments import shapes
from ...kernels.formulas.elementwise import IN_PASS
from ...layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPooling2D,
    ReLU,
)
from ...layers.layer import in_training
from ...operators import activations as pointwise
from ...operators import conv, dense, fused
from ..symbolic import map_structure
from ..tape import drop
from ..tensor import Tensor, apply, needs_gradients

Words = tuple[str, ...]

PATTERNS: frozenset[Words] = frozenset(
    tuple(sentence.replace("act", name).split()) for name in IN_PASS for sentence in (
        "conv act", "conv relu pool", "conv norm", "conv norm act", "conv norm relu pool",
        "grouped act", "grouped norm", "grouped norm act",
        "depthwise act", "depthwise norm", "depthwise norm act",
        "dense act", "dense norm", "dense norm act",
        "norm act", "norm relu pool", "norm act conv", "norm act conv norm", "norm act conv norm act",
        "add relu", "norm add relu",
        # These may run as several ops: as "conv" and "norm add relu" in training, and some of them as
        # "conv norm" and "add relu" in inference.
        "conv norm add", "conv norm add relu", "grouped norm add relu", "depthwise norm add relu",
        "dense norm add relu",
    ))
LONGEST = max(map(len, PATTERNS))


class Fusion:
    """Consecutive layers that run as one op as long as they match a pattern.

    The match is checked at each call. The layers may not match if one of them was changed or is not built,
    or if a normalization uses the batch's mean. In these cases, the layers run in the longest patterns that
    match, or separately with their own checks. An addition in the chain adds a second tensor, `term`, to
    the result of the layers before it. `term_first` is true if the addition was called with `term` first.
    """

    def __init__(self, layers: Sequence[Any], term_first: bool = False) -> None:
        self.layers = tuple(layers)
        self.pattern = find_pattern(layers)
        self.term_first = term_first

    def __call__(self, x: Any, term: Tensor | None = None, training: bool | None = None) -> Tensor:
        self.layers[0].check_input(map_structure(lambda t: t.shape, x))
        training = bool(in_training.get() if training is None else training)
        layers = self.layers
        while layers:
            if layers is not self.layers and term is not None and type(layers[0]) is Add:
                x = [term, x] if self.term_first else [x, term]
                term = None
            for count in range(len(layers), 0, -1):
                compute = _find_op_call(layers[:count], x, term, training)
                y = None if compute is None else compute()
                if y is not None:
                    break
            y = layers[0](x, training) if y is None else y
            if layers is not self.layers and isinstance(x, Tensor):
                drop(x, [y])
            x = y
            layers = layers[count:]
        return x


def words(layer: Any) -> Words:
    """Returns the words that describe a layer's computation. Returns () for a layer that no
    pattern covers, such as a subclass of Conv2D or a layer with its own `call`.
    """
    kind = type(layer)
    has_own_call = not vars(layer).keys().isdisjoint(("call", "merge"))
    if kind not in _WORDS or has_own_call or layer.activity_regularizer is not None:
        return ()
    return _WORDS[kind](layer)


def find_pattern(layers: Sequence[Any]) -> Words:
    """Returns the pattern that these layers match, or () if there is no such pattern."""
    layer_words = [words(layer) for layer in layers]
    pattern = tuple(word for sequence in layer_words for word in sequence)
    return pattern if all(layer_words) and pattern in PATTERNS else ()


def _activation(function: Callable[..., Tensor]) -> Words:
    return tuple(name for name in IN_PASS if getattr(functional, name) is function)


def _add_activation(word: str, layer: Any) -> Words:
    name = _activation(layer.activation)
    return (word, *name) if name or layer.activation is activations.linear else ()


_WORDS: dict[type, Any] = {
    Conv2D: lambda layer: _add_activation("conv" if layer.groups == 1 else "grouped", layer),
    DepthwiseConv2D: lambda layer: _add_activation("depthwise", layer),
    Dense: lambda layer: _add_activation("dense", layer),
    BatchNormalization: lambda layer: ("norm",),
    Add: lambda layer: ("add",),
    ReLU: lambda layer: () if layer.negative_slope or layer.threshold else (
        ("relu",) if layer.max_value is None else ("relu6",) if layer.max_value == 6 else ()),
    Activation: lambda layer: _activation(layer.activation),
    MaxPooling2D: lambda layer: ("pool",) if layer.padding == "valid" and _hashable(
        (layer.pool_size, layer.strides)) == ((2, 2), (2, 2)) else (),  # only 2 x 2 windows that do not overlap
}


def _find_op_call(layers: Sequence[Any], x: Any, term: Tensor | None, training: bool,
                  **before: object) -> Callable[[], Tensor | None] | None:
    """Returns a function that computes the result of these layers for x (plus `term`, if they add it) with
    a single op; None if there is no such op. The function returns None if a normalization cannot use the op.
    `before` is empty, or a normalization that a convolution's op computes first (`norm.before`).
    """
    pattern = find_pattern(layers)
    if "conv" in pattern[1:]:
        norm, _, *rest = layers
        found = norm.before(x, training, pattern[1]) if norm.built and norm.dtype == x.dtype else None
        return None if found is None else _find_op_call(rest, x, term, training, before=found)
    if not pattern or ("add" in pattern[2:] and (pattern[0] != "conv" or term is None or needs_gradients(x, term))):
        return None
    activation = next((word for word in pattern if word in IN_PASS), "linear")
    if pattern[0] == "add":
        return partial(apply, pointwise.add_relu, *x) if len(x) == 2 and _alike(*x) else None
    first = layers[0]
    norm = next((layer for layer in layers if type(layer) is BatchNormalization), None)
    if norm is not None and (not norm.built or norm.dtype != x.dtype):
        return None
    if first is norm:
        if "add" not in pattern:
            return partial(norm.normalize, x, training, activation, pool=pattern[-1] == "pool")
        fits = term is not None and _alike(x, term)
        return partial(norm.normalize, x, training, activation, term=term) if fits else None
    if not _weights_fit(first, x):
        return None
    weights: Any = first.kernel, first.bias, None
    if norm is not None:
        splits = pattern[0] == "conv" and not needs_gradients(x)
        fits = norm.channels == _filters(first, first.kernel)
        weights = norm.fold(first.kernel, first.bias, training, splits) if fits else None
        if weights is None:
            return None
    w, b, scale = weights
    if (before or activation not in ("linear", "relu")) and needs_gradients(x, w, b):
        return None
    extra = before if scale is None else {"scale": scale, **before}
    return _product(pattern, first, x, w, b, extra, term, activation)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether a and b are floating-point tensors of the same shape and dtype."""
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.dtype.kind == "f"


def _product(pattern: Words, layer: Any, x: Tensor, w: Tensor, b: Tensor | None,
             kwargs: dict[str, Any], term: Tensor | None, activation: str) -> Callable[[], Tensor] | None:
    """Returns a function that runs the layer's op fused with the pattern's other words; None if x
    or `term` does not fit. The normalization is already folded into w, b and the scale in `kwargs`.
    """
    if pattern[0] == "dense":
        return partial(apply, dense.dense, x, w, b, activation=activation)
    window = _window(x.shape[1:3], w.shape[:2], *map(_hashable, (layer.strides, layer.padding, layer.dilation_rate)))
    if pattern[0] == "depthwise":
        return partial(apply, conv.depthwise_conv2d, x, w, b, window=window, activation=activation)
    if "add" in pattern:
        fits = term is not None and term.dtype == x.dtype and term.shape == window.convolved_shape(
            x.shape, w.shape, None, w.shape[3])
        if not fits:
            return None
        return partial(apply, conv.conv2d, x, w, b, term, window=window, activation=activation, **kwargs)
    if pattern[-1] != "pool":
        return partial(apply, conv.conv2d, x, w, b, window=window, groups=layer.groups, activation=activation,
                       **kwargs)
    if min(window.output_size(*x.shape[1:3])) < 2:
        return None  # the pooling layer then raises the error about its window
    return partial(apply, fused.conv2d_relu_pool, x, w, b, window=window, **kwargs)


def _weights_fit(layer: Any, x: Tensor) -> bool:
    """Whether the layer's weights exist, with the dtype and shapes that its op needs for x."""
    if not layer.built:
        return False
    w = layer.kernel
    b = layer.bias
    kind = type(layer)
    if not all(isinstance(t, Tensor) and t.dtype == x.dtype for t in (w, b) if t is not None):
        return False
    if (w.ndim, x.ndim) != ((2, 2) if kind is Dense else (4, 4)):  # a dense layer reshapes inputs with more axes
        return False
    groups = getattr(layer, "groups", 1)
    if not isinstance(groups, int) or groups <= 0 or w.shape[-1] % groups:
        return False
    return w.shape[-2] * groups == x.shape[-1] and (b is None or b.shape == (_filters(layer, w),))


def _filters(layer: Any, w: Tensor) -> int:
    """Returns the number of output channels of a layer with the kernel w."""
    return w.shape[-1] * w.shape[-2] if type(layer) is DepthwiseConv2D else w.shape[-1]


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=256)
def _window(size: tuple[int, int], kernel: Any, strides: Any, padding: Any, dilation_rate: Any) -> shapes.Window:
    return shapes.window(size, kernel, strides, padding, dilation_rate)
