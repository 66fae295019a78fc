"""`Curve`: what was measured while the net learned, in at most a few hundred points however long it takes."""

MOST = 600  # points; when there are more, neighbours are joined


class Curve:
    """Points `[step, value, ...]`, each the mean over the steps since the one before.

    `generation` counts how often points were joined, so that whoever has some of them knows whether they still hold.
    """

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self.generation = 0
        self._weights: list[float] = []

    def add(self, step: int, weight: float, *values: float) -> None:
        """The mean values over what weighs `weight` (so many images, say), up to this step."""
        self.points.append([step, *values])
        self._weights.append(weight)
        if len(self.points) > MOST:
            self._join()

    def since(self, generation: int, count: int) -> tuple[int, list[list[float]]]:
        """What is new to somebody who has `count` points of a generation: the place at which it belongs, and it."""
        begin = count if generation == self.generation else 0
        return begin, self.points[begin:]

    def _join(self) -> None:
        """Each two points become one. The last stays where it has no partner."""
        points, weights = [], []
        for i in range(0, len(self.points) - 1, 2):
            (a, b), (v, w) = self.points[i : i + 2], self._weights[i : i + 2]
            points.append([b[0], *((v * x + w * y) / (v + w) for x, y in zip(a[1:], b[1:]))])
            weights.append(v + w)
        if len(self.points) % 2:
            points.append(self.points[-1])
            weights.append(self._weights[-1])
        self.points, self._weights, self.generation = points, weights, self.generation + 1
