"""How a layer is built: at its first call or by a config, for which shapes, and what is kept of that."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any

from ..backend import trace
from ..symbolic import map_shapes
from ..tensor import inside_layer
from . import calling
from .spec import OfSpec, Shapes

being_built: ContextVar[str | None] = ContextVar("being_built", default=None)  # the path of the layer that is built


def first_call(layer: Any, shape: Any) -> None:
    """Builds the layer for inputs of this shape, where it is not."""
    if not layer.built:
        OfSpec.check_input(layer, shape)
        with trace.aside():
            layer.build(_built_shape(shape))
    elif layer.built_at_once:
        layer._build_shape = _built_shape(shape)


def build_with(layer: Any, arguments: dict[str, Any]) -> None:
    """Builds the layer, where it is not, for these arguments of `call`, and checks the first one's shape."""
    shapes = calling.shapes_of(arguments)
    if not shapes:
        raise ValueError(f"Inputs to a layer should be tensors. Layer {layer.name!r} received: {arguments}.")
    first = next(iter(shapes.values()))
    several = None if layer.built else calling.fitting(layer.build, shapes)
    if several is None:
        first_call(layer, first)
    else:
        with trace.aside():
            layer.build(**{name: _built_shape(shape) for name, shape in several.items()})
    layer.check_input(first)


def config(built_for: Any) -> dict[str, Any] | None:
    """What a layer was built for, as plain data."""
    if isinstance(built_for, Shapes):
        return {"shapes_dict": dict(built_for)}
    return None if built_for is None else {"input_shape": built_for}


def build_by(layer: Any, config: dict[str, Any] | None) -> None:
    """Builds the layer for what `config` wrote."""
    if config and "shapes_dict" in config:
        layer.build(**{name: map_shapes(tuple, shape) for name, shape in config["shapes_dict"].items()})
    elif config:
        layer.build(map_shapes(tuple, config["input_shape"]))


def _built_shape(shapes: Any) -> Any:
    """What a layer that is called on these shapes is built for: within another layer, which may have been given zeros
    to find shapes, for any number of samples.
    """
    if inside_layer.get() is None:
        return map_shapes(tuple, shapes)
    return map_shapes(lambda shape: (None, *shape[1:]), shapes)


def marks_as_built(build: Callable) -> Callable:
    """`build`, which afterwards says so; building again makes new weights."""

    @wraps(build)
    def wrapper(self: Any, *shapes: Any, **named: Any) -> None:
        if self.built:
            self._weights.clear()
            self.built, self.channels = False, None
        shapes = tuple(None if shape is None else map_shapes(tuple, shape) for shape in shapes)
        named = {name: None if shape is None else map_shapes(tuple, shape) for name, shape in named.items()}
        around = being_built.get() or inside_layer.get()
        self.path = f"{around}/{self.name}" if around else self.name
        inside, within = inside_layer.set(None), being_built.set(self.path)  # also when another layer's call runs
        try:
            build(self, *shapes, **named)
        finally:
            inside_layer.reset(inside)
            being_built.reset(within)
        self.built = True
        if len(shapes) + len(named) > 1:
            names = list(signature(build).parameters)[1:]
            self._build_shape = Shapes({**dict(zip(names, shapes)), **named})
        else:
            shape = next(iter((*shapes, *named.values())), None)
            if shape is not None:
                self._build_shape = shape

    return wrapper
