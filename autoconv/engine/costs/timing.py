"""How long a call takes."""

import time
from collections.abc import Callable
from typing import Any


def repetitions(call: Callable[[], Any], seconds: float) -> int:
    """How often `call` must run so that it takes about so long. It runs a few times to find out: a warm-up as well."""
    call()
    count = 1
    while True:
        taken = timed(call, count) * count
        if taken >= seconds / 4:
            return max(1, round(count * seconds / taken))
        count *= 4


def best(call: Callable[[], Any], count: int, tries: int = 3) -> float:
    """Seconds a call in the fastest of a few tries: what else the machine did can only have added to it."""
    return min(timed(call, count) for _ in range(tries))


def timed(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, over `count` calls."""
    begun = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begun) / count
