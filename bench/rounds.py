"""Compares peers in training or inference. It checks that all do equal work, runs their rounds in
rotation, and computes ratios of their times within each round.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from autoconv.engine.costs import stats

from . import peers, workloads
from .equal_work import TOLERANCE, Reference, WrongNetError, check_trained, find_outliers
from .process import Process
from .turns import STARTING, Report, clip_timeout, run_rounds


class Plan(NamedTuple):
    """The plan of a measurement: `rounds` rounds, with new processes after every `sitting` rounds.

    steps: number of batches per pass through the data. seconds: minimum duration of a round, which has
    as many passes as necessary; for 0, one pass. tolerance: allowed difference of the loss on the
    first batch. start_together, deadline: see `run_rounds`. ready_by: time of time.perf_counter after
    which peers that are not ready are left out.
    """

    rounds: int
    sitting: int
    threads: int
    steps: int
    seconds: float = 0.0
    tolerance: float = TOLERANCE
    start_together: bool = False
    deadline: float = math.inf
    ready_by: float = math.inf


def compare(
    names: Sequence[str], workload: str, batch_size: int, mode: str, plan: Plan, report: Report
) -> dict[str, Any]:
    """Returns the comparison's entry for a net: each peer's rounds, or the reason why it has none.
    Ratios are a peer's time divided by the time of the first peer in `names` that runs.
    """
    net = workloads.WORKLOADS[workload]
    reference, label = Reference(net, batch_size, plan.tolerance), f"{workload} {batch_size} {mode}"
    versions: dict[str, dict[str, str]] = {}
    base_memory: dict[str, int | None] = {}  # the peak memory before the net was created
    trained: dict[str, float] = {}

    def start(name: str) -> Process:
        return Process({"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size,
                        "mode": mode, "steps": plan.steps, "seconds": plan.seconds, "threads": plan.threads,
                        "seed": workloads.SEED})

    def ready(name: str, process: Process) -> None:
        answer = process.answer(clip_timeout(STARTING, plan.ready_by))
        reference.check(name, answer)
        report(f"{label}: {name} warms up")
        warm = process.ask("warm-up", clip_timeout(STARTING, plan.ready_by))
        check_trained(name, warm, mode)
        versions[name], trained[name] = answer["versions"], warm["trained"]
        base_memory[name] = answer.get("base_memory")

    rounds_by_name, failed = run_rounds(names, start, ready, plan.rounds, plan.sitting, label, report,
                                        plan.start_together, plan.deadline)
    if plan.seconds:  # on a GPU, where all peers train in the same order of batches
        failed |= find_outliers(workload, trained)
        rounds_by_name = {name: answers for name, answers in rounds_by_name.items() if name not in failed}
    base = next(([a["seconds"] for a in answers] for answers in rounds_by_name.values()), None)
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in failed:
            status = "wrong" if isinstance(failed[name], WrongNetError) else "failed"
            results[name] = {"status": status, "reason": str(failed[name])}
            continue
        seconds = [answer["seconds"] for answer in rounds_by_name[name]]
        peaks = [answer["peak"] for answer in rounds_by_name[name] if answer["peak"] is not None]
        results[name] = {
            "status": "timed", "versions": versions[name], "seconds": seconds,
            "images_per_s": stats.spread([batch_size / s for s in seconds]),
            "ratio": stats.ratio(seconds, base, plan.sitting),  # type: ignore[arg-type]
            "loss_after_warm_up": trained[name], "flops_per_image": workloads.flops(net, mode),
            "peak_memory": max(peaks, default=None), "base_memory": base_memory[name],
        }
    return {
        "workload": workload, "batch_size": batch_size, "mode": mode, "steps_per_round": plan.steps,
        "rounds_of_a_process": plan.sitting, "loss_on_first_batch": reference.loss, "parameters": reference.parameters,
        "peers": results,
    }
