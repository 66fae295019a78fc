"""`Curve`: records measurements during training as at most 600 points."""

import threading
from typing import NamedTuple

MOST = 600  # maximum number of points; when it is exceeded, pairs of neighbours are merged


class Mark(NamedTuple):
    """A reader's position in a curve: the numbers of merges and points when the curve was last read."""

    curve: "Curve"
    generation: int
    size: int


class Curve:
    """A list of points `[step, value, ...]`. Only one thread may add points."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[list[float]] = []
        self._weights: list[float] = []
        self._generation = 0  # number of merges

    def add(self, step: int, weight: float, *values: float) -> None:
        """Adds a point. values: means since the previous point; weight: the point's weight in merges."""
        with self._lock:
            self._points.append([step, *values])
            self._weights.append(weight)
            if len(self._points) > MOST:
                self._join()

    def read_points(self, mark: Mark | None = None) -> tuple[int, list[list[float]], Mark]:
        """Returns the index of the first new point, the new points, and the mark for the next call.

        New points are those added since `mark`. All points are new if there is no mark, if the mark
        belongs to another curve, or after a merge.
        """
        with self._lock:
            valid = mark is not None and mark.curve is self and mark.generation == self._generation
            begin = mark.size if mark is not None and valid else 0
            return begin, self._points[begin:], Mark(self, self._generation, len(self._points))

    def _join(self) -> None:
        """Merges points in pairs. An unpaired last point is unchanged."""
        old = self._points
        points = []
        weights = []
        for i in range(0, len(old) - 1, 2):
            (a, b), (v, w) = old[i : i + 2], self._weights[i : i + 2]
            points.append([b[0], *((v * x + w * y) / (v + w) for x, y in zip(a[1:], b[1:]))])
            weights.append(v + w)
        if len(old) % 2:
            points.append(old[-1])
            weights.append(self._weights[-1])
        self._points = points
        self._weights = weights
        self._generation = self._generation + 1
