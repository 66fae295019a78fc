"""Compiles kernels into the disk cache in several processes, because Numba compiles only one kernel
at a time in a process. There is at most one compiling process per core. When such a process ends,
the memory that the compiler used is freed.
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

IDLE = 10.0  # a compiling process ends if it has no kernel to compile for this many seconds


class Compilers:
    """Compiling processes, each of which runs `module` with `arguments`. A process reads kernel
    names from its standard input, one per line. It writes a line to its standard output whenever a
    kernel is compiled.

    The processes compile the requested kernels in order, while the caller continues. Then they wait
    for more requests for `IDLE` seconds, because `functional` calls outside a model request their
    kernels op by op.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = ["-P", "-m", module, *arguments]
        self._forget()
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            # after a fork, the processes and threads belong only to the parent process
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._feeders: dict[subprocess.Popen, threading.Thread] = {}
        self._pending: deque[str] = deque()  # kernels that no process has started to compile
        self._requests: dict[str, Future[bool]] = {}  # futures of kernels not compiled yet, by name
        self._condition = interruptible_condition()

    def start(self, count: int) -> None:
        """Starts compiler processes until `count` of them exist, but at most one per core."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        # both errors mean that the system allows no further process or thread
        with self._condition, contextlib.suppress(OSError, RuntimeError):
            while len(self._feeders) < min(os.cpu_count() or 1, count):
                process = subprocess.Popen(
                    [sys.executable, *self._command], env={**os.environ, "PYTHONPATH": path}, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
                thread = threading.Thread(target=self._feed, args=(process,), daemon=True)
                try:
                    thread.start()  # the new thread waits until this thread releases the lock
                    self._feeders[process] = thread
                except BaseException:
                    process.kill()
                    process.communicate()
                    raise

    def request(self, names: Iterable[str]) -> None:
        """Requests the named kernels. They are compiled after all kernels requested earlier."""
        with self._condition:
            for name in names:
                if name not in self._requests:
                    self._pending.append(name)
                    self._requests[name] = Future()
            self._condition.notify_all()
        self.start(len(self._requests))
        self._give_up_if_alone()

    def compile(self, names: list[str], report: Callable[[int, int], None]) -> None:
        """Requests kernels and waits until they are compiled. Calls `report(done, total)` after
        each kernel.
        """
        self.request(names)
        self.wait(names, lambda done: report(done, len(names)))

    def wait(self, names: Iterable[str], report: Callable[[int], None] = lambda done: None) -> None:
        """Waits until the requested kernels among `names` are compiled, and calls `report(done)`
        after each kernel. If a process failed to compile a kernel, the caller must compile this
        kernel itself, which raises the compiler's error.
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
        """Ends all compiling processes immediately."""
        with self._condition:
            feeders = self._feeders
            self._feeders = {}
            self._condition.notify_all()
        for process, thread in feeders.items():
            process.kill()
            thread.join()
        self._give_up_if_alone()

    def _feed(self, process: subprocess.Popen) -> None:
        """Sends kernel names to a process, one at a time. Stops when the process ends, when `end`
        is called, or when no kernel has been requested for `IDLE` seconds.
        """
        while (name := self._next(process)) is not None:
            answer = ""
            with contextlib.suppress(OSError):  # raised if the process has ended
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
        """Waits for the next kernel that this process should compile, and returns its name. Returns
        None if the process should end.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._pending or process not in self._feeders, IDLE)
            if self._pending and process in self._feeders:
                return self._pending.popleft()
            self._feeders.pop(process, None)
            return None

    def _give_up_if_alone(self) -> None:
        """If no process is left, marks all pending kernels as not compiled, so that no caller waits
        for them.
        """
        with self._condition:
            while self._pending and not self._feeders:
                self._requests.pop(self._pending.popleft()).set_result(False)
