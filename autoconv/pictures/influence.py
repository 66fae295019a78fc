"""Measures each pixel's influence on a net's scores, by hiding pixels or by a gradient."""


import numpy as np

from ..arguments.shapes import Pair, pair
from ..engine.tensor import Tensor
from ..models import Model
from .inside import batch_of_one, class_scores
from .reading import ImageLike

BATCH = 64  # number of images, each with a patch hidden, per call of the model


def occlusion_map(model: Model, image: ImageLike, class_index: int | None = None,
                  size: Pair | None = None, strides: Pair | None = None,
                  value: float | None = None) -> np.ndarray:
    """Returns, for each pixel (H, W), the mean decrease of a class's probability when a patch hides
    the pixel (Zeiler and Fergus, 2014). Pixels with large values support the class.

    image: an array or a file, see `activations`. class_index: by default the likeliest class. The
    patch has `size` pixels, by default a seventh of the image, and moves by `strides`, by default
    half its size. It is filled with `value`, by default each channel's median.
    """
    x = batch_of_one(model, image).astype(np.float32)
    _, h, w, _ = x.shape
    high, wide = pair(size or (max(1, h // 7), max(1, w // 7)), "size")
    if high > h or wide > w:
        raise ValueError(f"The patch must fit into the image. Received: size={(high, wide)} for an "
                         f"image of {h} x {w} pixels.")
    down, right = pair(strides or (max(1, high // 2), max(1, wide // 2)), "strides")
    scores = class_scores(model, x)[0]
    chosen = _class(scores, class_index)
    filling = np.median(x, axis=(0, 1, 2)) if value is None else value
    places = [(i, j) for i in _starts(h, high, down) for j in _starts(w, wide, right)]
    total = np.zeros((h, w))
    count = np.zeros((h, w))
    for begin in range(0, len(places), BATCH):
        part = places[begin : begin + BATCH]
        hidden = np.repeat(x, len(part), axis=0)
        for one, (i, j) in zip(hidden, part):
            one[i : i + high, j : j + wide] = filling
        for score, (i, j) in zip(class_scores(model, hidden)[:, chosen], part):
            total[i : i + high, j : j + wide] += scores[chosen] - score
            count[i : i + high, j : j + wide] += 1
    return total / np.maximum(count, 1)


def saliency_map(model: Model, image: ImageLike, class_index: int | None = None) -> np.ndarray:
    """Returns the absolute gradient of a class's score (before the softmax) for each pixel, (H, W):
    the maximum over the channels (Simonyan et al., 2014). image: an array or a file, see
    `activations`. The weights' own gradients, `weight.grad`, are unchanged.
    """
    pixels = batch_of_one(model, image)
    x = Tensor(model.device.asarray(pixels, model.dtype), requires_grad=True, device=model.device)
    y = model(x, training=False)
    score = (y if y.logits is None else y.logits)[0]
    weights = model.weights
    held = [weight.grad for weight in weights]
    try:
        for weight in weights:
            weight.grad = None
        score[_class(score.numpy(), class_index)].backward()
    finally:
        for weight, gradient in zip(weights, held):
            weight.grad = gradient
    return np.abs(x.device.numpy(x.grad)[0]).max(-1)


def _starts(n: int, size: int, stride: int) -> list[int]:
    """Returns the start indices of the patches on an axis of n pixels. The last patch ends at n."""
    return [*range(0, n - size, stride), n - size]


def _class(scores: np.ndarray, class_index: int | None) -> int:
    if class_index is None:
        return int(scores.argmax())
    if not 0 <= class_index < len(scores):
        raise ValueError(f"class_index must be in 0..{len(scores) - 1}. Received: {class_index!r}.")
    return int(class_index)
