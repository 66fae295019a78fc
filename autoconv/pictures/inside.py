"""Returns layer outputs, filters and class scores of a net for an image, as arrays."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import names
from ..engine.symbolic import Node
from ..engine.tensor import no_grad
from ..layers import Conv2DTranspose, DepthwiseConv2D, Layer
from ..layers.function import get_kind
from ..models import Model
from . import reading
from .reading import ImageLike

Images = ImageLike | Sequence[ImageLike]  # a batch (N, H, W, C) or (N, H, W), one image, or a list of files


class Activation(NamedTuple):
    """The name and class of a layer, and its output for one image, without the batch axis."""

    name: str
    kind: str
    output: np.ndarray


def activations(model: Model, image: ImageLike, layer: str | None = None) -> list[Activation]:
    """Returns the outputs of all layers for one image, in order, or only the outputs of `layer`.

    image: an array (H, W) or (H, W, C), or a picture file. A file is read as by `autoconv predict`,
    in the model's size and colours. For a model of MNIST's digits, only the digit in the picture is
    used. Pixels are 0..255, or 0..1 if the model has no Rescaling layer. Raises ValueError for an
    unknown layer or a wrong image, UnreadableImage for a file that is not a picture.
    """
    nodes = select_nodes(model, layer)
    maps = Model(model.inputs, [tensor for node in nodes for tensor in node.outputs])
    with no_grad():
        found = maps(batch_of_one(model, image), training=False)
    outputs = iter(found if isinstance(found, list) else [found])
    return [Activation(node.operation.name, get_kind(node.operation),
                       next(outputs).numpy()[0]) for node in nodes for _ in node.outputs]


def kernels(model: Model, layer: str | None = None) -> dict[str, np.ndarray]:
    """Returns the kernels (KH, KW, C, F) of all convolutions, also in nested models, or only of
    `layer`, by layer name. A kernel has F filters over C maps. Raises ValueError for a layer
    without kernels.
    """
    _check_model(model)
    layers: dict[str, Layer] = {}
    for each in model._walk():
        layers.setdefault(each.name, each)  # an outer layer precedes a nested one
    found = {name: _kernel(each) for name, each in layers.items() if np.ndim(getattr(each, "kernel", 0)) == 4}
    if layer is None:
        return found
    names.lookup("layer", layer, layers)
    if layer not in found:
        raise ValueError(f"Layer {layer!r} has no filters. Layers with filters: {', '.join(found) or 'none'}.")
    return {layer: found[layer]}


def class_scores(model: Model, images: Any, batch_size: int = 64, from_logits: bool | None = None) -> np.ndarray:
    """Returns class probabilities (N, classes) of images. These are the model's outputs. For
    a model whose outputs are logits, they are the outputs' softmax, or the sigmoid of one output.
    from_logits: whether the outputs are logits; by default, they are unless the last op is a softmax or sigmoid.
    """
    _check_model(model)
    with no_grad():
        parts = [model(images[i : i + batch_size], training=False) for i in range(0, len(images), batch_size)]
    values = np.concatenate([part.numpy() for part in parts])
    if from_logits is False or (from_logits is None and parts[0].logits is not None):
        return values
    if values.shape[-1] == 1:
        return 1 / (1 + np.exp(-values))
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def batch_of_one(model: Model, image: ImageLike) -> np.ndarray:
    """Returns an image as a batch (1, H, W, C). image: an array (H, W) or (H, W, C), or a file."""
    x = to_batch(model, image)
    if len(x) != 1:
        raise ValueError(f"The image must have shape {model.input_shape[1:]}. Received shape {x.shape}.")
    return x


def to_batch(model: Model, images: Any) -> np.ndarray:
    """Returns images as a batch (N, H, W, C). images: a batch, one image or file, or a list of
    files (`Images`).
    """
    _check_model(model)
    if len(model.inputs) != 1:
        raise ValueError("The model must have one input. Received a model with "
                         f"{len(model.inputs)} inputs: {', '.join(model.input_names)}.")
    if isinstance(images, str | os.PathLike):
        images = reading.read_for_model(model, Path(images))
    elif len(images) and isinstance(images[0], str | os.PathLike):
        images = np.stack([reading.read_for_model(model, Path(path)) for path in images])
    x = np.asarray(images)
    rank = len(model.input_shape)
    if model.input_shape[-1] == 1 and x.shape[-1:] != (1,):
        x = x[..., None]
    x = x[None] if x.ndim == rank - 1 else x
    if x.ndim != rank or not len(x):
        raise ValueError(f"Images must have shape (N, {', '.join(map(str, model.input_shape[1:]))}), or that of one "
                         f"image. Received shape {np.shape(images)}.")
    model.check_input(x.shape)
    return x


def _check_model(model: Any) -> None:
    """Raises TypeError for anything else than a model, such as an image that was passed first."""
    if not isinstance(model, Model):
        raise TypeError("The first argument must be a model, which images or the name of a layer follow. Received: "
                        f"{type(model).__name__} as the model.")


def select_nodes(model: Model, layer: str | None = None) -> list[Node]:
    """Returns the nodes of all layers and functions of the model, or only the nodes of `layer`."""
    _check_model(model)
    nodes = [node for node in model.graph.nodes if node.inputs]
    if layer is None:
        return nodes
    names.lookup("layer", layer, {node.operation.name: node for node in nodes})
    return [node for node in nodes if node.operation.name == layer]


def _kernel(layer: Any) -> np.ndarray:
    kernel = layer.kernel.numpy()
    if isinstance(layer, Conv2DTranspose):  # its kernel is (KH, KW, F, C)
        return kernel.swapaxes(2, 3)
    if isinstance(layer, DepthwiseConv2D):  # each filter reads one map
        return kernel.reshape(*kernel.shape[:2], 1, -1)
    return kernel
