"""`Tensor` is an array that records how it was computed. `apply` runs an op on tensors."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from numbers import Real
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments.modules import NoAttributeError
from ..arguments.serialization import add_plain
from ..kernels import device as devices
from ..kernels import trace
from ..operators import arith, elementwise, select
from ..operators.registry import Op
from . import array_functions
from .array_functions import FUNCTIONS, ArrayMethods, broadcasting, comparison
from .symbolic import call_symbolic, is_symbolic
from .tape import TapeNode, check_recording, current_part, select_paths, walk_back

_recording: ContextVar[bool] = ContextVar("recording", default=True)
inside_layer: ContextVar[str | None] = ContextVar("inside_layer", default=None)  # the name of the running layer
_inside_formula: ContextVar[str | None] = ContextVar("inside_formula", default=None)


@contextmanager
def _set_context(variable: ContextVar, value: object) -> Iterator[None]:
    """Sets a context variable inside the `with` block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad() -> AbstractContextManager[None]:
    """Returns a context in which no op is recorded, so that results do not require gradients."""
    return _set_context(_recording, False)


def enter_formula(name: str | None) -> AbstractContextManager[None]:
    """Returns a context for the formula of `name` (such as "loss 'mse'"). In this context, as in a
    layer, NumPy's functions on tensors call autoconv's, and losing a gradient is an error. If
    `name` is None, the context allows the code to read values again.
    """
    return _set_context(_inside_formula, name)


def _surroundings() -> str | None:
    """Returns the name of the running layer, else of the running formula, for error messages."""
    layer = inside_layer.get()
    return _inside_formula.get() if layer is None else f"layer {layer!r}"


