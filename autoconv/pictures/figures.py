"""Draws matplotlib figures: filters, feature maps, confusion, learning curves, influence of pixels.

Each function returns a new `matplotlib.figure.Figure`, without pyplot. A notebook shows the figure
of a cell's last line. `figure.savefig("maps.png")` saves a figure. Needs the extra `plots`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import extras
from ..arguments.shapes import Pair
from ..models import Model
from . import mosaics
from .features import exciting_pictures, principal_components
from .influence import Classes, classify, grad_cam_map, occlusion_map, saliency_map
from .inside import Images, batch_of_one, to_batch
from .panels import filter_panels, map_panels
from .reading import ImageLike
from .receptive import receptive_field
from .results import confusion_matrix
from .sheets import new_figure, one_sheet

if TYPE_CHECKING:
    from .notebook import Figure


def filters(model: Model, layer: str | None = None) -> "Figure":
    """Draws the filters of each convolution, or only of `layer`. Weights above 0 are red, weights
    below 0 blue; the filters of a first layer over RGB are drawn in colour. Of a deeper layer, the
    eight strongest filters are drawn. Raises ValueError for a layer without filters.
    """
    return one_sheet(filter_panels(model, layer))


def feature_maps(model: Model, image: ImageLike, layer: str | None = None) -> "Figure":
    """Draws the eight strongest maps of each layer's output for an image, or all maps of `layer`.
    In each output the smallest value is black, the largest white. image: an array or a file, see
    `activations`. Raises ValueError for an unknown layer.
    """
    return one_sheet(map_panels(model, image, layer))


def confusion(y_true: Any, y_pred: Any, class_names: Sequence[str] | None = None) -> "Figure":
    """Draws a confusion matrix: true classes in rows, predicted classes in columns. The diagonal is
    blue, by the fraction of each class that was recognized. Mistakes are red, the most frequent
    darkest. `y_true` and `y_pred` are labels (N,) or scores (N, classes). The default class names
    are 0, 1, 2, ...
    """
    matrix = confusion_matrix(y_true, y_pred, None if class_names is None else len(class_names))
    names = [str(i) for i in range(len(matrix))] if class_names is None else [str(name) for name in class_names]
    side = 2.2 + 0.45 * len(names)
    figure = new_figure(side, side)
    axes = figure.subplots()
    right = np.eye(len(matrix), dtype=bool)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    mistakes = np.where(right, 0, matrix)
    shades = mosaics.diverging(np.where(right, -shares, 0.85 * mistakes / max(mistakes.max(), 1)))
    axes.imshow(shades)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a $ in a class name must not start a formula
    axes.set(xlabel="taken for", ylabel="class")
    for i, j in zip(*np.nonzero(matrix)):
        colour = "white" if shades[i, j].mean() < 150 else "black"
        axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=8, color=colour)
    return figure


def curves(history: Any) -> "Figure":
    """Draws the loss and each metric over the epochs, for training and validation. history: the
    result of `fit`, or its attribute `history`.
    """
    values: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    if not values or not all(len(row) for row in values.values()):
        raise ValueError("There are no epochs to draw. Pass a history with at least one epoch.")
    kinds = list(dict.fromkeys(name.removeprefix("val_") for name in values))
    figure = new_figure(4.5 * len(kinds), 3.4)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds):
        for name, label in ((kind, "training"), (f"val_{kind}", "validation")):
            row = values.get(name, ())
            if len(row) == 1:  # a line needs two epochs
                axes.plot(1, row[0], "o", label=f"{label} {row[0]:.5g}")
            elif row:
                axes.plot(range(1, len(row) + 1), row, marker="o", markersize=3, label=label)
        axes.set(title=kind, xlabel="epoch")
        axes.grid(alpha=0.3)
        if max(map(len, values.values())) == 1:
            axes.set_xticks([1])
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def occlusion(model: Model, image: ImageLike, class_index: int | None = None,
              size: Pair | None = None, strides: Pair | None = None,
              value: float | None = None) -> "Figure":
    """Draws the `occlusion_map` over the image. What speaks for the class is red, what speaks
    against it is blue. image: an array or a file, see `activations`.
    """
    return _overlays(model, image, class_index, [occlusion_map(model, image, class_index, size, strides, value)],
                     "decrease of the probability when hidden")


def saliency(model: Model, image: ImageLike, class_index: int | None = None, signed: bool = False) -> "Figure":
    """Draws the `saliency_map` over the image. With `signed`, what speaks for the class is red,
    what speaks against it is blue. image: an array or a file, see `activations`.
    """
    return _overlays(model, image, class_index, [saliency_map(model, image, class_index, signed)],
                     "gradient times pixel" if signed else "gradient of the score")


def grad_cam(model: Model, images: Images, layer: str | None = None, classes: Classes = None,
             relu: bool = True, average: bool = True) -> "Figure":
    """Draws each image's `grad_cam_map`, with the same arguments, over the image. What speaks for
    the class is red. With relu=False, what speaks against it is blue.
    """
    maps = grad_cam_map(model, images, layer, classes, relu, average)
    return _overlays(model, images, classes, maps, "Grad-CAM" if average else "HiResCAM")


def feature_visualisation(model: Model, layer: str, filter: int | Sequence[int], steps: int = 64,
                          seed: int = 0) -> "Figure":
    """Draws the `exciting_inputs` of one filter or several, with the same arguments. Each title
    contains the mean of the filter's map for this input.
    """
    pixels, means = exciting_pictures(model, layer, filter, steps, seed)
    columns = min(8, len(pixels))
    rows = -(-len(pixels) // columns)
    figure = new_figure(1.6 * columns, 1.9 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image, mean, number in zip(cells, pixels, means, np.atleast_1d(np.array(filter))):
        axes.imshow(mosaics.image(image).squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"filter {number}\n{f'mean {mean:.3g}' if mean else 'no input found'}", fontsize=8)
    for axes in cells:
        axes.set_axis_off()
    return figure


def draw_receptive_field(model: Model, image: ImageLike, layer: str, row: int, column: int) -> "Figure":
    """Draws the `receptive_field` of a number of a layer's maps as a frame on an image. image: an
    array or a file, see `activations`.
    """
    pixels = batch_of_one(model, image)[0]
    top, bottom, left, right = receptive_field(model, layer, row, column)
    figure = new_figure(3.6, 3.9)
    axes = figure.subplots()
    axes.imshow(mosaics.image(pixels, 1).squeeze(), cmap="gray", vmin=0, vmax=255)
    axes.plot([left - 0.5, right - 0.5, right - 0.5, left - 0.5, left - 0.5],
              [top - 0.5, top - 0.5, bottom - 0.5, bottom - 0.5, top - 0.5], color="#ff8c1a", linewidth=2.5,
              clip_on=False)
    axes.set_title(f"{layer}, row {row}, column {column}:\n{bottom - top} x {right - left} pixels", fontsize=9,
                   parse_math=False)
    axes.set_axis_off()
    return figure


def embedding(model: Model, images: Images, layer: str, labels: Any = None) -> "Figure":
    """Draws the images as small pictures at the `principal_components` of a layer's outputs.
    labels: class indices (N,), which determine the colours.
    """
    points = principal_components(model, images, layer)
    x = to_batch(model, images)
    classes = np.zeros(len(x), int) if labels is None else np.asarray(labels)
    if classes.shape != (len(x),):
        raise ValueError(f"labels must contain one class index per image. Received: labels of shape {classes.shape} "
                         f"for {len(x)} images.")
    figure = new_figure(8, 6.4)
    axes = figure.subplots()
    from matplotlib import colormaps, offsetbox

    for point, pixels, label in zip(points, x, classes):
        ink = colormaps["tab10"](label % 10) if labels is not None else (0, 0, 0, 1)
        thumbnail = mosaics.thumbnail(pixels, np.array(ink))
        box = offsetbox.OffsetImage(thumbnail, zoom=24 / max(thumbnail.shape), interpolation="bilinear")
        axes.add_artist(offsetbox.AnnotationBbox(box, point, frameon=False, pad=0))
    axes.update_datalim(points)
    axes.autoscale_view()
    for label in np.unique(classes) if labels is not None else ():
        name = model.class_names[label] if model.class_names else str(label)
        axes.plot([], [], "s", color=colormaps["tab10"](label % 10), label=name.replace("$", r"\$"))
    if labels is not None:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title(f"outputs of {layer} for {len(x)} images", fontsize=9, parse_math=False)
    axes.set(xlabel="first principal component", ylabel="second principal component")
    return figure


def _overlays(model: Model, images: Images, classes: Classes, maps: Iterable[np.ndarray], label: str) -> "Figure":
    """Draws one map over each image, at most four in a row, each with its class and a scale of
    colours.
    """
    extras.load("matplotlib", "matplotlib", "plots", "Drawing figures")
    from matplotlib import cm, colors

    x = to_batch(model, images)
    columns = min(4, len(x))
    rows = -(-len(x) // columns)
    figure = new_figure(3.6 * columns, 3.2 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    steps = colors.ListedColormap(mosaics.diverging(np.linspace(-1, 1, 201)) / 255)
    for axes, pixels, values, chosen in zip(cells, x, maps, classify(model, x, classes)):
        axes.imshow(mosaics.overlay(pixels, values))
        name = model.class_names[chosen] if model.class_names else f"class {chosen}"
        axes.set_title(name, fontsize=9, parse_math=False)
        most = float(np.abs(np.nan_to_num(values)).max()) or 1.0
        bar = figure.colorbar(cm.ScalarMappable(colors.Normalize(-most, most), steps), ax=axes, shrink=0.8)
        bar.ax.set_ylim(-most if values.min() < 0 else 0, most)
        bar.set_label(label, fontsize=8)
    for axes in cells:
        axes.set_axis_off()
    return figure
