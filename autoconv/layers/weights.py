"""The weights of a layer, and of those within it: made, named, read, written, moved."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import names
from ..backend import device as devices
from ..tensor import Parameter, Tensor
from . import allowance
from .parts import DTYPES, dtype_name, held

EXTRAS: dict[str, Callable] = {"regularizer": regularizers.get, "constraint": constraints.get}


class Weights:
    """What a layer can do with its weights, and what it adds to the loss because of them."""

    name: str
    built: bool
    device: Any
    _dtype: str
    _trainable: bool
    _weights: list[Parameter]
    _added: list[Tensor]

    def add_weight(self, *args: Any, **kwargs: Any) -> Parameter:
        """A new parameter of this layer: `add_weight(shape=(), initializer="glorot_uniform", dtype=None,
        trainable=True, regularizer=None, constraint=None, name="variable")`; the name may come first.

        initializer: a name, an object, a function of shape and dtype. What is not given as regularizer or constraint is
        the attribute `<name>_regularizer` or `<name>_constraint`, where there is one.
        """
        if args and isinstance(args[0], str):
            kwargs["name"], args = args[0], args[1:]
        return self._add_weight(*args, **kwargs)

    def _add_weight(
        self, shape: tuple[int, ...] | None = (), initializer: Any = "glorot_uniform", dtype: Any = None,
        trainable: bool = True, autocast: bool = True, regularizer: Any = None, constraint: Any = None,
        aggregation: str = "none", layout: Any = None, overwrite_with_gradient: bool = False, name: str = "variable",
    ) -> Parameter:
        shape, initializer = shape or (), "glorot_uniform" if initializer is None else initializer
        name = name or "variable"
        dtype = DTYPES[self.dtype if dtype is None else dtype_name(dtype)]
        allowance.take(tuple(shape), name)
        values = initializers.get(initializer)(tuple(shape), dtype)
        regularizer = regularizers.get(regularizer) or getattr(self, f"{name}_regularizer", None)
        constraint = constraints.get(constraint) or getattr(self, f"{name}_constraint", None)
        weight = Parameter(self.device.array(values, dtype), name, trainable, self.device, regularizer, constraint)
        weight.path = f"{self.name}/{name}"
        weight.requires_grad = trainable and self.trainable
        self._weights.append(weight)
        return weight

    add_variable = add_weight

    def add_loss(self, loss: Any) -> None:
        """In `call`: a number, or several, that count in the loss of training."""
        for each in loss if isinstance(loss, list | tuple) else [loss]:
            self._added.append(each if isinstance(each, Tensor) else Tensor(self.device.asarray(each, self.dtype),
                                                                            device=self.device))

    @property
    def losses(self) -> list[Tensor]:
        """What this layer and those within add to the loss: by `add_loss` in their last call, and by the regularizers
        of their weights.
        """
        layers = list(self._walk())
        penalties = [w.regularizer(w) for layer in layers if layer.trainable for w in layer._own_weights()
                     if w.regularizer is not None and w.requires_grad]
        return [*(added for layer in layers for added in layer._added), *penalties]

    @property
    def dtype(self) -> str:
        return self._dtype

    @property
    def trainable(self) -> bool:
        """Whether training changes this layer. Setting it sets it for the layers within."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._walk():
            layer._trainable = bool(value)
            for weight in layer._own_weights():
                weight.requires_grad = weight.trainable and layer._trainable

    def named_weights(self) -> dict[str, Parameter]:
        """All weights under paths such as `conv2d_1/kernel`, numbered within each layer: the same in every process."""
        found: dict[str, Parameter] = {}
        self._collect_weights("", found, set())
        return found

    def _collect_weights(self, prefix: str, found: dict[str, Parameter], seen: set[int]) -> None:
        given: Counter[str] = Counter()
        for weight in self._own_weights():
            if id(weight) not in seen:
                seen.add(id(weight))
                found[prefix + names.numbered(weight.name or "variable", given)] = weight
        for layer in self._sublayers():
            if id(layer) not in seen:
                seen.add(id(layer))
                name = names.numbered(names.snake_case(type(layer).__name__), given)
                layer._collect_weights(f"{prefix}{name}/", found, seen)

    @property
    def weights(self) -> list[Parameter]:
        """All weights: a layer's trainable ones first, then its others, then those of the layers within."""
        return list(self.named_weights().values())

    @property
    def variables(self) -> list[Parameter]:
        """`weights` under Keras's other name; so are the two below."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Parameter]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Parameter]:
        return self.non_trainable_weights

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if w.requires_grad] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if not w.requires_grad] if self.trainable else self.weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Writes a list such as `get_weights` returns. Raises ValueError, changing nothing, where it does not fit."""
        mine, values = self.weights, [np.asarray(w) for w in weights]
        if [w.shape for w in mine] != [v.shape for v in values]:
            raise ValueError(
                f"{self.name!r} has {len(mine)} weights of shapes {[w.shape for w in mine]}. Received {len(values)} of "
                f"shapes {[v.shape for v in values]}." + ("" if self.built else " It is not built yet.")
            )
        for weight, value in zip(mine, values):
            weight.assign(value)

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        if not self.built:
            raise ValueError(f"{self.name!r} is not built, so its weights are not known. Call build(input_shape).")
        return sum(w.size for w in self.weights)

    def to(self, device: str) -> Any:
        """Moves all weights to `device`, in place. Returns the layer itself."""
        target = devices.get(device)
        for layer in self._walk():
            layer.device = target
            for weight in layer._own_weights():
                if weight.device is not target:
                    weight.data, weight.device = target.array(weight.numpy()), target
                    weight.grad = weight._grad_buffer = None
        return self

    def _own_weights(self) -> list[Parameter]:
        found = held(vars(self), Parameter)
        return [w for w in found if w.trainable] + [w for w in found if not w.trainable]

    def _sublayers(self) -> list[Any]:
        return held(vars(self), Weights)

    def _walk(self, seen: set[int] | None = None) -> Iterator[Any]:
        """This layer and all within, each once."""
        seen = set() if seen is None else seen
        seen.add(id(self))
        yield self
        for layer in self._sublayers():
            if id(layer) not in seen:
                yield from layer._walk(seen)
