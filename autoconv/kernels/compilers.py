"""Processes that compile kernels into the disk cache, at most one per core: Numba compiles one
kernel at a time in a process. When a compiling process ends, its memory is freed.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, as_completed
from pathlib import Path

from .locks import interruptible_condition

IDLE = 10.0  # seconds after which a process without kernels to compile ends


class Compilers:
    """Processes that run `module` with `arguments`. Each reads kernel names from its input, one per
    line, and answers each name with a line once the kernel is compiled. They compile the requested
    kernels in order, while the caller continues, and then wait some seconds for more: `functional`
    calls outside a model request kernels op by op.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = ["-P", "-m", module, *arguments]
        self._forget()
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            # the parent owns the processes and threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._feeders: dict[subprocess.Popen, threading.Thread] = {}
        self._pending: deque[str] = deque()  # kernels that no process has started to compile
        self._requests: dict[str, Future[bool]] = {}  # requested kernels that are not compiled yet
        self._condition = interruptible_condition()

    def start(self, count: int) -> None:
        """Starts processes until there are `count` of them, or one per core."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        # the system may allow no further process or thread
        with self._condition, contextlib.suppress(OSError, RuntimeError):
            while len(self._feeders) < min(os.cpu_count() or 1, count):
                process = subprocess.Popen(
                    [sys.executable, *self._command], env={**os.environ, "PYTHONPATH": path}, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
                thread = threading.Thread(target=self._feed, args=(process,), daemon=True)
                try:
                    thread.start()  # the new thread waits for the lock
                    self._feeders[process] = thread
                except BaseException:
                    process.kill()
                    process.communicate()
                    raise

    def request(self, names: Iterable[str]) -> None:
        """Requests kernels, to be compiled after those requested earlier."""
        with self._condition:
            for name in names:
                if name not in self._requests:
                    self._pending.append(name)
                    self._requests[name] = Future()
            self._condition.notify_all()
        self.start(len(self._requests))
        self._give_up_if_alone()

    def compile(self, names: list[str], report: Callable[[int, int], None]) -> None:
        """Requests kernels and waits for them; calls `report(done, total)` after each."""
        self.request(names)
        self.wait(names, lambda done: report(done, len(names)))

    def wait(self, names: Iterable[str], report: Callable[[int], None] = lambda done: None) -> None:
        """Waits for the named kernels that were requested; calls `report(done)` after each. The
        caller compiles any kernel that a process failed to compile, and sees the error then.
        """
        done = 0
        with self._condition:
            futures = [self._requests[name] for name in names if name in self._requests]
        try:
            for future in as_completed(futures):
                if future.result():
                    done += 1
                    report(done)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Ends all processes immediately."""
        with self._condition:
            feeders = self._feeders
            self._feeders = {}
            self._condition.notify_all()
        for process, thread in feeders.items():
            process.kill()
            thread.join()
        self._give_up_if_alone()

    def _feed(self, process: subprocess.Popen) -> None:
        """Sends kernel names to a process, one at a time, until the process or this object ends, or
        until no kernel has been requested for `IDLE` seconds.
        """
        while (name := self._next(process)) is not None:
            answer = ""
            with contextlib.suppress(OSError):  # the process has ended
                print(name, file=process.stdin, flush=True)
                answer = process.stdout.readline()  # type: ignore[union-attr]
            with self._condition:
                self._requests.pop(name).set_result(bool(answer))
                if not answer:
                    self._feeders.pop(process, None)
        process.kill()
        process.communicate()
        self._give_up_if_alone()

    def _next(self, process: subprocess.Popen) -> str | None:
        """Returns the next kernel for this process to compile; None if the process should end."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or process not in self._feeders, IDLE)
            if self._pending and process in self._feeders:
                return self._pending.popleft()
            self._feeders.pop(process, None)
            return None

    def _give_up_if_alone(self) -> None:
        """Gives up the remaining kernels if no process is left, so that no caller waits for them.
        """
        with self._condition:
            while self._pending and not self._feeders:
                self._requests.pop(self._pending.popleft()).set_result(False)
