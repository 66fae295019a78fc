"""The line that fit, evaluate and predict show: Keras's, updated in place where that can be done, else plain."""

import inspect
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TextIO

INTERVAL = 0.1  # seconds between two updates of a line
BAR = 20  # characters


class Progress:
    """Progress over `total` steps, None where nobody knows, written to what sys.stdout is when it is made.

    verbose 0 shows nothing, 1 ("auto") a line that is updated in place where the output can do that, 2 one plain line.
    `title` ("Epoch 1/5") stands above the line, or before it where it is plain.
    """

    def __init__(self, total: int | None, verbose: str | int = "auto", title: str = "") -> None:
        verbose = check_verbose(verbose)
        self.total, self.title, self._done = total, title, 0
        self.stream: TextIO | None = sys.stdout if verbose else None
        self.live = verbose == 1 and self.stream is not None and updates_in_place(self.stream)
        self._start = self._shown = time.perf_counter()
        self._first: float | None = None
        self._width = 0
        if self.live and title:
            self._write(title + "\n")

    def update(self, step: int, values: Callable[[], Mapping[str, float]]) -> None:
        """After step number `step`. `values` is asked only when the line is really written: ten times a second."""
        self._done = step
        if self._first is None:
            self._first = time.perf_counter()  # after the first step: that one pays for what is set up
        if self.live:
            now = time.perf_counter()
            if now - self._shown >= INTERVAL:
                self._shown = now
                rest = step if self.total is None else self.total - step  # where it is not known: what it took so far
                left = _duration(self._seconds_per_step(step) * rest)
                text = f"{self._count(step)} {self._bar(step)} {left}{self._speed(step)}{_listed(values())}"
                self._in_place(text[: shutil.get_terminal_size().columns - 1])

    def finish(self, values: Mapping[str, float]) -> None:
        """After the last step: the line as it stays."""
        if self.stream is None:
            return
        self.total = self._done if self.total is None else self.total
        took = f"{time.perf_counter() - self._start:.0f}s{self._speed(self.total)}{_listed(values)}"
        if self.live:
            self._in_place(f"{self._count(self.total)} {self._bar(self.total)} {took}")
            self._write("\n")
        else:
            self._write(f"{self.title + ' - ' if self.title else ''}{self._count(self.total)} - {took}\n")

    def compiling(self, done: int, total: int) -> None:
        """Says how far the compiling of kernels is, in one line; where it is plain, at its start and at its end."""
        if self.stream is None:
            return
        text = f"compiling kernels, first run only: {done}/{total}"
        if self.live:
            self._in_place(text)
            self._write("\n" if done == total else "")
            self._width = 0 if done == total else self._width
        elif done == total or self._width == 0:
            self._write(text + "\n")
            self._width = len(text)

    def _in_place(self, text: str) -> None:
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def _write(self, text: str) -> None:
        self.stream.write(text)  # type: ignore[union-attr]
        self.stream.flush()  # type: ignore[union-attr]

    def _count(self, step: int) -> str:
        return f"{step:>{len(str(self.total))}}/{self.total}" if self.total is not None else f"{step}/Unknown"

    def _bar(self, step: int) -> str:
        full, rest = ("━", "─") if _can_write(self.stream, "━─") else ("=", ".")
        done = BAR * step // self.total if self.total else 0
        return full * done + rest * (BAR - done)

    def _seconds_per_step(self, step: int) -> float:
        now = time.perf_counter()
        if step < 2 or self._first is None:
            return (now - self._start) / max(step, 1)
        return (now - self._first) / (step - 1)

    def _speed(self, step: int) -> str:
        seconds = self._seconds_per_step(step)
        for unit, scale in (("s", 1), ("ms", 1e3)):
            if seconds * scale >= 1:
                return f" {seconds * scale:.0f}{unit}/step"
        return f" {seconds * 1e6:.0f}us/step"


def check_verbose(verbose: Any) -> int:
    """0, 1 or 2, or a ValueError; "auto" is 1."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0 (silent), 1 (progress) or 2 (one line). Received: {verbose!r}.")
    return 1 if verbose == "auto" else int(verbose)


def updates_in_place(stream: Any) -> bool:
    """Whether a carriage return starts the line anew: on a terminal, and in the cell of a notebook."""
    return bool(getattr(stream, "isatty", bool)()) or type(stream).__module__.startswith("ipykernel")


def _can_write(stream: Any, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def _listed(values: Mapping[str, float]) -> str:
    """` - accuracy: 0.9500 - loss: 0.1600`, in the order of the names, as Keras shows it."""
    return "".join(f" - {name}: {_digits(value)}" for name, value in sorted(values.items()))


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 else f"{value:.4e}"


def warn_of_nan(value: float, epoch: int, step: int) -> None:
    """Warns that the loss is NaN or infinite."""
    warn(f"The loss became {value} in epoch {epoch + 1}, step {step + 1}. The usual causes are a learning rate that is "
         "too high and inputs that are not scaled to about [-1, 1] or hold NaN.", RuntimeWarning)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns, where the user called."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("autoconv."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, level + 1)
