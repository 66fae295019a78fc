"""Defines `Layer`. Its methods are in the order of a layer's life, from creation to weights and state."""

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from functools import partial
from itertools import product
from typing import Any, ClassVar

import numpy as np

from .. import activations, constraints, regularizers
from ..arguments import names
from ..arguments.checked import Setting
from ..arguments.keywords import refuse_argument
from ..arguments.modules import NoAttributeError
from ..arguments.serialization import Registry, find_registry, serialize
from ..engine.symbolic import Node, Shape, flatten, is_symbolic, map_shapes, map_structure
from ..engine.tensor import Tensor, enter_formula, inside_layer
from ..engine.variable import Stateful, Variable
from ..engine.versions import count_change
from ..files.json_text import JsonObject
from ..kernels import device as devices
from ..kernels import trace
from ..metrics import Metric
from ..random import SeedGenerator
from . import calls, spec
from .calls import NOTHING
from .checks import KerasDefault
from .parts import automatic_name, find_parts
from .policy import dtype_name

in_training: ContextVar[bool | None] = ContextVar("training", default=None)  # None outside all layers
_build_path: ContextVar[str | None] = ContextVar("being_built", default=None)  # path of the layer being built

# Suffixes of arguments for each of a layer's `regularized_weights`, such as kernel_regularizer and kernel_constraint.
EXTRAS: dict[str, Callable] = {"regularizer": regularizers.get, "constraint": constraints.get}
_EXTRA = inspect.Parameter("extra", inspect.Parameter.KEYWORD_ONLY, default=None)
# Arguments of all layers that `get_config` leaves out if they have these values.
_COMMON = {"input_shape": None, "input_dim": None, "activity_regularizer": None, "autocast": True}


