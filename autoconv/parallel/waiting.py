"""`Watch`: waits for messages, and reports ranks that send no message."""

import os
import time
from collections.abc import Callable

SPINS = 100  # checks before the processor is yielded to other ranks
AWAKE = 2e-3  # seconds of checking without sleeping, longer than usual delays
PAUSE = 2e-4  # seconds of sleep between later checks


class Watch:
    """Waits for messages. After `timeout` seconds, raises TimeoutError with the numbers of the late ranks."""

    def __init__(self, rank: int, timeout: float) -> None:
        self._rank = rank
        self._timeout = timeout

    def wait(self, is_complete: Callable[[], bool], missing: Callable[[], list[int]]) -> None:
        """Waits until `is_complete()` is true. missing: returns the ranks whose messages are missing."""
        for _ in range(SPINS):
            if is_complete():
                return
        start = time.monotonic()
        while not is_complete():
            elapsed = time.monotonic() - start
            if elapsed < AWAKE:
                os.sched_yield()
            elif elapsed < self._timeout:
                time.sleep(PAUSE)
            elif late := sorted(set(missing())):
                ranks = f"rank{'s' * (len(late) > 1)} {', '.join(map(str, late))}"
                raise TimeoutError(f"Rank {self._rank} has received no message from {ranks} for "
                                   f"{self._timeout:g} seconds. Check whether a process has "
                                   "stopped. If the processes are only slow, raise the timeout.")
