"""Handles Ctrl-C and SIGTERM: the first signal stops after the step, the second at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import steady

SAID = b"\nStopping after this step, to keep all of the training; once more stops at once.\n"


class Terminated(KeyboardInterrupt):
    """A KeyboardInterrupt caused by SIGTERM."""


class Stop:
    """ask: the function that the first signal calls. If it is None, each signal raises at once."""

    def __init__(self) -> None:
        self.ask: Callable[[], None] | None = None
        self._asked: int | None = None

    @property
    def asked(self) -> bool:
        """Whether a first signal has requested an orderly stop."""
        return self._asked is not None

    def handle(self, number: int, frame: Any) -> None:
        """Handles both signals."""
        if self.ask is None or self.asked:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._asked = number
        self.ask()
        steady.tell(SAID)

    @contextmanager
    def orderly(self) -> Iterator[None]:
        """A block in which `ask` may be set. After a signal, closed outputs do no harm."""
        outputs = sys.stdout, sys.stderr
        steady.install(lambda: self.asked)
        try:
            yield
        except KeyboardInterrupt as error:
            if self._asked == signal.SIGTERM and not isinstance(error, Terminated):
                raise Terminated from None
            raise
        finally:
            self.ask = None
            if not self.asked:
                sys.stdout, sys.stderr = outputs


@contextmanager
def handled() -> Iterator[Stop]:
    """Installs a `Stop` as handler of both signals; only in the main thread, and not if ignored."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = [kind for kind in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(kind) != signal.SIG_IGN]
    before = [signal.signal(kind, stop.handle) for kind in kinds]
    try:
        yield stop
    finally:
        for kind, handler in zip(kinds, before):
            signal.signal(kind, signal.SIG_DFL if handler is None else handler)
