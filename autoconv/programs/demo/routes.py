"""Answers the page's requests. Each route checks its arguments and returns data for JSON.

All received values are checked here or in the session. A ValueError is answered with status 400.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...files import json_text
from ...files.json_text import JsonObject
from ...utils.digit import as_mnist
from . import choices
from .learning import Session
from .looks import Looks
from .views import pack

Arguments = Mapping[str, str]
LARGEST_SIDE = 512  # maximum side of a drawing in pixels


class Routes:
    """Functions that answer GET and POST requests, by path. POST functions receive the body."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._looks = Looks(session)
        self.get: dict[str, Callable[[Arguments], Any]] = {
            "/api/page": lambda arguments: {"offered": choices.options(), "state": session.state()},
            "/api/images": self._images,
            "/api/explain": lambda arguments: self._looks.explain(
                _whole(arguments, "look"), arguments.get("layer", ""),
                tuple(_whole({"place": part}, "place") for part in arguments.get("place", "").split(","))),
        }
        self.post: dict[str, Callable[[Arguments, bytes], Any]] = {
            "/api/anew": self._command(lambda body: session.build_net(_object(body))),
            "/api/start": self._command(lambda body: session.start(_object(body))),
            "/api/pause": self._command(lambda body: session.pause()),
            "/api/resume": self._command(lambda body: session.resume()),
            "/api/step": self._command(lambda body: session.step()),
            "/api/rate": self._command(lambda body: session.set_rate(*_fields(body, "learning_rate"))),
            "/api/optimizer": self._command(
                lambda body: session.set_optimizer(*_fields(body, "optimizer", "learning_rate"))),
            "/api/image": self._command(lambda body: session.look_at(*_fields(body, "image"))),
            "/api/draw": self._draw, "/api/look": self._look,
        }

    def _command(self, action: Callable[[bytes], None]) -> Callable[[Arguments, bytes], Any]:
        """Returns a route that runs a command and answers with the new state."""

        def answer(arguments: Arguments, body: bytes) -> JsonObject:
            action(body)
            return self._session.state()

        return answer

    def _images(self, arguments: Arguments) -> JsonObject:
        """Returns one test image per class. Page N, counted from 0, has each class's image number N."""
        data = self._session.data
        page = _whole(arguments, "page")
        numbers = []
        for label in range(len(data.classes)):
            of_class = np.flatnonzero(data.y_test == label)
            numbers.append(int(of_class[page % len(of_class)]))
        return {"numbers": numbers, "labels": data.classes,
                "pictures": [pack(data.x_test[number, ..., 0]) for number in numbers]}

    def _draw(self, arguments: Arguments, body: bytes) -> JsonObject:
        """Classifies a drawing. The body has one byte per pixel, row by row."""
        width, height = (_whole(arguments, name, 1, LARGEST_SIDE) for name in ("width", "height"))
        if len(body) != width * height:
            raise ValueError(f"A drawing of {width} x {height} pixels needs one byte per pixel. "
                             f"Received: {len(body)} bytes.")
        picture = as_mnist(np.frombuffer(body, np.uint8).reshape(height, width))
        session = self._session
        view, steps = session.do(lambda: (session.views.describe(picture[..., None]), session.steps))
        return {"step": steps, "ink": bool(picture.any()), "classes": self._session.data.classes, **view}

    def _look(self, arguments: Arguments, body: bytes) -> JsonObject:
        """Inspects the test image `{"image": index}`, or `{"picture": 28 x 28 bytes as base64}`."""
        fields = _object(body)
        data = self._session.data
        if "picture" in fields:
            image = _picture(fields["picture"])
        else:
            number = fields.get("image")
            if type(number) is not int or not 0 <= number < len(data.x_test):
                raise ValueError("The index of a test image must be an integer from 0 to "
                                 f"{len(data.x_test) - 1:,}. Received: {number!r}.")
            image = data.x_test[number, ..., 0]
        return {"classes": data.classes, **self._looks.take(image)}


def _object(body: bytes) -> JsonObject:
    """Parses a body as a JSON object; an empty body is an empty object."""
    try:
        fields = json_text.parse(body or b"{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError("The body of the request must be a JSON object.")
    return fields


def _fields(body: bytes, *names: str) -> list[Any]:
    fields = _object(body)
    missing = [name for name in names if name not in fields]
    if missing:
        raise ValueError(f"The request must contain the field {missing[0]!r}.")
    return [fields[name] for name in names]


def _whole(arguments: Arguments, name: str, least: int = 0, most: int = 10**9) -> int:
    """Returns the whole number in an argument of the URL, or 0 if the argument is missing."""
    text = arguments.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}. Received: {text[:40]!r}.")
    return int(text)


def _picture(text: Any) -> np.ndarray:
    """Decodes a picture of 28 x 28 bytes from base64."""
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != choices.SIDE**2:
        raise ValueError(f"A picture must consist of {choices.SIDE} x {choices.SIDE} bytes, encoded in base64.")
    return np.frombuffer(data, np.uint8).reshape(choices.SIDE, choices.SIDE)
