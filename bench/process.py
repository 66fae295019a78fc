"""Starts, suspends and ends the processes of peers, and exchanges messages with them."""

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from . import environment


class PeerError(RuntimeError):
    """Raised if a peer's process ended or did not answer in time. The message contains the last lines
    that the process printed.
    """


class Process:
    """A peer in a separate process. The process is suspended when no answer is expected, so that it
    does not slow down other peers.
    """

    def __init__(
        self, job: dict[str, Any], variables: Mapping[str, str] | None = None, module: str = "bench.worker"
    ) -> None:
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed in __exit__)
        self._answers: queue.Queue[str] = queue.Queue()
        self.start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(job)], env=environment.clean(job["threads"], variables),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._output, text=True,
        )
        threading.Thread(target=self._read_answers, daemon=True).start()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        self._output.close()

    def ask(self, command: str, timeout: float) -> dict[str, Any]:
        """Resumes the process, sends it `command`, waits for the answer, and suspends it again. Returns
        the answer.
        """
        self.resume()
        try:
            self._process.stdin.write(command + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise PeerError(self._last_words()) from error
        return self.answer(timeout)

    def answer(self, timeout: float, sleep: bool = True) -> dict[str, Any]:
        """Returns the next answer. Its entry "at" is the number of seconds since the process started."""
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise PeerError(f"no answer within {timeout:.0f} s") from None
        if not line:
            self._process.wait()
            raise PeerError(self._last_words())
        at = time.perf_counter() - self.start
        if sleep:
            self.pause()
        return {**json.loads(line), "at": at}

    def pause(self) -> None:
        if hasattr(signal, "SIGSTOP"):
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        if hasattr(signal, "SIGCONT"):
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _read_answers(self) -> None:
        for line in self._process.stdout:  # type: ignore[union-attr]
            self._answers.put(line)
        self._answers.put("")

    def _last_words(self) -> str:
        self._output.seek(0)
        lines = [line.strip() for line in self._output if line.strip()]
        return f"its process ended: {' | '.join(lines[-3:]) or 'it printed nothing'}"
