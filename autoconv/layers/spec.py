"""Checks of a layer's inputs: ranks, shapes, sizes of axes. `InputSpec` describes the inputs of a user's layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..arguments.shapes import axes_remedy, image_axes_remedy
from ..engine.symbolic import Shape, flat_shapes, flatten, is_shape

if TYPE_CHECKING:
    from .layer import Layer


class InputSpec:
    """Requirements for one input of your own layer: `self.input_spec = InputSpec(ndim=4, axes={-1: 3})`.

    shape: all sizes, None for any size. ndim, min_ndim, max_ndim: the exact, least and largest number of axes. axes:
    the sizes of some axes. A layer with several inputs has a list of specs. Inputs that do not match raise ValueError.
    """

    def __init__(
        self, dtype: Any = None, shape: Sequence[int | None] | None = None, ndim: int | None = None,
        max_ndim: int | None = None, min_ndim: int | None = None, axes: Mapping[int, int] | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = None if shape is None else tuple(shape)
        self.ndim = ndim if self.shape is None else len(self.shape)
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        try:
            self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        except (TypeError, ValueError, AttributeError):
            raise TypeError(f"Argument `axes` must be a dict with integer keys. Received: axes={axes}") from None
        limit = self.ndim if self.ndim is not None else max_ndim
        if limit is not None and any(not -limit <= axis < limit for axis in self.axes):
            raise ValueError(f"The keys of `axes` must be in the range [{-limit}, {limit - 1}]. "
                             f"Received: axes={self.axes}.")

    def fault(self, shape: Shape) -> str | None:
        """Returns the error text for an input of this shape, in Keras's words; None if the layer accepts the shape."""
        rank = len(shape)
        for name, limit, fits in (("ndim", self.ndim, rank == self.ndim),
                                  ("max_ndim", self.max_ndim, rank <= (self.max_ndim or rank)),
                                  ("min_ndim", self.min_ndim, rank >= (self.min_ndim or 0))):
            if limit is not None and not fits:
                return f"expected {name}={limit}, found ndim={rank}. Full shape received: {tuple(shape)}"
        for axis, size in self.axes.items():
            if -rank <= axis < rank and size is not None and shape[axis] not in (size, None):
                return (f"expected axis {axis} of input shape to have value {size}, but received "
                        f"input with shape {tuple(shape)}")
        if self.shape is not None and any(None not in (a, b) and a != b for a, b in zip(self.shape, shape)):
            return f"expected shape={self.shape}, found shape={tuple(shape)}"
        return None


def sample_shape(shape: Any, name: str) -> Shape:
    """Returns a shape without the batch as a tuple. Raises ValueError for values such as `(784)`, an integer."""
    if isinstance(shape, str) or not hasattr(shape, "__iter__"):
        remedy = f" Write a comma after a single size: ({shape},)." if hasattr(shape, "__index__") else ""
        raise ValueError(f"{name} must be a tuple of sizes without the batch axis, such as (28, "
                         f"28, 1). Received: {name}={shape!r}.{remedy}")
    return tuple(shape)


class Shapes(dict):
    """The shapes for which a layer with several arguments was built, by the parameter names of its `build`."""


def check_spec(value: Any, name: str) -> Any:
    """Returns an InputSpec, or a list or dict of InputSpecs, unchanged. Raises TypeError for other values."""
    if any(not isinstance(item, InputSpec | None) for item in flatten(value)):
        raise TypeError(f"{name} must be an InputSpec, or a list or dict of InputSpecs. Received: {value!r}.")
    return value


def _check(specs: Any, shapes: Any, layer_name: str) -> None:
    """Raises ValueError if inputs of these shapes do not match `specs`, an InputSpec or a list or dict of them."""
    expected = flatten(specs)
    inputs = [tuple(shapes)] if is_shape(shapes) else flat_shapes(shapes)
    if len(expected) != len(inputs):
        raise ValueError(f'Layer "{layer_name}" expects {len(expected)} input(s), but it received {len(inputs)} input '
                         f"tensors. Received shapes: {shapes}.")
    for index, (spec, shape) in enumerate(zip(expected, inputs)):
        fault = None if spec is None else spec.fault(shape)
        if fault is not None:
            raise ValueError(f"Input {index} of layer {layer_name!r} is incompatible with the layer: {fault}")


def check_input(layer: "Layer", shape: Shape) -> None:
    """Raises ValueError if inputs of this shape do not fit a layer."""
    if layer.input_spec is not None:
        _check(layer.input_spec, shape, layer.name)
    if not is_shape(shape):
        if layer.one_input:
            count = len(flat_shapes(shape))
            raise ValueError(f'Layer "{layer.name}" expects 1 input(s), but it received {count} input tensors. '
                             f"Received shapes: {shape}.")
        return
    prefix = f"Input 0 of layer {layer.name!r} is incompatible with the layer: expected "
    if layer.rank is not None and len(shape) != layer.rank:
        images = {4: "images of shape (N, H, W, C)", 2: "rows of shape (N, C)"}[layer.rank]
        remedy = image_axes_remedy(len(shape)) if layer.rank == 4 else "Flatten the input first."
        if layer.rank == 4 and len(shape) == 5:
            remedy = f"The shape of an Input excludes the batch axis: Input({tuple(shape[2:])})."
        elif layer.rank == 4 and len(shape) == 3:
            remedy += f" In a model, the axis of the channels belongs to the Input: Input({(*shape[1:], 1)})."
        elif layer.rank == 4 and len(shape) == 2:
            remedy = ("In a model, this layer must come before Flatten, Dense and global pooling. If your data are "
                      "rows of pixels, reshape them first, e.g. to (-1, 28, 28, 1) for MNIST.")
        raise ValueError(f"{prefix}ndim={layer.rank}, found ndim={len(shape)}. The layer needs "
                         f"{images}. Received shape {tuple(shape)}. {remedy}")
    if layer.rank is None and len(shape) < (layer.least_rank or 0):
        raise ValueError(f"{prefix}min_ndim={layer.least_rank}, found ndim={len(shape)}. Full "
                         f"shape received: {tuple(shape)}. The layer needs inputs with at least "
                         f"{layer.least_rank} axes, including the batch axis.")
    axis = layer.channel_axis
    if layer.channels is not None and shape[axis] != layer.channels:
        advice = axes_remedy(shape, (None, None, None, layer.channels)) if layer.rank == 4 and axis == -1 else ""
        raise ValueError(f"{prefix}axis {axis} of input shape to have value {layer.channels}, but received input with "
                         f"shape {tuple(shape)}. The layer was built for size {layer.channels} on this axis.{advice}")
