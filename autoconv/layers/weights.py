"""The weights of a layer, and of those within it: made, named, read, written, moved."""

from collections import Counter
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import numpy as np

from .. import constraints, regularizers
from ..arguments import names
from ..backend import device as devices
from ..metrics import Metric
from ..random import SeedGenerator
from ..tensor import Tensor, within_formula
from ..variable import Parameter, Variable
from .parts import held

EXTRAS: dict[str, Callable] = {"regularizer": regularizers.get, "constraint": constraints.get}


class Weights:
    """What a layer can do with its weights, and what it adds to the loss because of them."""

    name: str
    built: bool
    device: Any
    path: str | None
    dtype: str
    _trainable: bool
    _weights: list[Parameter]
    _added: list[Tensor]

    def add_weight(self, *args: Any, **kwargs: Any) -> Parameter:
        """A new parameter of this layer: `add_weight(shape=None, initializer=None, dtype=None,
        trainable=True, regularizer=None, constraint=None, name=None)`; the name may come first.

        initializer: a name, an object, a function of shape and dtype, values; glorot_uniform by default. What is not
        given as regularizer or constraint is the attribute `<name>_regularizer` or `<name>_constraint`, where there is
        one.
        """
        if args and isinstance(args[0], str):
            kwargs["name"], args = args[0], args[1:]
        return self._add_weight(*args, **kwargs)

    def _add_weight(
        self, shape: tuple[int, ...] | None = None, initializer: Any = None, dtype: Any = None,
        trainable: bool = True, autocast: bool = True, regularizer: Any = None, constraint: Any = None,
        aggregation: str = "none", layout: Any = None, overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Parameter:
        self._refuse_new_state()
        name = name or "variable"
        if initializer is None:
            initializer = "zeros" if np.dtype(dtype or self.dtype).kind in "bui" else "glorot_uniform"
        weight = Variable(
            initializer, () if shape is None else shape, dtype or self.dtype, trainable, autocast, name=name,
            regularizer=regularizers.get(regularizer) or getattr(self, f"{name}_regularizer", None),
            constraint=constraints.get(constraint) or getattr(self, f"{name}_constraint", None), device=self.device)
        weight.path = f"{self.path or self.name}/{name}"
        weight.trainable = weight.learns and self.trainable
        self._weights.append(weight)
        return weight

    def _refuse_new_state(self) -> None:
        """Raises ValueError where the layer was built: what it holds is known by then."""

    add_weight.__signature__ = signature(_add_weight)  # type: ignore[attr-defined]
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
        with within_formula("a regularizer"):
            penalties = [w.regularizer(w) for layer in layers if layer.trainable for w in layer._own_weights()
                         if w.regularizer is not None and w.requires_grad]
        return [*(added for layer in layers for added in layer._added), *penalties]

    @property
    def trainable(self) -> bool:
        """Whether training changes this layer. Setting it sets it for the layers within."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, bool | int | np.bool_):
            raise ValueError(f"Expected `trainable` to be a boolean. Received: trainable={value!r}.")
        for layer in self._walk():
            layer._trainable = bool(value)
            for weight in layer._own_weights():
                weight.trainable = weight.learns and layer._trainable

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
        """`weights`, and what else changes: where the generators of random numbers stand, and what metrics count."""
        return [*self.weights, *self._states()]

    @property
    def trainable_variables(self) -> list[Parameter]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Parameter]:
        return [*self.non_trainable_weights, *self._states()]

    def _states(self) -> list[Parameter]:
        """Variables that are no weights."""
        layers = list(self._walk())
        generators = {id(each): each for layer in layers for each in layer._generators()}
        return [*(each.state for each in generators.values()),
                *(variable for metric in self._held_metrics() for variable in metric.variables)]

    def _held_metrics(self) -> list[Metric]:
        """The metrics in this layer's attributes, and in those of the layers within."""
        return list({id(each): each for layer in self._walk() for each in held(vars(layer), Metric)}.values())

    def _generators(self) -> list[SeedGenerator]:
        """The generators of random numbers in its attributes."""
        return held(vars(self), SeedGenerator)

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if w.requires_grad] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        return [w for w in self.weights if not w.requires_grad] if self.trainable else self.weights

    def zero_grad(self) -> None:
        """Forgets the gradients of all weights, so that the next `backward` does not add to them."""
        for weight in self.weights:
            weight.grad = None

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Writes a list such as `get_weights` returns. Raises ValueError, changing nothing, where it does not fit."""
        mine, values = self.weights, [np.asarray(devices.without_gradient(w)) for w in weights]
        if [w.shape for w in mine] != [v.shape for v in values]:
            raise ValueError(
                f"You called `set_weights` with what does not fit: {self.name!r} has {len(mine)} weights of shapes "
                f"{[w.shape for w in mine]}. Received {len(values)} of shapes {[v.shape for v in values]}."
                + ("" if self.built else " It is not built yet.")
            )
        for weight, value in zip(mine, values):
            weight.assign(value)

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        if not self.built:
            raise ValueError(f"You tried to call `count_params` on layer {self.name!r}, but the layer isn't built. "
                             "What is not built has no weights yet: call build(input_shape).")
        return sum(w.size for w in self.weights)

    def to(self, device: str) -> Any:
        """Moves all weights to `device`, in place. Returns the layer itself."""
        target = devices.get(device)
        for layer in self._walk():
            layer.device = target
            for weight in layer._own_weights():
                if weight.device is not target:
                    weight.data, weight.device = target.array(weight.data), target
                    weight.grad = weight._grad_buffer = None
        return self

    def _own_weights(self) -> list[Parameter]:
        found = held(vars(self), Parameter)
        return [w for w in found if w.learns] + [w for w in found if not w.learns]

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
