"""The flat arrays of an optimizer: a model's weights, their gradients, and slots with values per weight."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Variable
from ..kernels import device as devices

_KERAS_SLOTS = {"accumulated": "gradient_accumulator"}  # Keras's names of slots, if they differ


class FlatParameters:
    """Makes the `.data` of parameters views of one flat array `data`; `gradient` has the same layout.

    Every view starts on a cache line. The gaps between views are zero and stay zero. Raises
    ValueError if the parameters differ in dtype or device.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) != 1:
            raise ValueError("The parameters of an optimizer must all have one dtype and be on one device. Received: "
                             f"{sorted(f'{dtype} on {device}' for dtype, device in kinds)}.")
        (self.dtype, self.device), = kinds
        step = devices.ALIGNMENT // self.dtype.itemsize
        self.starts, self.size = [], 0
        for p in self.parameters:
            self.starts.append(self.size)
            self.size += -(-p.size // step) * step
        self.data, self.gradient = self.zeros(), self.zeros()
        self.views, self.gradients = self.split(self.data), self.split(self.gradient)
        self.bind()

    def __reduce__(self) -> tuple:
        return FlatParameters, (self.parameters,)  # a copy lays out the copied parameters in its own flat array

    def zeros(self) -> Any:
        """Returns a flat array of zeros in this layout, as an optimizer's slot."""
        array = self.device.empty((self.size,), self.dtype)
        array[...] = 0
        return array

    def split(self, flat: Any) -> list[Any]:
        """Returns each parameter's part of a flat array, in the parameter's shape."""
        return [flat[start : start + p.size].reshape(p.shape) for start, p in zip(self.starts, self.parameters)]

    def bind(self) -> None:
        """Makes each parameter's array a view of its part of `data`, even if another optimizer has replaced it."""
        for p, view in zip(self.parameters, self.views):
            if p.data is not view:
                view[...] = p.data
                p.data = view

    def bind_gradients(self) -> None:
        """Makes the next backward pass write each parameter's gradient into its part of `gradient`."""
        for p, gradient in zip(self.parameters, self.gradients):
            p.grad, p._grad_buffer = None, gradient

    def release_gradients(self) -> None:
        """Detaches the gradients from the parameters, because the next step overwrites the arrays."""
        for p in self.parameters:
            p.grad = p._grad_buffer = None

    def collect(self, gradients: Sequence[Any]) -> None:
        """Copies gradients into their parts of `gradient`. The part of a missing gradient is set to zeros."""
        copy = self.device.kernels("arith").copy
        for p, gradient, part in zip(self.parameters, gradients, self.gradients, strict=True):
            if gradient is None:
                copy(0, part)
            elif gradient is not part:
                if gradient.shape != part.shape:
                    raise ValueError(f"The gradient of {p.name or 'a parameter'} must have the "
                                     f"parameter's shape {p.shape}. Received: {gradient.shape}.")
                copy(self.device.asarray(gradient), part)

    def constrain(self) -> None:
        """Applies the parameters' constraints to their values, with kernels."""
        copy = self.device.kernels("arith").copy
        for p, view in zip(self.parameters, self.views):
            if p.constraint is not None:
                with no_grad():
                    copy(p.constraint(Tensor(view, device=self.device)).data, view)


def check_gradients(gradients: Sequence[Any], parameters: Sequence[Tensor]) -> list[Any]:
    """Returns the gradients' arrays. Warns about parameters without a gradient. Raises ValueError if no
    parameter has a gradient, and for tensors that an optimizer cannot update.
    """
    if isinstance(parameters, Tensor):
        raise TypeError("apply() needs a list of gradients and a list of tensors. Received: one tensor. Call "
                        "apply([gradient], [tensor]).")
    if len(gradients) != len(parameters):
        raise ValueError(f"apply() needs one gradient for each of the {len(parameters)} parameters. "
                         f"Received: {len(gradients)} gradients.")
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"An optimizer updates only variables and tensors. Received: {type(p).__name__}. Create "
                            "the tensor with ac.tensor(values, requires_grad=True).")
        if not isinstance(p, Variable) and (not p.requires_grad or p._node is not None):
            kind = "a tensor with requires_grad=False" if p._node is None else "the result of an operation on tensors"
            raise ValueError("An optimizer updates only variables, and tensors that were created with "
                             f"ac.tensor(values, requires_grad=True). Received: {kind}, of shape {p.shape}.")
    missing = [i for i, gradient in enumerate(gradients) if gradient is None]
    if missing and len(missing) == len(gradients):
        raise ValueError("No gradients provided for any variable.")
    if missing:
        names = [parameters[i].name or i if i < len(parameters) else i for i in missing]
        warnings.warn(f"Gradients do not exist for variables {names}, which stay as they are. Is "
                      "each of them used in the loss?", stacklevel=4)
    return [gradient.data if isinstance(gradient, Tensor) else gradient for gradient in gradients]


