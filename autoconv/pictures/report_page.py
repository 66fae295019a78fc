"""Builds the report about a trained net: learning curves, mistakes, layers and speed."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from ..models import Model
from ..programs.pages import charts, document
from . import mosaics
from .influence import grad_cam_map, last_convolution
from .inspection import stack
from .panels import (
    Panel,
    embedding_panels,
    exciting_panels,
    filter_panels,
    map_panels,
    receptive_panels,
)
from .results import confusion_matrix, describe_validation, precision_recall, worst_mistakes

MISTAKES = 24


class Evaluation(NamedTuple):
    """Test images, their labels and probabilities (N, classes), and the time of `predict` in s."""

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    seconds: float


def page(title: str, facts: dict[str, str], model: Model, classes: Sequence[str],
         history: dict[str, list[float]], test: Evaluation, speed: dict[str, str],
         settings: dict[str, str]) -> str:
    """Returns the report as an HTML page. `facts`, `speed` and `settings` map names to values."""
    right = int((test.scores.argmax(-1) == test.labels).sum())
    count = len(test.labels)
    facts = {"test accuracy": f"{right / count:.4f}: {right:,} of {count:,} images", **facts}
    per_second = {"prediction": f"{count / test.seconds:,.0f} images/s, measured for this page"}
    body = [
        f"<header><h1>{escape(title)}</h1>{document.facts(facts)}</header>",
        *_curves(history),
        *_classes(confusion_matrix(test.labels, test.scores, len(classes)), classes),
        *_mistakes(model, test, classes),
        *stack("Filters", filter_panels(model) + exciting_panels(model)),
        *stack("Feature maps", [
            Panel("the image", f"test image 0: {classes[test.labels[0]]}", mosaics.image(test.images[0])),
            *receptive_panels(model, test.images[0]), *map_panels(model, test.images[0])]),
        *stack("Similar images", embedding_panels(model, test.images, test.labels, classes)),
        *document.section("Speed", "", [document.card("Images per second and times", document.facts(
            {**speed, **per_second}))]),
        *document.section("Settings and versions", "", [document.card("This run", document.facts(settings))]),
    ]
    return document.document(title, body)


def _curves(history: dict[str, list[float]]) -> list[str]:
    """Draws a chart of the loss and of each metric, for training and validation."""
    cards = []
    for kind in dict.fromkeys(name.removeprefix("val_") for name in sorted(history, key=lambda n: "loss" not in n)):
        series = {label: history[name] for name, label in ((kind, "training"), (f"val_{kind}", "validation"))
                  if history.get(name)}
        if series:
            rows = [[str(epoch + 1), *(f"{row[epoch]:.4f}" for row in series.values())]
                    for epoch in range(min(map(len, series.values())))]
            chart = charts.lines(f"{kind} over the epochs", series, "epoch")
            cards.append(document.card(kind, chart + document.numbers(["epoch", *series], rows)))
    note = describe_validation(history) if "val_loss" in history else (
        "All training images were used for training. With --validate 0.1, `autoconv train` holds out a tenth of them, "
        "and the curves also show the results on new images.")
    return document.section("Learning curves", note, cards, "cards wide")


def _classes(matrix: np.ndarray, classes: Sequence[str]) -> list[str]:
    precision, recall = precision_recall(matrix)
    rows = [[name, f"{n:,}", _share(p), _share(r)] for name, n, p, r in zip(classes, matrix.sum(1), precision, recall)]
    cells = _matrix(matrix, classes)
    numbers = document.table(["class", "images", "precision", "recall"], rows)
    cards = [document.card("Confusion matrix: true classes in rows, predicted classes in columns",
                           f'<div class="scroll matrix">{cells}</div>'),
             document.card("Precision and recall", f'<div class="scroll">{numbers}</div>')]
    note = ("Precision: the correct fraction of a class's predictions. Recall: the part of its "
            "images that was found.")
    return document.section("Classes", note, cards, "cards wide")


def _matrix(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """Returns the confusion matrix as an HTML table. Cells with larger fractions are darker."""
    right = np.eye(len(matrix), dtype=bool)
    most = max(1, matrix[~right].max(initial=0))
    shares = np.where(right, matrix / np.maximum(matrix.sum(1, keepdims=True), 1), 0.8 * matrix / most)
    lines = ["<tr><th></th>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in classes) + "</tr>"]
    for i, name in enumerate(classes):
        cells = "".join(
            f'<td class="{"" if i == j else "wrong"}{" full" if shares[i, j] > 0.55 else ""}" '
            f'style="--share:{shares[i, j]:.2f}">{matrix[i, j] or ""}</td>' for j in range(len(matrix)))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    kind = "long" if max(map(len, classes)) > 2 else "short"  # long names of columns are rotated
    return f'<table class="{kind}">{"".join(lines)}</table>'


def _mistakes(model: Model, test: Evaluation, classes: Sequence[str]) -> list[str]:
    """Returns the HTML section with pictures of the mistakes that have the highest scores."""
    worst = worst_mistakes(test.labels, test.scores, MISTAKES)
    if not len(worst):
        return []
    maps = None
    if last_convolution(model) is not None:
        maps = grad_cam_map(model, test.images[worst], relu=False, average=False)
    pictures = []
    for number, i in enumerate(worst):
        guess = int(test.scores[i].argmax())
        caption = f"{classes[test.labels[i]]}, taken for {classes[guess]} ({test.scores[i, guess]:.3f})"
        below = caption if maps is None else ""
        shown = document.picture(mosaics.image(test.images[i]), f"test image {i}: {caption}", below, 112)
        if maps is not None:
            shown += document.picture(mosaics.overlay(test.images[i], maps[number]),
                                      f"test image {i}: Grad-CAM for {classes[guess]}", caption, 112)
        pictures.append(f"<div>{shown}</div>")
    count = int((test.scores.argmax(-1) != test.labels).sum())
    note = f"{count:,} images were misclassified; these are the {len(worst)} with the highest scores."
    if maps is not None:
        note += (" Below each image is its Grad-CAM for the predicted class, at the last convolution with each "
                 "position's own gradient (HiResCAM): red speaks for this class, blue against it.")
    return [f'<section><h2>Worst mistakes</h2><p>{escape(note)}</p><div class="pictures">{"".join(pictures)}</div>'
            "</section>"]


def _share(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
