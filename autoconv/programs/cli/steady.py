"""Output that may close before the program ends, as in `autoconv ... | tee log` after Ctrl-C."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any


class Steady:
    """A stream. If `ending()`, output to a closed stream is dropped without an error."""

    def __init__(self, stream: Any, ending: Callable[[], bool]) -> None:
        self._stream = stream
        self._ending = ending

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except OSError:
            if not self._ending():
                raise
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())  # also for what is unflushed


def install(ending: Callable[[], bool]) -> None:
    """Makes both outputs steady, where they are open."""
    if sys.stdout is not None:
        sys.stdout = Steady(sys.stdout, ending)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = Steady(sys.stderr, ending)  # type: ignore[assignment]


def tell(text: bytes) -> None:
    """Writes to stderr from a signal handler, which may have interrupted another write."""
    if sys.__stderr__ is not None:  # where it was closed, its number may be another file's
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.__stderr__.fileno(), text)