def _is_metric_updated() -> bool:
    """Whether the caller runs inside a metric's `update_state`, which adds nothing to a loss."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "update_state":
        frame = frame.f_back
    return frame is not None


class Tensor(ArrayMethods):
    """An array on a device that records how it was computed.

    `data` is the array. `grad` is the gradient's array after `backward()`, or None. `requires_grad` is true
    if a gradient is computed. `logits` is the input of the softmax or sigmoid that returned this tensor,
    else None; `activation` is that function's name. The matching cross-entropy computes from the logits.
    """

    __slots__ = ("__weakref__", "_grad_buffer", "_keras_mask", "_node", "activation", "data", "device", "grad",
                 "logits", "requires_grad")
    _functions = FUNCTIONS
    __hash__ = object.__hash__  # hashes by identity, although == compares elements
    # An optimizer reads these attributes of the tensors that it updates. Each variable has its own.
    name = ""
    path = "tensor"
    constraint: Any = None

    def __init__(self, data: Any, requires_grad: bool = False, device: devices.Device | None = None) -> None:
        try:
            kind = data.dtype.kind
        except AttributeError:
            raise TypeError(f"Tensor(data) requires an array. Received: {data!r}. Use autoconv.tensor(data), which "
                            "also converts numbers and lists.") from None
        if kind == "c":
            devices.real_numbers(data)  # raises the error for complex numbers
        self.data, self.requires_grad, self.device = data, requires_grad, device or devices.get("cpu")
        self.grad: Any = None
        self._node: TapeNode | None = None
        self._grad_buffer: Any = None
        self.logits: Tensor | None = None
        self.activation: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def T(self) -> "Tensor":  # noqa: N802 (NumPy's name)
        return self.transpose()

    if not TYPE_CHECKING:  # mypy still reports unknown attributes
        def __getattr__(self, name: str) -> Any:
            if name == "data" and self._node is not None and (array := self._node.find_array(self)) is not None:
                return array
            raise NoAttributeError(self, name)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        items = np.array2string(self._values(None), separator=", ", prefix="Tensor(")
        return f"Tensor({items}, dtype={self.dtype}{grad})"

    def __format__(self, format_spec: str) -> str:
        """Formats a tensor with one element, as in `f"{tensor:.2f}"`."""
        return format(self._values(None).item(), format_spec) if format_spec else str(self)

    def numpy(self) -> np.ndarray:
        """Returns a NumPy array. Raises TypeError if a layer or a loss would lose a gradient."""
        self._refuse_loss(".numpy()")
        return self.device.numpy(self.data)

    def _refuse_loss(self, operation: str) -> None:
        """Raises TypeError in a layer or loss, but not in a metric, if gradients would be lost."""
        is_passed = self._node is not None and self._node.backward is None
        surroundings = _surroundings() if self.requires_grad and _recording.get() and not is_passed else None
        if surroundings is not None and not _is_metric_updated():
            raise array_functions.lost_gradient_error(operation, f" in {surroundings}")

    def _values(self, function: str | None) -> np.ndarray:
        """Returns the values for NumPy's `function`, which is None if no gradient can be lost."""
        if function is None:
            return self.device.numpy(self.data)
        self._refuse_loss(function)
        return self.numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._values("np.asarray")  # if `copy` is None, copied only if the dtype requires it
        return np.asarray(array, dtype) if copy is None else np.array(array, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Handles `np.tanh(tensor)`. Inside a layer or a loss, calls autoconv's function if there is
        one, else NumPy's on the values. Operators such as `array * tensor` always return tensors.
        """
        array_first = ufunc in array_functions.OPERATORS and not isinstance(inputs[0], Tensor)
        if method == "__call__" and (array_first or _surroundings() is not None):
            in_place = options.keys() == {"out"} and options["out"][0] is inputs[0]  # array += tensor
            counterpart = array_functions.look_up(ufunc, inputs, {} if in_place else options)
            if counterpart is not None:
                y = counterpart(*inputs)
                if in_place:
                    np.copyto(inputs[0], y.device.numpy(y.data), casting="same_kind")
                return y
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return array_functions.run_by_numpy(function, inputs, options, Tensor, Tensor._values)

    def __array_function__(self, function: Any, types: Any, arguments: tuple, options: dict[str, Any]) -> Any:
        """Handles `np.concatenate([tensor, ...])`: calls autoconv's function inside a layer or loss, else NumPy's."""
        counterpart = _surroundings() and array_functions.look_up(function, arguments, options)
        if counterpart:
            return counterpart(*arguments, **options)
        return array_functions.run_by_numpy(function, arguments, options, Tensor, Tensor._values)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The interface by which other packages read a GPU tensor without a copy. CPU tensors do not have it."""
        return self.data.__cuda_array_interface__

    def __dlpack__(self, **options: Any) -> Any:
        """Exports this tensor without a copy, for example to `torch.from_dlpack(tensor)`."""
        self._refuse_loss("DLPack")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Returns the tensor's device in DLPack's numbering."""
        return self.data.__dlpack_device__()

    def item(self) -> float:
        """Returns the only element of the tensor as a Python number."""
        return self._values(".item()").item()

    def tolist(self) -> Any:
        """Returns the values as nested lists of Python numbers."""
        return self._values(".tolist()").tolist()

    def __float__(self) -> float:
        return float(self._values("float()").item())

    def __int__(self) -> int:
        return int(self._values("int()").item())

    def __bool__(self) -> bool:
        """Whether the only element is not 0. Raises ValueError unless the tensor has exactly one element."""
        if self.size != 1:
            raise ValueError("Only a tensor with exactly one element can be used as true or "
                             f"false. Received shape {self.shape}.")
        return bool(self.device.numpy(self.data).item())

    def to(self, device: str) -> "Tensor":
        """Returns this tensor on `device`, or this tensor itself if it is already there."""
        target = devices.get(device)
        if target is self.device:
            return self
        if self._node is not None and _recording.get():
            raise array_functions.lost_gradient_error(f".to({device!r})")
        self._refuse_loss(f".to({device!r})")
        return Tensor(target.asarray(self.data), self.requires_grad, target)

    def backward(self, gradient: Any = None, create_graph: bool = False,
                 inputs: "Tensor | Sequence[Tensor] | None" = None) -> None:
        """Computes this tensor's gradients with respect to `inputs`, by default all leaves that
        require gradients. Adds each to the tensor's `.grad`, and frees the tape that it walks.

        Gradients add up: clear each `.grad` before the next pass, with `zero_grad()` of a layer or
        optimizer. `gradient`, of this tensor's shape, is needed unless the tensor has one element.
        With create_graph, the tape is kept, and each `.grad` is a tensor that has gradients in turn.
        Raises RuntimeError if no gradients are required or the tape was freed, ValueError for wrong
        inputs, NotImplementedError for an op that create_graph lacks.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() needs a tensor that requires gradients. None of the tensors that it was "
                               "computed from has requires_grad=True, or it was computed under no_grad().")
        if gradient is None:
            if self.size != 1:
                raise RuntimeError("backward() without a gradient needs a tensor with one element. Received shape "
                                   f"{self.shape}. Sum the tensor, or pass a gradient of this shape.")
            gradient = np.ones(self.shape, self.dtype)
        if not isinstance(gradient, Tensor):
            gradient = Tensor(self.device.asarray(gradient, self.dtype), device=self.device)
        if gradient.shape != self.shape:
            raise ValueError(f"The gradient must have shape {self.shape}. Received: one of shape {gradient.shape}.")
        with select_paths(self, inputs) as only:
            if create_graph:
                from . import higher  # here, because it imports this module

                higher.walk_back(self, gradient, only)
            else:
                walk_back([(self, self.device.asarray(gradient.data))], only=only)

    def retain_grad(self) -> None:
        """Makes the next `backward()` also store the gradient of this tensor, the result of an op, in `.grad`.

        The matching crossentropy is computed from `logits`, so it gives the result of a softmax or sigmoid no gradient.
        Raises RuntimeError if the tensor requires no gradients.
        """
        if not self.requires_grad:
            raise RuntimeError("retain_grad() needs a tensor that requires gradients. Received: requires_grad=False. "
                               "Pass requires_grad=True to ac.tensor(), and compute the tensor outside no_grad().")
        if self._node is not None:
            self._node.retains_grad = True

    __eq__ = comparison("equal")  # type: ignore[assignment]
    __ne__ = comparison("not_equal")  # type: ignore[assignment]

    def operand(self, value: Any) -> "Tensor":
        """Converts an operand to a tensor: numbers and lists to this tensor's dtype if possible."""
        value = stack_all(value)
        if isinstance(value, Tensor):
            return value
        dtype = None
        if isinstance(value, np.ndarray):
            pass
        elif self.dtype.kind == "f" or np.asarray(value).dtype.kind == "f":
            dtype = self.dtype if self.dtype.kind == "f" else np.float32
        elif type(value) is int and self.dtype.kind in "iu":
            dtype = np.result_type(self.dtype, np.min_scalar_type(value))
        if isinstance(value, Real):  # a Python number is constant in all replays of a recording
            return Tensor(self.device.constant(np.asarray(value, dtype)), device=self.device)
        return Tensor(self.device.asarray(value, dtype), device=self.device)