class Layer(Stateful):
    """A function with weights. Your own layer creates its weights in `build` and computes in `call`.

        class Scale(layers.Layer):
            def build(self, input_shape):
                self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
            def call(self, x, training=False):
                return x * self.scale

    Layers in attributes (also in lists and dicts) are part of the layer. `trainable=False` freezes the layer. `dtype`
    is "float32" or "float64". `input_shape` (without the batch) on a model's first layer is the model's input shape. A
    layer called on symbolic tensors (`layers.Input`) adds a node to the graph and computes nothing. Several inputs are
    passed as a list or a dict; `build` and `compute_output_shape` then receive a list or a dict of shapes.
    """

    recordable = False  # whether each call runs the same functions of `functional`, and only these
    built_at_once = False  # whether the layer is built when created, because it has no weights
    keeps_shape = False  # whether the result has the shape of the input
    kept_kinds: str = ""  # NumPy's dtype kinds that the layer does not convert, such as "biu"
    symbolic_integers = False  # whether symbolic results are integers if the inputs are
    supports_masking = False  # whether the layer accepts Keras's masks; autoconv creates none itself
    rank: int | None = None  # the only number of input dimensions that the layer accepts
    least_rank: int | None = None  # the minimum number of input dimensions
    one_input = False  # whether the layer accepts only one tensor, never a list
    accepts_arrays = False  # whether the constructor accepts arrays and tensors
    channel_axis = -1  # the input axis whose size determines the weights' shapes
    regularized_weights: ClassVar[tuple[str, ...]] = ()  # the weights with a `..._regularizer` and a `..._constraint`
    input_spec = Setting(spec.check_spec)  # accepted inputs of a user's layer, an `InputSpec` or a list of them
    _has_automatic_name = False  # whether the constructor received no name
    path: str | None = None  # the names of the enclosing layers and this layer, joined by "/"; set by the build
    version = 0  # the number of the last change of an attribute that is not a property
    # Attributes whose contents no recording depends on.
    bookkeeping = frozenset({"_added_losses", "_build_shape", "_nodes", "_recipe", "_weights"})

    # Creating a layer.

    def __new__(cls, *args: Any, **kwargs: Any) -> "Layer":
        calls.refuse_data(cls, args)
        layer: Any = super().__new__(cls)
        nodes: list[Node] = []  # the layer's calls on symbolic tensors
        vars(layer).update(_nodes=nodes, build=partial(Layer._run_build, layer))
        return layer

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: Any = None,
        input_shape: Shape | None = None, input_dim: int | None = None, activity_regularizer: Any = None,
        autocast: bool = True, **options: Any,
    ) -> None:
        for argument in self.extras():
            setattr(self, argument, EXTRAS[argument.rsplit("_", 1)[1]](options.pop(argument, None)))
        self.activity_regularizer = regularizers.get(activity_regularizer)
        for argument, value in options.items():
            if not isinstance(getattr(type(self), argument, None), KerasDefault):
                refuse_argument(self, argument, Layer, options)
            setattr(self, argument, value)
        if not isinstance(trainable, bool | np.bool_):
            raise ValueError("Expected `trainable` to be a boolean. Received: "
                             f"trainable={trainable!r} (of type {type(trainable)}).")
        self.autocast = bool(autocast)  # whether floating inputs are converted to the layer's dtype
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"Argument `name` must be a string and cannot contain character `/`. Received: {name!r}.")
        self.name = name or automatic_name(names.snake_case(type(self).__name__))
        self._has_automatic_name = not name
        self._dtype = dtype_name(dtype, bool(self.kept_kinds))
        self._trainable = bool(trainable)
        self._weights: list[Variable] = []
        self._added_losses: list[Tensor] = []  # losses added by the last call
        self.device = devices.get("cpu")
        self.built = self.built_at_once and type(self).build is Layer.build
        self._build_shape: Any = None  # the shape that the layer was built for
        self.input_spec = None
        self.channels: int | None = None  # the required size of `channel_axis`, set by the build
        sample_shape = (input_dim,) if input_dim is not None else input_shape
        self.given_input_shape: Shape | None = None if sample_shape is None else (
            None, *spec.sample_shape(sample_shape, "input_shape"))

    @classmethod
    def extras(cls) -> list[str]:
        """Returns the names of the arguments for the weights' regularizers and constraints."""
        return [f"{weight}_{role}" for weight, role in product(cls.regularized_weights, EXTRAS)]

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute. A new weight also replaces the attribute's old weight in the list of weights. Numbers are
        assigned to the attribute's weight, which stays trainable.
        """
        old = vars(self).get(name)
        if isinstance(old, Variable) and not isinstance(value, Variable) and isinstance(
                value, np.ndarray | np.generic | Tensor | list | tuple | float | int):
            old.assign(value)
            return
        if isinstance(value, Variable | Layer) and not (
                name.startswith("_") or name in vars(self) or hasattr(type(self), name)):
            self._refuse_new_state()
        super().__setattr__(name, value)
        if isinstance(old, Variable) and value is not old:
            self._replace_weight(old, value)
        if not isinstance(getattr(type(self), name, None), property):
            vars(self)["version"] = count_change()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        vars(self)["version"] = count_change()

    def _refuse_new_state(self) -> None:
        if vars(self).get("_build_shape") is not None and self.built and _build_path.get() is None:
            raise ValueError("You cannot add new elements of state (variables or sub-layers) to a "
                             "layer that is already built. All state must be created in the "
                             "`__init__()` method or in the `build()` method. Layer "
                             f"{self.name!r} was built for the input shape {self._build_shape}.")

    def _replace_weight(self, old: Variable, new: Any) -> None:
        if isinstance(new, Variable) and new.name == "variable":  # the variable has only its default name
            new.name = old.name
        index = next((i for i, weight in enumerate(self._weights) if weight is old), None)
        if index is None or any(value is old for value in vars(self).values()):
            return
        in_use = any(weight is new for weight in self._weights)
        self._weights[index : index + 1] = [new] if isinstance(new, Variable) and not in_use else []

    def __getattr__(self, name: str) -> Any:
        if name in ("input", "output") and "built" in vars(self):
            raise AttributeError(f"The layer {self.name!r} has never been called on a symbolic "
                                 f"tensor and thus has no defined {name}.")
        if name in ("kernel", "bias") and name in self.regularized_weights and not self.built:
            raise NoAttributeError(self, name, f" You must build the layer before accessing `{name}`.")
        hint = "" if "built" in vars(self) else " Its __init__ must call super().__init__() first."
        raise NoAttributeError(self, name, hint)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the attributes except the calls on symbolic tensors; a copied model calls its layers again."""
        return {name: value for name, value in vars(self).items()
                if name not in ("_added_losses", "_nodes", "build")} | {"_added_losses": []}

    # Describing a layer.

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    @classmethod
    def config_parameters(cls) -> dict[str, inspect.Parameter]:
        """Returns the constructor's parameters by name, including the arguments of `extras()`."""
        return {**super().config_parameters(), **{name: _EXTRA.replace(name=name) for name in cls.extras()}}

    def _arguments(self) -> dict[str, Any]:
        parameters = inspect.signature(type(self).__init__).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        common = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        common = {name: value for name, value in common.items() if takes_any or name in parameters}
        arguments = {**common, **super()._arguments(), **common}
        if find_registry(type(self)) is None:
            return arguments
        return {name: value for name, value in arguments.items() if name not in _COMMON or value != _COMMON[name]}

    def _plain(self, name: str, value: Any) -> Any:
        is_function = callable(value) and not isinstance(value, Layer) and name.endswith("activation")
        try:
            return activations.serialize(value) if is_function else serialize(value)
        except ValueError as error:
            raise ValueError(f"Argument `{name}` of layer {self.name!r} cannot be serialized. {error}") from None

    @property
    def dtype(self) -> str:
        """The dtype of the weights and of the result."""
        return self._dtype

    compute_dtype = variable_dtype = dtype

    @property
    def input(self) -> Any:
        """The symbolic input of this layer's first call, or a list of several inputs."""
        if not self._nodes:
            raise AttributeError  # __getattr__ reports what is missing
        inputs = self._nodes[0].inputs or self._nodes[0].outputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """The symbolic result of this layer's first call on symbolic tensors: a tensor or a structure of tensors."""
        if not self._nodes:
            raise AttributeError
        return self._nodes[0].structure

    def recording_obstacle(self) -> str | None:
        """Returns the reason why steps with this layer or its nested layers cannot be recorded, or None."""
        for layer in self._walk():
            activation = getattr(layer, "activation", None)
            if not trace.declared_recordable(layer, "call", "__call__"):
                return f"the layer {layer.name} ({type(layer).__name__}) does not say recordable = True"
            if activation is not None and not isinstance(activation, Layer) and not getattr(activation, "recordable",
                                                                                            False):
                return f"the activation of {layer.name} is a function that does not say recordable = True"
        return None

    # Methods that your own layer may override.

    def build(self, input_shape: Shape) -> None:
        """Creates the weights for inputs of `input_shape` (batch first). Called once, before the first `call`."""

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Computes the layer's result. The signature may omit `training`. The default of `training` applies only to
        direct calls: `fit`, `evaluate`, `predict` and enclosing layers pass their own value.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(self, x) or call(self, x, training=False).")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the result. By default this runs the layer on zeros, twice if some
        input sizes are unknown. Override the method or set `keeps_shape` to avoid these runs.
        """
        return input_shape if self.keeps_shape else calls.shape_by_running(self, input_shape)

    # Building.

    def _run_build(self, *shapes: Any, **kwargs: Any) -> None:
        """Runs the class's `build`, which creates new weights, and records the shapes. `layer.build` calls it."""
        if self.built:
            self._weights.clear()
            self.built, self.channels = False, None
        shapes = tuple(None if shape is None else map_shapes(tuple, shape) for shape in shapes)
        kwargs = {name: None if shape is None else map_shapes(tuple, shape) for name, shape in kwargs.items()}
        parent = _build_path.get() or inside_layer.get()
        self.path = f"{parent}/{self.name}" if parent else self.name
        token, path_token = inside_layer.set(None), _build_path.set(self.path)  # a build is outside all calls
        try:
            type(self).build(self, *shapes, **kwargs)
        finally:
            inside_layer.reset(token)
            _build_path.reset(path_token)
        self.built = True
        if len(shapes) + len(kwargs) > 1:
            arguments = list(inspect.signature(type(self).build).parameters)[1:]
            self._build_shape = spec.Shapes({**dict(zip(arguments, shapes)), **kwargs})
        else:
            self._build_shape = next((shape for shape in (*shapes, *kwargs.values()) if shape is not None),
                                     self._build_shape)

    def build_all(self, input_shape: Shape) -> Shape:
        """Builds the layer and its nested layers for inputs of this shape. Returns the shape of the result."""
        if not self.built:
            self.build(input_shape)
        elif self._build_shape is None and self.built_at_once:
            self._build_shape = map_shapes(tuple, input_shape)
        self.check_input(input_shape)
        if any(not layer.built for layer in self._walk()):
            calls.shape_by_running(self, input_shape)  # this run builds the nested layers
        return self.compute_output_shape(input_shape)

    def _build_at_first_call(self, shape: Any) -> None:
        if not self.built:
            spec.check_input(self, shape)
            with trace.suspend_recording():
                self.build(calls.open_batch(shape))
        elif self.built_at_once:
            self._build_shape = calls.open_batch(shape)

    def _build_from_call(self, arguments: dict[str, Any]) -> None:
        """Builds the layer for these arguments of `call` if it is not built, and checks the first argument's shape."""
        shapes = calls.find_shapes(arguments)
        if not shapes:
            raise ValueError(f"Inputs to a layer should be tensors. Layer {self.name!r} received: {arguments}.")
        first = next(iter(shapes.values()))
        kwargs = None if self.built else calls.select_shapes(type(self).build, shapes)
        if kwargs is None:
            self._build_at_first_call(first)
        else:
            with trace.suspend_recording():
                self.build(**{name: calls.open_batch(shape) for name, shape in kwargs.items()})
        self.check_input(first)

    def check_input(self, shape: Shape) -> None:
        """Raises ValueError if the layer does not accept inputs of this shape."""
        spec.check_input(self, shape)

    def get_build_config(self) -> JsonObject | None:
        """Returns {"input_shape": shape}, the shape (batch first) that the layer was built for; None if not built."""
        if isinstance(self._build_shape, spec.Shapes):
            return {"shapes_dict": dict(self._build_shape)}
        return None if self._build_shape is None else {"input_shape": self._build_shape}

    def build_from_config(self, config: JsonObject | None) -> None:
        """Builds the layer from a `get_build_config` result."""
        if config and "shapes_dict" in config:
            self.build(**config["shapes_dict"])
        elif config:
            self.build(config["input_shape"])

    # Calling.

    def __call__(self, x: Any = NOTHING, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer; the first input also builds it. Nested layers receive the same `training` automatically.

        A call on symbolic tensors builds and checks the layer, adds a node and returns symbolic
        tensors. Pass further arguments of `call` by name; arrays are converted to tensors.
        """
        if len(args) == 1 and isinstance(args[0], bool) and training is None:
            training = args[0]
            args = ()
        inputs: tuple = ()
        if args or kwargs or x is NOTHING:
            kwargs = calls.bind(self, () if x is NOTHING else (x, *args), kwargs)
            if is_symbolic(list(kwargs.values())):
                return calls.add_node(self, kwargs, training)
            kwargs = {name: calls.tensors(self, value) if calls.holds_tensors(value) else value
                      for name, value in kwargs.items()}
            self._build_from_call(kwargs)
            kwargs = calls.convert_arguments(self, kwargs)
        elif not isinstance(x, Tensor) and is_symbolic(x):
            return calls.add_node(self, {"x": self._adjust_ranks(x)}, training)
        else:
            inputs = (self._prepare(x),)
        argument = calls.training_argument(type(self))  # type: ignore[arg-type]
        training = in_training.get() if training is None else bool(training)
        training = argument.default if training is None and argument is not None else training
        token, layer_token = in_training.set(training), inside_layer.set(self.path or self.name)
        try:
            self._added_losses.clear()
            if argument is not None:
                kwargs["training"] = training
            with calls.restoring(self) if calls.finding_shapes.get() else nullcontext():
                y = self.call(*inputs, **kwargs)
            if self.activity_regularizer is not None:
                for output in flatten(y):
                    self.add_loss(self.activity_regularizer(output) / output.shape[0])
            return y
        finally:
            in_training.reset(token)
            inside_layer.reset(layer_token)

    def _prepare(self, x: Any) -> Any:
        """Checks a call's input and returns it as tensors of the layer's dtype. The first input builds the layer."""
        x = calls.tensors(self, self._adjust_ranks(x))
        shape = x.shape if isinstance(x, Tensor) else map_structure(lambda t: t.shape, x)
        if self._build_shape is None:
            self._build_at_first_call(shape)
        self.check_input(shape)
        return self._convert_inputs(x)

    def _adjust_ranks(self, x: Any) -> Any:
        return x

    def _convert_inputs(self, x: Any) -> Any:
        return calls.convert_inputs(self, x)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the result of a call on symbolic tensors without adding a node to the graph."""
        training = kwargs.pop("training", None)
        return calls.symbolic_result(self, calls.bind(self, args, kwargs), training)

    def _finds_shapes_by_running(self) -> bool:
        """Whether `compute_output_shape` is the default method, which runs the layer."""
        return type(self).compute_output_shape is Layer.compute_output_shape and not self.keeps_shape

    # Weights and added losses.

    def add_weight(self, *args: Any, **kwargs: Any) -> Variable:
        """Adds a new weight to this layer: `add_weight(shape=None, initializer=None, dtype=None, trainable=True,
        regularizer=None, constraint=None, name=None)`. The name may also come first.

        initializer: a name, an object, a function of shape and dtype, or values; by default
        glorot_uniform, for integers zeros. The regularizer and constraint default to the attributes
        `<name>_regularizer` and `<name>_constraint`, if they exist.
        """
        if args and isinstance(args[0], str):
            kwargs["name"], args = args[0], args[1:]
        return self._add_weight(*args, **kwargs)

    def _add_weight(
        self, shape: tuple[int, ...] | None = None, initializer: Any = None, dtype: Any = None,
        trainable: bool = True, autocast: bool = True, regularizer: Any = None, constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
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

    add_weight.__signature__ = inspect.signature(_add_weight)  # type: ignore[attr-defined]
    add_variable = add_weight

    def _own_weights(self) -> list[Variable]:
        weights = find_parts(vars(self), Variable)
        return [w for w in weights if w.learns] + [w for w in weights if not w.learns]

    def _sublayers(self) -> list["Layer"]:
        return find_parts(vars(self), Layer)

    def _walk(self, ids: set[int] | None = None) -> Iterator["Layer"]:
        """Yields this layer and all nested layers, each once."""
        ids = set() if ids is None else ids
        ids.add(id(self))
        yield self
        for layer in self._sublayers():
            if id(layer) not in ids:
                yield from layer._walk(ids)

    def named_weights(self) -> dict[str, Variable]:
        """Returns all weights, keyed by paths such as `conv2d_1/kernel`, which are the same in every process."""
        weights: dict[str, Variable] = {}
        self._collect_weights("", weights, set())
        return weights

    def _collect_weights(self, prefix: str, weights: dict[str, Variable], ids: set[int]) -> None:
        counts: Counter[str] = Counter()
        for weight in self._own_weights():
            if id(weight) not in ids:
                ids.add(id(weight))
                weights[prefix + names.uniquify(weight.name or "variable", counts)] = weight
        for layer in self._sublayers():
            if id(layer) not in ids:
                ids.add(id(layer))
                name = names.uniquify(names.snake_case(type(layer).__name__), counts)
                layer._collect_weights(f"{prefix}{name}/", weights, ids)

    @property
    def weights(self) -> list[Variable]:
        """All weights: the layer's trainable weights, then its other weights, then the nested layers' weights."""
        found = {id(weight): weight for layer in self._walk() for weight in layer._own_weights()}
        return list(found.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        return [w for w in self.weights if w.requires_grad] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [w for w in self.weights if not w.requires_grad] if self.trainable else self.weights

    @property
    def trainable(self) -> bool:
        """Whether training changes this layer. Setting it also sets it for nested layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, bool | int | np.bool_):
            raise ValueError(f"Expected `trainable` to be a boolean. Received: trainable={value!r}.")
        for layer in self._walk():
            layer._trainable = bool(value)
            for weight in layer._own_weights():
                weight.trainable = weight.learns and layer._trainable

    def get_weights(self) -> list[np.ndarray]:
        """Returns copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all weights' dtypes, shapes and bytes, in the order of `weights`, as
        64 hexadecimal digits. Equal fingerprints mean that all weights have the same bits.
        """
        digest = hashlib.sha256()
        for array in self.get_weights():
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def set_weights(self, weights: list[Any]) -> None:
        """Sets the weights from a list like the one that `get_weights` returns. Raises ValueError if shapes differ."""
        mine, values = self.weights, [np.asarray(devices.detach(w)) for w in weights]
        if [w.shape for w in mine] != [v.shape for v in values]:
            raise ValueError(
                "`set_weights` needs one array of the right shape for each weight. Layer "
                f"{self.name!r} has {len(mine)} weights of shapes {[w.shape for w in mine]}. "
                f"Received: {len(values)} arrays of shapes {[v.shape for v in values]}."
                + ("" if self.built else " The layer is not built yet. Call build(input_shape) first.")
            )
        for weight, value in zip(mine, values):
            weight.assign(value)

    def count_params(self) -> int:
        """Returns the number of elements in all weights."""
        if not self.built:
            raise ValueError(f"You tried to call `count_params` on layer {self.name!r}, but the "
                             "layer isn't built. Call build(input_shape) first.")
        return sum(w.size for w in self.weights)

    def zero_grad(self) -> None:
        """Clears the gradients of all weights, so that the next `backward` does not add to them."""
        for weight in self.weights:
            weight.grad = None

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

    def add_loss(self, loss: Any) -> None:
        """Adds a loss, or a list of losses, to the training loss. Call this method in `call`."""
        for value in loss if isinstance(loss, list | tuple) else [loss]:
            if not isinstance(value, Tensor):
                value = Tensor(self.device.asarray(value, self.dtype), device=self.device)
            self._added_losses.append(value)

    @property
    def losses(self) -> list[Tensor]:
        """The losses of this layer and its nested layers, from `add_loss` in the last call and from regularizers."""
        layers = list(self._walk())
        with enter_formula("a regularizer"):
            penalties = [w.regularizer(w) for layer in layers if layer.trainable for w in layer._own_weights()
                         if w.regularizer is not None and w.requires_grad]
        return [*(loss for layer in layers for loss in layer._added_losses), *penalties]

    # State: weights and other values that change.

    def _own_variables(self) -> list[Variable]:
        return self._own_weights()

    @property
    def variables(self) -> list[Variable]:
        """The weights, the states of random generators, and the variables of metrics."""
        return [*self.weights, *self._states()]

    @property
    def trainable_variables(self) -> list[Variable]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        return [*self.non_trainable_weights, *self._states()]

    def stateless_call(
        self, trainable_variables: list[Any], non_trainable_variables: list[Any], *args: Any,
        return_losses: bool = False, **kwargs: Any,
    ) -> tuple:
        """Calls the layer with the given values for its variables. Returns the outputs and the new values of the
        non-trainable variables; with `return_losses` also the losses. The layer itself does not change.
        """
        if not self.built:
            raise ValueError(f"To call stateless_call, {type(self).__name__} must be built (i.e. its variables must "
                             "have been already created). You can build it by calling it on some data.")
        with self.holding(trainable_variables=(self.trainable_variables, trainable_variables),
                          non_trainable_variables=(self.non_trainable_variables, non_trainable_variables)):
            outputs = self(*args, **kwargs)
            new_values = [variable.value for variable in self.non_trainable_variables]
            losses = self.losses if return_losses else None
        return (outputs, new_values, losses) if return_losses else (outputs, new_values)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics in the attributes of this layer and its nested layers. In a compiled model they follow the mean
        loss, one metric that holds all metrics of `compile`, and the mean losses of several outputs.
        """
        return self._list_metrics()

    @property
    def metrics_variables(self) -> list[Variable]:
        """The variables of `metrics`."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def _states(self) -> list[Variable]:
        """Returns the variables that are not weights."""
        generators = {id(g): g for layer in self._walk() for g in layer._generators()}
        return [*(g.state for g in generators.values()),
                *(variable for metric in self._list_metrics() for variable in metric.variables)]

    def _list_metrics(self) -> list[Metric]:
        """Returns the metrics in the attributes of this layer and its nested layers."""
        return list({id(m): m for layer in self._walk() for m in find_parts(vars(layer), Metric)}.values())

    def _generators(self) -> list[SeedGenerator]:
        """Returns the random generators in this layer's attributes."""
        return find_parts(vars(self), SeedGenerator)


registry = Registry("layer", "keras.layers", Layer)  # `layers/__init__.py` adds the layers
