"""Processes that compile kernels into the disk cache, one a core: Numba compiles one at a time in a
process, and the memory that it takes goes with it.
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

IDLE = 10.0  # seconds after which a process ends that has nothing to compile


class Compilers:
    """Processes that run `module` with `arguments`. Each reads names from its input, a line each,
    and answers each with a line once it is compiled. They work on what was asked for in that order,
    while the caller goes on, and then wait for a while: bare functions ask op by op.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._run = ["-P", "-m", module, *arguments]
        self._forget()
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # processes and threads are its parent's

    def _forget(self) -> None:
        self._feeders: dict[subprocess.Popen, threading.Thread] = {}
        self._left: deque[str] = deque()  # what no process works on yet
        self._asked: dict[str, Future[bool]] = {}  # what is not compiled yet
        self._changed = interruptible_condition()

    def start(self, count: int) -> None:
        """Starts processes, so that there are `count` of them, or one for each core."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        with self._changed, contextlib.suppress(OSError, RuntimeError):  # no process or thread can be started here
            while len(self._feeders) < min(os.cpu_count() or 1, count):
                process = subprocess.Popen(
                    [sys.executable, *self._run], env={**os.environ, "PYTHONPATH": path}, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
                thread = threading.Thread(target=self._feed, args=(process,), daemon=True)
                try:
                    thread.start()  # it waits for the lock
                    self._feeders[process] = thread
                except BaseException:
                    process.kill()
                    process.communicate()
                    raise

    def ask(self, names: Iterable[str]) -> None:
        """Has kernels compiled, after those that were asked for before."""
        with self._changed:
            for name in names:
                if name not in self._asked:
                    self._left.append(name)
                    self._asked[name] = Future()
            self._changed.notify_all()
        self.start(len(self._asked))
        self._give_up_if_alone()

    def compile(self, names: list[str], report: Callable[[int, int], None]) -> None:
        """Asks for kernels and waits for them; calls `report(done, total)` after each."""
        self.ask(names)
        self.wait(names, lambda done: report(done, len(names)))

    def wait(self, names: Iterable[str], report: Callable[[int], None] = lambda done: None) -> None:
        """Waits for those of the kernels that were asked for; calls `report(done)` after each. What
        a process could not compile is left to this one, which then says why.
        """
        done = 0
        with self._changed:
            futures = [self._asked[name] for name in names if name in self._asked]
        try:
            for future in as_completed(futures):
                if future.result():
                    done += 1
                    report(done)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Ends all processes, whatever they do."""
        with self._changed:
            feeders = self._feeders
            self._feeders = {}
            self._changed.notify_all()
        for process, thread in feeders.items():
            process.kill()
            thread.join()
        self._give_up_if_alone()

    def _feed(self, process: subprocess.Popen) -> None:
        """Hands one kernel after the other to a process, until one of the two ends or there is none for a while."""
        while (name := self._next(process)) is not None:
            answer = ""
            with contextlib.suppress(OSError):  # the process ended
                print(name, file=process.stdin, flush=True)
                answer = process.stdout.readline()  # type: ignore[union-attr]
            with self._changed:
                self._asked.pop(name).set_result(bool(answer))
                if not answer:
                    self._feeders.pop(process, None)
        process.kill()
        process.communicate()
        self._give_up_if_alone()

    def _next(self, process: subprocess.Popen) -> str | None:
        """What this process compiles next; None where it ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or process not in self._feeders, IDLE)
            if self._left and process in self._feeders:
                return self._left.popleft()
            self._feeders.pop(process, None)
            return None

    def _give_up_if_alone(self) -> None:
        """Where no process is left, nobody need wait for what is left."""
        with self._changed:
            while self._left and not self._feeders:
                self._asked.pop(self._left.popleft()).set_result(False)
