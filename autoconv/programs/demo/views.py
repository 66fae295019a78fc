"""Computes all layers' outputs for one image, as bytes that the page can draw."""

import base64

import numpy as np

from ...files.json_text import JsonObject
from ...layers import Conv2D, Rescaling
from ...models import Model, Sequential

Packed = JsonObject


class Views:
    """Computes all layers' outputs for one image, with a second model that shares the weights."""

    def __init__(self, model: Sequential) -> None:
        self.model = model
        self._outputs = Model(model.inputs, [layer.output for layer in model.layers])

    def compute(self, image: np.ndarray) -> list[np.ndarray]:
        """Returns the layers' outputs (..., C) for an image (H, W, C) of bytes, with 0 for NaN."""
        return [np.nan_to_num(output[0]) for output in self._outputs.predict_on_batch(image[None])]

    def describe(self, image: np.ndarray) -> JsonObject:
        """Returns the image, each layer's output, the first filters and the class scores."""
        outputs = self.compute(image)
        return {"picture": pack(image[..., 0]), "filters": pack(first_filters(self.model)),
                **describe_layers(self.model, outputs)}


def describe_layers(model: Sequential, outputs: list[np.ndarray]) -> JsonObject:
    """Returns each layer's name, class and output, except Rescaling's, and the class scores."""
    layers = [{"name": layer.name, "kind": type(layer).__name__, "maps": pack(output)}
              for layer, output in zip(model.layers, outputs) if not isinstance(layer, Rescaling)]
    return {"layers": layers, "scores": [round(float(score), 6) for score in outputs[-1]]}


def first_filters(model: Sequential) -> np.ndarray:
    """Returns the kernel (KH, KW, F) of the first convolution, whose input is one gray channel."""
    return np.nan_to_num(next(layer for layer in model.layers if isinstance(layer, Conv2D)).kernel.numpy()[:, :, 0])


def pack(array: np.ndarray) -> Packed:
    """Packs an array as base64 of bytes, scaled from `low` (at most 0) to `high` (at least 0)."""
    low = min(float(array.min()), 0.0)
    high = max(float(array.max()), 0.0)
    if array.dtype == np.uint8:
        low = 0.0
        high = 255.0
    scale = 255 / (high - low) if high > low else 0.0
    data = ((array - np.float32(low)) * np.float32(scale) + np.float32(0.5)).astype(np.uint8)
    return {"shape": array.shape, "low": low, "high": high, "data": base64.b64encode(data.tobytes()).decode("ascii")}
