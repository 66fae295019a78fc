"""Handles Ctrl-C and SIGTERM. The first signal stops after the current step, a second at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import steady

NOTICE = b"\nStopping after this step, to keep all of the training; once more stops at once.\n"


class Termination(KeyboardInterrupt):
    """A KeyboardInterrupt caused by SIGTERM."""


class Stop:
    """A signal handler. The first signal calls `request_stop`. A second signal, or any signal while
    `request_stop` is None, raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.request_stop: Callable[[], None] | None = None
        self._signal: int | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether a first signal has requested an orderly stop."""
        return self._signal is not None

    def handle(self, number: int, frame: Any) -> None:
        """Handles SIGINT or SIGTERM."""
        if self.request_stop is None or self.is_stopping:
            raise Termination if number == signal.SIGTERM else KeyboardInterrupt
        self._signal = number
        self.request_stop()
        steady.write_error(NOTICE)

    @contextmanager
    def orderly(self) -> Iterator[None]:
        """Sets `request_stop` to None after the `with` block. If a signal arrives in the block,
        output to a closed stdout or stderr is dropped.
        """
        outputs = sys.stdout, sys.stderr
        steady.install(lambda: self.is_stopping)
        try:
            yield
        except KeyboardInterrupt as error:
            if self._signal == signal.SIGTERM and not isinstance(error, Termination):
                raise Termination from None
            raise
        finally:
            self.request_stop = None
            if not self.is_stopping:
                sys.stdout, sys.stderr = outputs


@contextmanager
def install_handler() -> Iterator[Stop]:
    """Yields a `Stop`. In the main thread it handles SIGINT and SIGTERM, except a signal that the
    process ignores.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = [kind for kind in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(kind) != signal.SIG_IGN]
    handlers = [signal.signal(kind, stop.handle) for kind in kinds]
    try:
        yield stop
    finally:
        for kind, handler in zip(kinds, handlers):
            signal.signal(kind, signal.SIG_DFL if handler is None else handler)
