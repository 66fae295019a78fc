"""Ctrl-C, and SIGTERM, which schedulers send: the first asks for an orderly end, the second ends at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SAID = b"\nStopping after this step, to keep all of the training; once more stops at once.\n"


class Terminated(KeyboardInterrupt):
    """As Ctrl-C, by SIGTERM."""


class Stop:
    """ask: what the first signal calls, where it is set; without it each signal raises at once."""

    def __init__(self) -> None:
        self.ask: Callable[[], None] | None = None
        self._asked: int | None = None

    def handle(self, number: int, frame: Any) -> None:
        """The handler of both signals."""
        if self.ask is None or self._asked is not None:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._asked = number
        self.ask()
        os.write(2, SAID)  # a handler may have interrupted what else writes there

    @contextmanager
    def asking(self, ask: Callable[[], None]) -> Iterator[None]:
        """Within it, the first signal calls `ask`, which leads to a KeyboardInterrupt later."""
        self.ask = ask
        try:
            yield
        except KeyboardInterrupt as error:
            if self._asked == signal.SIGTERM and not isinstance(error, Terminated):
                raise Terminated from None
            raise
        finally:
            self.ask = None


@contextmanager
def handled() -> Iterator[Stop]:
    """Has a `Stop` handle both signals, but one that is ignored, as in a shell's background. Only the main thread can:
    in others they stay as they are.
    """
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
