"""`Layer`: a function with weights, and all that every layer can do, ours and yours."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
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
from . import calling, spec
from .arguments import arguments_now, remembers
from .calling import NOTHING, training_argument
from .config import CLASSES, deserialize, serialize
from .parts import automatic_name
from .policy import DTYPES, OfDType, dtype_name
from .states import States
from .weights import EXTRAS, Weights

in_training: ContextVar[bool | None] = ContextVar("training", default=None)  # None outside of any layer
building: ContextVar[str | None] = ContextVar("building", default=None)  # the path of the layer that is built


class Layer(Weights, States, OfDType, Versioned):
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

    keeps_integers = False  # whether integers and booleans stay what they are, as in a layer that only moves items
    symbolic_integers = False  # whether its symbolic results say so, as Keras's
    recordable = False  # whether `call` is functions of `functional`, and nothing that differs from call to call
    rank: int | None = None  # how many dimensions it takes, where only one number will do
    built_at_once = False  # whether it is built from the start, having no weights
    least_rank: int | None = None  # what its `input_spec` names as the least number of dimensions
    supports_masking = False  # whether it takes and passes on Keras's masks: none are made here
    path: str | None = None  # its place where it was built: the names of the layers around it, and its own
    _input_spec: Any = None  # what was set as `input_spec`
    one_input: ClassVar[bool] = False  # whether it takes one tensor, never a list of them
    unsupported: ClassVar[dict[str, Any]] = {}  # Keras's arguments that are accepted with this value only
    written: ClassVar[tuple[str, ...]] = ()  # what `get_config` has also where it says nothing
    channel_axis = -1  # the axis whose size it is built for
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
        input_shape: Shape | None = None, input_dim: int | None = None, activity_regularizer: Any = None,
        autocast: bool = True, **others: Any,
    ) -> None:
        for argument in self.extras():
            setattr(self, argument, EXTRAS[argument.rsplit("_", 1)[1]](others.pop(argument, None)))
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._refuse(others)
        if not isinstance(trainable, bool | np.bool_):
            raise ValueError(f"Expected `trainable` to be a boolean. Received: trainable={trainable!r} (of type "
                             f"{type(trainable)}).")
        self.autocast = bool(autocast)  # whether floating inputs are converted to the layer's dtype
        self._added: list[Tensor] = []  # what the last call added to the loss
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError("Argument `name` must be a string and cannot contain character `/`: name must be a string "
                             f"without '/'. Received: {name!r}.")
        self.name = name or automatic_name(names.snake_case(type(self).__name__))
        self._dtype = dtype_name(dtype, self.keeps_integers)
        self._trainable = bool(trainable)
        self._weights: list[Parameter] = []
        self.device = devices.get("cpu")
        self.built = self.built_at_once and type(self).build is Layer.build
        self._build_shape: Any = None  # what it was built for
        self.channels: int | None = None  # the size of `channel_axis` it was built for, where it must stay the same
        given = (input_dim,) if input_dim is not None else input_shape
        self.given_input_shape: Shape | None = None if given is None else (None, *given)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute. A weight that takes another's place takes its place among the weights, too; an argument
        of Keras's that is accepted with its default only is refused here as in the constructor.
        """
        if name in self.unsupported or name in vars(self).get("_fixed", ()):
            self._keras_default(name, value, {**self.unsupported, **self._fixed}[name])
        old = vars(self).get(name)
        if isinstance(value, Parameter | Layer) and not (
                name.startswith("_") or name in vars(self) or hasattr(type(self), name)):
            self._refuse_new_state()
        super().__setattr__(name, value)
        if isinstance(old, Parameter) and value is not old:
            self._replace_weight(old, value)

    def _refuse_new_state(self) -> None:
        if vars(self).get("_build_shape") is not None and self.built and building.get() is None:
            raise ValueError("You cannot add new elements of state (variables or sub-layers) to a layer that is "
                             "already built. All state must be created in the `__init__()` method or in the `build()` "
                             f"method. Layer {self.name!r} was built for {self._build_shape}.")

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
        if name in ("kernel", "bias") and name in self.regularized and not self.built:
            raise NoAttributeError(self, name, f" You must build the layer before accessing `{name}`.")
        hint = "" if "built" in vars(self) else " Its __init__ must call super().__init__() first."
        raise NoAttributeError(self, name, hint)

    def _refuse(self, others: dict[str, Any]) -> None:
        """Raises for every argument that is not known, or known and not left at Keras's default."""
        for name, value in others.items():
            if name not in self.unsupported:
                raise unknown(self, name, Layer, others)
            self._keras_default(name, value, self.unsupported[name])

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

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """What the layer computes. `training` may be left out of the signature; its default counts in a call by itself,
        not in `fit`, `evaluate` or `predict`, nor within a layer that was told.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(self, x) or call(self, x, training=False).")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the result. This default runs the layer on zeros, twice where sizes of the input are not known;
        override it to save that.
        """
        batch = next(iter(symbolic.flat_shapes(input_shape)), (None,))[0]
        if not self.built:
            self.build(input_shape)
        shapes = symbolic.flat_shapes(input_shape)
        return _shape_of_runs(shapes, batch, lambda size: self(map_shapes(
            lambda shape: _zeros(shape, size, self.dtype), input_shape), training=False))

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
        if isinstance(self._build_shape, spec.Shapes):
            return {"shapes_dict": dict(self._build_shape)}
        return None if self._build_shape is None else {"input_shape": self._build_shape}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds it as `get_build_config` says."""
        if config and "shapes_dict" in config:
            self.build(**{name: map_shapes(tuple, shape) for name, shape in config["shapes_dict"].items()})
        elif config:
            self.build(map_shapes(tuple, config["input_shape"]))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What a call on symbolic tensors would give, without adding a node to the graph."""
        training = kwargs.pop("training", None)
        return self._symbolic_result(calling.bind(self, args, kwargs), training)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the result, as Keras names what of a sequence counts: the one that came in."""
        return previous_mask

    # Calling.

    def __call__(self, x: Any = NOTHING, *others: Any, training: bool | None = None, **named: Any) -> Any:
        """Builds the layer at its first input, then calls it. Within a layer `training` is passed on by itself.

        On symbolic tensors it is built and checked, and a node is added; the result is symbolic. What else `call` takes
        is given by name; arrays become tensors.
        """
        if len(others) == 1 and isinstance(others[0], bool) and training is None:
            (training,), others = others, ()
        if others or named or x is NOTHING:
            return self._call_with(calling.bind(self, () if x is NOTHING else (x, *others), named), training)
        if not isinstance(x, Tensor):
            if is_symbolic(x):
                return self._add_node({"x": x}, training)
            x = self._tensors(x)
        shape = x.shape if isinstance(x, Tensor) else map_structure(lambda t: t.shape, x)
        if self._build_shape is None:
            self._first_call(shape)
        self.check_input(shape)
        if not isinstance(x, Tensor):
            x = map_structure(lambda t: t if t.dtype == self.dtype else self._converted(t), self._of_one_kind(x))
        elif x.dtype != self.dtype:
            x = self._converted(x)
        return self._computed(x, training=training)

    def _first_call(self, shape: Any) -> None:
        """Builds the layer for inputs of this shape, where it is not."""
        if not self.built:
            Layer.check_input(self, shape)
            with trace.aside():
                self.build(_built_shape(shape))
        elif self.built_at_once:
            self._build_shape = _built_shape(shape)

    def _computed(self, *inputs: Any, training: bool | None, **named: Any) -> Any:
        """The result of `call`, with what its result adds to the loss."""
        argument = training_argument(type(self))  # type: ignore[arg-type]
        training = in_training.get() if training is None else bool(training)
        training = argument.default if training is None and argument is not None else training
        token, inside = in_training.set(training), inside_layer.set(self.path or self.name)
        try:
            self._added.clear()
            if argument is not None:
                named["training"] = training
            y = self.call(*inputs, **named)
            if self.activity_regularizer is not None:
                for each in symbolic.flatten(y):
                    self.add_loss(self.activity_regularizer(each) / each.shape[0])
            return y
        finally:
            in_training.reset(token)
            inside_layer.reset(inside)

    def _call_with(self, arguments: dict[str, Any], training: bool | None) -> Any:
        """As a call with one input, with all arguments of `call` by their names."""
        if is_symbolic(list(arguments.values())):
            return self._add_node(arguments, training)
        arguments = {name: self._tensors(value) if calling.holds_tensors(value) else value
                     for name, value in arguments.items()}
        self._build_with(arguments)
        first = next(iter(arguments), "")
        for name, value in arguments.items():
            def fitting(item: Any, integers_too: bool = name == first) -> Any:
                fits = not isinstance(item, Tensor) or item.dtype == self.dtype
                return item if fits or not (integers_too or item.dtype.kind == "f") else self._converted(item)

            arguments[name] = map_structure(fitting, value)
        return self._computed(training=training, **arguments)

    def _build_with(self, arguments: dict[str, Any]) -> None:
        """Builds the layer, where it is not, for these arguments of `call`, and checks the first one's shape."""
        shapes = calling.shapes_of(arguments)
        if not shapes:
            raise ValueError(f"Inputs to a layer should be tensors. Layer {self.name!r} received: {arguments}.")
        first = next(iter(shapes.values()))
        several = None if self.built else calling.fitting(self.build, shapes)
        if several is None:
            self._first_call(first)
        else:
            with trace.aside():
                self.build(**{name: _built_shape(shape) for name, shape in several.items()})  # type: ignore[call-arg]
        self.check_input(first)

    def _tensors(self, x: Any) -> Any:
        """Arrays as tensors beside the layer: one, or those in a list, tuple or dict. A list of numbers is an array."""
        if isinstance(x, Tensor):
            return x
        if x is None or isinstance(x, str | bytes):
            raise ValueError(f"Inputs to a layer should be tensors. Got {x!r} (of type {type(x)}) as input for layer "
                             f"{self.name!r}.")
        if isinstance(x, dict):
            return {key: self._tensors(x[key]) for key in sorted(x)}
        if isinstance(x, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray, dict)) for item in x):
            return type(x)([self._tensors(item) for item in x])
        given = getattr(x, "dtype", None)
        keeps = self._stays(given) or (not self.autocast and str(given) in DTYPES)
        return Tensor(self.device.asarray(x, None if keeps else self.dtype), device=self.device)

    def _stays(self, dtype: Any) -> bool:
        """Whether items of this dtype are not converted, being integers that a layer called by itself only moves. In a
        model they are converted where they come in: kernels compute in floats.
        """
        return self.keeps_integers and inside_layer.get() is None and getattr(dtype, "kind", "f") in "biu"

    def _of_one_kind(self, inputs: Any) -> Any:
        """Several inputs, of which integers stay only where all are of one type."""
        types = {item.dtype for item in symbolic.flatten(inputs)}
        if len(types) == 1 or not any(map(self._stays, types)):
            return inputs
        return map_structure(lambda t: t if t.dtype.kind == "f" else self._copied(t), inputs)

    def _add_node(self, arguments: dict[str, Any], training: bool | None) -> Any:
        """The symbolic result of a call on symbolic tensors."""
        for item in symbolic.flatten(list(arguments.values())):
            if isinstance(item, Parameter):
                raise TypeError("A model trains the weights of its layers, so a Parameter given to layer "
                                f"{self.name!r} beside a symbolic tensor would never learn. Pass its values: "
                                "parameter.numpy().")
            if isinstance(item, SymbolicTensor) and item.node is not None and hasattr(item.node.operation,
                                                                                      "settle_dtype"):
                item.node.operation.settle_dtype(self.dtype)
        arguments = map_structure(lambda item: item.numpy() if isinstance(item, Tensor) else item, arguments)
        x, *others = arguments.values()
        if others:
            self._build_with(arguments)
        else:
            self.build_for(map_structure(lambda item: item.shape, x))
        outputs = self._symbolic_result(arguments, training)
        named = dict(list(arguments.items())[1:])
        Node(self, (x,), named if training is None else {**named, "training": bool(training)}, outputs)
        return outputs

    def _symbolic_result(self, arguments: dict[str, Any], training: bool | None) -> Any:
        """What a call on these arguments gives: symbolic tensors."""
        shapes = calling.shapes_of(arguments)
        if len(arguments) == 1:
            shape = self.compute_output_shape(*shapes.values())
        elif type(self).compute_output_shape is Layer.compute_output_shape:
            shape = self._shape_by_running(arguments, training)
        else:
            several = calling.fitting(self.compute_output_shape, shapes)
            shape = (self.compute_output_shape(next(iter(shapes.values()))) if several is None else
                     self.compute_output_shape(**several))  # type: ignore[call-arg]
        inputs = [item for item in symbolic.flatten(list(arguments.values())) if isinstance(item, SymbolicTensor)]
        return map_shapes(lambda s: SymbolicTensor(s, self._output_dtype(inputs), name=self.name), shape)

    def _shape_by_running(self, arguments: dict[str, Any], training: bool | None) -> Any:
        """The shape of a call's result, found by running it on zeros."""
        tensors = [item for item in symbolic.flatten(list(arguments.values())) if isinstance(item, SymbolicTensor)]

        def run(size: int) -> Any:
            return self(training=training, **map_structure(lambda item: _zeros(item.shape, size, self.dtype) if (
                isinstance(item, SymbolicTensor)) else item, arguments))

        return _shape_of_runs([tensor.shape for tensor in tensors], tensors[0].shape[0], run)

    def _output_dtype(self, inputs: list[SymbolicTensor]) -> str:
        kind = np.dtype(inputs[0].dtype).kind if inputs else ""
        stays = (kind == "f" and self.dtype in DTYPES and not self.weights) or (
            self.symbolic_integers and kind in ("b", "i", "u"))
        return inputs[0].dtype if stays else self.dtype

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
        floats_as_they_are = not (self.autocast and self._own_weights()) and self.dtype in DTYPES
        if self._stays(x.dtype) or (x.dtype.kind == "f" and floats_as_they_are):
            return x
        if x.requires_grad:
            raise TypeError(
                f"Layer {self.name!r} computes in {self.dtype}. Received a tensor of {x.dtype} that requires "
                f"gradients: convert it first, or make the layer with dtype={x.dtype.name!r}."
            )
        return self._copied(x)

    def _copied(self, x: Tensor) -> Tensor:
        """A copy of `x` in the layer's dtype."""
        if self.dtype not in DTYPES:
            return Tensor(x.device.asarray(x.numpy().astype(self.dtype)), device=x.device)
        converted = x.device.empty(x.shape, DTYPES[self.dtype])
        x.device.kernels("arith").copy(x.data, converted)
        return Tensor(converted, device=x.device)

    @property
    def input_spec(self) -> Any:
        """What it takes, as an `InputSpec` or a list of them; None for anything. Set it in a layer of yours."""
        if self._input_spec is not None or not (self.rank or self.least_rank or self.channels):
            return self._input_spec
        axes = None if self.channels is None else {self.channel_axis: self.channels}
        if self.least_rank:
            return spec.InputSpec(min_ndim=self.least_rank, axes=axes)
        return spec.InputSpec(ndim=self.rank or len(self._build_shape), axes=axes)

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        if any(not isinstance(each, spec.InputSpec | None) for each in symbolic.flatten(value)):
            raise TypeError(f"input_spec is an InputSpec, or a list or dict of them. Received: {value!r}.")
        self._input_spec = value

    def check_input(self, shape: Shape) -> None:
        """Raises ValueError, before anything runs, when inputs of this shape do not fit."""
        if self._input_spec is not None:
            spec.check(self._input_spec, shape, self.name)
        if not is_shape(shape):
            if self.one_input:
                count = len(symbolic.flat_shapes(shape))
                raise ValueError(f'Layer "{self.name}" expects 1 input(s), but it received {count} input tensors. '
                                 f"Received shapes: {shape}.")
            return
        unfit = f"Input 0 of layer {self.name!r} is incompatible with the layer: expected "
        if self.rank is not None and len(shape) != self.rank:
            wanted = {4: "images of shape (N, H, W, C)", 2: "rows of shape (N, C)"}[self.rank]
            remedy = {4: "Reshape it, e.g. to (-1, 28, 28, 1) for MNIST.", 2: "Flatten it first."}[self.rank]
            raise ValueError(f"{unfit}ndim={self.rank}, found ndim={len(shape)}: it wants {wanted}. "
                             f"Received shape {tuple(shape)}. {remedy}")
        if self.rank is None and len(shape) < (self.least_rank or 0):
            raise ValueError(f"{unfit}min_ndim={self.least_rank}, found ndim={len(shape)}. Full shape received: "
                             f"{tuple(shape)}. It must know the size of an axis after the batch.")
        axis = self.channel_axis
        if self.channels is not None and shape[axis] != self.channels:
            raise ValueError(f"{unfit}axis {axis} of input shape to have value {self.channels}, but received input "
                             f"with shape {tuple(shape)}. It was built for the first.")

    def build_for(self, input_shape: Shape) -> Shape:
        """Builds the layer, and the layers in it, for inputs of this shape. Returns the shape of the result."""
        if not self.built:
            self.build(input_shape)
        elif self._build_shape is None and self.built_at_once:
            self._build_shape = map_shapes(tuple, input_shape)
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


