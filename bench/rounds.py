"""Compares frameworks in training or inference: checks equal results, alternates rounds, and computes ratios per round.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from autoconv.engine.costs import stats

from . import peers, workloads
from .equal_work import TOLERANCE, Expected, WrongNetError, check_trained, trained_otherwise
from .process import Process
from .turns import STARTING, Report, in_turns, within


class Plan(NamedTuple):
    """The settings of a measurement: the number of rounds, and after how many (`sitting`) the processes are restarted.

    steps: batches in a pass through the data. seconds: the minimum time of a round, which makes as many passes as that
    needs; 0 means one pass. tolerance: the allowed difference of the loss on the first batch. at_once, until: see
    `in_turns`. ready_by: a process that is not ready at this time of time.perf_counter is excluded.
    """

    rounds: int
    sitting: int
    threads: int
    steps: int
    seconds: float = 0.0
    tolerance: float = TOLERANCE
    at_once: bool = False
    until: float = math.inf
    ready_by: float = math.inf


def compare(
    names: Sequence[str], workload: str, batch_size: int, mode: str, plan: Plan, report: Report
) -> dict[str, Any]:
    """Returns one line of the comparison: the rounds of each peer, or why it has none. A ratio is a peer's time divided
    by the time of the first of `names` that runs.
    """
    net = workloads.WORKLOADS[workload]
    expected, label = Expected(net, batch_size, plan.tolerance), f"{workload} {batch_size} {mode}"
    versions: dict[str, dict[str, str]] = {}
    trained: dict[str, float] = {}

    def start(name: str) -> Process:
        return Process({"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size,
                        "mode": mode, "steps": plan.steps, "seconds": plan.seconds, "threads": plan.threads,
                        "seed": workloads.SEED})

    def ready(name: str, process: Process) -> None:
        said = process.answer(within(STARTING, plan.ready_by))
        expected.check(name, said)
        report(f"{label}: {name} warms up")
        warm = process.ask("warm-up", within(STARTING, plan.ready_by))
        check_trained(name, warm, mode)
        versions[name], trained[name] = said["versions"], warm["trained"]

    taken, failed = in_turns(names, start, ready, plan.rounds, plan.sitting, label, report, plan.at_once, plan.until)
    if plan.seconds:  # on a GPU all peers can train in the same order
        failed |= trained_otherwise(workload, trained)
        taken = {name: answers for name, answers in taken.items() if name not in failed}
    base = next(([a["seconds"] for a in answers] for answers in taken.values()), None)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in failed:
            status = "wrong" if isinstance(failed[name], WrongNetError) else "failed"
            found[name] = {"status": status, "reason": str(failed[name])}
            continue
        seconds = [answer["seconds"] for answer in taken[name]]
        peaks = [answer["peak"] for answer in taken[name] if answer["peak"] is not None]
        found[name] = {
            "status": "timed", "versions": versions[name], "seconds": seconds,
            "images_per_s": stats.spread([batch_size / s for s in seconds]),
            "ratio": stats.ratio(seconds, base, plan.sitting),  # type: ignore[arg-type]
            "loss_after_warm_up": trained[name], "flops_per_image": workloads.flops(net, mode),
            "peak_memory": max(peaks, default=None),
        }
    return {
        "workload": workload, "batch_size": batch_size, "mode": mode, "steps_per_round": plan.steps,
        "rounds_of_a_process": plan.sitting, "loss_on_first_batch": expected.loss, "parameters": expected.parameters,
        "peers": found,
    }
