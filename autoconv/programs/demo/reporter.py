"""`Reporter`: the callback that reports training progress to a session."""

import math
import time
from typing import TYPE_CHECKING

from ...callbacks import Callback, Logs

if TYPE_CHECKING:
    from .learning import Session
    from .worker import Worker

REPORT = 0.2  # minimum seconds between two reports
TEST = 1.0  # minimum seconds between two tests
SHARE = 0.01  # maximum fraction of the time that is spent on tests
SMOOTH = 0.4  # weight of the latest interval in the displayed speed
TEST_IMAGES = 500  # number of images per test


class Reporter(Callback):
    """Adds a curve point and records a view five times per second. Tests at most every second."""

    def __init__(self, session: "Session", worker: "Worker") -> None:
        self._session = session
        self._worker = worker
        self._logs: Logs = {}
        self._start = self._last_test = time.perf_counter()  # start of the next point's interval
        self._images = 0  # images in the next point's interval
        self._test_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._samples = 0  # number of this epoch's images up to the last point
        self._sums = (0.0, 0.0)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        session = self._session
        worker = self._worker
        size = self._session.settings.batch_size
        session.steps += 1
        samples = min((batch + 1) * size, len(session.data.x_train))
        self._images += samples - batch * size
        self._logs = logs or {}
        now = time.perf_counter()
        if now - self._start >= REPORT or worker.is_paused or session.phase == "starting":
            self._report(now, samples)
        before = time.perf_counter()
        worker.run_calls()
        self._start += time.perf_counter() - before  # time spent in the calls is not training time
        if worker.stopping or session.steps >= session.goal or not self._is_finite():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._images and not self._worker.stopping:
            self._report(time.perf_counter(), len(self._session.data.x_train))

    def check_loss(self) -> None:
        """Raises ArithmeticError if the loss is not finite."""
        if not self._is_finite():
            raise ArithmeticError("The loss became NaN or infinite, probably because the learning "
                                  "rate is too high. Choose a lower rate and start again.")

    def _is_finite(self) -> bool:
        return math.isfinite(self._logs.get("loss", 0.0))

    def _report(self, now: float, samples: int) -> None:
        session = self._session
        sums = (self._logs["loss"] * samples, self._logs["accuracy"] * samples)
        count = samples - self._samples
        loss, accuracy = ((after - before) / count for after, before in zip(sums, self._sums))
        if self._is_finite():
            session.training_curve.add(session.steps, count, loss, accuracy)
        if now - self._start >= REPORT / 2:
            speed = self._images / (now - self._start)
            session.speed += (speed - session.speed) * (SMOOTH if session.speed else 1.0)
        self._samples = samples
        self._sums = sums
        if session.watchers:
            session.take_view()
        if now - self._last_test >= max(TEST, self._test_seconds / SHARE):
            session.test(TEST_IMAGES)
            self._last_test = now
            self._test_seconds = time.perf_counter() - now
        self._start = now
        self._images = 0
        session.report_progress()
