"""`Worker`: the one thread in which the demo computes: it trains, and answers between steps."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

PATIENCE = 30.0  # seconds that somebody waits for an answer, or for the end of a step

T = TypeVar("T")


class Worker:
    """`run` starts a job, which calls `pass_through` after each step; `do` has something done in
    between.

    So no reader sees half-changed weights. Only one thread runs kernels: others would get threads
    of their own from OpenMP, which then lets all sleep between two kernels.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: deque[tuple[Callable[[], Any], Future]] = deque()
        self._job: Callable[[], None] | None = None
        self.paused = False
        self._steps = 0
        self.stopping = False  # whether the job was told to end
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="autoconv demo: the net", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether there is a job, even if it is paused."""
        return self._job is not None

    def do(self, function: Callable[[], T]) -> T:
        """What the function gives, called in the worker's thread while no step runs.

        Raises what it raises; TimeoutError where a step, or what others ask for, takes too long.
        """
        if threading.current_thread() is self._thread:
            return function()
        answer: Future = Future()
        with self._changed:
            if self._closed:
                raise TimeoutError("The demo ends.")
            self._asked.append((function, answer))
            self._changed.notify_all()
        try:
            return answer.result(PATIENCE)
        except TimeoutError as error:
            answer.cancel()
            raise TimeoutError("The net is busy: what it does takes too long.") from error

    def run(self, job: Callable[[], None], paused: bool = False) -> None:
        """Starts a job; there must be none."""
        with self._changed:
            self._job = job
            self.stopping = False
            self.paused = paused
            self._steps = 0
            self._changed.notify_all()

    def pass_through(self) -> None:
        """Called by the job after each step. Costs nothing where nobody wants anything."""
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
        """One more step, then it waits again."""
        with self._changed:
            self.paused = True
            self._steps += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the job after its step. Raises TimeoutError if the step does not end."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._job is None, PATIENCE):
                raise TimeoutError("The training step that runs now does not end.")
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
        """Does what was asked for so far."""
        for _ in range(len(self._asked)):
            function, answer = self._asked.popleft()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function())
                except BaseException as error:
                    answer.set_exception(error)
