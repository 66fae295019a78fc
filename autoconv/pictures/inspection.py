"""Builds a page about a net: filters, and maps, scores and influential pixels for images."""

from collections.abc import Sequence
from typing import NamedTuple

from ..models import Model
from ..programs.pages import charts, document
from .panels import (
    Panel,
    Scores,
    exciting_panels,
    filter_panels,
    image_panel,
    influence_panels,
    map_panels,
    receptive_panels,
    scores,
)
from .reading import ImageLike


class Inspection(NamedTuple):
    """The panels that show a net's outputs for one image."""

    name: str
    image: Panel
    scores: Scores
    layers: list[Panel]
    influence: list[Panel]

    def parts(self) -> list[Panel | Scores]:
        """Returns all panels, in the order in which they are displayed."""
        return [self.image._replace(title=self.name), self.scores, *self.influence, *self.layers]


def inspect_image(model: Model, image: ImageLike, name: str, classes: Sequence[str],
                  layer: str | None = None) -> Inspection:
    """Returns the panels for an image, or of one layer. Raises ValueError for an unknown layer."""
    panel = scores(model, image, classes)
    answer = max(panel.values, key=panel.values.__getitem__)
    influence = influence_panels(model, image, answer, layer)
    return Inspection(name, image_panel(model, image), panel, map_panels(model, image, layer),
                      influence + receptive_panels(model, image, layer))


def select_filters(model: Model, layer: str | None) -> list[Panel]:
    """Returns the filters of all convolutions, or only of `layer`, and what the last of them look
    for; or [] if `layer` has no filters.
    """
    found = filter_panels(model)
    if layer is not None:
        found = [panel for panel in found if panel.title == f"{layer}: filters"]
    return found + exciting_panels(model, layer)


def page(title: str, facts: dict[str, str], filters: Sequence[Panel], images: Sequence[Inspection],
         embedding: Sequence[Panel]) -> str:
    """Returns the HTML page about a net and its outputs for images."""
    body = [f"<header><h1>{document.escape(title)}</h1>{document.facts(facts)}</header>"]
    for one in images:
        body += stack(one.name, [one.image, one.scores, *one.influence])
        body += stack(f"{one.name}: layer by layer", one.layers)
    body += stack("Filters", filters) + stack("Similar images", embedding)
    return document.document(title, body)


def stack(title: str, parts: Sequence[Panel | Scores]) -> list[str]:
    """Returns the HTML of a section of pictures and scores, or [] if there are none."""
    cards = [document.card(part.title, _render(part)) for part in parts]
    return document.section(title, "", cards, "layers")


def _render(part: Panel | Scores) -> str:
    """Returns the HTML of a picture with its caption, or a bar chart, as SVG, of the ten highest
    class scores.
    """
    if isinstance(part, Panel):
        return document.picture(part.pixels, f"{part.title}: {part.note}", part.note)
    best = sorted(part.values.items(), key=lambda item: -item[1])[:10]
    bars = [charts.Bar(name, value, f"{value:.4f}", kind="first" if i == 0 else "other")
            for i, (name, value) in enumerate(best)]
    return charts.bars("class scores", bars, most=1.0)
