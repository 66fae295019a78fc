"""Functions as nodes of a graph: arithmetic on symbolic tensors, and the functions of `functional`."""

from itertools import zip_longest
from typing import Any

import numpy as np

from .. import functional, ops  # noqa: F401 (both put their functions into FUNCTIONS)
from ..arguments import names
from ..engine.array_functions import FUNCTIONS
from ..engine.symbolic import TRIED_SIZES, Node, Shape, SymbolicTensor, flatten, map_structure, record_call
from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Variable
from ..files import allowance
from ..files.json_text import JsonObject
from ..kernels import trace
from . import parts
from .layer import registry


class Function:
    """A function in a graph: a tensor method such as "add", or a function of autoconv such as "functional.relu".

    A Function has no weights. Like a layer it has a name and nodes; `call` is the function, which receives tensors.
    """

    built = True

    def __init__(self, function: str, name: str | None = None) -> None:
        kind, _, short = function.rpartition(".")
        if kind not in ("", "functional", "ops"):
            raise ValueError("function must be the name of a tensor method, such as 'add', or "
                             f"'functional.NAME' or 'ops.NAME'. Received: {function!r}.")
        candidates = {name.rpartition(".")[2]: f for name, f in FUNCTIONS.items() if name.rpartition(".")[0] == kind}
        self.call = names.lookup("function", short, candidates)
        self.function, self.short = function, short
        self.name = name or parts.automatic_name(short)
        self._nodes: list[Node] = []

    def __repr__(self) -> str:
        return f"<Function {self.function} name={self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a node if an argument is symbolic, otherwise computes the result."""
        if not any(isinstance(item, SymbolicTensor) for item in flatten((args, kwargs))):
            return self.call(*args, **kwargs)
        if any(isinstance(item, Variable) for item in flatten((args, kwargs))):
            raise TypeError("A model trains only the weights of its layers, so a Variable passed to "
                            f"{self.function!r} together with a symbolic tensor would not be trained. Create the "
                            "Variable in a custom layer, or pass only its values with variable.numpy().")
        args, kwargs = map_structure(_plain, args), map_structure(_plain, kwargs)
        result = self.compute_output(args, kwargs)
        Node(self, args, kwargs, result)
        return result

    def __reduce__(self) -> tuple:
        return Function, (self.function, self.name)

    def count_params(self) -> int:
        return 0

    @property
    def kind(self) -> str:
        """The class name shown in a summary, such as "TrueDivide"."""
        return "".join(part.capitalize() for part in self.short.split("_"))

    @property
    def input(self) -> Any:
        """The symbolic tensor of the first call, or a list if the call had several symbolic tensors."""
        inputs = self._nodes[0].inputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """The symbolic result of the first call."""
        return self._nodes[0].structure

    def compute_output(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Returns a call's result as symbolic tensors. For functions that do not broadcast, two dry
        runs with different sizes find the shapes; no kernel runs.
        """
        def shrink(item: Any) -> Any:
            """Replaces a tensor or array by a one-element array, enough to find a result's dtype."""
            if not isinstance(item, (SymbolicTensor, np.ndarray)):
                return item
            array = np.zeros((1,) * len(item.shape), item.dtype)
            return Tensor(array) if isinstance(item, SymbolicTensor) else array

        if getattr(self.call, "broadcasting", False) and not kwargs:
            shape = broadcast(*map(_operand_shape, args))
            result = self._infer(*map_structure(shrink, (args, kwargs)))
            return SymbolicTensor(shape, result.dtype.name, name=self.name)
        runs = []
        for batch, size in zip((2, 3), TRIED_SIZES):
            def zeros(item: Any, batch: int = batch, size: int = size) -> Any:
                if not isinstance(item, SymbolicTensor):
                    return item
                shape = (batch if n is None and not axis else size if n is None else n
                         for axis, n in enumerate(item.shape))
                return Tensor(np.zeros(tuple(shape), item.dtype))

            runs.append(self._infer(map_structure(zeros, args), map_structure(zeros, kwargs)))
        results = iter([
            SymbolicTensor(tuple(n if n == m else None for n, m in zip(a.shape, b.shape)), a.dtype.name, name=self.name)
            for a, b in zip(*map(flatten, runs))
        ])
        return map_structure(lambda _: next(results), runs[0])

    def _infer(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Returns a call's result without values, from a dry run in which no kernel runs."""
        for value in (*args, *kwargs.values()):
            allowance.check_sizes(self.short, value)
        with no_grad(), trace.DryRun().record():
            return self.call(*args, **kwargs)

    def get_config(self) -> JsonObject:
        return {"function": self.function, "name": self.name}

    @classmethod
    def from_config(cls, config: JsonObject) -> "Function":
        return cls(**config)


def broadcast(*shapes: Shape) -> Shape:
    """Returns the shape to which arithmetic broadcasts these shapes. Raises ValueError if they do not broadcast."""
    result: list[int | None] = []
    for sizes in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        distinct = {n for n in sizes if n not in (1, None)}
        if len(distinct) > 1:
            raise ValueError(f"Inputs have incompatible shapes. Received shapes {' and '.join(map(str, shapes))}.")
        result.append(distinct.pop() if distinct else None if None in sizes else 1)
    return tuple(reversed(result))


def _operand_shape(item: Any) -> Shape:
    if isinstance(item, (SymbolicTensor, Tensor)):
        return item.shape
    array = np.asarray(item)
    if array.dtype.kind not in "biuf":
        raise TypeError("An operand combined with a symbolic tensor must be a number, a numeric array or a tensor. "
                        f"Received: operand of type {type(item).__name__} with dtype {array.dtype}.")
    return array.shape


def _plain(item: Any) -> Any:
    """Converts an argument for storage in a graph: tensors to values, dtypes to names."""
    if isinstance(item, (type, np.dtype)):
        return np.dtype(item).name
    return item.numpy() if isinstance(item, Tensor) else item


record_call.append(lambda name, args, kwargs: Function(name)(*args, **kwargs))
registry.classes["Function"] = Function


def get_kind(operation: Any) -> str:
    """Returns the kind of a layer or function as summaries show it, such as "Conv2D" or "TrueDivide"."""
    return operation.kind if isinstance(operation, Function) else type(operation).__name__
