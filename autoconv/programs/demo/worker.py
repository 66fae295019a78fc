"""`Worker`: the only thread in which the demo computes. It trains, and runs calls between steps."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

PATIENCE = 30.0  # maximum seconds to wait for a result, or for the end of a step

T = TypeVar("T")


class Worker:
    """Runs a job and calls in one thread. The job calls `run_calls` after each step; `do` runs a
    function between two steps, so that it never sees partly updated weights.

    Only one thread runs kernels. For a second such thread, OpenMP would create more threads, and
    all OpenMP threads would then sleep between two kernels.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._calls: deque[tuple[Callable[[], Any], Future]] = deque()
        self._job: Callable[[], None] | None = None
        self.is_paused = False
        self._steps = 0
        self.stopping = False  # whether the job must end after its current step
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="autoconv demo: the net", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a job is running or paused."""
        return self._job is not None

    def do(self, function: Callable[[], T]) -> T:
        """Calls a function in the worker's thread while no step is running. Returns its result.

        Raises the function's errors, and TimeoutError if the result takes longer than PATIENCE.
        """
        if threading.current_thread() is self._thread:
            return function()
        answer: Future = Future()
        with self._change:
            if self._closing:
                raise TimeoutError("The demo is closing.")
            self._calls.append((function, answer))
            self._change.notify_all()
        try:
            return answer.result(PATIENCE)
        except TimeoutError as error:
            answer.cancel()
            raise TimeoutError("The net is busy, because its current step takes too long. Try again later.") from error

    def run(self, job: Callable[[], None], start_paused: bool = False) -> None:
        """Starts a job. No other job may be running."""
        with self._change:
            self._job = job
            self.stopping = False
            self.is_paused = start_paused
            self._steps = 0
            self._change.notify_all()

    def run_calls(self) -> None:
        """Runs the waiting calls, and blocks while the job is paused. The job calls it after each step."""
        while self._calls or (self.is_paused and not self.stopping):
            self._answer()
            with self._change:
                if self.is_paused and not self.stopping and self._steps:
                    self._steps -= 1
                    return
                self._change.wait_for(lambda: self._calls or not self.is_paused or self._steps or self.stopping)

    def pause(self) -> None:
        with self._change:
            self.is_paused = True

    def resume(self) -> None:
        with self._change:
            self.is_paused = False
            self._steps = 0
            self._change.notify_all()

    def step(self) -> None:
        """Runs one more step, then pauses again."""
        with self._change:
            self.is_paused = True
            self._steps += 1
            self._change.notify_all()

    def stop(self) -> None:
        """Ends the job after its current step. Raises TimeoutError if the step does not end."""
        with self._change:
            self.stopping = True
            self._change.notify_all()
            if not self._change.wait_for(lambda: self._job is None, PATIENCE):
                raise TimeoutError("The current training step did not end in time.")
            self.is_paused = False

    def close(self) -> None:
        """Ends the job and the worker's thread."""
        self.stop()
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(PATIENCE)

    def _work(self) -> None:
        while not self._closing:
            self._answer()
            if self._job is not None:
                self._job()
                with self._change:
                    self._job = None
                    self._change.notify_all()
            with self._change:
                self._change.wait_for(lambda: self._calls or self._job is not None or self._closing)
        self._answer()

    def _answer(self) -> None:
        """Runs the waiting calls."""
        for _ in range(len(self._calls)):
            function, answer = self._calls.popleft()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function())
                except BaseException as error:
                    answer.set_exception(error)
