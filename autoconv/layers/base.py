"""`Layer`: a function with weights, and all that every layer can do, ours and yours."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from inspect import Parameter as Argument
from inspect import signature
from itertools import product
from typing import Any, ClassVar

import numpy as np

from .. import regularizers, symbolic
from ..arguments import names
from ..arguments.keywords import unknown
from ..arguments.modules import NoAttributeError
from ..backend import device as devices
from ..backend import trace
from ..symbolic import Node, Shape, SymbolicTensor, is_shape, is_symbolic, map_shapes, map_structure
from ..tensor import Parameter, Tensor, inside_layer, no_grad
from ..versions import Versioned
from .arguments import arguments_now, remembers
from .config import CLASSES, deserialize, serialize
from .parts import DTYPES, automatic_name, dtype_name
from .weights import EXTRAS, Weights

in_training: ContextVar[bool] = ContextVar("training", default=False)


class Layer(Weights, Versioned):
    """A function with weights. Your own: make the weights in `build`, compute in `call`.

        class Scale(layers.Layer):
            def build(self, input_shape):
                self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
            def call(self, x, training=False):
                return x * self.scale

    Layers held in attributes (also in lists and dicts) are part of the layer. `trainable=False` freezes it. `dtype` is
    "float32" or "float64". `input_shape` (without the batch) on a model's first layer says what the model takes.
    A layer called on symbolic tensors (`layers.Input`) adds a node to the graph and computes nothing. One of several
    inputs takes them as a list or a dict; `build` and `compute_output_shape` then get the shapes in that form.
    """

    recordable = False  # whether `call` is functions of `functional`, and nothing that differs from call to call
    rank: int | None = None  # how many dimensions it takes, where only one number will do
    one_input: ClassVar[bool] = False  # whether it takes one tensor, never a list of them
    unsupported: ClassVar[dict[str, Any]] = {}  # Keras's arguments that are accepted with this value only
    unwatched = frozenset({"_arguments", "_added", "_build_shape", "_fixed", "_made", "_nodes", "_weights"})
    regularized: ClassVar[tuple[str, ...]] = ()  # the weights that take a `..._regularizer` and a `..._constraint`
    _arguments: tuple[tuple, dict[str, Any]]  # what the constructor got
    _made: dict[str, Any]  # what the constructor made of them
    _fixed: dict[str, Any]  # arguments that are accepted with this value only
    _nodes: list[Node]  # its calls on symbolic tensors

    def __new__(cls, *args: Any, **kwargs: Any) -> "Layer":
        layer = super().__new__(cls)
        layer._fixed = {}
        layer._arguments, layer._made = (args, kwargs), {}  # for get_config
        layer._nodes = []
        return layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = remembers(cls.__init__)  # type: ignore[method-assign]
        if "build" in vars(cls):
            cls.build = _marks_as_built(cls.build)  # type: ignore[method-assign]
        if cls.__module__.startswith("autoconv."):
            CLASSES[cls.__name__] = cls

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: Any = None,
        input_shape: Shape | None = None, input_dim: int | None = None, activity_regularizer: Any = None, **others: Any,
    ) -> None:
        for argument in self.extras():
            setattr(self, argument, EXTRAS[argument.rsplit("_", 1)[1]](others.pop(argument, None)))
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._refuse(others)
        self._added: list[Tensor] = []  # what the last call added to the loss
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"name must be a string without '/'. Received: {name!r}.")
        self.name = name or automatic_name(names.snake_case(type(self).__name__))
        self._dtype = dtype_name(dtype)
        self._trainable = bool(trainable)
        self._weights: list[Parameter] = []
        self.device = devices.get("cpu")
        self.built = False
        self._build_shape: Any = None  # what it was built for
        self.channels: int | None = None  # the size of the last axis it was built for, where it must stay the same
        given = (input_dim,) if input_dim is not None else input_shape
        self.given_input_shape: Shape | None = None if given is None else (None, *given)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute. A weight that takes another's place takes its place among the weights, too; an argument
        of Keras's that is accepted with its default only is refused here as in the constructor.
        """
        if name in self.unsupported or name in vars(self).get("_fixed", ()):
            self._keras_default(name, value, {**self.unsupported, **self._fixed}[name])
        old = vars(self).get(name)
        super().__setattr__(name, value)
        if isinstance(old, Parameter) and value is not old:
            self._replace_weight(old, value)

    def _replace_weight(self, old: Parameter, new: Any) -> None:
        if isinstance(new, Parameter) and not new.name:
            new.name = old.name
        where = next((i for i, weight in enumerate(self._weights) if weight is old), None)
        if where is None or any(value is old for value in vars(self).values()):
            return
        known = any(weight is new for weight in self._weights)
        self._weights[where : where + 1] = [new] if isinstance(new, Parameter) and not known else []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def __getattr__(self, name: str) -> Any:
        if name in ("input", "output") and "built" in vars(self):
            raise AttributeError(f"The layer {self.name!r} has never been called on a symbolic tensor and thus has no "
                                 f"defined {name}.")
        hint = "" if "built" in vars(self) else " Its __init__ must call super().__init__() first."
        raise NoAttributeError(self, name, hint)

    def _refuse(self, others: dict[str, Any]) -> None:
        """Raises for every argument that is not known, or known and not left at Keras's default."""
        keras_only = {"autocast": True, **self.unsupported}
        for name, value in others.items():
            if name not in keras_only:
                raise unknown(self, name, Layer)
            self._keras_default(name, value, keras_only[name])

    def _keras_default(self, name: str, value: Any, default: Any) -> None:
        """Refuses any value but `default` for an argument of Keras's that is not implemented."""
        if value is not default and value != default:
            raise ValueError(
                f"{type(self).__name__} does not support {name}: only {default!r} is accepted. Received: {value!r}."
            )
        self._fixed[name] = default

    @classmethod
    def extras(cls) -> list[str]:
        """The arguments that say what is added to the loss for each weight, and what holds for it after each step."""
        return [f"{weight}_{what}" for weight, what in product(cls.regularized, EXTRAS)]

    # What a layer of your own overrides.

    def build(self, input_shape: Shape) -> None:
        """Makes the weights for inputs of `input_shape` (batch first). Called once, before the first `call`."""

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """What the layer computes. `training` may be left out of the signature."""
        raise NotImplementedError(f"{type(self).__name__} must define call(self, x) or call(self, x, training=False).")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the result. This default runs the layer once, on zeros; override it to save that run."""
        if any(None in shape[1:] for shape in symbolic.flat_shapes(input_shape)):
            raise ValueError(
                f"The output shape of {self.name!r} can be found by running it only for an input of known sizes. "
                f"Received: {input_shape}. Override compute_output_shape(self, input_shape)."
            )
        batch = next(iter(symbolic.flat_shapes(input_shape)), (None,))[0]
        with no_grad():
            zeros = map_shapes(lambda s: np.zeros((1, *s[1:]), self.dtype), input_shape)  # type: ignore[arg-type]
            return map_structure(lambda y: (batch, *y.shape[1:]), self(zeros, training=False))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as the attributes of these names are now, in plain data: `from_config` makes an
        equal layer of it, with new weights. Raises ValueError for what has no plain form, such as a lambda.
        """
        config = {}
        for argument, value in arguments_now(self).items():
            try:
                config[argument] = serialize(value)
            except ValueError as error:
                raise ValueError(f"{argument} of layer {self.name!r}: {error}") from None
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """The layer that `get_config` describes."""
        return cls(**deserialize(config))

    def get_build_config(self) -> dict[str, Any] | None:
        """What it was built for: {"input_shape": shape, batch first}; None before."""
        return None if self._build_shape is None else {"input_shape": self._build_shape}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds it as `get_build_config` says."""
        if config:
            self.build(map_shapes(tuple, config["input_shape"]))

    # Calling.

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """Builds the layer at its first input, then calls it. Within a layer `training` is passed on by itself.

        On symbolic tensors it is built and checked, and a node is added; the result is symbolic.
        """
        if not isinstance(x, Tensor):
            if is_symbolic(x):
                return self._add_node(x, training)
            x = self._tensors(x)
        shape = x.shape if isinstance(x, Tensor) else map_structure(lambda t: t.shape, x)
        if not self.built:
            Layer.check_input(self, shape)
            with trace.aside():
                self.build(_any_batch(shape))
        self.check_input(shape)
        if not isinstance(x, Tensor):
            x = map_structure(lambda t: t if t.dtype == self.dtype else self._converted(t), x)
        elif x.dtype != self.dtype:
            x = self._converted(x)
        training = in_training.get() if training is None else bool(training)
        token, inside = in_training.set(training), inside_layer.set(self.name)
        try:
            self._added.clear()
            y = self.call(x, training=training) if _takes_training(type(self)) else self.call(x)  # type: ignore[arg-type]
            if self.activity_regularizer is not None:
                for each in symbolic.flatten(y):
                    self.add_loss(self.activity_regularizer(each) / each.shape[0])
            return y
        finally:
            in_training.reset(token)
            inside_layer.reset(inside)

    def _tensors(self, x: Any) -> Any:
        """Arrays as tensors beside the layer: one, or those in a list, tuple or dict. A list of numbers is an array."""
        if isinstance(x, Tensor):
            return x
        if isinstance(x, dict):
            return {key: self._tensors(x[key]) for key in sorted(x)}
        if isinstance(x, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray, dict)) for item in x):
            return type(x)([self._tensors(item) for item in x])
        return Tensor(self.device.asarray(x, self.dtype), device=self.device)

    def _add_node(self, x: Any, training: bool | None) -> Any:
        """The symbolic result of a call on symbolic tensors."""
        for item in symbolic.flatten(x):
            if not isinstance(item, SymbolicTensor):
                raise TypeError(f"Layer {self.name!r} is called on symbolic tensors or on arrays, not on both. "
                                f"Received: {item!r}.")
            if hasattr(item.node.operation, "settle_dtype"):
                item.node.operation.settle_dtype(self.dtype)
        shape = self.build_for(map_structure(lambda item: item.shape, x))
        outputs = map_shapes(lambda s: SymbolicTensor(s, self._output_dtype(symbolic.flatten(x)), self.name), shape)
        Node(self, (x,), {} if training is None else {"training": bool(training)}, outputs)
        return outputs

    def _output_dtype(self, inputs: list[SymbolicTensor]) -> str:
        return self.dtype if self.weights or not inputs else inputs[0].dtype

    @property
    def input(self) -> Any:
        """The symbolic tensor that this layer was first called on, or a list of them."""
        if not self._nodes:
            raise AttributeError  # __getattr__ says what is missing
        inputs = self._nodes[0].inputs or self._nodes[0].outputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """The symbolic tensor that this layer's first call on one gave, or a structure of them."""
        if not self._nodes:
            raise AttributeError
        return self._nodes[0].structure

    def _converted(self, x: Tensor) -> Tensor:
        """`x` in the layer's dtype; a layer without weights of its own takes floats as they are."""
        if x.dtype.kind == "f" and not self._own_weights():
            return x
        if x.requires_grad:
            raise TypeError(
                f"Layer {self.name!r} computes in {self.dtype}. Received a tensor of {x.dtype} that requires "
                f"gradients: convert it first, or make the layer with dtype={x.dtype.name!r}."
            )
        converted = x.device.empty(x.shape, DTYPES[self.dtype])
        x.device.kernels("arith").copy(x.data, converted)
        return Tensor(converted, device=x.device)

    def check_input(self, shape: Shape) -> None:
        """Raises ValueError, before anything runs, when inputs of this shape do not fit."""
        if not is_shape(shape):
            if self.one_input:
                count = len(symbolic.flat_shapes(shape))
                raise ValueError(f"Layer {self.name!r} expects 1 input(s), but it received {count} input tensors. "
                                 f"Received shapes: {shape}.")
            return
        if self.rank is not None and len(shape) != self.rank:
            wanted = {4: "images of shape (N, H, W, C)", 2: "rows of shape (N, C)"}[self.rank]
            remedy = {4: "Reshape it, e.g. to (-1, 28, 28, 1) for MNIST.", 2: "Flatten it first."}[self.rank]
            raise ValueError(f"Layer {self.name!r} wants {wanted}. Received shape {tuple(shape)}. {remedy}")
        if self.channels is not None and shape[-1] != self.channels:
            raise ValueError(
                f"Layer {self.name!r} was built for inputs whose last axis is {self.channels}. "
                f"Received shape {tuple(shape)}."
            )

    def build_for(self, input_shape: Shape) -> Shape:
        """Builds the layer, and the layers in it, for inputs of this shape. Returns the shape of the result."""
        if not self.built:
            self.build(input_shape)
        self.check_input(input_shape)
        if any(not layer.built for layer in self._walk()):
            Layer.compute_output_shape(self, input_shape)  # running it builds what it holds
        return self.compute_output_shape(input_shape)

    def recording_obstacle(self) -> str | None:
        """Why a step with this layer, or one within, cannot be recorded; None where it can."""
        for layer in self._walk():
            activation = getattr(layer, "activation", None)
            if not trace.declared_recordable(layer, "call", "__call__"):
                return f"the layer {layer.name} ({type(layer).__name__}) does not say recordable = True"
            if activation is not None and not isinstance(activation, Layer) and not getattr(activation, "recordable",
                                                                                            False):
                return f"the activation of {layer.name} is a function that does not say recordable = True"
        return None

    def __getstate__(self) -> dict[str, Any]:
        """A copy begins without calls on symbolic tensors: a model calls its layers again."""
        return {name: value for name, value in vars(self).items() if name not in ("_added", "_nodes")} | {"_added": []}

def _any_batch(shapes: Any) -> Any:
    """The shapes with any number of samples."""
    return map_shapes(lambda shape: (None, *shape[1:]), shapes)


def _marks_as_built(build: Callable) -> Callable:
    """`build`, which afterwards says so; building again makes new weights."""

    @wraps(build)
    def wrapper(self: Layer, input_shape: Shape | None = None) -> None:
        if self.built:
            self._weights.clear()
            self.built, self.channels = False, None
        shape = None if input_shape is None else map_shapes(tuple, input_shape)
        inside = inside_layer.set(None)  # weights are made here, also when another layer's call runs
        try:
            build(self, shape)
        finally:
            inside_layer.reset(inside)
        self.built = True
        if shape is not None:
            self._build_shape = shape

    return wrapper


Layer.__init__ = remembers(Layer.__init__)  # type: ignore[method-assign]
Layer.build = _marks_as_built(Layer.build)  # type: ignore[method-assign]


@cache
def _takes_training(layer: type[Layer]) -> bool:
    arguments = signature(layer.call).parameters
    return "training" in arguments or any(a.kind is Argument.VAR_KEYWORD for a in arguments.values())
