"""Processes that compile kernels into the disk cache, one a core: Numba compiles one at a time in a process, and the
memory that it takes goes with it.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

IDLE = 10.0  # seconds after which processes end that have nothing to compile


class Compilers:
    """Processes that run `module` with `arguments`. Each reads names from its input, a line each, and answers each with
    a line once it is compiled. Between two calls of `compile` they wait for a while: bare functions compile op by op.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._run = ["-P", "-m", module, *arguments]
        self._waiting: list[subprocess.Popen] = []
        self._lock, self._timer = threading.Lock(), threading.Timer(IDLE, self.end)
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._waiting.clear)  # they are its parent's

    def start(self, count: int) -> None:
        """Starts processes, so that `count` of them wait, or one for each core."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        with self._lock, contextlib.suppress(OSError):  # no process can be started here
            while len(self._waiting) < min(os.cpu_count() or 1, count):
                self._waiting.append(subprocess.Popen(
                    [sys.executable, *self._run], env={**os.environ, "PYTHONPATH": path}, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                ))
        self._end_later()

    def compile(self, names: list[str], report: Callable[[int, int], None]) -> None:
        """Fills the disk cache with kernels; calls `report(done, total)` after each. What a process could not compile
        is left to this one, which then says why.
        """
        self.start(len(names))
        with self._lock:
            processes = self._waiting[:]
            self._waiting.clear()
        left, lock, done, idle = list(reversed(names)), threading.Lock(), 0, []

        def feed(process: subprocess.Popen) -> None:
            """Hands one kernel after the other to a process."""
            nonlocal done
            with contextlib.suppress(OSError):  # the process ended
                while True:
                    with lock:
                        if not left:
                            idle.append(process)
                            return
                        name = left.pop()
                    print(name, file=process.stdin, flush=True)
                    if not process.stdout.readline():  # type: ignore[union-attr]
                        return
                    with lock:
                        done += 1
                        report(done, len(names))

        threads = [threading.Thread(target=feed, args=(process,), daemon=True) for process in processes]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with self._lock:
                self._waiting += idle
            _end(process for process in processes if process not in idle)
        except BaseException:
            _end(processes)
            raise
        self._end_later()

    def end(self) -> None:
        """Ends those that wait."""
        with self._lock:
            processes = self._waiting[:]
            self._waiting.clear()
        _end(processes)

    def _end_later(self) -> None:
        self._timer.cancel()
        self._timer = threading.Timer(IDLE, self.end)
        self._timer.daemon = True
        self._timer.start()


def _end(processes: Iterable[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.communicate()
