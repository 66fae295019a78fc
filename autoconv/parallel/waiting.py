"""`Watch`: waits for messages, and reports ranks that send none."""

import os
import time
from collections.abc import Callable

SPINS = 100  # checks before the processor is yielded to other ranks
AWAKE = 2e-3  # seconds of checking without a pause: longer than usual delays
PAUSE = 2e-4  # seconds between two checks after that


class Watch:
    """Waits for messages; after `timeout` seconds raises TimeoutError, naming the late rank."""

    def __init__(self, rank: int, timeout: float) -> None:
        self._rank = rank
        self._timeout = timeout

    def wait(self, done: Callable[[], bool], missing: Callable[[], list[int]]) -> None:
        """Waits until `done()`. missing: returns the ranks that have not sent their messages."""
        for _ in range(SPINS):
            if done():
                return
        begun = time.monotonic()
        while not done():
            waited = time.monotonic() - begun
            if waited < AWAKE:
                os.sched_yield()
            elif waited < self._timeout:
                time.sleep(PAUSE)
            elif late := missing():
                raise TimeoutError(f"Rank {self._rank} waits for {_named(late)}, which sent "
                                   f"nothing for {self._timeout:g} seconds. Find out what stopped "
                                   "it; if it is only slow, raise the timeout.")


def _named(ranks: list[int]) -> str:
    ranks = sorted(set(ranks))
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
