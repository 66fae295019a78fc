"""Ignores errors if stdout closes before the program ends, as after Ctrl-C in `autoconv ... | tee log`."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any


class Steady:
    """Wraps a stream. While `ending()` is true, output to a closed stream is silently dropped."""

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
                os.dup2(nothing.fileno(), self._stream.fileno())  # also discards unflushed output


def install(ending: Callable[[], bool]) -> None:
    """Wraps stdout and stderr in `Steady`, if they are open."""
    if sys.stdout is not None:
        sys.stdout = Steady(sys.stdout, ending)  # type: ignore[assignment]
    if sys.stderr is not None:
        sys.stderr = Steady(sys.stderr, ending)  # type: ignore[assignment]


def write_error(text: bytes) -> None:
    """Writes to stderr without a buffer, because a signal handler may interrupt another write."""
    if sys.__stderr__ is not None:  # if stderr is closed, descriptor 2 may be another file
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.__stderr__.fileno(), text)