def tensor(array: Any, requires_grad: bool = False, device: str = "cpu", dtype: Any = None) -> Tensor:
    """Copies a NumPy array, another package's array, or lists to a tensor. Float arrays keep their
    dtype; Python floats become float32.

    Raises TypeError if `requires_grad` is true for integers.
    """
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
        array = from_dlpack(array)
    target, array = devices.get(device), stack_all(array)
    if isinstance(array, Tensor):
        if needs_gradients(array):
            raise array_functions.lost_gradient_error("ac.tensor()")
        array = array.data
    has_dtype = isinstance(array, (np.ndarray, np.generic)) or hasattr(array, "__cuda_array_interface__")
    if dtype is None and not has_dtype and devices.real_numbers(array).dtype.kind == "f":
        dtype = np.float32
    values = target.array(array, dtype)
    if requires_grad and values.dtype.kind != "f":
        raise TypeError("Only floating-point tensors have gradients. Received: dtype "
                        f"{values.dtype}. Pass dtype='float32'.")
    return Tensor(values, requires_grad, target)


def from_dlpack(array: Any) -> Tensor:
    """Returns a tensor that shares the memory of another package's array through DLPack, so that each sees
    the other's writes. Memory that has gaps, is in another order or is read-only is copied.

    Raises TypeError for objects without `__dlpack__`, and DeviceError for unsupported devices.
    """
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise TypeError("from_dlpack needs an array with the methods __dlpack__ and __dlpack_device__. Received: "
                        f"{type(array).__name__}. Use tensor() instead.")
    device = devices.find_dlpack_device(array)
    return Tensor(device.from_dlpack(array), device=device)


def stack_all(value: Any) -> Any:
    """Stacks a list of tensors, nested at any depth, into one tensor with gradients. Returns other
    values unchanged. Raises ValueError if the shapes of the list's items differ.
    """
    if not isinstance(value, list | tuple):
        return value
    items = [stack_all(item) for item in value]
    first = next((item for item in items if isinstance(item, Tensor)), None)
    if first is None:
        return value
    items = [first.operand(item) for item in items]
    if len({item.shape for item in items}) > 1:
        raise ValueError("The tensors of a list can form one tensor only if they have the same "
                         f"shape. Received shapes: {[item.shape for item in items]}.")
    return apply(arith.concatenate, *(item.reshape(1, *item.shape) for item in items), axis=0)


def refuse_gradient(function: str, **arguments: Any) -> None:
    """Raises TypeError if one of these arguments requires a gradient that the function does not compute."""
    for name, value in arguments.items():
        value = stack_all(value)
        if isinstance(value, Tensor) and needs_gradients(value):
            raise TypeError(f"{function} has no gradient for {name}. Received a tensor that "
                            f"requires gradients. Pass {name}.detach().")


def needs_gradients(*inputs: Tensor | None) -> bool:
    """Whether an op on these tensors must be recorded on the tape."""
    return _recording.get() and any(t is not None and t.requires_grad for t in inputs)


