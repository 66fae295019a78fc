"""Runs the rounds of several processes in rotation, A B C A B C, and restarts the processes every
few rounds.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from .process import PeerError, Process

STARTING, ROUND = 600.0, 300.0  # maximum seconds for starting or warming up, and for a round
GRACE = 5.0  # additional seconds after a deadline for work that was started in time

Report = Callable[[str], None]


def run_rounds(
    names: Iterable[str], start: Callable[[str], Process], ready: Callable[[str, Process], None], rounds: int,
    rounds_of_a_process: int, label: str, report: Report, start_together: bool = False, deadline: float = math.inf,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, RuntimeError]]:
    """Returns the answers of each process, one per round, and the errors of failed processes. A failed
    process has no answers.

    `start` creates a process, and `ready` checks it and lets it warm up. The speed of a process depends
    on the addresses of its code and arrays, and on how its threads were scheduled at first. Some
    frameworks differ by a factor of two between starts. Therefore each framework has several
    processes, and every round begins with another framework. The first round after a start does not
    count, because the machine is still busy with starting for some seconds.

    start_together: whether all processes start at the same time; they still warm up one after the
    other. deadline: the time of time.perf_counter by which the last round must begin. If it cuts the
    rounds short, all processes keep the same number of answers.
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
    """Returns `seconds`, or the time until GRACE seconds after `deadline` if that is less."""
    return max(1.0, min(seconds, deadline - time.perf_counter() + GRACE))


def _rotate(names: list[str], count: int) -> list[str]:
    count %= max(1, len(names))
    return names[count:] + names[:count]