def _zeros(shape: Shape, size: int, dtype: str) -> np.ndarray:
    """One sample of this shape, with `size` for what is not known."""
    return np.zeros((1, *(size if n is None else n for n in shape[1:])), dtype)


def _shape_of_runs(shapes: list[Shape], batch: int | None, run: Callable[[int], Any]) -> Any:
    """The shape of what a layer gives for inputs of these shapes: found by running it, for two sizes of the axes that
    are not known. What is not the same for both is None.
    """
    count = 2 if any(None in shape[1:] for shape in shapes) else 1
    with no_grad():
        results = [run(size) for size in symbolic.TRIED_SIZES[:count]]
    found = iter([(batch, *(n if n == m else None for n, m in zip(a.shape[1:], b.shape[1:])))
                  for a, b in zip(symbolic.flatten(results[0]), symbolic.flatten(results[-1]))])
    return map_structure(lambda _: next(found), results[0])


def _built_shape(shapes: Any) -> Any:
    """What a layer that is called on these shapes is built for: within another layer, which may have been given zeros
    to find shapes, for any number of samples.
    """
    if inside_layer.get() is None:
        return map_shapes(tuple, shapes)
    return map_shapes(lambda shape: (None, *shape[1:]), shapes)


def _marks_as_built(build: Callable) -> Callable:
    """`build`, which afterwards says so; building again makes new weights."""

    @wraps(build)
    def wrapper(self: Layer, *shapes: Any, **named: Any) -> None:
        if self.built:
            self._weights.clear()
            self.built, self.channels = False, None
        shapes = tuple(None if shape is None else map_shapes(tuple, shape) for shape in shapes)
        named = {name: None if shape is None else map_shapes(tuple, shape) for name, shape in named.items()}
        around = building.get() or inside_layer.get()
        self.path = f"{around}/{self.name}" if around else self.name
        inside, within = inside_layer.set(None), building.set(self.path)  # also when another layer's call runs
        try:
            build(self, *shapes, **named)
        finally:
            inside_layer.reset(inside)
            building.reset(within)
        self.built = True
        if len(shapes) + len(named) > 1:
            names = list(signature(build).parameters)[1:]
            self._build_shape = spec.Shapes({**dict(zip(names, shapes)), **named})
        else:
            shape = next(iter((*shapes, *named.values())), None)
            if shape is not None:
                self._build_shape = shape

    return wrapper


Layer.__init__ = remembers(Layer.__init__)  # type: ignore[method-assign]
Layer.build = _marks_as_built(Layer.build)  # type: ignore[method-assign]

