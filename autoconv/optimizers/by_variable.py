"""An `update_step` as Keras's is, of a gradient, a variable and the learning rate: a user's own, and ours called so."""

from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Variable, restored
from .flat import FlatParameters


@cache
def is_by_variable(kind: type) -> bool:
    """Whether an optimizer's `update_step` is Keras's, of a gradient, a variable and the learning rate."""
    return len(signature(kind.update_step).parameters) == 4  # type: ignore[attr-defined]


def update_each(optimizer: Any, k: Any, flat: FlatParameters, missing: set[int]) -> None:
    """One step by an `update_step` of a user's own, parameter by parameter, but for those of the numbers `missing`."""
    with no_grad():
        for i, (parameter, view) in enumerate(zip(flat.parameters, flat.views)):
            if i not in missing:
                if optimizer.weight_decay and not optimizer._is_excluded(parameter):
                    k.decay(view.reshape(-1), optimizer._decay_factor())
                optimizer.update_step(Tensor(flat.gradients[i], device=flat.device), parameter, optimizer.learning_rate)


def by_variable_too(on_flat: Callable[..., None]) -> Callable[..., None]:
    """An `update_step` by kernels, which then takes Keras's arguments as well: gradient, variable, learning_rate."""

    @wraps(on_flat)
    def update_step(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) + len(kwargs) == 3:
            _update_one(self, on_flat, *args, **kwargs)
        else:
            on_flat(self, *args, **kwargs)

    return update_step


def _update_one(
    optimizer: Any, on_flat: Callable[..., None], gradient: Any, variable: Variable, learning_rate: Any,
) -> None:
    """By an `update_step` on flat arrays, of which it gets the part of one parameter."""
    whole = optimizer.flat
    if whole is None:
        raise ValueError("update_step() needs the optimizer's variables: call "
                         f"{type(optimizer).__name__}.build([...]) before.")
    i, device = next(i for i, one in enumerate(whole.parameters) if one is variable), whole.device
    values = gradient.data if isinstance(gradient, Tensor) else gradient
    part = SimpleNamespace(
        data=whole.views[i].reshape(-1), device=device,
        gradient=device.asarray(np.asarray(values) if not hasattr(values, "dtype") else values,
                                whole.dtype).reshape(-1))
    state, schedule = optimizer._state, optimizer._schedule
    with restored([optimizer._learning_rate]):
        try:
            optimizer._state = {slot: whole.split(array)[i].reshape(-1) for slot, array in state.items()}
            optimizer._schedule = None
            optimizer.learning_rate = float(learning_rate)
            on_flat(optimizer, device.kernels("update"), part, device.dynamic(optimizer._step_size), 1.0)
        finally:
            optimizer._state, optimizer._schedule = state, schedule
