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


def in_turns(
    names: Iterable[str], start: Callable[[str], Process], ready: Callable[[str, Process], None], rounds: int,
    rounds_of_a_process: int, label: str, report: Report, at_once: bool = False, until: float = math.inf,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, RuntimeError]]:
    """Returns each process's answers in each round, and why some processes failed; failed ones have
    no rounds.

    `start` makes a process; `ready` checks it and lets it warm up. The speed of a process depends
    on where its code and arrays are in memory, and on how its threads were scheduled at first: some
    frameworks differ by a factor of two between starts. So each framework has several processes,
    and every round begins with another one. The first round after the starts does not count,
    because the machine is still busy with them for some seconds.

    at_once: all processes start together, and each warms up when the previous ones have. until: the
    time of time.perf_counter by which the last round must have begun; all processes that have any
    rounds keep the same number.
    """
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failed: dict[str, RuntimeError] = {}
    for first in range(0, rounds, rounds_of_a_process):
        with ExitStack() as stack:
            started = {name: stack.enter_context(start(name)) for name in taken} if at_once else {}
            running = {}
            for name in taken:
                report(f"{label}: {name} starts")
                try:
                    process = started[name] if at_once else stack.enter_context(start(name))
                    ready(name, process)
                    running[name] = process
                except RuntimeError as error:
                    failed[name] = error
            for i in range(first - 1, min(first + rounds_of_a_process, rounds)):
                for name in _turned(list(running), i):
                    if time.perf_counter() >= until:
                        break
                    report(f"{label}: round {i + 1}/{rounds}, {name}")
                    try:
                        answer = running[name].ask("round", within(ROUND, until))
                        if i >= first:
                            taken[name].append(answer)
                    except PeerError as error:
                        if not taken[name] or time.perf_counter() < until:
                            failed[name] = error
                        del running[name]
        taken = {name: answers for name, answers in taken.items() if name not in failed}
    failed |= {name: PeerError("no time was left for a round") for name, answers in taken.items() if not answers}
    whole = min((len(answers) for answers in taken.values() if answers), default=0)
    return {name: answers[:whole] for name, answers in taken.items() if answers}, failed


def within(seconds: float, until: float) -> float:
    """Returns `seconds`, or the time left until `until` and a little more if that is less."""
    return max(1.0, min(seconds, until - time.perf_counter() + GRACE))


def _turned(names: list[str], by: int) -> list[str]:
    by %= max(1, len(names))
    return names[by:] + names[:by]
