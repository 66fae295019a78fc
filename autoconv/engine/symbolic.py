"""Symbolic tensors and the nodes that made them: a net is recorded as a graph before anything is computed.

Calling a layer on a `SymbolicTensor` adds a `Node`. Arithmetic and the functions of `functional` do the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from .array_functions import ArrayMethods

Shape = tuple[int | None, ...]  # batch first; None is a size that only the data determines

# Structures: tensors, arrays or shapes, single or in lists, tuples and dicts. A dict's items are in sorted key order,
# as in Keras: inputs, outputs, targets, losses. A dict made like another one keeps that one's order.


def flatten(structure: Any) -> list[Any]:
    """The items of a structure, in order."""
    if isinstance(structure, dict):
        return [item for key in sorted(structure) for item in flatten(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [item for part in structure for item in flatten(part)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Replaces every item of a structure by `function(item)`, called in the order of `flatten`."""
    if isinstance(structure, dict):
        results = {key: map_structure(function, structure[key]) for key in sorted(structure)}
        return {key: results[key] for key in structure}
    if isinstance(structure, (list, tuple)):
        return _make_like(structure, [map_structure(function, part) for part in structure])
    return function(structure)


def _make_like(template: Any, items: list[Any]) -> Any:
    """Returns a list or tuple of the same type as `template`."""
    return type(template)(*items) if hasattr(template, "_fields") else type(template)(items)


def adjust_rank(x: Any, shape: "Shape") -> Any:
    """Adds or removes a last axis of length 1 if an array or tensor then has this shape; returns others unchanged."""
    old_shape = tuple(x.shape)
    if len(old_shape) == len(shape) + 1 and old_shape[-1] == 1:
        sizes = old_shape[:-1]
    elif len(old_shape) == len(shape) - 1 and shape[-1] == 1:
        sizes = (*old_shape, 1)
    else:
        return x
    return x.reshape(sizes) if all(w in (None, g) for w, g in zip(shape[1:], sizes[1:])) else x


def pack(structure: Any, items: list[Any]) -> Any:
    """Returns the structure with these items, in the order of `flatten`."""
    remaining = iter(items)
    return map_structure(lambda _: next(remaining), structure)


def is_shape(value: Any) -> bool:
    """Whether this is one shape, rather than a list or dict of shapes."""
    return isinstance(value, (list, tuple)) and all(n is None or hasattr(n, "__index__") for n in value)


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """`map_structure` for a shape, or a list, tuple or dict of shapes."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        results = {key: map_shapes(function, shapes[key]) for key in sorted(shapes)}
        return {key: results[key] for key in shapes}
    if isinstance(shapes, (list, tuple)):
        return _make_like(shapes, [map_shapes(function, part) for part in shapes])
    raise ValueError(f"A shape is a tuple such as (None, 28, 28, 1). Received: {shapes!r}.")


def flat_shapes(shapes: Any) -> list[Shape]:
    """The shapes in a structure of shapes, in order."""
    flat: list[Shape] = []
    map_shapes(flat.append, shapes)
    return flat


class Node:
    """One call of an operation (a layer or a function) on symbolic tensors.

    args, kwargs: the call's arguments; inputs: the symbolic tensors in them, in order; structure: the call's result;
    outputs: the symbolic tensors in it.
    """

    def __init__(self, operation: Any, args: tuple, kwargs: dict[str, Any], structure: Any) -> None:
        self.operation, self.args, self.kwargs, self.structure = operation, args, kwargs, structure
        self.inputs = [item for item in flatten((args, kwargs)) if isinstance(item, SymbolicTensor)]
        self.outputs: list[SymbolicTensor] = flatten(structure)
        for index, tensor in enumerate(self.outputs):
            tensor.node, tensor.index = self, index
        operation._nodes.append(self)

    def __repr__(self) -> str:
        return f"<Node of {self.operation.name!r}>"

    def arguments(self, get_value: Callable[["SymbolicTensor"], Any]) -> tuple[tuple, dict[str, Any]]:
        """Returns the call's arguments with a value for each symbolic tensor."""
        return map_structure(lambda item: get_value(item) if isinstance(item, SymbolicTensor) else item,
                             (self.args, self.kwargs))

    @property
    def number(self) -> int:
        """The number of this call among its operation's calls."""
        calls = self.operation._nodes
        return calls.index(self) if self in calls else len(calls)

    def remove(self) -> None:
        """Removes the call from its operation's nodes."""
        if self in self.operation._nodes:
            self.operation._nodes.remove(self)


TRIED_SIZES = (83, 89)  # for an axis of unknown size: sizes that differ between two runs stay unknown

# The function that adds a function's node: `layers.function` sets it, as it depends on higher modules.
record_call: list[Callable[[str, tuple, dict[str, Any]], Any]] = []


class NoValuesError(TypeError, ValueError, NotImplementedError):
    """A symbolic tensor was used as values. This class derives from all three of Keras's errors for that."""


class _Nodes(dict):
    """Functions by name that add a node when they are called."""

    def __missing__(self, name: str) -> Callable:
        return partial(call_symbolic, name)


class SymbolicTensor(ArrayMethods):
    """A placeholder in a graph: shape (batch first, None if unknown) and dtype of a later value.

    `layers.Input(shape)` makes the first one; layers and functions called on it make others. `node` is the call that
    made it, `index` its position among that call's results. It holds no values: these exist only when a model is
    called.
    """

    __array_ufunc__ = None  # numpy_array + symbolic calls the symbolic tensor's operator
    __slots__ = ("__weakref__", "dtype", "index", "name", "node", "shape")
    node: Node
    _functions = _Nodes()

    def __init__(self, shape: Shape, dtype: str = "float32", sparse: bool = False, ragged: bool = False,
                 record_history: bool = True, name: str | None = None) -> None:
        if not is_shape(shape):
            raise ValueError(f"Cannot convert {shape!r} to a shape: pass a tuple such as (None, 28, 28, 1).")
        if sparse or ragged:
            raise ValueError("autoconv supports only dense tensors. Leave out sparse and ragged.")
        self.shape, self.dtype, self.name, self.index = tuple(shape), dtype, name or "keras_tensor", 0
        self.node = None  # type: ignore[assignment]  # until a call returns it

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _refuse_values(self, usage: str) -> NoReturn:
        raise NoValuesError(f"{self!r} is symbolic: it has a shape and a dtype, no values, so it cannot be used as "
                        f"{usage}. Use layers or functions of autoconv.functional, or call a model on data.")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse_values("a NumPy array")

    def numpy(self) -> NoReturn:
        self._refuse_values("a NumPy array")

    def __bool__(self) -> bool:
        self._refuse_values("a boolean")

    def __float__(self) -> float:
        self._refuse_values("a number")

    def __int__(self) -> int:
        self._refuse_values("a number")

    def __iter__(self) -> NoReturn:
        self._refuse_values("an iterable")

    def __len__(self) -> int:
        self._refuse_values("a sequence")


def is_symbolic(value: Any, depth: int = 3) -> bool:
    """Whether a symbolic tensor is in this structure; lists of lists of numbers are not searched to the end."""
    if isinstance(value, SymbolicTensor):
        return True
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, (list, tuple)) and depth > 0 and any(is_symbolic(item, depth - 1) for item in value)


def call_symbolic(name: str, *args: Any, **kwargs: Any) -> Any:
    """Adds the node of a function in `FUNCTIONS`. Returns the call's result: symbolic tensors."""
    return record_call[0](name, args, kwargs)


KerasTensor = SymbolicTensor  # Keras's name
