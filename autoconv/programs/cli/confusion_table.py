"""A net's confusion matrix, with precision and recall, as a text table or as JSON."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...arguments.names import printable
from ...files.json_text import JsonObject
from ...pictures.results import precision_recall

NARROW = 12  # maximum number of characters of a class's name in the table
MOST = 20  # maximum number of classes for which the table shows the counts
LISTED = 5  # number of the most frequent mistakes that are listed


class Confusion(NamedTuple):
    """Class names, and `counts[i, j]`, the number of images of class i classified as class j."""

    classes: Sequence[str]
    counts: np.ndarray

    def rates(self) -> np.ndarray:
        """Returns each class's precision and recall, (2, classes), with 0 in place of 0 / 0."""
        return np.nan_to_num(precision_recall(self.counts))

    def to_json(self) -> JsonObject:
        """Returns the rates and number of images of each class, and the confusion matrix, as JSON data."""
        return {"classes": [{"name": name, "precision": float(p), "recall": float(r), "images": int(n)}
                            for name, p, r, n in zip(self.classes, *self.rates(), self.counts.sum(1))],
                "confusion_matrix": self.counts.tolist()}

    def lines(self) -> list[str]:
        """Returns a table as lines, with a row per true class and a column per predicted class. A
        last line lists the most frequent mistakes.
        """
        names = [name if len(name) <= NARROW else f"{name[: NARROW - 1]}\u2026"
                 for name in map(printable, self.classes)]
        first = max(map(len, [*names, "class"]))
        width = max(len(str(self.counts.max())), 3)
        short = all(len(name) <= width for name in names)
        heads = names if short else [str(i) for i in range(len(names))]
        rows = [[f"{'class':<{first}}  precision  recall  images", "  taken for", *heads]]
        for i, (name, p, r, own) in enumerate(zip(names, *self.rates(), self.counts)):
            rows.append([f"{name:<{first}}  {p:9.4f}  {r:6.4f}  {own.sum():6,}", "" if short
                         else str(i), *(str(n or ".") for n in own)])
        mistakes = np.where(np.eye(len(names), dtype=bool), 0, self.counts)
        largest = [divmod(int(i), len(names)) for i in np.argsort(-mistakes, axis=None, kind="stable")[:LISTED]]
        found = [f"{names[i]} taken for {names[j]} ({mistakes[i, j]})" for i, j in largest if mistakes[i, j]]
        last = [f"most frequent mistakes: {', '.join(found)}"] if found else []
        if len(names) > MOST:
            return [row[0] for row in rows] + last
        return [f"{start}{label:>{len(rows[0][1])}}  {' '.join(f'{cell:>{width}}' for cell in cells)}"
                for start, label, *cells in rows] + last