def apply(op: Op, *inputs: Tensor | None, **parameters: Any) -> Tensor:
    """Runs `op` on tensors, and records it on the tape if one of them requires gradients."""
    device: Any = None
    for t in inputs:
        if t is not None and t.device is not (device := device or t.device):
            raise devices.DeviceError(f"{op.name} needs all its tensors on one device. Received: tensors on {device} "
                                      f"and {t.device}. Move one of them with .to({device.name!r}).")
    for name, value in parameters.items():
        if isinstance(value, Tensor):
            refuse_gradient(op.name, **{name: value})
    arrays = [None if t is None else t.data for t in inputs]
    gradients = not op.flat and needs_gradients(*inputs)
    earlier_calls = trace.count_calls()
    k = op.prepared_kernels(device, arrays, parameters, gradients)
    if gradients or op.inference is None:
        y, backward = op.fn(k, *arrays, **parameters)
    else:
        y = op.inference(k, *arrays, **parameters)
    check_recording(op.name, earlier_calls, arrays, [y])
    out = Tensor(y, gradients, device)
    if gradients:
        ends_in_relu = op.masks and parameters.get("activation") == "relu"
        out._node = TapeNode(op, inputs, backward, parameters, ends_in_relu)
        if (part := current_part.get()) is not None:
            part.add(out, out._node)
    return out


def record_nodes(namespace: dict[str, Any], functions: list[str], kind: str = "functional") -> None:
    """Replaces functions of a module of `functional` or `ops` (the `kind`) by functions that add a
    node when they are called on symbolic tensors. Adds the new functions to `FUNCTIONS`.
    """

    def wrap(function: Callable) -> Callable:
        name = f"{kind}.{function.__name__}"

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if any(map(is_symbolic, args)) or (kwargs and any(map(is_symbolic, kwargs.values()))):
                return call_symbolic(name, *args, **kwargs)
            return function(*args, **kwargs)

        wrapper.recordable = True  # type: ignore[attr-defined]  # runs only ops, so a step that calls it is recorded
        FUNCTIONS[name] = wrapper
        return wrapper

    namespace.update((name, wrap(namespace[name])) for name in functions)


def pair(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Converts two operands, one of them a tensor, to tensors on its device. Numbers are converted to its dtype."""
    if isinstance(x1, Tensor):
        return x1, x2 if isinstance(x2, Tensor) else x1.operand(x2)
    return x2.operand(x1), x2


def _make_binary(op: Op) -> Callable[[Any, Any], Tensor]:
    """Returns a function that applies an op to two operands."""
    return lambda x1, x2: apply(op, *pair(x1, x2))


def _unpack(arguments: tuple) -> tuple:
    """Returns the arguments of `f(2, 3)` and of `f((2, 3))` as the same tuple."""
    is_packed = len(arguments) == 1 and isinstance(arguments[0], Sequence)
    return tuple(arguments[0]) if is_packed else arguments


FUNCTIONS.update({
    **{name: broadcasting(_make_binary(op)) for name, op in {
        "add": arith.add, "subtract": arith.subtract, "multiply": arith.multiply, "true_divide": arith.divide,
        "mod": elementwise.mod, "floor_divide": elementwise.floor_divide, "bitwise_and": elementwise.bitwise_and,
        "bitwise_or": elementwise.bitwise_or, "bitwise_xor": elementwise.bitwise_xor, "equal": select.equal,
        "not_equal": select.not_equal, "less": select.less, "less_equal": select.less_equal}.items()},
    "greater": broadcasting(lambda x1, x2: FUNCTIONS["less"](x2, x1)),
    "greater_equal": broadcasting(lambda x1, x2: FUNCTIONS["less_equal"](x2, x1)),
    "power": broadcasting(lambda x1, x2: apply(arith.power, x1, exponent=x2) if isinstance(x2, Real)
                          else apply(elementwise.tensor_power, *pair(x1, x2))),
    "matmul": _make_binary(arith.matmul),
    **{name: partial(apply, op) for name, op in {
        "negative": arith.negative, "absolute": select.abs, "exp": arith.exp, "log": arith.log, "sqrt": arith.sqrt,
        "sum": arith.sum, "mean": arith.mean, "max": arith.max, "argmax": select.argmax}.items()},
    "bitwise_not": lambda x: x == False if x.dtype.kind == "b" else x ^ np.asarray(-1).astype(x.dtype)[()],  # noqa: E712
    "get_item": lambda x, index: apply(arith.getitem, x, index=tuple(
        part.data if isinstance(part, Tensor) else part
        for part in (index if isinstance(index, tuple) else (index,)))),
    "reshape": lambda x, *shape: apply(arith.reshape, x, shape=_unpack(shape)),
    "transpose": lambda x, *axes: apply(arith.transpose, x, axes=_unpack(axes) or None),
    "clip": lambda x, x_min=None, x_max=None: apply(select.clip, x, x_min=x_min, x_max=x_max),
    "detach": lambda x: Tensor(x.data, device=x.device),
})
add_plain(Tensor, "__tensor__", lambda value: {"value": value.numpy().tolist(), "dtype": value.dtype.name},
          lambda config: tensor(config["value"], dtype=config["dtype"]))
