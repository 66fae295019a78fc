"""`Layer`: a function with weights, and all that every layer can do, ours and yours."""

import inspect
from contextlib import nullcontext
from contextvars import ContextVar
from itertools import product
from typing import Any, ClassVar

import numpy as np

from .. import activations, regularizers
from ..arguments import names
from ..arguments.keywords import unknown
from ..arguments.modules import NoAttributeError
from ..arguments.serialization import Configured, Registry, registry_of, serialize
from ..backend import device as devices
from ..backend import trace
from ..symbolic import Node, Shape, flatten, is_symbolic, map_shapes, map_structure
from ..tensor import Tensor, inside_layer
from ..variable import Parameter
from ..versions import Versioned
from . import building, calling, symbols
from .calling import NOTHING, training_argument
from .checks import KerasDefault
from .conversion import Conversion
from .parts import automatic_name
from .policy import OfDType, dtype_name
from .spec import OfSpec, sample_shape
from .states import States
from .weights import EXTRAS, Weights

_COMMON = {"input_shape": None, "input_dim": None, "activity_regularizer": None, "autocast": True}
_EXTRA = inspect.Parameter("extra", inspect.Parameter.KEYWORD_ONLY, default=None)

in_training: ContextVar[bool | None] = ContextVar("training", default=None)  # None outside of any layer


class Layer(Weights, States, OfDType, Conversion, OfSpec, Configured, Versioned):
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
    symbolic_integers = False  # whether its symbolic results say that they are integers, as Keras's
    built_at_once = False  # whether it is built from the start, having no weights
    supports_masking = False  # whether it takes and passes on Keras's masks: none are made here
    path: str | None = None  # its place where it was built: the names of the layers around it, and its own
    unwatched = frozenset({"_added", "_build_shape", "_recipe", "_nodes", "_weights"})
    regularized: ClassVar[tuple[str, ...]] = ()  # the weights that take a `..._regularizer` and a `..._constraint`
    _nodes: list[Node]  # its calls on symbolic tensors

    def __new__(cls, *args: Any, **kwargs: Any) -> "Layer":
        layer: Any = super().__new__(cls, *args, **kwargs)
        layer._nodes = []
        return layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = building.marks_as_built(cls.build)  # type: ignore[method-assign]

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: Any = None,
        input_shape: Shape | None = None, input_dim: int | None = None, activity_regularizer: Any = None,
        autocast: bool = True, **others: Any,
    ) -> None:
        for argument in self.extras():
            setattr(self, argument, EXTRAS[argument.rsplit("_", 1)[1]](others.pop(argument, None)))
        self.activity_regularizer = regularizers.get(activity_regularizer)
        for argument, value in others.items():
            if not isinstance(getattr(type(self), argument, None), KerasDefault):
                raise unknown(self, argument, Layer, others)
            setattr(self, argument, value)
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
        self.given_input_shape: Shape | None = None if given is None else (
            None, *sample_shape(given, "input_shape"))

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute. A weight that replaces another one also does so among the weights."""
        old = vars(self).get(name)
        if isinstance(value, Parameter | Layer) and not (
                name.startswith("_") or name in vars(self) or hasattr(type(self), name)):
            self._refuse_new_state()
        super().__setattr__(name, value)
        if isinstance(old, Parameter) and value is not old:
            self._replace_weight(old, value)

    def _refuse_new_state(self) -> None:
        if vars(self).get("_build_shape") is not None and self.built and building.being_built.get() is None:
            raise ValueError("You cannot add new elements of state (variables or sub-layers) to a layer that is "
                             "already built. All state must be created in the `__init__()` method or in the `build()` "
                             f"method. Layer {self.name!r} was built for {self._build_shape}.")

    def _replace_weight(self, old: Parameter, new: Any) -> None:
        if isinstance(new, Parameter) and new.name == "variable":  # it was given none
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
        return symbols.shape_by_running(self, input_shape)

    def _arguments(self) -> dict[str, Any]:
        """The arguments that make a layer as this one is now. Those that all layers take are left out if they say
        nothing, except the name, `trainable` and the dtype.
        """
        taken = inspect.signature(type(self).__init__).parameters
        gathers = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
        common = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        common = {name: value for name, value in common.items() if gathers or name in taken}
        found = {**common, **super()._arguments(), **common}
        if registry_of(type(self)) is not None:
            for name, default in _COMMON.items():
                if found.get(name, default) == default:
                    found.pop(name, None)
        return found

    def _plain(self, name: str, value: Any) -> Any:
        is_function = callable(value) and not isinstance(value, Layer) and name.endswith("activation")
        try:
            return activations.serialize(value) if is_function else serialize(value)
        except ValueError as error:
            raise ValueError(f"{name} of layer {self.name!r}: {error}") from None

    @classmethod
    def config_parameters(cls) -> dict[str, inspect.Parameter]:
        """Returns the constructor's parameters by name, with those of `extras()`."""
        return {**super().config_parameters(), **{name: _EXTRA.replace(name=name) for name in cls.extras()}}

    def get_build_config(self) -> dict[str, Any] | None:
        """What it was built for: {"input_shape": shape, batch first}; None before."""
        return building.config(self._build_shape)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds it as `get_build_config` says."""
        building.build_by(self, config)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What a call on symbolic tensors would give, without adding a node to the graph."""
        training = kwargs.pop("training", None)
        return symbols.result(self, calling.bind(self, args, kwargs), training)

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
                return symbols.add_node(self, {"x": x}, training)
            x = self._tensors(x)
        shape = x.shape if isinstance(x, Tensor) else map_structure(lambda t: t.shape, x)
        if self._build_shape is None:
            building.first_call(self, shape)
        self.check_input(shape)
        return self._computed(self._converted_inputs(x), training=training)

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
            with symbols.restoring(self) if symbols.finding_shapes.get() else nullcontext():
                y = self.call(*inputs, **named)
            if self.activity_regularizer is not None:
                for each in flatten(y):
                    self.add_loss(self.activity_regularizer(each) / each.shape[0])
            return y
        finally:
            in_training.reset(token)
            inside_layer.reset(inside)

    def _call_with(self, arguments: dict[str, Any], training: bool | None) -> Any:
        """As a call with one input, with all arguments of `call` by their names."""
        if is_symbolic(list(arguments.values())):
            return symbols.add_node(self, arguments, training)
        arguments = {name: self._tensors(value) if calling.holds_tensors(value) else value
                     for name, value in arguments.items()}
        building.build_with(self, arguments)
        return self._computed(training=training, **self._all_converted(arguments))

    def _finds_shapes_by_running(self) -> bool:
        """Whether `compute_output_shape` is the one that runs the layer."""
        return type(self).compute_output_shape is Layer.compute_output_shape

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


registry = Registry("layer", "keras.layers", Layer)  # `layers/__init__.py` fills it
Layer.build = building.marks_as_built(Layer.build)  # type: ignore[method-assign]
