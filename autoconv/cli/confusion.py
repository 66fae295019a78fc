"""Which classes a net takes for which: counts, and the precision and recall that follow from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import utils
from ..models import Model

NARROW = 12  # characters of a class's name in the table
MOST = 20  # classes whose counts are shown in columns


class Confusion(NamedTuple):
    """counts[i, j]: how many images of class i the net took for class j."""

    classes: Sequence[str]
    counts: np.ndarray

    @classmethod
    def of(cls, model: Model, feed: Mapping[str, Any], classes: Sequence[str]) -> "Confusion":
        """The counts of a classifier over what `Model.evaluate` takes, arrays with one-hot targets or an image data
        set.
        """
        counts = np.zeros((len(classes), len(classes)), int)
        for x, y in _batches(feed):
            true, found = np.argmax(y, -1) if np.ndim(y) > 1 else np.asarray(y), model.predict_on_batch(x).argmax(-1)
            known = true < len(classes)  # other data may have more classes than the net
            np.add.at(counts, (true[known], found[known]), 1)
        return cls(classes, counts)

    @property
    def precision(self) -> np.ndarray:
        """Of the images that were taken for a class, the share that is of it; 0 where none was."""
        return np.diag(self.counts) / np.maximum(self.counts.sum(0), 1)

    @property
    def recall(self) -> np.ndarray:
        """Of the images of a class, the share that was found; 0 where there is none."""
        return np.diag(self.counts) / np.maximum(self.counts.sum(1), 1)

    def as_json(self) -> dict[str, Any]:
        """Precision, recall and number of images of each class, and the rows of counts."""
        return {"classes": [{"name": name, "precision": float(p), "recall": float(r), "images": int(n)}
                            for name, p, r, n in zip(self.classes, self.precision, self.recall, self.counts.sum(1))],
                "confusion_matrix": self.counts.tolist()}

    def lines(self) -> list[str]:
        """A table for a terminal: a row a true class, and unless there are too many a column a class that it was taken
        for.
        """
        names = [name if len(name) <= NARROW else f"{name[: NARROW - 1]}\u2026" for name in map(str, self.classes)]
        first, width = max(map(len, [*names, "class"])), max(len(str(self.counts.max())), 3)
        short = all(len(name) <= width for name in names)
        heads = names if short else [str(i) for i in range(len(names))]
        rows = [[f"{'class':<{first}}  precision  recall  images", "  taken for", *heads]]
        for i, (name, p, r, own) in enumerate(zip(names, self.precision, self.recall, self.counts)):
            rows.append([f"{name:<{first}}  {p:9.4f}  {r:6.4f}  {own.sum():6,}", "" if short else str(i),
                         *(str(n or ".") for n in own)])
        if len(names) > MOST:
            return [row[0] for row in rows]
        return [f"{start}{label:>{len(rows[0][1])}}  {' '.join(f'{cell:>{width}}' for cell in cells)}"
                for start, label, *cells in rows]


def _batches(feed: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    x = feed["x"]
    if isinstance(x, utils.ImageDataset):
        yield from x
        return
    size = feed.get("batch_size") or 32
    for start in range(0, len(x), size):
        yield x[start : start + size], feed["y"][start : start + size]
