"""Builds the page of an explanation: a card for each number, with links to the numbers that it was computed from."""

import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..programs.pages import document, png
from . import mosaics
from .computation import Element, Place
from .derivations import Derivation

if TYPE_CHECKING:
    from .explaining import Explanation

Key = tuple[int, Place]
CHANNELS = 3  # number of channels whose windows are drawn
WIDE = 5  # larger windows are drawn smaller, and in one channel
WIDEST = 7  # maximum height and width of a window that is drawn


def page(start: "Explanation", found: Mapping[Key, "Explanation"], title: str, facts: dict[str, str],
         all_products: bool = False) -> str:
    """Returns the page about `start`, with a card for each explanation in `found`, by the keys of their numbers. One
    card is shown at a time. all_products: whether the start's card lists all numbers of its sum.
    """
    users: dict[Key, list[Element]] = {}  # the numbers on the page that read a number
    for each in found.values():
        for step in each.steps:
            for i in step.largest():
                users.setdefault(step.numbers()[i].key, []).append(each.number)
    cards = [_card(each, found, users.get(key, []), all_products and each is start) for key, each in found.items()]
    note = ("Each card shows one number. Select a number to see how it was computed; the browser's Back button "
            "returns. Numbers without a link are not on this page.")
    rows = "".join(f"<tr><td>{_link(each.number, found)}</td><td>{each.value:.6g}</td></tr>" for each in found.values())
    overview = (f"<section><details><summary>All {len(found)} numbers of this page: first the largest contributions "
                "back to the pixels, then other numbers</summary>"
                f'<div class="scroll"><table>{rows}</table></div></details></section>')
    # The start comes last: it is shown unless another card is the page's target.
    body = [f"<header><h1>{escape(title)}</h1>{document.facts(facts)}<p>{note}</p></header>{_define_picture(start)}",
            *cards[1:], cards[0].replace('class="number"', 'class="number start"', 1), overview]
    return document.document(title, body)


def _card(explanation: "Explanation", found: Mapping[Key, "Explanation"], users: list[Element],
          all_products: bool) -> str:
    steps = []
    for step in explanation.steps:
        steps.append(f"<p><b>{escape(step.number.label)} = {step.number.value:.6g}</b><br>"
                     f"{escape(step.describe())}</p>")
        count = sum(len(each.places) for each in step.sources)
        if count > 1:
            steps.append(_table(step, step.largest(), found))
        if all_products and step is explanation.steps[-1] and count > len(step.largest()):
            steps.append(f"<details><summary>All {count:,} numbers, in order</summary>"
                         f"{_table(step, list(range(count)), found)}</details>")
    said = explanation.sentences() + (explanation.compare_prediction() if not users else [])
    about = "".join(f"<p>{escape(sentence)}</p>" for sentence in said)
    used = ", ".join(_link(number, found) for number in dict.fromkeys(users))
    articles = [document.card("How it was computed", "".join(steps)), *_windows(explanation.steps[-1], found),
                document.card("Pixels, accuracy and effect", _receptive_field(explanation) + about)]
    return (f'<section class="number" id="{_anchor(explanation.number)}"><h2>{escape(explanation.name)} = '
            f"{explanation.value:.6g}</h2><p>{'Read by ' + used if used else 'The number of this page'}</p>"
            f'<div class="cards">{"".join(articles)}</div></section>')


