"""`Watch`: waits for messages, and names the rank that sends none."""

import os
import time
from collections.abc import Callable

SPINS = 100  # looks before the processor is offered to other ranks
AWAKE = 2e-3  # seconds of looking without a pause: longer than a rank is usually late
PAUSE = 2e-4  # seconds between two looks from then on


class Watch:
    """After `timeout` seconds without a message raises TimeoutError, which names the rank."""

    def __init__(self, rank: int, timeout: float) -> None:
        self._rank = rank
        self._timeout = timeout

    def wait(self, done: Callable[[], bool], missing: Callable[[], list[int]]) -> None:
        """Waits until `done()`. missing: the ranks that it hangs on."""
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
                raise TimeoutError(f"Rank {self._rank} waits for {_named(late)}, from which "
                                   f"nothing came for {self._timeout:g} seconds. Look for what "
                                   "stopped it there; where it only takes long, raise the timeout.")


def _named(ranks: list[int]) -> str:
    ranks = sorted(set(ranks))
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
