"""`Variable` is a tensor that can be assigned new values. `Stateful` is an object that has such variables."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..arguments.modules import NoAttributeError
from ..arguments.serialization import Configurable, get_registry
from ..files import allowance
from ..kernels import device as devices
from .tensor import Tensor, enter_formula
from .versions import count_change


class Variable(Tensor):
    """A named tensor that can be assigned new values: a weight, an optimizer's slot or rate, a metric's sum, a
    generator's state. A variable is created by `Variable(3.0)` or `Variable("ones", shape=(2, 3))`.

    `initializer` contains the values, or is a function of shape and dtype, or that function's name. A function or name
    also needs `shape`. `dtype` is by default float32 for floats and initializers, int32 for signed integers. Integers
    are never trained. `numpy()` returns a copy. `version` is the number of the last change of the array, device or
    `requires_grad`; in-place writes of values do not count. `regularizer` computes the values' penalty in the loss.
    `constraint` is a function applied to the values after each step, or None. `path` is "owner/name". `learns` is true
    if the variable was created trainable; `trainable` is true if it is trained now, like `requires_grad`.
    """

    __slots__ = ("constraint", "learns", "name", "path", "regularizer", "version")

    def __init__(
        self, initializer: Any, shape: Any = None, dtype: Any = None, trainable: bool = True, autocast: bool = True,
        name: str | None = None, *, regularizer: Any = None, constraint: Any = None,
        device: devices.Device | None = None,
    ) -> None:
        name, device = name or "variable", device or devices.get("cpu")
        if isinstance(initializer, str) or callable(initializer):
            if shape is None:
                raise ValueError("When creating a Variable from an initializer, the `shape` argument should be "
                                 f"specified. Received: initializer={initializer} and shape={shape}")
            shape, dtype = _check_shape(shape, name), np.dtype(dtype or "float32")
            allowance.take(shape, name)
            initializer = get_registry("initializer").get(initializer)(shape, dtype)
        self._hold(device.array(_to_array(initializer, shape, dtype)), name, "", trainable, device)
        self.regularizer, self.constraint = regularizer, constraint

    @classmethod
    def wrap(cls, data: Any, name: str, owner: str = "", trainable: bool = False,
             device: devices.Device | None = None) -> "Variable":
        """Returns a variable over a device array without copying it, so that assigned values appear in both."""
        variable = cls.__new__(cls)
        variable._hold(data, name, owner, trainable, device)
        variable.regularizer = variable.constraint = None
        return variable

    def _hold(self, data: Any, name: str, owner: str, trainable: bool, device: devices.Device | None) -> None:
        self.learns = bool(trainable) and data.dtype.kind == "f"
        Tensor.__init__(self, data, self.learns, device)
        self.name, self.path = name, f"{owner}/{name}" if owner else name

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name not in ("grad", "_grad_buffer"):  # every step sets these attributes, so they do not change `version`
            super().__setattr__("version", count_change())

    @property
    def trainable(self) -> bool:
        """Whether training currently changes the variable."""
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.requires_grad = bool(value)

    @property
    def value(self) -> Tensor:
        """The current values, detached from the tape. `value.grad` is the variable's gradient."""
        with enter_formula(None):
            copy = Tensor(self.device.array(self.numpy()), device=self.device)
        copy.grad = self.grad
        return copy

    def numpy(self) -> np.ndarray:
        return super().numpy().copy()

    def assign(self, value: Any) -> "Variable":
        """Writes `value`, without its gradient, in place. Returns the variable. Raises ValueError for another shape."""
        with enter_formula(None):
            value = devices.real_numbers(devices.detach(value))
        if value.shape != self.shape:
            raise ValueError(f"{self.name} has shape {self.shape}. Received a value of shape {value.shape}.")
        self.data[...] = value
        return self

    def assign_add(self, value: Any) -> "Variable":
        """Adds `value`, whose shape may broadcast, in place. Returns the variable."""
        return self.assign(self.device.numpy(self.data) + np.asarray(devices.detach(value), self.dtype))

    def assign_sub(self, value: Any) -> "Variable":
        """Subtracts `value`, whose shape may broadcast, in place. Returns the variable."""
        return self.assign(self.device.numpy(self.data) - np.asarray(devices.detach(value), self.dtype))