def _table(step: Derivation, shown: list[int], found: Mapping[Key, "Explanation"]) -> str:
    """Returns a table of numbers that a step read, with weights and products if it is a sum."""
    numbers = step.numbers()
    is_sum = step.is_sum
    rows = [[_link(each, found), f"{each.value:.4g}", *([f"{each.weight:.4g}", f"{each.product:.4g}"]
                                                        if is_sum else [])] for each in (numbers[i] for i in shown)]
    head = ["number", "value", *(["weight", "product"] if is_sum else [])]
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    lines += [f'<tr><td colspan="3">{name}</td><td>{value:.4g}</td></tr>'
              for name, value in (step.rest(shown) if is_sum else [])]
    return (f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>')


def _windows(step: Derivation, found: Mapping[Key, "Explanation"]) -> list[str]:
    """Returns [a card with the window's numbers, weights and products in the channels that contribute most], or []."""
    window = step.result.parameters.get("window")
    if len(step.sources) != 1 or window is None or not 1 < max(window.kh, window.kw) <= WIDEST or (
            step.result.op == "conv2d_transpose"):
        return []
    numbers = {each.place[1:]: each for each in step.numbers()}
    sizes: dict[int, float] = {}
    for each, share in zip(numbers.values(), step.shares()):
        sizes[each.place[3]] = sizes.get(each.place[3], 0.0) + float(share)
    parts = []
    is_wide = max(window.kh, window.kw) > WIDE
    channels = sorted(sizes, key=lambda c: -sizes[c])[: 1 if is_wide else CHANNELS]
    for channel in channels:
        cells = [[numbers.get((step.place[1] * window.sh + i * window.dh - window.top,
                               step.place[2] * window.sw + j * window.dw - window.left, channel))
                  for j in range(window.kw)] for i in range(window.kh)]
        source = step.sources[0].result.title
        parts.append(f"<h4>channel {channel} of {escape(source)}</h4><div class=\"windows{' wide' * is_wide}\">")
        for name in ("input", "weight", "product") if step.kind == "sum" else ("input",):
            parts.append(_grid(name, cells, found))
        parts.append("</div>")
    note = f" in {len(channels)} of {len(sizes)} channels, the largest products first" * (len(sizes) > 1)
    return [document.card("The window" + note, "".join(parts))]


def _grid(name: str, cells: list[list[Element | None]], found: Mapping[Key, "Explanation"]) -> str:
    """Returns a table of the values, weights or products of a window. Red is above 0, blue is below."""
    values = [[0.0 if n is None else {"input": n.value, "weight": n.weight, "product": n.product}[name]
               for n in row] for row in cells]
    most = max(abs(value) for row in values for value in row) or 1.0
    lines = []
    for row, numbers in zip(values, cells):
        line = ""
        for value, number in zip(row, numbers):
            digits = 2 if len(row) > WIDE else 3
            text = f"{value:.{digits}g}" if number is not None else "padding" * (name == "input")
            if number is not None and name == "input":
                text = _link(number, found, text)
            line += f'<td class="{"down" if value < 0 else "up"}" style="--share:{abs(value) / most:.2f}">{text}</td>'
        lines.append(f"<tr>{line}</tr>")
    return f"<table><caption>{name}</caption>{''.join(lines)}</table>"


def _link(number: Element, found: Mapping[Key, "Explanation"], text: str = "") -> str:
    """Returns a number's name, or another text, as a link if its card is on the page."""
    label = escape(number.label)
    text = text or re.sub("([_/:])", r"\1<wbr>", label)
    if number.key in found:
        return f'<a href="#{_anchor(number)}" title="{label}">{text}</a>'
    return f'<span title="{label}">{text}</span>'


def _anchor(number: Element) -> str:
    return f"n{number.result.number}-{'-'.join(map(str, number.place[1:]))}"


def _define_picture(explanation: "Explanation") -> str:
    """Returns the picture, hidden. All cards draw this picture."""
    pixels = explanation.computation.picture.array[0]
    if pixels.ndim != 3:
        return ""
    shown = mosaics.image(np.asarray(pixels), 1)
    height, width = shown.shape[:2]
    data = b64encode(png.encode(shown)).decode()
    return (f'<svg class="defined"><defs><image id="picture" href="data:image/png;base64,{data}" width="{width}" '
            f'height="{height}"/></defs></svg>')


def _receptive_field(explanation: "Explanation") -> str:
    """Returns the picture with a frame around the pixels that the number depends on."""
    if explanation.receptive_field is None:
        return ""
    top, bottom, left, right = explanation.receptive_field
    height, width = explanation.computation.picture.array.shape[1:3]
    return (f'<svg class="field" viewBox="0 0 {width} {height}" role="img" aria-label="the picture, with a frame '
            f'around the receptive field"><use href="#picture"/><rect x="{left}" y="{top}" width="{right - left}" '
            f'height="{bottom - top}"/></svg>')
