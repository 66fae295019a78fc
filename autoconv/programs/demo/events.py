"""Sends the net's progress as server-sent events: `state`, `points` and `view`."""

import json
import time
from http import HTTPStatus
from typing import Any

from ...files.json_text import JsonObject
from .curve import Mark
from .learning import Session

LEAST = 0.1  # minimum seconds between two messages
HEARTBEAT = 5.0  # seconds between keep-alive lines, which detect a closed browser
MOST = 24  # maximum number of browser windows


def stream(handler: Any, session: Session) -> None:
    """Sends events until the browser disconnects or the session ends."""
    if session.watchers >= MOST:
        raise TimeoutError("Too many windows of the demo are open. Close one of them.")
    session.watch(1)
    try:
        handler.begin(HTTPStatus.OK, "text/event-stream")
        handler.end_headers()
        news = News(session)
        while not session.closed:
            text = news.text()
            handler.wfile.write(text.encode())
            begun = time.monotonic()
            session.wait(news.version, HEARTBEAT)
            time.sleep(max(0.0, LEAST - (time.monotonic() - begun)))
    except OSError:
        pass  # the browser has disconnected
    finally:
        session.watch(-1)


class News:
    """Collects the changes that one browser window has not received yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.version = -1
        self._view: Any = None
        self._marks: dict[str, Mark] = {}  # marks by curve name

    def text(self) -> str:
        """Returns the pending events as server-sent events, or a comment if nothing is new."""
        session = self._session
        version = self._session.version
        if version == self.version:
            return ": nothing new\n\n"
        self.version = version
        events = [_event("state", session.state())]
        curves: JsonObject = {}
        for name, curve in (("learned", session.training_curve), ("tests", session.test_curve)):
            begin, points, self._marks[name] = curve.read_points(self._marks.get(name))
            curves[name] = {"begin": begin, "points": points}
        if any(c["points"] or not c["begin"] for c in curves.values()):
            events.append(_event("points", curves))
        if session.view is not self._view:
            self._view = session.view
            events.append(_event("view", self._view))
        return "".join(events)


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
