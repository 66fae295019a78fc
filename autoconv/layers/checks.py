"""Checks of constructor arguments that several layers share."""

from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any

from .. import activations
from ..arguments import names, shapes
from ..arguments.checked import Setting
from ..arguments.checked import positive as positive  # for the layers
from ..arguments.shapes import Padding, Pair
from ..engine.symbolic import Shape

if TYPE_CHECKING:
    from .layer import Layer

Range = tuple[float, float]

_ANY_SIZE = 2**20  # replaces unknown image sizes; larger than any kernel


class KerasDefault:
    """An attribute for a Keras argument of which a layer accepts only the default value."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else self.default

    def __set__(self, layer: Any, value: Any) -> None:
        if value is not self.default and value != self.default:
            raise ValueError(f"{type(layer).__name__} supports only {self.name}={self.default!r}. "
                             f"Received: {self.name}={value!r}.")


class DataFormat:
    """The attribute `data_format`, which is always "channels_last". It may also be set to None."""

    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else "channels_last"

    def __set__(self, layer: Any, value: str | None) -> None:
        if value not in (None, "channels_first", "channels_last"):
            raise ValueError("The `data_format` argument must be one of {'channels_first', 'channels_last'}, and "
                             f"autoconv supports only 'channels_last'. Received: data_format={value!r}")
        if value == "channels_first":
            raise ValueError(f"{type(layer).__name__} needs images of shape (N, H, W, C), so "
                             f"data_format must be 'channels_last'. Received: {value!r}. Move the "
                             "channels of your arrays with np.moveaxis(x, 1, -1).")


def choice(choices: Any) -> Setting:
    """Returns an attribute that accepts only the names in `choices`."""
    return Setting(lambda value, name: names.lookup(name, value, {item: item for item in choices}))


def pair() -> Setting:
    """Returns an attribute that holds two positive integers. A single integer is used for both."""
    return Setting(shapes.pair)


def activation() -> Setting:
    """Returns an attribute that holds an activation function. A name or None is converted to a function."""
    return Setting(lambda value, name: activations.get(value))


def number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise ValueError(f"{name} must be a finite number. Received: {value!r}.")
    return float(value)


def numbers(value: Any, name: str) -> float | list[float]:
    """Returns a finite number, or a list of finite numbers. Raises ValueError for other values."""
    if isinstance(value, (tuple, list)):
        return [number(item, name) for item in value]
    return number(value, name)


def ascending(value: Any, name: str) -> Range:
    """Returns two finite numbers in ascending order. Raises ValueError for other values."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair of numbers. Received: {value!r}.")
    low, high = sorted(number(item, name) for item in value)
    return low, high


def factor(least: float, most: float, around_one: bool = False) -> Setting:
    """Returns an attribute that holds a range in least..most: two numbers, or one number f for
    -f..f. With `around_one` the two numbers are the distances of the range's ends from 1, and f
    means (f, f).
    """

    def check(value: Any, name: str) -> Range:
        is_pair = isinstance(value, (tuple, list))
        try:
            low, high = ascending(value, name) if is_pair else (number(value, name),) * 2
        except ValueError:
            low, high = least - 1, most + 1
        if low < least or high > most:
            raise ValueError(f"{name} must be a number or a pair of numbers from {least} to "
                             f"{most}. Received: {value!r}.")
        return (low, high) if is_pair or around_one else (max(least, -abs(low)), abs(high))

    return Setting(check)


def zoom(value: Any, name: str) -> Range:
    """Returns the range that `factor(-1, 1)` returns for a zoom factor. Raises ValueError if an end is -1."""
    low, high = factor(-1, 1).check(value, name)
    if -1 in (value if isinstance(value, (tuple, list)) else (value,)):
        raise ValueError(f"{name} must be larger than -1, because -1 would shrink an image to "
                         f"nothing. Received: {value!r}.")
    return low, high


def axes(value: Any, name: str) -> int | list[int]:
    """Returns one axis as an int, or a list of axes. Raises TypeError for other values."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items or any(isinstance(item, bool) or not hasattr(item, "__index__") for item in items):
        raise TypeError(f"Expected an int or a list/tuple of ints for the argument {name!r}. Received: {value!r}.")
    return items if isinstance(value, (list, tuple)) else int(value)


def padding(value: Any, numbers: bool = True) -> Any:
    """Returns a padding: a name in lower case, or tuples of integers if the layer accepts `numbers`."""
    if isinstance(value, str) or not numbers:
        name = value.lower() if isinstance(value, str) else value
        if name not in ("valid", "same"):
            raise ValueError(f"The `padding` argument must be {'a list, a tuple, ' if numbers else ''}'same' or "
                             f"'valid'. Received: padding={value!r}.{names.suggestion(name, ['valid', 'same'])}")
        return name
    shapes.explicit_padding(value)
    return _tuples(value)


def _tuples(value: Any) -> Any:
    """Converts nested lists, as read from a file, to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def axis(value: Any) -> int:
    """Returns an axis as an int. Raises TypeError for other values."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"axis must be an integer. Received: {value!r}.")
    return int(value)


def last(axis: int, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Returns the permutation that moves an axis to the end, and its inverse; None if the axis is already last."""
    axis %= rank
    if axis == rank - 1:
        return None
    order = (*(i for i in range(rank) if i != axis), axis)
    return order, tuple(order.index(i) for i in range(rank))


def known_channels(layer: "Layer", input_shape: Shape) -> int:
    """Returns the input's size along the layer's `channel_axis`. Raises ValueError if it is unknown."""
    layer.check_input(input_shape)
    axis, rank = layer.channel_axis, len(input_shape)
    if (rank > 1 and not -rank < axis < rank) or axis == 0:
        raise ValueError("axis must be an axis of the input other than the batch axis. Received: "
                         f"axis={axis}, input_shape={input_shape} in layer {layer.name!r}.")
    if rank < 2 or input_shape[axis] is None:
        label = "last axis" if axis == -1 else f"axis {axis}"
        raise ValueError(f"The {label} of the input of layer {layer.name!r} must have a known "
                         f"size. Received shape: {input_shape}.")
    channels = int(input_shape[axis] or 0)
    if channels < 1:
        raise ValueError(f"Layer {layer.name!r} needs an input with at least one channel. Received "
                         f"shape: {input_shape}.")
    return channels


def pool_output(input_shape: Shape, pool_size: Pair, strides: Pair, pad: Padding) -> Shape:
    """Returns the output sizes (N, OH, OW) of pooling for images of `input_shape`. An unknown size gives None."""
    h, w = (_ANY_SIZE if n is None else n for n in input_shape[1:3])
    out = shapes.pool_window((h, w), pool_size, strides, pad).output_size(h, w)
    return (input_shape[0], *(None if n is None else o for n, o in zip(input_shape[1:3], out)))


def window_output(input_shape: Shape, kernel: Pair, strides: Pair, pad: Padding, dilation: Pair,
                  kernel_name: str) -> Shape:
    """Returns the output sizes (N, OH, OW) of a convolution for images of `input_shape`. An unknown size gives None."""
    h, w = (_ANY_SIZE if n is None else n for n in input_shape[1:3])
    out = shapes.window((h, w), kernel, strides, pad, dilation, kernel_name).output_size(h, w)
    return (input_shape[0], *(None if n is None else o for n, o in zip(input_shape[1:3], out)))
