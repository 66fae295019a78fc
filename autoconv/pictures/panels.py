"""Creates captioned pictures of a net's filters, maps and scores, for figures and pages."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models import Model
from . import mosaics
from .computation import Computation, Element
from .features import exciting_pictures, principal_components
from .influence import grad_cam_map, last_convolution, occlusion_map, saliency_map
from .inside import activations, batch_of_one, class_scores, kernels, select_nodes
from .reading import ImageLike
from .receptive import ReceptiveField, find_pixels

FEW = 8  # number of filters of a deep layer, and of maps of each layer, that an overview shows
MANY = 64  # maximum number of filters of a first layer that are all shown
STEPS = 32  # number of steps of the gradient ascent
POINTS = 150  # maximum number of images whose outputs are compared


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


def receptive_panels(model: Model, image: ImageLike, layer: str | None = None) -> list[Panel]:
    """Returns [a panel of the image with frames around the pixels that the largest number of a
    layer depends on], for `layer` or for at most `FEW` convolutions; or [] if these have no feature
    maps.
    """
    computation = Computation(model, image)
    names = [each for each in ([layer] if layer else kernels(model)) if each in computation.layers]
    boxes: list[ReceptiveField] = []
    said = []
    for i in np.unique(np.linspace(0, len(names) - 1, min(FEW, len(names))).astype(int)):
        result = computation.layers[names[i]]
        largest = int(np.nan_to_num(result.array).argmax())
        place = tuple(map(int, np.unravel_index(largest, result.array.shape)))
        box = find_pixels(computation, result, tuple((n, n) for n in place))
        if box is not None and len(place) == 4:
            size = f"{box.bottom - box.top} x {box.right - box.left}"
            ink = list(mosaics.INKS)[len(boxes)]
            said.append(f"{ink}: {Element(result, place).label} ({size})")
            boxes.append(box)
    note = f"the pixels that a layer's largest number depends on; {', '.join(said)}"
    pixels = computation.picture.array[0]
    return [Panel("receptive fields", note, mosaics.frames(pixels, boxes))] if boxes else []


def exciting_panels(model: Model, layer: str | None = None) -> list[Panel]:
    """Returns [a panel of inputs that excite the strongest filters of `layer`, or of the last
    convolution outside nested models; or [] if it has no filters, if no input excites them, or if
    the input has no fixed size.
    """
    own = {node.operation.name for node in select_nodes(model)}
    candidates = [name for name in kernels(model) if name in own and layer in (None, name)]
    if not candidates or None in model.input_shape[1:]:
        return []
    name = candidates[-1]
    shown = mosaics.strongest(kernels(model)[name], 3, FEW)
    pixels, means = exciting_pictures(model, name, shown.tolist(), STEPS)
    found = means != 0
    if not found.any():
        return []
    note = "inputs that excite the strongest filters, by gradient ascent: "
    note += ", ".join(map(str, shown[found]))
    if not found.all():
        note += f"; none was found for {', '.join(map(str, shown[~found]))}"
    tiles = np.stack([mosaics.image(each, 96) for each in pixels[found]])
    picture = mosaics.grid(tiles, 4, mosaics.WIDE_GAP)
    return [Panel(f"{name}: what its filters look for", note, picture)]


def embedding_panels(model: Model, images: np.ndarray, labels: np.ndarray, classes: Sequence[str],
                     layer: str | None = None) -> list[Panel]:
    """Returns [a panel of at most `POINTS` images at the principal components of the outputs of
    `layer`, or of the last layer but one]; or [] if there are fewer than three images.
    """
    if len(images) < 3:
        return []
    shown = np.unique(np.linspace(0, len(images) - 1, POINTS).astype(int))
    name = layer or [node.operation.name for node in select_nodes(model)][-2:][0]
    points = principal_components(model, images[shown], name)
    note = (f"{len(shown)} test images at the first two principal components of the outputs of "
            f"{name}: images close together are similar for this layer")
    if len(classes) <= len(mosaics.INKS):
        colours = [f"{ink}: {each}" for ink, each in zip(mosaics.INKS, classes)]
        note += f"; {', '.join(colours)}"
    return [Panel(f"{name}: test images", note,
                  mosaics.scatter(points, images[shown], labels[shown]))]


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
