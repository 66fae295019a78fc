"""`Sequential`: a model that is a chain of layers."""

import os
import sys
from collections.abc import Callable
from math import prod
from typing import Any

from .graph import fusion, summary
from .layers import InputLayer, Layer
from .layers.base import Shape
from .layers.config import deserialize, serialize
from .tensor import Tensor
from .train.trainer import Trainer

Path = str | os.PathLike[str]


class Sequential(Trainer, Layer):
    """A chain of layers, each of which takes what the one before gives.

        model = Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, "softmax")])

    With an `Input` (or `input_shape=` on the first layer) the weights are made at once and every layer is checked as it
    is added; else when the first data come. A Sequential is itself a layer, so one may stand within another.
    """

    recordable = True

    def __init__(self, layers: list[Layer] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._layers: list[Layer] = []
        self._steps: list[fusion.Step] | None = None  # how the layers run; made again when they change
        self.layer_shapes: list[Shape] = []  # of the input, then of each layer's output; empty where not known yet
        for layer in layers or []:
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    @property
    def dtype(self) -> str:
        """The dtype that arrays are converted to on their way in: the first layer's."""
        return self._layers[0].dtype if self._layers else self._dtype

    @property
    def input_shape(self) -> Shape:
        """The shape of what the model takes, such as (None, 28, 28, 1)."""
        return self._known_shapes()[0]

    @property
    def output_shape(self) -> Shape:
        """The shape of what the model gives, such as (None, 10)."""
        return self._known_shapes()[-1]

    def add(self, layer: Layer) -> None:
        """Puts `layer` at the end. Raises ValueError where it does not fit what comes before."""
        if isinstance(layer, type) or not isinstance(layer, Layer):
            call = f" Make one: {layer.__name__}(...)." if isinstance(layer, type) else ""
            raise TypeError(f"A Sequential is made of layers. Received: {layer!r}.{call}")
        if isinstance(layer, InputLayer):
            if self._layers or self.layer_shapes:
                raise ValueError(f"An Input must come first, and only once. Received a later one: {layer!r}.")
            self.layer_shapes = [layer.given_input_shape]  # type: ignore[list-item]
            return
        if any(layer.name == other.name for other in self._layers):
            raise ValueError(f"Layers of a model must have different names. Received a second {layer.name!r}.")
        if layer.device is not self.device:  # what is on a GPU stays there
            away, here = (layer, self) if layer.device.is_gpu else (self, layer)
            here.to(away.device.name)
        if not self.trainable:
            layer.trainable = False
        shapes = self.layer_shapes
        if not self._layers and not shapes and layer.given_input_shape is not None:
            shapes = [layer.given_input_shape]
        if shapes:
            shapes = [*shapes, layer.build_for(shapes[-1])]
        self._layers.append(layer)
        self._steps = None
        self.layer_shapes, self.built = shapes, bool(shapes)

    def pop(self) -> Layer:
        """Takes the last layer away and returns it."""
        if not self._layers:
            raise ValueError(f"{self.name!r} has no layers to take away.")
        if self.layer_shapes:
            self.layer_shapes.pop()
        self._steps = None
        return self._layers.pop()

    def build(self, input_shape: Shape | None = None) -> None:
        """Makes all weights for inputs of `input_shape`, batch first: `model.build((None, 28, 28, 1))`."""
        shapes = [self._known_shapes()[0] if input_shape is None else input_shape]
        for layer in self._layers:
            shapes.append(layer.build_for(shapes[-1]))
        self.layer_shapes = shapes

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        for step in self._plan():
            x = step(x, training)
        return x

    def _plan(self) -> list[fusion.Step]:
        if self._steps is None:
            self._steps = fusion.plan(self._layers)
        return self._steps

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def check_input(self, shape: Shape) -> None:
        """Raises ValueError where inputs of this shape are not what the model was built for."""
        wanted = self.input_shape
        same = len(shape) == len(wanted) and all(
            w is None or s is None or w == s for s, w in zip(shape[1:], wanted[1:])
        )
        if same:
            return
        remedy = ""
        if None not in (*shape[1:], *wanted[1:]) and prod(shape[1:]) == prod(wanted[1:]):  # type: ignore[type-var,arg-type]
            remedy = f" Reshape it: x.reshape({', '.join(map(str, (-1, *wanted[1:])))})."
        raise ValueError(f"Model {self.name!r} wants inputs of shape {wanted}. Received shape {tuple(shape)}.{remedy}")

    def summary(
        self, line_length: int | None = None, positions: Any = None, print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False, show_trainable: bool = False, layer_range: Any = None,
    ) -> None:
        """Prints a table of the layers, their output shapes and their weights; `print_fn` gets the text instead."""
        self._keras_default("positions", positions, None)
        self._keras_default("expand_nested", expand_nested, False)
        self._keras_default("show_trainable", show_trainable, False)
        self._keras_default("layer_range", layer_range, None)
        text = summary.text(self, line_length)
        if print_fn is not None:
            print_fn(text)
            return
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:
            sys.stdout.write(summary.plain(text) + "\n")

    # Files. The formats know models, so models look for them only when one is written or read.

    def save(self, filepath: Path, overwrite: bool = True) -> None:
        """Writes the architecture and all weights to `filepath` (.safetensors); `models.load_model` reads it."""
        from . import formats

        formats.save_model(self, filepath, overwrite)

    def save_weights(self, filepath: Path, overwrite: bool = True) -> None:
        """Writes the weights alone to `filepath` (.weights.safetensors)."""
        from . import formats

        formats.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Path) -> None:
        """Reads weights that `save` or `save_weights` wrote; changes nothing where they do not fit (ValueError)."""
        from . import formats

        formats.load_weights(self, filepath)

    def get_config(self) -> dict[str, Any]:
        """The layers as plain data."""
        if type(self).__init__ is not Sequential.__init__:  # a class of yours, which makes its own layers
            return {key: value for key, value in super().get_config().items() if key != "dtype"}
        return {
            "name": self.name, "trainable": self.trainable, "layers": [serialize(layer) for layer in self._layers],
            "build_input_shape": self.layer_shapes[0] if self.layer_shapes else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> "Sequential":
        """The model that `get_config` describes, with new weights."""
        if cls.__init__ is not Sequential.__init__:
            return super().from_config(config)  # type: ignore[return-value]
        shape = config.get("build_input_shape")
        start = [] if shape is None else [InputLayer(shape[1:])]
        layers = start + deserialize(config["layers"], custom_objects)
        return cls(layers, config.get("trainable", True), config.get("name"))

    def _sublayers(self) -> list[Layer]:
        return self._layers

    def _own_weights(self) -> list[Any]:
        return []

    def _known_shapes(self) -> list[Shape]:
        if not self.layer_shapes:
            raise ValueError(
                f"The shapes in {self.name!r} are not known yet: start it with layers.Input(shape), or call "
                "build((None, *shape))."
            )
        return self.layer_shapes


def load_model(filepath: Path, custom_objects: dict[str, type] | None = None) -> Sequential:
    """The model that `model.save(filepath)` wrote, not compiled. `custom_objects` maps names to classes of your own."""
    from . import formats

    return formats.load_model(filepath, custom_objects)
