"""The progress line of fit, evaluate and predict, in Keras's format. The line is updated in place if possible."""

import inspect
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..arguments.names import printable
from .display import Plain, open_display

INTERVAL = 0.1  # seconds between two updates of a line
BAR, SHORTEST_BAR = 20, 5  # usual and minimum length of the bar in characters


class Progress:
    """Shows the progress over `total` steps (None if unknown) on the stream that was sys.stdout at its creation.

    With verbose 0 nothing is shown, with 1 ("auto") a line that is updated in place if the output
    allows it, with 2 one plain line. On a terminal, `title` ("Epoch 1/5") is shown above the line,
    otherwise at the start of the line. `previous` is the progress line that this line continues: a
    notebook shows both in one output. `start_step` is the number of steps of an earlier process.
    """

    def __init__(self, total: int | None, verbose: str | int = "auto", title: str = "",
                 previous: "Progress | None" = None, start_step: int = 0) -> None:
        verbose = check_verbose(verbose)
        self.total, self.title, self._step, self._start_step = total, title, 0, start_step
        self.display: Plain | None = previous.display if previous else None
        if self.display is None and verbose and sys.stdout is not None:
            self.display = open_display(sys.stdout, live=verbose == 1)
        self.live = self.display is not None and self.display.live
        self._start = self._update_time = time.perf_counter()
        self._first: float | None = None
        self._has_shown_compiling = False
        if self.display is not None and self.display.titles_above and title:
            self.display.keep(title)

    def update(self, step: int, values: Callable[[], Mapping[str, float]]) -> None:
        """Updates the line after step `step`. Draws the line at most every 0.1 seconds."""
        self._step = step
        if self._first is None:
            self._first = time.perf_counter()  # timing starts after the first step, which includes the setup
        if self.display is not None and self.live:
            now = time.perf_counter()
            if now - self._update_time >= INTERVAL:
                self._update_time = now
                rest = step if self.total is None else self.total - step  # the elapsed time if the total is unknown
                minutes, seconds = divmod(int(self._seconds_per_step(step) * rest), 60)
                duration = f"{minutes}:{seconds:02d}" if minutes else f"{seconds}s"
                if minutes >= 60:
                    duration = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
                line = self._line(step, duration, values())
                self.display.show(line[: self.display.columns() - 1])

    def finish(self, values: Mapping[str, float]) -> None:
        """Shows the final line after the last step."""
        if self.display is not None:
            self.total = self._step if self.total is None else self.total
            text = self._line(self.total, f"{time.perf_counter() - self._start:.0f}s", values)
            self.display.keep(_wrap(text, self.display.columns() - 1))

    def compiling(self, count: int, total: int) -> None:
        """Shows in one line how many of `total` kernels are compiled; as plain text, only at the start and end."""
        if self.display is None:
            return
        text = f"compiling kernels, first run only: {count}/{total}"
        if count == total:
            self.display.keep(text, lasting=False)
        elif self.live:
            self.display.show(text)
        elif not self._has_shown_compiling:
            self.display.keep(text)
        self._has_shown_compiling = True

    def _line(self, step: int, duration: str, values: Mapping[str, float]) -> str:
        """Returns a line such as `Epoch 1/5 - 12/94 ━━━─────── 2s 3ms/step - loss: 0.1600`."""
        start = f"{self.title} - " if self.title and not self.display.titles_above else ""  # type: ignore[union-attr]
        start += f"{step}/Unknown" if self.total is None else f"{step:>{len(str(self.total))}}/{self.total}"
        rest = f"{duration}{self._speed(step)}{format_values(values)}"
        if not self.live:
            return f"{start} - {rest}"
        space = self.display.columns() - len(start) - len(rest) - 3  # type: ignore[union-attr]
        return f"{start} {self._bar(step, min(space, BAR))}{rest}"

    def _bar(self, step: int, length: int) -> str:
        """Returns the bar and a space, or an empty string if the bar would be too short."""
        if length < SHORTEST_BAR:
            return ""
        full, rest = ("━", "─") if self.display.can_write("━─") else ("=", ".")  # type: ignore[union-attr]
        count = length * step // self.total if self.total else 0
        return full * count + rest * (length - count) + " "

    def _seconds_per_step(self, step: int) -> float:
        now, steps = time.perf_counter(), step - self._start_step
        if steps < 2 or self._first is None:
            return (now - self._start) / max(steps, 1)
        return (now - self._first) / (steps - 1)

    def _speed(self, step: int) -> str:
        seconds = self._seconds_per_step(step)
        for unit, scale in (("s", 1), ("ms", 1e3)):
            if seconds * scale >= 1:
                return f" {seconds * scale:.0f}{unit}/step"
        return f" {seconds * 1e6:.0f}us/step"


def check_verbose(verbose: Any) -> int:
    """Returns `verbose` as 0, 1 or 2, with 1 for "auto". Raises ValueError for other values."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError("verbose must be 'auto', 0 (silent), 1 (progress bar) or 2 (a single "
                         f"line). Received: {verbose!r}.")
    return 1 if verbose == "auto" else int(verbose)


def _wrap(text: str, columns: int) -> str:
    """Wraps a long line before one of its values. Continuation lines are indented."""
    lines = [""]
    for i, part in enumerate(text.split(" - ")):
        separator = " - " if i else ""
        if i and len(lines[-1]) + len(separator) + len(part) > columns:
            lines.append("   ")
        lines[-1] += separator + part
    return "\n".join(lines)


def format_values(values: Mapping[str, float]) -> str:
    """Returns text such as ` - accuracy: 0.9500 - loss: 0.1600`, sorted by name as in Keras."""
    means = {name: float(np.mean(values[name])) for name in sorted(values)}  # averages metrics with several values
    return "".join(f" - {printable(name)}: {value:.4f}" if abs(value) > 1e-3 else f" - {printable(name)}: {value:.4e}"
                   for name, value in means.items())


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issues a warning that points to the user's call of autoconv."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("autoconv."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, level + 1)