Parameter = Variable  # PyTorch's name


def _check_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Returns a shape as a tuple of integers. Raises ValueError if one of its sizes is unknown."""
    if not isinstance(shape, list | tuple):
        raise ValueError(f"Cannot convert {shape!r} to a shape. Pass a tuple such as ({shape!r},).")
    if None in shape:
        raise ValueError("Shapes used to initialize variables must be fully-defined (no `None` "
                         f"dimensions). Received: shape={tuple(shape)} for variable {name!r}.")
    return tuple(int(n) for n in shape)


def _to_array(values: Any, shape: Any, dtype: Any) -> np.ndarray:
    """Converts values to an array, by default floats to float32, signed integers to int32."""
    array = np.asarray(devices.real_numbers(devices.detach(values)))
    if dtype is None:
        dtype = {"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype)
    array = array.astype(dtype)
    if shape is not None and tuple(shape) != array.shape:
        raise ValueError("The value must have the given shape. Received: a value of shape "
                         f"{array.shape} and shape={tuple(shape)}.")
    return array


@contextmanager
def preserve_values(variables: Iterable[Variable]) -> Iterator[None]:
    """Restores the variables' current values after the `with` block."""
    old_values = [(variable, variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, values in old_values:
            if not np.array_equal(variable.numpy(), values, equal_nan=values.dtype.kind == "f"):
                variable.assign(values)


class Stateful(Configurable):
    """An object with variables, whose values can be read, written, and replaced in a `with` block."""

    name: str

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> NoReturn:
            raise NoAttributeError(self, name)

    @property
    def variables(self) -> list[Variable]:
        """All variables whose values change while the object is used."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """Returns copies of the values of `variables`, keyed by their index, for `set_state`."""
        return {str(i): variable.numpy() for i, variable in enumerate(self.variables)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Assigns to the variables the values that `get_state` returned."""
        for i, variable in enumerate(self.variables):
            variable.assign(state[str(i)])

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Writes the values of this object's own variables into the dict `store`, with the keys "0", "1" and so on."""
        store.update({str(i): variable.numpy() for i, variable in enumerate(self._own_variables())})

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Assigns the values that `save_own_variables` wrote. Raises ValueError if the number of variables differs."""
        variables = self._own_variables()
        if len(store) != len(variables):
            kind = type(self).__name__
            remedy = "" if variables else f" The {kind} was never built, so it has no variables. Build it first."
            raise ValueError(f"{kind} {self.name!r} expected {len(variables)} variables, but received {len(store)} "
                             f"variables during loading. Expected: {[v.name for v in variables]}.{remedy}")
        for i, variable in enumerate(variables):
            variable.assign(store[str(i)])

    def _own_variables(self) -> list[Variable]:
        """Returns `variables` without the variables of nested objects, which save themselves."""
        return self.variables

    @contextmanager
    def holding(self, **changes: tuple[Sequence[Variable], Sequence[Any]]) -> Iterator[None]:
        """Replaces the values of variables inside a `with` block. Afterwards restores the previous
        values and this object's state.

        `changes` maps the name of an argument to variables and their new values. Raises ValueError
        if there are not as many values as variables.
        """
        for argument, (variables, values) in changes.items():
            if len(variables) != len(values):
                raise ValueError(f"Argument `{argument}` must be a list of tensors corresponding 1:1 "
                                 f"to the variables of {type(self).__name__}(). Received list with "
                                 f"length {len(values)}, but expected {len(variables)} variables.")
        pairs = [pair for variables, values in changes.values() for pair in zip(variables, values)]
        state = self.get_state()
        with preserve_values([variable for variable, _ in pairs]):
            try:
                for variable, value in pairs:
                    variable.assign(value)
                yield
            finally:
                self.set_state(state)
