"""Measures the influence of pixels and feature maps on a net's scores, by hiding pixels or by
gradients.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..arguments.shapes import Pair, pair
from ..engine.symbolic import SymbolicTensor
from ..engine.tensor import Tensor, no_grad
from ..layers import Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D
from ..models import Model
from .inside import Images, batch_of_one, class_scores, select_nodes, to_batch
from .reading import ImageLike

BATCH = 64  # number of images per call of the model
CONVOLUTIONS = (Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D)
Classes = int | Sequence[int] | np.ndarray | None  # None: the likeliest class of each image


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
    chosen = classify(model, x, class_index)[0]
    score_before = class_scores(model, x)[0, chosen]
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
            total[i : i + high, j : j + wide] += score_before - score
            count[i : i + high, j : j + wide] += 1
    return total / np.maximum(count, 1)


def saliency_map(model: Model, image: ImageLike, class_index: int | None = None, signed: bool = False) -> np.ndarray:
    """Returns the absolute gradient of a class's score (before the softmax) for each pixel, (H, W):
    the maximum over the channels (Simonyan et al., 2014). image: an array or a file, see
    `activations`. The weights' own gradients, `weight.grad`, are unchanged.

    signed: whether to return the sum over the channels of gradient times pixel instead (Shrikumar
    et al., 2016). Values above 0 speak for the class, values below 0 against it.
    """
    x = batch_of_one(model, image)
    gradient = input_gradient(model, [x], partial(_sum_scores, classes=classify(model, x, class_index)))[0]
    return (gradient * x[0]).sum(-1) if signed else np.abs(gradient).max(-1)


def grad_cam_map(model: Model, images: Images, layer: str | None = None, classes: Classes = None,
                 relu: bool = True, average: bool = True) -> np.ndarray:
    """Returns Grad-CAM's maps (N, OH, OW), in the size of a layer's output A (Selvaraju et al.,
    2017): `relu(sum over k of a[k] * A[..., k])`. a[k] is the mean over OH and OW of the gradient
    of a class's score (before the softmax) with respect to A[..., k]. Values above 0 speak for the
    class.

    images: a batch, or one image or file, see `activations`. layer: by default the last
    convolution. classes: one class index or N of them, by default the likeliest class of each
    image. relu=False keeps the values below 0, which speak against the class. average=False uses
    each position's own gradient instead of the mean (HiResCAM, Draelos and Carin, 2020): if only
    Flatten and Dense follow the layer, the map's sum is the score without its bias. Raises
    ValueError for wrong arguments.
    """
    x = to_batch(model, images)
    maps = select_nodes(model, layer)[-1].outputs[0] if layer else last_convolution(model)
    if maps is None or len(maps.shape) != 4:
        found = "a model without convolutions" if maps is None else f"{layer!r} with the output shape {maps.shape}"
        raise ValueError("Grad-CAM needs a layer whose output has the shape (N, OH, OW, K). Received: "
                         f"{found}. Pass the name of such a layer, or the nested model that contains it.")
    head = Model(model.inputs, maps)
    tail = Model([*model.inputs, maps], model.outputs)  # an input of its own for branches around the layer
    chosen = classify(model, x, classes)
    parts = []
    for begin in range(0, len(x), BATCH):
        part = slice(begin, begin + BATCH)
        with no_grad():
            output = head(x[part], training=False).numpy()
        gradient = input_gradient(tail, [x[part], output], partial(_sum_scores, classes=chosen[part]))
        parts.append((output * (gradient.mean((1, 2), keepdims=True) if average else gradient)).sum(-1))
    values = np.concatenate(parts)
    return np.maximum(values, 0) if relu else values


def classify(model: Model, images: np.ndarray, classes: Classes = None) -> np.ndarray:
    """Returns one class index for each of N images: `classes`, or by default the likeliest class of
    each image.
    """
    if len(model.outputs) != 1 or len(model.output_shape) != 2:
        raise ValueError("The model must have one output of shape (N, classes). Received: a model with the output "
                         f"shape {model.output_shape}. Pass a Model with the output to explain.")
    scores = class_scores(model, images)
    if classes is None:
        return scores.argmax(-1)
    count = scores.shape[-1]
    if np.shape(classes) not in ((), (len(images),)) or np.min(classes) < 0 or np.max(classes) >= count:
        raise ValueError(f"A class index must be in 0..{count - 1}. Pass one index, or one for each of the "
                         f"{len(images)} images. Received: {classes!r}.")
    return np.broadcast_to(np.array(classes), len(images))


def input_gradient(model: Model, inputs: list[np.ndarray], score: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Returns the gradient of the number `score(model(inputs))` with respect to the last input. The
    weights' own gradients, `weight.grad`, are unchanged.
    """
    x = Tensor(model.device.asarray(inputs[-1], model.dtype), requires_grad=True, device=model.device)
    score(model([*inputs[:-1], x] if inputs[1:] else x, training=False)).backward(inputs=x)
    if x.grad is None:
        raise ValueError("The score must depend on the image through operations that have "
                         "gradients. Received: a score that does not.")
    return x.device.numpy(x.grad)


def last_convolution(model: Model) -> SymbolicTensor | None:
    """Returns the output (N, OH, OW, K) of the model's last convolution, or of the last nested
    model that contains a convolution and has such an output.
    """
    found = [node.outputs[0] for node in select_nodes(model) if len(node.outputs[0].shape) == 4
             and any(isinstance(part, CONVOLUTIONS) for part in getattr(node.operation, "_walk", list)())]
    return found[-1] if found else None


def _starts(n: int, size: int, stride: int) -> list[int]:
    """Returns the start indices of the patches on an axis of n pixels. The last patch ends at n."""
    return [*range(0, n - size, stride), n - size]


def _sum_scores(y: Tensor, classes: np.ndarray) -> Tensor:
    """Returns the sum over the images of the score, before the softmax, of each image's class."""
    scores = y if y.logits is None else y.logits
    return scores[np.arange(len(classes)), classes].sum()
