"""`Looks`: images with the net's outputs and weights at the time of inspection."""

import itertools
import threading

import numpy as np

from ...files.json_text import JsonObject
from ...models import Sequential
from .layer_sums import Explained, LayerState, explain
from .learning import Session
from .views import describe_layers, pack

MOST_LOOKS = 16  # maximum number of looks; each needs less than a megabyte


class Look:
    """An image, its outputs, and copies of the weights that later training does not change."""

    def __init__(self, model: Sequential, image: np.ndarray, outputs: list[np.ndarray]) -> None:
        inputs = [image.astype(np.float32), *outputs]
        self._states = {layer.name: LayerState(layer, x, y, layer.get_weights())
                        for layer, x, y in zip(model.layers, inputs, outputs)}
        self.description = {"picture": pack(image[..., 0]), **describe_layers(model, outputs)}

    def explain(self, layer: str, place: tuple[int, ...]) -> Explained:
        """Explains one output of a layer. Raises ValueError for an unknown layer or index."""
        if layer not in self._states:
            raise ValueError(f"There is no layer {layer!r} in the net. Its layers: {', '.join(self._states)}.")
        return explain(self._states[layer], place)


class Looks:
    """Keeps the latest looks, keyed by number."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._looks: dict[int, Look] = {}
        self._numbers = itertools.count(1)

    def take(self, image: np.ndarray) -> JsonObject:
        """Records a look at an image (28, 28) of bytes. "look" in the result is the look's number."""
        session = self._session
        pixels = image[..., None]
        look, steps = session.do(lambda: (Look(session.model, pixels, session.views.compute(pixels)), session.steps))
        with self._lock:
            number = next(self._numbers)
            self._looks[number] = look
            for oldest in list(self._looks)[:-MOST_LOOKS]:
                del self._looks[oldest]
        return {"look": number, "step": steps, **look.description}

    def explain(self, number: int, layer: str, place: tuple[int, ...]) -> Explained:
        """Explains one output of a layer. Raises ValueError for an unknown look, layer or index."""
        look = self._looks.get(number)
        if look is None:
            raise ValueError("This view of the image is no longer available. Choose the image again.")
        return look.explain(layer, place)
