"""Builds a page and its parts as HTML. Text is escaped, except in `html`, `body` and `cards`."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files

import numpy as np

from . import png

__all__ = ["card", "document", "escape", "facts", "numbers", "picture", "section", "table"]


def document(title: str, body: Sequence[str]) -> str:
    """Returns a whole page with its style sheet. body: the HTML of the page's parts."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body><main>\n' + "\n".join(body)
        + "\n</main></body></html>\n"
    )
    return page.encode("utf-8", "replace").decode()  # file names need not be valid UTF-8


def section(title: str, note: str, cards: Sequence[str], layout: str = "cards") -> list[str]:
    """Returns [HTML of a heading with cards below it], or [] if there are no cards. layout: a class
    of the style sheet: "cards", "cards wide" (of at least 480 pixels) or "layers" (for pictures).
    """
    if not cards:
        return []
    if len(cards) == 1:  # a single card has space for its table
        cards = [cards[0].replace("<details>", "<details open>")]
    said = f"<p>{escape(note)}</p>" if note else ""
    return [f'<section><h2>{escape(title)}</h2>{said}<div class="{layout}">{"".join(cards)}</div></section>']


def card(title: str, html: str) -> str:
    """Returns a box with a heading and `html` as its content."""
    return f"<article><h3>{escape(title)}</h3>{html}</article>"


def numbers(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a collapsible table with the summary "Numbers"."""
    return f'<details><summary>Numbers</summary><div class="scroll">{table(head, rows)}</div></details>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table. The first column is left-aligned, the other columns are right-aligned."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(r, 'td') for r in rows)}</tbody></table>"


def facts(rows: dict[str, str]) -> str:
    """Returns a list of names and values. Empty values are left out."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items() if v) + "</dl>"


def picture(pixels: np.ndarray, alt: str, caption: str = "", width: int | None = None) -> str:
    """Returns pixels (H, W, 1) or (H, W, 3) as an embedded picture. alt: its description."""
    data = b64encode(png.encode(pixels)).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (f'<figure><img src="data:image/png;base64,{data}" width="{width or pixels.shape[1]}" '
            f'alt="{escape(alt)}">{below}</figure>')
