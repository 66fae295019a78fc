"""Runs the rounds of several processes in rotation, A B C A B C, and restarts the processes every
few rounds.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from .process import PeerError, Process

STARTING, ROUND = 600.0, 300.0  # seconds after which a process counts as failed
GRACE = 5.0  # additional seconds for work that was started in time

Report = Callable[[str], None]


def run_rounds(
    names: Iterable[str], start: Callable[[str], Process], ready: Callable[[str, Process], None], rounds: int,
    rounds_of_a_process: int, label: str, report: Report, start_together: bool = False, deadline: float = math.inf,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, RuntimeError]]:
    """Returns each process's answers in each round, and why some processes failed; failed ones have
    no rounds.

    `start` makes a process; `ready` checks it and lets it warm up. The speed of a process depends
    on where its code and arrays are in memory, and on how its threads were scheduled at first: some
    frameworks differ by a factor of two between starts. So each framework has several processes,
    and every round begins with another one. The first round after the starts does not count,
    because the machine is still busy with them for some seconds.

    start_together: all processes start together, and each warms up when the previous ones have. deadline: the
    time of time.perf_counter by which the last round must have begun; all processes that have any
    rounds keep the same number.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failed: dict[str, RuntimeError] = {}
    for first in range(0, rounds, rounds_of_a_process):
        with ExitStack() as stack:
            started = {name: stack.enter_context(start(name)) for name in results} if start_together else {}
            running = {}
            for name in results:
                report(f"{label}: {name} starts")
                try:
                    process = started[name] if start_together else stack.enter_context(start(name))
                    ready(name, process)
                    running[name] = process
                except RuntimeError as error:
                    failed[name] = error
            for i in range(first - 1, min(first + rounds_of_a_process, rounds)):
                for name in _rotate(list(running), i):
                    if time.perf_counter() >= deadline:
                        break
                    report(f"{label}: round {i + 1}/{rounds}, {name}")
                    try:
                        answer = running[name].ask("round", clip_timeout(ROUND, deadline))
                        if i >= first:
                            results[name].append(answer)
                    except PeerError as error:
                        if not results[name] or time.perf_counter() < deadline:
                            failed[name] = error
                        del running[name]
        results = {name: answers for name, answers in results.items() if name not in failed}
    failed |= {name: PeerError("no time was left for a round") for name, answers in results.items() if not answers}
    whole = min((len(answers) for answers in results.values() if answers), default=0)
    return {name: answers[:whole] for name, answers in results.items() if answers}, failed


def clip_timeout(seconds: float, deadline: float) -> float:
    """Returns `seconds`, or the time left until `deadline` and a little more if that is less."""
    return max(1.0, min(seconds, deadline - time.perf_counter() + GRACE))


def _rotate(names: list[str], count: int) -> list[str]:
    count %= max(1, len(names))
    return names[count:] + names[:count]
