"""`Worker`: the only thread in which the demo computes. It trains, and runs calls between steps."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

PATIENCE = 30.0  # maximum seconds to wait for a result, or for the end of a step

T = TypeVar("T")


class Worker:
    """`run` starts a job, which calls `pass_through` after each step; `do` runs a function between
    two steps.

    So no reader sees half-changed weights. Only one thread runs kernels: OpenMP would create more
    threads for each further one, and then let all threads sleep between two kernels.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: deque[tuple[Callable[[], Any], Future]] = deque()
        self._job: Callable[[], None] | None = None
        self.paused = False
        self._steps = 0
        self.stopping = False  # whether the job must end
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="autoconv demo: the net", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a job exists, even if it is paused."""
        return self._job is not None

    def do(self, function: Callable[[], T]) -> T:
        """Calls a function in the worker's thread while no step runs, and returns its result.

        Raises the function's errors, and TimeoutError if a step or an earlier call takes too long.
        """
        if threading.current_thread() is self._thread:
            return function()
        answer: Future = Future()
        with self._changed:
            if self._closed:
                raise TimeoutError("The demo is closing.")
            self._asked.append((function, answer))
            self._changed.notify_all()
        try:
            return answer.result(PATIENCE)
        except TimeoutError as error:
            answer.cancel()
            raise TimeoutError("The net is busy: its current step takes too long.") from error

    def run(self, job: Callable[[], None], paused: bool = False) -> None:
        """Starts a job; no other job may exist."""
        with self._changed:
            self._job = job
            self.stopping = False
            self.paused = paused
            self._steps = 0
            self._changed.notify_all()

    def pass_through(self) -> None:
        """Runs the waiting calls; the job calls it after each step. Fast if none waits."""
        while self._asked or (self.paused and not self.stopping):
            self._answer()
            with self._changed:
                if self.paused and not self.stopping and self._steps:
                    self._steps -= 1
                    return
                self._changed.wait_for(lambda: self._asked or not self.paused or self._steps or self.stopping)

    def pause(self) -> None:
        with self._changed:
            self.paused = True

    def resume(self) -> None:
        with self._changed:
            self.paused = False
            self._steps = 0
            self._changed.notify_all()

    def step(self) -> None:
        """Runs one more step, then pauses again."""
        with self._changed:
            self.paused = True
            self._steps += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the job after its current step. Raises TimeoutError if the step does not end."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._job is None, PATIENCE):
                raise TimeoutError("The current training step does not end.")
            self.paused = False

    def close(self) -> None:
        """Ends the job and the thread."""
        self.stop()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(PATIENCE)

    def _work(self) -> None:
        while not self._closed:
            self._answer()
            if self._job is not None:
                self._job()
                with self._changed:
                    self._job = None
                    self._changed.notify_all()
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._job is not None or self._closed)
        self._answer()

    def _answer(self) -> None:
        """Runs the waiting calls."""
        for _ in range(len(self._asked)):
            function, answer = self._asked.popleft()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function())
                except BaseException as error:
                    answer.set_exception(error)
