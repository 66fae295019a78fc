"""`Looks`: images with the net's outputs and weights at the time of inspection."""

import itertools
import threading

import numpy as np

from ...files.json_text import JsonObject
from ...models import Sequential
from .explain import Explained, Seen, explain
from .learning import Session
from .views import described, packed

KEPT = 16  # maximum number of looks; each needs less than a megabyte


class Look:
    """An image, its outputs and copies of the weights, so that the training can continue."""

    def __init__(self, model: Sequential, image: np.ndarray, outputs: list[np.ndarray]) -> None:
        inputs = [image.astype(np.float32), *outputs]
        self._seen = {layer.name: Seen(layer, x, y, layer.get_weights())
                      for layer, x, y in zip(model.layers, inputs, outputs)}
        self.described = {"picture": packed(image[..., 0]), **described(model, outputs)}

    def explain(self, layer: str, place: tuple[int, ...]) -> Explained:
        """Calls `explain.explain`. Raises ValueError for an unknown layer or index."""
        if layer not in self._seen:
            raise ValueError(f"There is no layer {layer!r}. Layers: {', '.join(self._seen)}.")
        return explain(self._seen[layer], place)


class Looks:
    """Keeps the latest looks, by number."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._kept: dict[int, Look] = {}
        self._numbers = itertools.count(1)

    def take(self, image: np.ndarray) -> JsonObject:
        """Records a look at an image (28, 28) of bytes. The result has its number for `explain`."""
        session = self._session
        pixels = image[..., None]
        look, steps = session.do(lambda: (Look(session.model, pixels, session.views.of(pixels)), session.steps))
        with self._lock:
            number = next(self._numbers)
            self._kept[number] = look
            for old in list(self._kept)[:-KEPT]:
                del self._kept[old]
        return {"look": number, "step": steps, **look.described}

    def explain(self, number: int, layer: str, place: tuple[int, ...]) -> Explained:
        """Explains a number. Raises ValueError for a look, layer or index that does not exist."""
        look = self._kept.get(number)
        if look is None:
            raise ValueError("This view of the image is no longer available. Choose the image again.")
        return look.explain(layer, place)
