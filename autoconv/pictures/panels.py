"""Creates captioned pictures of a net's filters, maps and scores, for figures and pages."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models import Model
from . import mosaics
from .influence import grad_cam_map, last_convolution, occlusion_map, saliency_map
from .inside import activations, batch_of_one, class_scores, kernels, select_nodes
from .reading import ImageLike

FEW = 8  # number of filters of a deep layer, and of maps of each layer, that an overview shows
MANY = 64  # maximum number of filters of a first layer that are all shown


class Panel(NamedTuple):
    """A picture (H, W, 1) or (H, W, 3) with a heading and a note."""

    title: str
    note: str
    pixels: np.ndarray


class Scores(NamedTuple):
    """A heading, and an image's class probabilities by class name."""

    title: str
    values: dict[str, float]


def filter_panels(model: Model, layer: str | None = None) -> list[Panel]:
    """Returns one panel per convolution. Raises ValueError for a layer without filters."""
    first = next(iter(kernels(model)), None)
    return [_filters(name, kernel, name == first and model.input_shape[-1] == kernel.shape[2] == 3)
            for name, kernel in kernels(model, layer).items()]


def map_panels(model: Model, image: ImageLike, layer: str | None = None) -> list[Panel]:
    """Returns panels of the strongest maps of all layer outputs for an image, or of all maps of
    `layer`. Raises ValueError for an unknown layer.
    """
    panels = []
    for name, kind, output in activations(model, image, layer):
        note = f"{_size(output)}, {_range(output)}"
        is_image = output.ndim == 3
        if is_image and layer is None and output.shape[-1] > FEW:
            shown = mosaics.strongest(output, -1, FEW)
            note += f"; the {FEW} strongest maps: {', '.join(map(str, shown))}"
            output = output[..., shown]
        panels.append(Panel(f"{name} ({kind}): {'feature maps' if is_image else 'values'}",
                            f"{note}; black: smallest value, white: largest", mosaics.maps(output)))
    return panels


def image_panel(model: Model, image: ImageLike) -> Panel:
    """Returns a panel of the image in the form that the net receives."""
    pixels = batch_of_one(model, image)[0]
    return Panel("the image", f"{_size(pixels)}, {_range(pixels)}", mosaics.image(pixels))


def scores(model: Model, image: ImageLike, classes: Sequence[str]) -> Scores:
    """Returns the class scores of an image, with the likeliest class in the heading."""
    found = class_scores(model, batch_of_one(model, image))[0]
    return Scores(f"class scores: {classes[found.argmax()]}", dict(zip(classes, map(float, found), strict=True)))


def influence_panels(model: Model, image: ImageLike, answer: str, layer: str | None = None) -> list[Panel]:
    """Returns panels of what speaks for and against the likeliest class, over the image: by hiding
    patches, by the gradient, and by Grad-CAM of the last convolution. With `layer`, the only panel
    is Grad-CAM of this layer, if it has feature maps.
    """
    pixels = batch_of_one(model, image)[0]
    found = {} if layer else {
        "hidden patches": ("decrease of its probability", occlusion_map(model, image)),
        "gradient": ("gradient times pixel", saliency_map(model, image, signed=True))}
    maps = select_nodes(model, layer)[-1].outputs[0] if layer else last_convolution(model)
    if maps is not None and len(maps.shape) == 4:
        what = f"{layer or 'last convolution'}, each position's gradient (HiResCAM)"
        found["Grad-CAM"] = what, grad_cam_map(model, image, layer, relu=False, average=False)[0]
    return [Panel(f"evidence for {answer}: {name}",
                  f"{what}, {_range(values)}; red speaks for {answer}, blue against",
                  mosaics.overlay(pixels, values)) for name, (what, values) in found.items()]


def _filters(name: str, kernel: np.ndarray, is_rgb: bool) -> Panel:
    high, wide, depth, count = kernel.shape
    note = f"{count} filters of {high} x {wide} x {depth}, {_range(kernel)}; "
    note += "weights as colours, gray is 0" if is_rgb else "red above 0, blue below"
    if (depth > 1 and not is_rgb) or count > MANY:
        shown = mosaics.strongest(kernel, 3, FEW)
        kernel = kernel[..., shown]
        note += f"; the {len(shown)} strongest filters: {', '.join(map(str, shown))}"
    if depth > 1 and not is_rgb:
        maps = mosaics.strongest(kernel, 2, FEW)
        kernel = kernel[:, :, maps]
        note += f"; one column per filter, one row per input map: {', '.join(map(str, maps))}"
    return Panel(f"{name}: filters", note, mosaics.filters(kernel, is_rgb))


def _size(values: np.ndarray) -> str:
    return " x ".join(map(str, values.shape))


def _range(values: np.ndarray) -> str:
    return f"min {values.min():.4g}, max {values.max():.4g}"
