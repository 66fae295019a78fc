"""`Curve`: what was measured while the net learned, in at most a few hundred points."""

import threading
from typing import NamedTuple

MOST = 600  # points; when there are more, neighbours are joined


class Mark(NamedTuple):
    """How far a reader is: a number of points of a curve that were joined this often."""

    curve: "Curve"
    generation: int
    read: int


class Curve:
    """Points `[step, value, ...]`, each the mean since the one before. One thread adds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[list[float]] = []
        self._weights: list[float] = []
        self._generation = 0  # how often points were joined

    def add(self, step: int, weight: float, *values: float) -> None:
        """The mean values over what weighs `weight` (so many images, say), up to this step."""
        with self._lock:
            self._points.append([step, *values])
            self._weights.append(weight)
            if len(self._points) > MOST:
                self._join()

    def since(self, mark: Mark | None = None) -> tuple[int, list[list[float]], Mark]:
        """Returns what is new since a mark: its place, the points, and the next mark.

        All points are new to a reader without a mark, or with one of another curve or before a
        joining.
        """
        with self._lock:
            holds = mark is not None and mark.curve is self and mark.generation == self._generation
            begin = mark.read if mark is not None and holds else 0
            return begin, self._points[begin:], Mark(self, self._generation, len(self._points))

    def _join(self) -> None:
        """Each two points become one. The last stays where it has no partner."""
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
