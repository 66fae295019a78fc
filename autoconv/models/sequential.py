"""`Sequential`: a model that is a chain of layers."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ..arguments.names import snake_case
from ..arguments.serialization import deserialize, serialize
from ..engine.errors import NotBuiltError
from ..engine.graph.graph import Graph
from ..engine.symbolic import Node, Shape, SymbolicTensor
from ..files.json_text import JsonObject
from ..kernels import device as devices
from ..layers import InputLayer, Layer
from ..layers.parts import automatic_name
from .model import Model


class Sequential(Model):
    """A chain of layers, each of which receives the previous layer's output.

        model = Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, "softmax")])

    With an `Input` (or `input_shape=` on the first layer), each layer is checked and its weights are created when it is
    added, otherwise when the first data arrive. A Sequential is a layer, so another model may contain it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "Sequential":
        if cls.__init__ is Sequential.__init__ and any(isinstance(item, Layer) for item in args):
            raise ValueError("Sequential requires one list of layers. Received: "
                             f"Sequential({', '.join(map(repr, args))}). Put the layers into brackets: "
                             f"Sequential([{', '.join(f'{type(item).__name__}(...)' for item in args)}]).")
        return super().__new__(cls, *args, **kwargs)  # type: ignore[return-value]

    def __init__(self, layers: Iterable[Layer | SymbolicTensor] | None = None, trainable: bool = True,
                 name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._layers: list[Layer] = []
        self._begin: InputLayer | None = None
        self._has_data_shape = False  # whether the Input's shape was inferred from the first data
        self._chain: list[Node] = []  # the layers' calls in order, starting at the Input
        if type(self).__init__ is Sequential.__init__:
            self._recipe = ((), (), ())
        names: set[str] = set()
        for layer in layers or []:
            self._append(layer, names)
        self._rebuild()

    def _missing_reason(self, name: str) -> str:
        return (f"{self.name!r} has no {name} yet: the shapes are not known. Start it with "
                "layers.Input(shape), or call build((None, *shape)).")

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return list(self._layers)

    @property
    def dtype(self) -> str:
        """The dtype to which inputs are converted, which is the first layer's dtype."""
        return self._layers[0].dtype if self._layers else self._dtype

    @property
    def layer_shapes(self) -> list[Shape]:
        """The shapes of the input and of each layer's output; empty if they are not known yet."""
        if self._begin is None:
            return []
        return [self._begin.output.shape, *(node.structure.shape for node in self._chain)]

    @property
    def input_shape(self) -> Any:
        """The model's input shape, such as (None, 28, 28, 1)."""
        if self._begin is None:
            raise AttributeError  # __getattr__ reports what is missing
        return super().input_shape

    @property
    def output_shape(self) -> Any:
        """The model's output shape, such as (None, 10)."""
        if self._begin is None:
            raise AttributeError
        return super().output_shape

    def add(self, layer: Layer | SymbolicTensor, rebuild: bool = True) -> None:
        """Appends `layer`. Raises ValueError if it does not fit the previous layer. `rebuild` has
        no effect: layers are always built when they are added.
        """
        if isinstance(rebuild, Layer):
            raise ValueError(f"add() appends one layer. Received: {layer!r} and {rebuild!r}. Call add() for each "
                             "layer.")
        begin = [self._begin] if self._begin else []
        self._append(layer, {member.name for member in (*begin, *self._layers)})
        self._rebuild()

    def _append(self, layer: Layer | SymbolicTensor, names: set[str]) -> None:
        """Appends `layer` and adds its name to `names`; the caller must rebuild the graph."""
        if isinstance(layer, SymbolicTensor) and isinstance(layer.node.operation, InputLayer):
            layer = layer.node.operation
        if isinstance(layer, type) or not isinstance(layer, Layer):
            call = f" Create an instance: {layer.__name__}(...)." if isinstance(layer, type) else ""
            raise ValueError(f"A Sequential can contain only layers. Received: {layer!r}.{call}")
        if isinstance(layer, InputLayer):
            if self._layers or self._begin:
                raise ValueError(f"Only the first layer may be an Input. Received a later Input: {layer!r}.")
            self._begin = layer
            names.add(layer.name)
            return
        if not any(layer is member for member in self._layers):
            _settle_name(layer, names)
        if any(nested is self for nested in layer._walk()):
            raise ValueError(f"A model cannot be a layer of itself. Received: {layer!r}, added to {self.name!r}.")
        if layer.device is not self.device:  # the model or layer on the default device moves
            target, mover = (self, layer) if layer.device is devices.get() else (layer, self)
            mover.to(target.device.name)
        if not self.trainable:
            layer.trainable = False
        begin = self._begin
        shape = None
        if not self._layers and begin is None:  # the shape may come from the first layer or model
            shape = layer.given_input_shape
            if shape is None and isinstance(layer, Model) and layer._graph is not None:
                inputs = layer._graph.inputs
                shape = inputs[0].shape if len(inputs) == 1 else None
        if shape is not None:
            begin = InputLayer(shape[1:])
            names.add(begin.name)
        if begin is not None:
            layer(self._chain[-1].structure if self._chain else begin.output)
            self._chain.append(layer._nodes[-1])
        self._layers.append(layer)
        names.add(layer.name)
        self._begin, self.built = begin, begin is not None

    def pop(self, rebuild: bool = True) -> Layer:
        """Removes the last layer and returns it. `rebuild` has no effect."""
        if not self._layers:
            raise ValueError(f"Model {self.name!r} has no layers to remove.")
        if self._chain:
            self._chain.pop().remove()
        self._rebuild()
        return self._layers.pop()

    def build(self, input_shape: Shape | None = None) -> None:
        """Creates all weights for inputs of `input_shape`, batch first: `model.build((None, 28, 28, 1))`."""
        if not self._layers and self._begin is None:
            raise ValueError(f"Model {self.name!r} has no layers. Add layers with model.add(layer) "
                             "before you build or call the model.")
        if input_shape is None:
            input_shape = self.input_shape
        self._relink(tuple(input_shape))
        self._has_data_shape = True

    def _relink(self, input_shape: Shape) -> None:
        begin = InputLayer(input_shape[1:])
        chain = self._link(begin)
        for node in self._chain:
            node.remove()
        self._begin, self._chain = begin, chain
        self._rebuild()

    def _link(self, begin: InputLayer) -> list[Node]:
        """Calls the layers in order, starting with `begin`, and returns the calls' nodes."""
        chain: list[Node] = []
        try:
            for layer in self._layers:
                layer(chain[-1].structure if chain else begin.output)
                chain.append(layer._nodes[-1])
        except BaseException:
            for node in chain:
                node.remove()
            raise
        return chain

    def _rebuild(self) -> None:
        """Rebuilds the graph from the current layers."""
        self._cached_plan = self._graph = None
        if self._begin is not None:
            self._graph = Graph(self._begin.output, self._chain[-1].structure if self._chain else self._begin.output)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def check_input(self, shape: Any) -> None:
        """Raises ValueError if inputs of this shape do not fit the built model."""
        if self._begin is None:
            raise NotBuiltError(self._missing_reason("input_shape"))
        old_shape, shape = self.layer_shapes[0], tuple(shape)
        open_shape = (None, *(n if n == m else None for n, m in zip(old_shape[1:], shape[1:])))
        if self._has_data_shape and len(shape) == len(old_shape) and open_shape != old_shape:
            with suppress(ValueError):  # the shape was inferred from data: other sizes may fit
                self._relink(open_shape)
        super().check_input(shape)

    def get_config(self) -> JsonObject:
        """Returns the layers as plain data."""
        if type(self).__init__ is not Sequential.__init__:  # a user's class, which creates its own layers
            return super().get_config()
        return {
            "name": self.name, "trainable": self.trainable, "layers": [serialize(layer) for layer in self._layers],
            "build_input_shape": self.layer_shapes[0] if self._begin else None,
        }

    @classmethod
    def from_config(cls, config: JsonObject, custom_objects: dict[str, type] | None = None) -> "Sequential":
        """Creates the model that `get_config` describes, with new weights."""
        if cls.__init__ is not Sequential.__init__:
            return super().from_config(config)  # type: ignore[return-value]
        shape = config.get("build_input_shape")
        start = [] if shape is None else [InputLayer(shape[1:])]
        layers = start + deserialize(config["layers"], custom_objects)
        return cls(layers, config.get("trainable", True), config.get("name"))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_graph": None, "_chain": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._begin is not None:
            self._chain = self._link(self._begin)
        self._rebuild()

    def _sublayers(self) -> list[Layer]:
        return self._layers

    def _own_weights(self) -> list[Any]:
        return []


def _settle_name(layer: Layer, names: set[str]) -> None:
    """Gives a layer whose automatic name is already in `names` another name. Raises ValueError for a name that the
    user gave, and for a layer with weights.
    """
    while layer.name in names and layer._has_automatic_name and not layer.weights:
        layer.name = automatic_name(snake_case(type(layer).__name__))
    if layer.name in names:
        raise ValueError(f"Layers of a model must have different names. Received a second layer named {layer.name!r}.")
