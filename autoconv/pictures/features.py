"""Finds inputs that excite filters, and the principal components of a layer's outputs."""

from collections.abc import Sequence

import numpy as np

from ..engine.tensor import Tensor, no_grad
from ..models import Model
from .influence import BATCH, input_gradient
from .inside import Images, activations, select_nodes, to_batch
from .reading import factor

RATE = 0.05  # mean change of a pixel per step, as a fraction of the range of pixels


def exciting_inputs(model: Model, layer: str, filters: int | Sequence[int], steps: int = 64,
                    seed: int = 0) -> np.ndarray:
    """Returns, for each filter, an input (N, H, W, C) that makes the mean of its map large (Erhan
    et al., 2009).

    Gradient ascent from noise: each step adds the gradient, scaled to a fixed mean size, and clips
    the pixels to 0..255, or to 0..1 if the model has no Rescaling layer. New noise replaces an
    input without gradient. The filters of a Dense layer are its units. The noise depends only on
    `seed`. Raises ValueError for an unknown layer or filter, and an input of unknown size.
    """
    to_layer = Model(model.inputs, select_nodes(model, layer)[-1].outputs[0])
    count = to_layer.output_shape[-1]
    chosen = np.atleast_1d(np.array(filters))
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"A filter of layer {layer!r} must be in 0..{count - 1}. Received: {filters!r}.")
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(f"The model must have one input of a fixed size. Received: input shape {model.input_shape}.")
    marks = np.eye(count, dtype=np.float32)[chosen].reshape(-1, *[1] * (len(to_layer.output_shape) - 2), count)
    most = 255 * factor(model)

    def mean(y: Tensor) -> Tensor:
        return (y * marks).sum() / (y.size / y.shape[0] / count)

    random = np.random.default_rng(seed)
    h, w, channels = model.input_shape[1:]
    x = np.repeat(most * random.uniform(0.25, 0.75, (1, h, w, channels)).astype(np.float32), len(chosen), 0)
    for step in range(steps):
        gradient = input_gradient(to_layer, [x], mean)
        size = np.abs(gradient).mean((1, 2, 3), keepdims=True)
        x = np.clip(x + RATE * most * gradient / (size + 1e-30), 0, most)
        blocks = random.random((h, w, channels), np.float32).repeat(1 + step % 8, 0).repeat(1 + step % 8, 1)
        x = np.where(size > 0, x, most * blocks[:h, :w])  # a ReLU that returns only 0 has no gradient
    return x


def exciting_pictures(model: Model, layer: str, filters: int | Sequence[int], steps: int,
                      seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns `exciting_inputs` as pixels 0..255, uint8 (N, H, W, C), and the mean (N,) of each
    filter's map for its input, which is 0 if no input was found.
    """
    x = exciting_inputs(model, layer, filters, steps, seed)
    maps = [activations(model, image, layer)[-1].output[..., number]
            for image, number in zip(x, np.atleast_1d(np.array(filters)))]
    means = np.array([each.mean() if np.isfinite(each).all() else 0 for each in maps])
    return np.rint(x / factor(model)).astype(np.uint8), means


def principal_components(model: Model, images: Images, layer: str, count: int = 2) -> np.ndarray:
    """Returns the coordinates (N, count) of a layer's outputs for N images along their `count`
    first principal components, which are the directions of the largest variance (PCA). images: see
    `grad_cam_map`.

    A component's largest coordinate is positive. Raises ValueError if there are not more than
    `count` images.
    """
    x = to_batch(model, images)
    if len(x) <= count:
        raise ValueError(f"{count} principal components need at least {count + 1} images. Received: {len(x)} images.")
    to_layer = Model(model.inputs, select_nodes(model, layer)[-1].outputs[0])
    with no_grad():
        parts = [to_layer(x[i : i + BATCH], training=False).numpy() for i in range(0, len(x), BATCH)]
    outputs = np.concatenate(parts).reshape(len(x), -1).astype(np.float64)
    outputs[~np.isfinite(outputs)] = 0  # so that a net that diverged can be looked at
    outputs -= outputs.mean(0)
    squares, vectors = np.linalg.eigh(outputs @ outputs.T)  # N x N, however many outputs a layer has
    found = (vectors * np.sqrt(np.maximum(squares, 0)))[:, ::-1][:, :count]
    return found * np.sign(np.take_along_axis(found, np.abs(found).argmax(0)[None], 0))
