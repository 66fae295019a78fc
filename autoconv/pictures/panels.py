"""Creates captioned pictures of a net's filters, maps and scores, for figures and pages."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models import Model
from . import mosaics
from .influence import occlusion_map, saliency_map
from .inside import activations, batch_of_one, class_scores, kernels
from .reading import ImageLike


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
    return [_filters(name, kernel) for name, kernel in kernels(model, layer).items()]


def map_panels(model: Model, image: ImageLike, layer: str | None = None) -> list[Panel]:
    """Returns panels of all layer outputs for an image. Raises ValueError for an unknown layer."""
    panels = []
    for name, kind, output in activations(model, image, layer):
        what = "feature maps" if output.ndim == 3 else "values"
        note = f"{_size(output)}, {_range(output)}; the smallest value is black, the largest white"
        panels.append(Panel(f"{name} ({kind}): {what}", note, mosaics.maps(output)))
    return panels


def image_panel(model: Model, image: ImageLike) -> Panel:
    """Returns a panel of the image in the form that the net receives."""
    pixels = batch_of_one(model, image)[0]
    return Panel("the image", f"{_size(pixels)}, {_range(pixels)}", mosaics.image(pixels))


def scores(model: Model, image: ImageLike, classes: Sequence[str]) -> Scores:
    """Returns the class scores of an image, with the likeliest class in the heading."""
    found = class_scores(model, batch_of_one(model, image))[0]
    return Scores(f"class scores: {classes[found.argmax()]}", dict(zip(classes, map(float, found), strict=True)))


def influence_panels(model: Model, image: ImageLike, answer: str) -> list[Panel]:
    """Returns two panels of the pixels' influence: by hiding patches and by the gradient."""
    fall = occlusion_map(model, image)
    gradient = saliency_map(model, image)
    return [Panel(f"evidence for {answer}: hidden patches", "decrease of its probability, "
                  f"{_range(fall)}; red if hiding lowers it, blue if hiding raises it",
                  mosaics.image(mosaics.diverging(fall))),
            Panel(f"evidence for {answer}: gradient", "change of its score with each "
                  f"pixel, {_range(gradient)}; the largest change is white",
                  mosaics.image(mosaics.gray(gradient)[..., None]))]


def _filters(name: str, kernel: np.ndarray) -> Panel:
    high, wide, depth, count = kernel.shape
    rows, columns = mosaics.tile_counts(kernel)
    note = f"{count} filters of {high} x {wide} x {depth}, {_range(kernel)}; red above 0, blue below"
    if depth > 1:
        note += "; one column per filter, one row per input map"
    if (rows, columns) != (depth, count):
        note += f"; the first {rows} maps of {columns} filters are shown"
    return Panel(f"{name}: filters", note, mosaics.filters(kernel))


def _size(values: np.ndarray) -> str:
    return " x ".join(map(str, values.shape))


def _range(values: np.ndarray) -> str:
    return f"min {values.min():.4g}, max {values.max():.4g}"
