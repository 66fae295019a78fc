"""Peers side by side in training or inference: equal work checked, rounds in turns, ratios taken round by round."""

from collections.abc import Sequence
from typing import Any

from autoconv.bench import stats

from . import peers, workloads
from .equal_work import Expected, WrongNetError, check_trained
from .process import Process
from .turns import STARTING, Report, in_turns


def compare(
    names: Sequence[str], workload: str, batch_size: int, mode: str, rounds: int, sitting: int, threads: int,
    effort: float, report: Report,
) -> dict[str, Any]:
    """One line of the comparison: each peer's rounds, or why it has none. All processes are started anew after
    `sitting` rounds. Ratios say how many times as long a peer takes as the first of `names` that runs.
    """
    net = workloads.WORKLOADS[workload]
    steps = workloads.steps(net, batch_size, mode, effort)
    expected, label = Expected(net, batch_size), f"{workload} {batch_size} {mode}"
    versions: dict[str, dict[str, str]] = {}

    def start(name: str) -> Process:
        return Process({"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size,
                        "mode": mode, "steps": steps, "threads": threads, "seed": workloads.SEED})

    def ready(name: str, process: Process) -> None:
        said = process.answer(STARTING)
        expected.check(name, said)
        report(f"{label}: {name} warms up")
        check_trained(name, process.ask("warm-up", STARTING), mode)
        versions[name] = said["versions"]

    taken, failed = in_turns(names, start, ready, rounds, sitting, label, report)
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
            "ratio": stats.ratio(seconds, base, sitting),  # type: ignore[arg-type]
            "flops_per_image": workloads.flops(net, mode), "peak_memory": max(peaks, default=None),
        }
    return {
        "workload": workload, "batch_size": batch_size, "mode": mode, "steps_per_round": steps,
        "rounds_of_a_process": sitting, "loss_on_first_batch": expected.loss, "parameters": expected.parameters,
        "peers": found,
    }
