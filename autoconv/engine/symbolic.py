"""Symbolic tensors and the nodes that created them: a net is recorded as a graph before anything is computed.

Calling a layer on a `SymbolicTensor` adds a `Node`. Operators and the functions of `functional` also add nodes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from .array_functions import ArrayMethods

Shape = tuple[int | None, ...]  # batch first; None is a size that only the data determines

# Structures are tensors, arrays or shapes, single or in lists, tuples and dicts. A dict's items are read in sorted key
# order, as in Keras. A dict that is made from another dict keeps the other dict's order.


def flatten(structure: Any) -> list[Any]:
    """Returns the items of a structure as a list, in order."""
    if isinstance(structure, dict):
        return [item for key in sorted(structure) for item in flatten(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [item for part in structure for item in flatten(part)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Returns a structure with every item replaced by `function(item)`, called in the order of `flatten`."""
    if isinstance(structure, dict):
        results = {key: map_structure(function, structure[key]) for key in sorted(structure)}
        return {key: results[key] for key in structure}
    if isinstance(structure, (list, tuple)):
        return _make_like(structure, [map_structure(function, part) for part in structure])
    return function(structure)


def _make_like(template: Any, items: list[Any]) -> Any:
    """Returns a list or tuple of these items, of the same type as `template`."""
    return type(template)(*items) if hasattr(template, "_fields") else type(template)(items)


def adjust_rank(x: Any, shape: "Shape") -> Any:
    """Adds or removes a last axis of length 1 if this gives x the given shape; else returns x unchanged."""
    old_shape = tuple(x.shape)
    if len(old_shape) == len(shape) + 1 and old_shape[-1] == 1:
        sizes = old_shape[:-1]
    elif len(old_shape) == len(shape) - 1 and shape[-1] == 1:
        sizes = (*old_shape, 1)
    else:
        return x
    return x.reshape(sizes) if all(w in (None, g) for w, g in zip(shape[1:], sizes[1:])) else x


def pack(structure: Any, items: list[Any]) -> Any:
    """Returns the structure with its items replaced by `items`, in the order of `flatten`."""
    remaining = iter(items)
    return map_structure(lambda _: next(remaining), structure)


def is_shape(value: Any) -> bool:
    """Whether a value is a single shape, rather than a list or dict of shapes."""
    return isinstance(value, (list, tuple)) and all(n is None or hasattr(n, "__index__") for n in value)


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """Applies `function` to each shape in a structure, as `map_structure` does to items."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        results = {key: map_shapes(function, shapes[key]) for key in sorted(shapes)}
        return {key: results[key] for key in shapes}
    if isinstance(shapes, (list, tuple)):
        return _make_like(shapes, [map_shapes(function, part) for part in shapes])
    raise ValueError(f"A shape must be a tuple such as (None, 28, 28, 1). Received: {shapes!r}.")


def flat_shapes(shapes: Any) -> list[Shape]:
    """Returns the shapes in a structure of shapes as a list, in order."""
    flat: list[Shape] = []
    map_shapes(flat.append, shapes)
    return flat


class Node:
    """One call of an operation (a layer or a function) on symbolic tensors.

    `args` and `kwargs` are the call's arguments, and `inputs` the symbolic tensors in them, in
    order. `structure` is the call's result, and `outputs` are the symbolic tensors in it.
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
        """Returns the call's arguments with each symbolic tensor replaced by `get_value(tensor)`."""
        return map_structure(lambda item: get_value(item) if isinstance(item, SymbolicTensor) else item,
                             (self.args, self.kwargs))

    @property
    def number(self) -> int:
        """The index of this call among its operation's calls."""
        calls = self.operation._nodes
        return calls.index(self) if self in calls else len(calls)

    def remove(self) -> None:
        """Removes this node from its operation's list of nodes."""
        if self in self.operation._nodes:
            self.operation._nodes.remove(self)


TRIED_SIZES = (83, 89)  # two sizes tried for an axis of unknown size; output sizes that then differ stay unknown

# The function that adds a node for a call. It is set by `layers.function`, because that module imports this one.
record_call: list[Callable[[str, tuple, dict[str, Any]], Any]] = []


class NoValuesError(TypeError, ValueError, NotImplementedError):
    """A symbolic tensor was used as values. The bases are the three exception types that Keras raises for this."""


class _Nodes(dict):
    """Functions by name. Each function adds a node when it is called."""

    def __missing__(self, name: str) -> Callable:
        return partial(call_symbolic, name)


class SymbolicTensor(ArrayMethods):
    """A placeholder in a graph with the shape (batch first, None if unknown) and the dtype of a later value.

    `layers.Input(shape)` creates the first symbolic tensor; layers and functions called on it create others.
    `node` is the call that created the tensor, and `index` its position among that call's results. A
    symbolic tensor holds no values, because values exist only when a model is called.
    """

    __array_ufunc__ = None  # makes numpy_array + symbolic call the symbolic tensor's operator
    __slots__ = ("__weakref__", "dtype", "index", "name", "node", "shape")
    node: Node
    _functions = _Nodes()

    def __init__(self, shape: Shape, dtype: str = "float32", sparse: bool = False, ragged: bool = False,
                 record_history: bool = True, name: str | None = None) -> None:
        if not is_shape(shape):
            raise ValueError(f"Cannot convert {shape!r} to a shape. Pass a tuple such as (None, 28, 28, 1).")
        if sparse or ragged:
            raise ValueError("autoconv supports only dense tensors. Omit the arguments sparse and ragged.")
        self.shape, self.dtype, self.name, self.index = tuple(shape), dtype, name or "keras_tensor", 0
        self.node = None  # type: ignore[assignment]  # a call that returns this tensor sets it

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _refuse_values(self, usage: str) -> NoReturn:
        raise NoValuesError(f"{self!r} is symbolic: it has a shape and a dtype, but no values. It cannot be used as "
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
    """Whether a symbolic tensor is in this structure. Only the first `depth` levels of nesting are searched."""
    if isinstance(value, SymbolicTensor):
        return True
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, (list, tuple)) and depth > 0 and any(is_symbolic(item, depth - 1) for item in value)


def call_symbolic(name: str, *args: Any, **kwargs: Any) -> Any:
    """Adds a node for a function in `FUNCTIONS`. Returns the call's result, which consists of symbolic tensors."""
    return record_call[0](name, args, kwargs)


KerasTensor = SymbolicTensor  # Keras's name
