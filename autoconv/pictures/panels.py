"""What a net sees as a list of captioned pictures: figures and pages are made of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models import Model
from . import mosaics
from .influence import occlusion_map, saliency_map
from .inside import activations, batch_of_one, class_scores, kernels
from .reading import ImageLike


class Panel(NamedTuple):
    """A picture (H, W, 1 or 3) with its heading and what is said of it."""

    title: str
    note: str
    pixels: np.ndarray


class Scores(NamedTuple):
    """The probabilities of the classes for an image."""

    title: str
    values: dict[str, float]


def filter_panels(model: Model, layer: str | None = None) -> list[Panel]:
    """Returns each convolution's filters. Raises ValueError for a layer without any."""
    return [_filters(name, kernel) for name, kernel in kernels(model, layer).items()]


def map_panels(model: Model, image: ImageLike, layer: str | None = None) -> list[Panel]:
    """Each layer's output for an image. Raises ValueError for a layer that is not there."""
    panels = []
    for name, kind, output in activations(model, image, layer):
        what = "feature maps" if output.ndim == 3 else "values"
        note = f"{_size(output)}, {_range(output)}; black the smallest, white the largest"
        panels.append(Panel(f"{name} ({kind}): {what}", note, mosaics.maps(output)))
    return panels


def image_panel(model: Model, image: ImageLike) -> Panel:
    """The image as the net is given it."""
    pixels = batch_of_one(model, image)[0]
    return Panel("the image", f"{_size(pixels)}, {_range(pixels)}", mosaics.image(pixels))


def scores(model: Model, image: ImageLike, classes: Sequence[str]) -> Scores:
    """The class scores of an image, the likeliest class in the heading."""
    found = class_scores(model, batch_of_one(model, image))[0]
    return Scores(f"class scores: {classes[found.argmax()]}", dict(zip(classes, map(float, found), strict=True)))


def influence_panels(model: Model, image: ImageLike, answer: str) -> list[Panel]:
    """Returns which pixels moved the answer: hidden patches, and the score's gradient."""
    fall = occlusion_map(model, image)
    gradient = saliency_map(model, image)
    return [Panel(f"what speaks for {answer}: hidden patches", "the fall of its probability, "
                  f"{_range(fall)}; red where hiding lowers it, blue where hiding raises it",
                  mosaics.image(mosaics.signed(fall))),
            Panel(f"what speaks for {answer}: gradient", "how much its score moves with each "
                  f"pixel, {_range(gradient)}; white the most",
                  mosaics.image(mosaics.gray(gradient)[..., None]))]


def _filters(name: str, kernel: np.ndarray) -> Panel:
    high, wide, depth, count = kernel.shape
    rows, columns = mosaics.shown(kernel)
    note = f"{count} filters of {high} x {wide} x {depth}, {_range(kernel)}; red above 0, blue below"
    if depth > 1:
        note += "; a column a filter, a row a map it sees"
    if (rows, columns) != (depth, count):
        note += f"; the first {rows} maps of {columns} filters are shown"
    return Panel(f"{name}: filters", note, mosaics.filters(kernel))


def _size(values: np.ndarray) -> str:
    return " x ".join(map(str, values.shape))


def _range(values: np.ndarray) -> str:
    return f"min {values.min():.4g}, max {values.max():.4g}"
