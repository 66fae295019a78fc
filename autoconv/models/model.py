"""`Model`: any graph of layers, or a class with its own `call`, that can be trained and run."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments.keywords import refuse
from ..arguments.serialization import deserialize, serialize
from ..arguments.shapes import input_remedy
from ..engine.errors import NotBuiltError
from ..engine.graph import fusion
from ..engine.graph import summary_table as summary
from ..engine.graph.graph import Graph
from ..engine.symbolic import SymbolicTensor, adjust_rank, is_shape
from ..files.json_text import JsonObject
from ..layers import Layer, calls
from ..layers.policy import DTYPES
from ..metrics import Metric
from ..train import own
from ..train.trainer import Trainer, TrainerMethod, trainer_attribute

if TYPE_CHECKING:
    from ..engine.costs.profile import Profile

Path = str | os.PathLike[str]

# Attributes that exist only after the model has a graph or a known input shape.
_GRAPH_API = ("graph", "inputs", "outputs", "input_names", "output_names", "output_keys", "input_shape", "output_shape")


class Model(Layer):
    """A layer that can be trained: a graph from `inputs` to `outputs`, or a class with its own `call`.

        x = layers.Input((28, 28, 1))
        y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        model = Model(x, layers.Dense(10)(layers.Flatten()(layers.Add()([x, y]))))

    Inputs and outputs are symbolic tensors, single or in lists, tuples or dicts; calls accept and return the same
    structures. Both may belong to another model's graph: `Model(model.inputs, [l.output for l in model.layers])`
    returns the outputs of all layers of `model` and shares its weights. A model is a layer, so another model may
    contain it. A subclass that passes no inputs and outputs to `Model` defines `call(self, x, training=False)`.
    """

    bookkeeping = Layer.bookkeeping | {"_cached_plan", "_chain", "_graph", "_layers", "_trainer"}
    accepts_arrays = True  # symbolic tensors
    recordable = True  # true for a graph; a class with its own `call` must set this attribute itself
    class_names: tuple[str, ...] | None = None  # names of the output classes, if set; stored in the model's file
    _graph: Graph | None = None
    _cached_plan: fusion.FusionPlan | None = None  # the graph's fusion plan, recreated when the graph changes

    def __new__(cls, *args: Any, **kwargs: Any) -> "Model":
        if cls is Model and (args or {"inputs", "outputs"} & set(kwargs)):
            cls = Functional
        model = super().__new__(cls, *args, **kwargs)
        vars(model)["_trainer"] = Trainer(model)
        return model  # type: ignore[return-value]

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        if inputs is None and outputs is None:
            return
        if inputs is None or outputs is None:
            raise TypeError("A model needs both inputs and outputs: Model(inputs, outputs). "
                            f"Received: inputs={inputs!r}, outputs={outputs!r}.")
        self._graph = Graph(inputs, outputs)
        if type(self).__init__ is Model.__init__:
            self._recipe = ((), (), ())  # the graph describes the whole model
        self.built = True
        device = next((layer.device for layer in self.layers if layer.device is not self.device), None)
        if device is not None:  # the model moves to the GPU of its layers
            self.to(device.name)
        if not self.trainable:
            self.trainable = False  # also freezes all nested layers

    def __getattr__(self, name: str) -> Any:
        if name in _GRAPH_API and "built" in vars(self):
            raise NotBuiltError(self._missing_reason(name))
        return super().__getattr__(name)

    def _missing_reason(self, name: str) -> str:
        """Returns the error text for a missing attribute: the reason and the remedy."""
        if name in ("input_shape", "output_shape"):
            return (f"{self.name!r} has no {name} yet: the shapes are not known. Call it on data, "
                    "or call build((None, *shape)).")
        return (f"{self.name!r} has no {name} yet: a model has them when it is made of them, "
                "Model(inputs, outputs); one with a call of its own has no graph.")

    # The graph.

    @property
    def graph(self) -> Graph:
        """The graph that this model runs. Raises NotBuiltError for a class with its own `call`."""
        if self._graph is None:
            raise AttributeError  # __getattr__ reports what is missing
        return self._graph

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, in a list."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, in a list."""
        return list(self.graph.outputs)

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure in which `Model` received them."""
        return super().input if self._graph is None else self._graph.input_structure

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure in which `Model` received them."""
        return super().output if self._graph is None else self._graph.output_structure

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return self.graph.input_names

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that compute the outputs."""
        return self.graph.output_names

    @property
    def output_keys(self) -> list[str]:
        """The outputs' names in losses, metrics and targets: the keys if the outputs are a dict, else `output_names`.
        """
        return self.graph.output_keys

    @property
    def layers(self) -> list[Layer]:
        """The layers, including Inputs, in the order of `summary`."""
        return self._sublayers()

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Returns the layer with this name, or with this index in `layers`. Raises ValueError if there is none."""
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(f"Provide either a layer name or a layer index. Received: name={name!r}, index={index!r}.")
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"Was asked to retrieve layer at index {index} but model only has "
                                 f"{len(layers)} layers.")
            return layers[index]
        by_name = {layer.name: layer for layer in reversed(layers)}
        if name not in by_name:
            raise ValueError(f"No such layer: {name!r}. Existing layers are: {[layer.name for layer in layers]}.")
        return by_name[name]

    @property
    def dtype(self) -> str:
        """The dtype of the computation: the first floating-point dtype of the inputs, then of the outputs."""
        if self._graph is None:
            return self._dtype
        floats = [tensor.dtype for tensor in (*self._graph.inputs, *self._graph.outputs) if tensor.dtype in DTYPES]
        return floats[0] if floats else "float32"

    def _dtypes(self, count: int) -> list[np.dtype]:
        """Returns the dtypes to which `count` inputs are converted. Each input of a graph has its own dtype."""
        if self._graph is None:
            return [np.dtype(self.dtype)] * count
        return [np.dtype(tensor.dtype) for tensor in self._graph.inputs]

    def _convert_inputs(self, x: Any) -> Any:
        if self._graph is None:
            return super()._convert_inputs(x)
        items = [item if item.dtype == tensor.dtype else calls.convert(self, item, tensor.dtype)
                 for item, tensor in zip(self._graph.match(x, self.name), self._graph.inputs)]
        return items[0] if len(items) == 1 else items

    @property
    def input_shape(self) -> Any:
        """The model's input shape, such as (None, 28, 28, 1); a list for several inputs."""
        if self._graph is not None:
            shapes = [tensor.shape for tensor in self._graph.inputs]
            return shapes if len(shapes) > 1 else shapes[0]
        if self._build_shape is None:
            raise AttributeError  # __getattr__ reports what is missing
        return self._build_shape

    @property
    def output_shape(self) -> Any:
        """The model's output shape, such as (None, 10); a list for several outputs."""
        if not self._can_be_called():
            raise AttributeError  # __getattr__ reports what is missing
        if self._graph is None or self._has_own_call():
            return self.compute_output_shape(self.input_shape)
        shapes = [self._graph.resolve(tensor).shape for tensor in self._graph.outputs]
        return shapes if len(shapes) > 1 else shapes[0]

    # Running the model.

    def build(self, input_shape: Any = None) -> None:
        """Creates all weights for inputs of `input_shape`, batch first: `model.build((None, 28, 28, 1))`."""
        if self._graph is not None:  # the graph's layers already have their weights
            if input_shape is not None:
                self.check_input(input_shape)
            return
        if not self._can_be_called():
            self.built = True  # the class's own training steps build its layers
            return
        if input_shape is None:
            raise ValueError(f"The input shape of model {self.name!r} is not known. Pass it to "
                             "build(), for example build((None, 28, 28, 1)).")
        self.built = True
        try:
            Layer.compute_output_shape(self, input_shape)  # running the model builds its layers
        except BaseException:
            self.built = False
            raise

    def _adjust_ranks(self, x: Any) -> Any:
        """Adds or removes a last axis of length 1 in inputs whose rank differs from the graph's."""
        if self._graph is None:
            return x
        inputs = self._graph.inputs
        if len(inputs) == 1:
            return adjust_rank(x, inputs[0].shape) if hasattr(x, "ndim") else x
        if isinstance(x, list) and len(x) == len(inputs):
            return [adjust_rank(item, tensor.shape) if hasattr(item, "ndim") else item
                    for item, tensor in zip(x, inputs)]
        return x

    def call(self, x: Any, training: bool | None = None) -> Any:
        if self._graph is None:
            return super().call(x, training)
        if self._cached_plan is None:
            self._cached_plan = fusion.fuse(self._graph)
        plan = self._cached_plan
        values = plan.begin(self._graph.match(x, self.name))
        for context, part in plan.divide(values, self._trainer.remat):
            with context:
                for call in part:
                    args, kwargs = call.arguments(values)
                    call.keep(values, call.operation(*args, **kwargs))
        return self._graph.results([values[place] for place in plan.outputs])

    def _can_be_called(self) -> bool:
        """Whether the model has a graph or a `call`. A class that overrides the training steps needs neither."""
        return self._graph is not None or type(self).call is not Model.call

    def _has_own_call(self) -> bool:
        """Whether the class overrides `call`, so results may differ from the graph's outputs."""
        return type(self).call not in (Model.call, Layer.call)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._graph is None or self._has_own_call():
            return super().compute_output_shape(input_shape)
        return self._graph.output_shapes(self._graph.match(input_shape, self.name, is_shape))

    def check_input(self, shape: Any) -> None:
        """Raises ValueError if inputs of this shape, or these shapes, do not fit the built model."""
        if self._graph is None:
            return super().check_input(shape)
        is_multi = len(self._graph.inputs) > 1
        for tensor, sizes in zip(self._graph.inputs, self._graph.match(shape, self.name, is_shape)):
            expected, sizes = tensor.shape, tuple(sizes)
            if len(sizes) == len(expected) and all(
                    w is None or s is None or w == s for s, w in zip(sizes[1:], expected[1:])):
                continue
            label = f"input {tensor.name!r}" if is_multi else "inputs"
            raise ValueError(f"Model {self.name!r} needs {label} of shape {expected}. Received shape {sizes}."
                             f"{input_remedy(sizes, expected)}")

    def summary(
        self, line_length: int | None = None, positions: Any = None, print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False, show_trainable: bool = False, layer_range: Any = None,
    ) -> None:
        """Prints a table of the layers, their output shapes, their weights and, if the graph is not
        a chain, their connections. If `print_fn` is given, it receives the text instead.

        positions: the columns' ends as fractions of the line length. expand_nested: includes the
        layers of nested models. show_trainable: adds a column with Y or N. layer_range: the names,
        or name patterns, of the first and last layer.
        """
        text = summary.text(self, line_length, positions, expand_nested, show_trainable, layer_range)
        if print_fn is not None:
            print_fn(text)
            return
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:
            sys.stdout.write(summary.plain(text) + "\n")

    def profile(self, batch_size: int = 1, input_shape: Any = None, measure: bool = True) -> "Profile":
        """Returns the costs of each layer: parameters, multiply-adds, and memory in inference and training. On the CPU,
        if `measure` is true, they include the inference time and how close it comes to the shortest time possible on
        this machine. The result prints as a table; its `rows` contain the same data.

        input_shape: shape without the batch, such as (180, 180, 3), if input sizes are unknown; a list for several
        inputs. Raises ValueError for shapes that do not fit, AttributeError for a class with its own call.
        """
        from ..engine.costs.profile import profile

        return profile(self.name, self.graph, self.device, self._check_shapes(batch_size, input_shape), measure)

    def _check_shapes(self, batch_size: int, input_shape: Any) -> list[tuple[int, ...]]:
        """Returns the inputs' shapes for the arguments of `profile`, batch first. Raises ValueError for wrong ones."""
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer. Received: {batch_size!r}.")
        known = self.input_shape
        inputs = [shape[1:] for shape in ([known] if is_shape(known) else known)]
        sample_shapes = inputs if input_shape is None else [input_shape] if is_shape(input_shape) else list(input_shape)
        if len(sample_shapes) != len(inputs) or any(None in shape for shape in sample_shapes):
            raise ValueError(f"The cost of model {self.name!r} can be computed only if all input "
                             f"sizes are known. Received: input_shape={input_shape!r} for inputs "
                             f"of shapes {inputs}. Pass input_shape with all sizes of each input.")
        shapes: list[Any] = [(int(batch_size), *shape) for shape in sample_shapes]
        self.check_input(shapes if len(shapes) > 1 else shapes[0])
        return shapes

    # Training, under Keras's names: the trainer's methods and attributes.
    compile = TrainerMethod(Trainer.compile)
    get_compile_config = TrainerMethod(Trainer.get_compile_config)
    compile_from_config = TrainerMethod(Trainer.compile_from_config)
    distribute = TrainerMethod(Trainer.distribute)
    fit = TrainerMethod(Trainer.fit)
    evaluate = TrainerMethod(Trainer.evaluate)
    predict = TrainerMethod(Trainer.predict)
    train_on_batch = TrainerMethod(Trainer.train_on_batch)
    test_on_batch = TrainerMethod(Trainer.test_on_batch)
    recording_report = TrainerMethod(Trainer.recording_report)
    graph_report = TrainerMethod(Trainer.graph_report)
    optimizer, loss, history, ranks = map(trainer_attribute, ("optimizer", "loss", "history", "ranks"))
    run_eagerly, jit_compile, steps_per_execution = map(
        trainer_attribute, ("run_eagerly", "jit_compile", "steps_per_execution"))
    stop_training, stop_evaluating, stop_predicting = map(
        trainer_attribute, ("stop_training", "stop_evaluating", "stop_predicting"))

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch x (N, ...), with the least overhead. Needs no compile()."""
        return self._trainer.predict_on_batch(x)  # a plain method has the fastest lookup

    @property
    def compiled(self) -> bool:
        """Whether compile() was called."""
        return self._trainer.optimizer is not None

    def to(self, device: str) -> Any:
        """Moves all weights to `device` in place and frees the recorded steps' memory. Returns the model."""
        self._trainer.running.steps.forget()
        return super().to(device)

    # Keras's steps. A subclass may override each step; the steps call one another as methods.
    train_step = own.train_step
    test_step = own.test_step
    predict_step = own.predict_step
    compute_loss = own.compute_loss
    compute_metrics = own.compute_metrics
    get_metrics_result = own.get_metrics_result
    reset_metrics = own.reset_metrics

    @property
    def metrics(self) -> list[Metric]:
        return [*own.compiled_metrics(self), *super().metrics]

    @property
    def metrics_names(self) -> list[str]:
        """The names of `metrics`. For the names of `evaluate`'s results use `evaluate(..., return_dict=True)`."""
        return [metric.name for metric in self.metrics]

    # Files. `formats` imports models, so its functions are imported only when a file is written or read.
    def save(self, filepath: Path, overwrite: bool = True, **unknown: Any) -> None:
        """Writes the architecture, all weights and, if compiled, the training settings with the optimizer's slots to
        `filepath` (.safetensors, or Keras's .keras or .h5). `models.load_model` reads the file.
        """
        refuse(self, "save", unknown)
        _formats().save_model(self, filepath, overwrite)

    def check_savable(self, filepath: Path) -> None:
        """Raises ValueError, with the reason, if `save(filepath)` would refuse the model. Writes nothing."""
        _formats().check_savable(self, filepath)

    def save_weights(self, filepath: Path, overwrite: bool = True, **unknown: Any) -> None:
        """Writes only the weights to `filepath` (.weights.safetensors, or Keras's .weights.h5)."""
        refuse(self, "save_weights", unknown)
        _formats().save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Path, skip_mismatch: bool = False) -> None:
        """Reads weights that `save` or `save_weights` wrote. Raises ValueError and changes nothing if weights do not
        fit the model. With skip_mismatch=True, skips such weights with a warning instead.
        """
        if not self.built:
            raise ValueError(f"load_weights needs a built model. Received: {self!r}. Start it with "
                             "layers.Input(shape), or call build((None, *shape)) first.")
        _formats().load_weights(self, filepath, skip_mismatch)

    def export(self, filepath: Path, format: str = "onnx", opset: int = 17) -> None:
        """Writes the model as an ONNX file for other programs. Raises ValueError for any `format` other than "onnx"."""
        if format != "onnx":
            raise ValueError(f"A model can be exported only with format='onnx'. Received: format={format!r}.")
        _formats().to_onnx(self, filepath, opset)

    def to_json(self, **options: Any) -> str:
        """Returns the layers, their calls and the arguments of compile() as JSON text in Keras's format, without
        weights. `models.model_from_json` reads it. options: arguments of json.dumps.
        """
        return _formats().to_json(self, **options)

    def get_build_config(self) -> JsonObject | None:
        """Returns {"input_shape": shape}, the shape (batch first) that the model was built for; None if not built."""
        return {"input_shape": self.input_shape} if hasattr(self, "input_shape") else None

    def get_config(self) -> JsonObject:
        """Returns the layers and their calls as plain data, or the arguments of a class with its own constructor."""
        if type(self).__init__ is not Model.__init__ or self._graph is None:
            return {key: value for key, value in super().get_config().items() if key != "dtype"}
        return {"name": self.name, "trainable": self.trainable, **serialize(self._graph.records())}

    @classmethod
    def from_config(cls, config: JsonObject, custom_objects: dict[str, type] | None = None) -> "Model":
        """Creates the model that `get_config` describes, with new weights."""
        if "output_layers" not in config:
            return super().from_config(config)  # type: ignore[return-value]
        graph = Graph.from_records({**config, "layers": deserialize(config["layers"], custom_objects)})
        return cls(graph.input_structure, graph.output_structure, config.get("name"), config.get("trainable", True))

    def __getstate__(self) -> dict[str, Any]:
        attributes = {name: value for name, value in vars(self._trainer).items() if name not in ("model", "running")}
        state = {**super().__getstate__(), "_cached_plan": None, "_trainer": attributes}  # a copy records its own steps
        if self._graph is not None:
            state["_graph"] = self._graph.records()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self._trainer).update(state["_trainer"])
        vars(self).update({**state, "_trainer": self._trainer})
        if self._graph is not None:
            self._graph = Graph.from_records(state["_graph"])

    def _sublayers(self) -> list[Layer]:
        in_graph = [] if self._graph is None else self._graph.layers
        return list(dict.fromkeys([*in_graph, *super()._sublayers()]))


def _formats() -> Any:
    from .. import formats  # here, because `formats` imports models

    return formats


class Functional(Model):
    """The class of the models that `Model(inputs, outputs)` creates."""