class Slots:
    """An optimizer's flat arrays in addition to the weights, by slot name, in the layout of the
    weights. The slots of a weight that is temporarily excluded from training are kept unchanged.
    """

    def __init__(self) -> None:
        self.flat: FlatParameters | None = None
        self.arrays: dict[str, Any] = {}
        self.is_swapped = False  # whether averages and weights are exchanged
        self.weights: list[Tensor] = []  # all weights that the optimizer was built for, in their original order
        self._inactive_slots: dict[int, dict[str, np.ndarray]] = {}  # slots of excluded weights, by weight number

    def build(self, parameters: Sequence[Tensor], first_values: Mapping[str, float]) -> None:
        """Builds the flat arrays of the weights and creates the slots. Later calls may exclude some
        of the weights and include them again, also on another device. Raises ValueError for weights
        that the first call did not include.

        first_values: each slot's initial value, by slot name.
        """
        if self.flat is None:
            self.flat = FlatParameters(parameters)
            self.weights = list(parameters)
        elif not {id(p) for p in parameters} <= {id(p) for p in self.weights}:
            raise ValueError("This optimizer was built for other parameters. Layers were added, or their `trainable` "
                             f"was changed. Received: {len(parameters)} parameters, optimizer built for "
                             f"{len(self.weights)}. Create a new optimizer (for a model, call compile() again).")
        elif list(map(id, parameters)) != list(map(id, self.flat.parameters)):
            self._lay_out(parameters, first_values)
        elif self.flat.device is not parameters[0].device:
            self.flat = FlatParameters(parameters)
            self.arrays = {name: self.flat.device.array(values) for name, values in self.arrays.items()}
        else:
            self.flat.bind()
        self.make(first_values)

    def make(self, first_values: Mapping[str, float]) -> None:
        """Creates the slots that do not exist yet. A setting that was enabled later may need another slot."""
        for name, value in first_values.items():
            if name not in self.arrays:
                self.arrays[name] = self.flat.zeros()  # type: ignore[union-attr]
                for part in self.split(name) if value else ():
                    part[...] = value

    def split(self, name: str) -> list[Any]:
        """Returns each weight's part of a slot."""
        return self.flat.split(self.arrays[name])  # type: ignore[union-attr]

    def _lay_out(self, parameters: Sequence[Tensor], first_values: Mapping[str, float]) -> None:
        """Builds the flat arrays of these weights and their slots. Keeps copies of all other weights' slots."""
        slots = self.copy_slots()
        self.flat = FlatParameters(parameters)
        self.arrays = {}
        self.make(first_values)
        numbers = self.numbers()
        for name in self.arrays:
            for number, part in zip(numbers, self.split(name)):
                if name in slots[number]:
                    part[...] = self.flat.device.asarray(slots[number][name], part.dtype)
        self._inactive_slots = {n: slot for n, slot in slots.items() if n not in numbers}

    def numbers(self) -> list[int]:
        """Returns the indices in `weights` of the weights in the flat arrays."""
        numbers = {id(parameter): number for number, parameter in enumerate(self.weights)}
        return [numbers[id(parameter)] for parameter in self.flat.parameters]  # type: ignore[union-attr]

    def copy_slots(self) -> dict[int, dict[str, np.ndarray]]:
        """Copies the slots of all weights, including excluded weights, by weight number."""
        device = self.flat.device  # type: ignore[union-attr]
        parts = {name: self.split(name) for name in self.arrays}
        return self._inactive_slots | {number: {name: np.array(device.numpy(each[i])) for name, each in parts.items()}
                                       for i, number in enumerate(self.numbers())}

    def copy_state(self, parameters: Sequence[Tensor], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Copies the slots `names` of these weights. The key is "<slot>/<i>" with the index i in `parameters`."""
        numbers = {id(parameter): number for number, parameter in enumerate(self.weights)}
        slots = self.copy_slots()
        return {f"{name}/{i}": slots[numbers[id(parameter)]].get(name, np.zeros(parameter.shape, parameter.dtype))
                for i, parameter in enumerate(parameters) for name in names}

    def order(self, names: Sequence[str], late_slots: Sequence[str], count: int | None) -> list[tuple[str, int]]:
        """Returns pairs of slot name and weight number, in Keras's order of variables: first the
        averages and the gradient sums, then the other slots of one weight after the other, then the
        `late_slots`. count: the number of weights.
        """
        numbers = range(count or 0) if count is not None or self.flat is None else range(len(self.flat.parameters))
        weight_slots = [name for name in names if name not in ("average", "accumulated")]
        return [*((name, i) for name in ("average", "accumulated") if name in names for i in numbers),
                *((name, i) for i in numbers for name in weight_slots if name not in late_slots),
                *((name, i) for name in weight_slots if name in late_slots for i in numbers)]

    def variables(self, order: Sequence[tuple[str, int]], owner: str) -> dict[str, Variable]:
        """Returns a variable for each slot's part of each weight, keyed by "<slot>/<i>". The names are Keras's."""
        flat: Any = self.flat
        parts = {name: self.split(name) for name, _ in order}
        result = {}
        for name, i in order:
            weight = flat.parameters[i]
            path = f"{weight.path.replace('/', '_')}_{_KERAS_SLOTS.get(name, name)}"
            result[f"{name}/{i}"] = Variable.wrap(parts[name][i], path, owner, device=weight.device)
        return result

    @contextmanager
    def restrict_to(self, variable: Variable, gradient: Any) -> Iterator[SimpleNamespace]:
        """Reduces the slots to one weight's parts inside a `with` block. Yields an object
        with this weight's flat arrays `data` and `gradient` and the attributes that formulas use.
        """
        flat: Any = self.flat
        number = next(i for i, one in enumerate(flat.parameters) if one is variable)
        values = gradient.data if isinstance(gradient, Tensor) else gradient
        part = flat.device.asarray(values if hasattr(values, "dtype") else np.asarray(values), flat.dtype).reshape(-1)
        arrays = self.arrays
        self.arrays = {name: self.split(name)[number].reshape(-1) for name in arrays}
        try:
            data = flat.views[number].reshape(-1)
            yield SimpleNamespace(data=data, gradient=part, device=flat.device, starts=[0],
                                  parameters=[variable])
        finally:
            self.arrays = arrays

    # Averages of weights (slot `average`) and sums of gradients (slot `accumulated`).

    def keep_average(self, momentum: Any, overwrite: Any | None) -> None:
        """Updates the weights' moving average; if `overwrite` is 1, the weights become the average."""
        flat: Any = self.flat
        k = flat.device.kernels("update")
        k.moving_average(self.arrays["average"], flat.data, momentum)
        if overwrite is not None:
            k.adopt(flat.data, self.arrays["average"], overwrite)

    def adopt_average(self) -> None:
        """Sets the weights to their moving average."""
        flat: Any = self.flat
        if self.is_swapped:  # the weights already are the average, and the slot is no longer needed
            flat.device.kernels("arith").copy(flat.data, self.arrays["average"])
            self.is_swapped = False
        else:
            flat.device.kernels("update").adopt(flat.data, self.arrays["average"], 1.0)

    def swap_average(self) -> None:
        """Exchanges the weights and their moving average."""
        flat: Any = self.flat
        self.is_swapped = not self.is_swapped
        copy = flat.device.kernels("arith").copy
        average = self.arrays["average"]
        weights = flat.zeros()
        copy(flat.data, weights)
        copy(average, flat.data)
        copy(weights, average)

    def accumulate(self, count: int, is_last: bool) -> bool:
        """Adds the gradient to the sum of earlier gradients. If `is_last`, replaces the gradient by
        the mean of `count` gradients and resets the sum. Returns `is_last`.
        """
        flat: Any = self.flat
        k, total = flat.device.kernels("arith"), self.arrays["accumulated"]
        k.add(total, flat.gradient, total)
        if is_last:
            k.divide(total, total.dtype.type(count), flat.gradient)
            total[...] = 0
        return is_last
