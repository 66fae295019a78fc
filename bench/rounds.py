"""Peers side by side: rounds in turns, A B C A B C, each peer in a process of its own."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from autoconv.bench import stats

from . import peers, workloads
from .equal_work import Expected, WrongNetError, check_trained
from .process import PeerError, Process

STARTING, ROUND = 600.0, 300.0  # seconds after which a peer counts as failed

Report = Callable[[str], None]


def compare(
    names: Sequence[str], workload: str, batch_size: int, mode: str, rounds: int, threads: int, effort: float,
    report: Report,
) -> dict[str, Any]:
    """One line of the comparison: each peer's rounds, or why it has none. Ratios say how many times as long a peer
    takes as the first of `names` that runs.
    """
    net = workloads.WORKLOADS[workload]
    steps = workloads.steps(net, batch_size, mode, effort)
    expected, label = Expected(net, batch_size), f"{workload} {batch_size} {mode}"
    found: dict[str, dict[str, Any]] = {}
    running: dict[str, Process] = {}
    with ExitStack() as stack:
        for name in names:
            job = {"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size, "mode": mode,
                   "steps": steps, "threads": threads, "seed": workloads.SEED}
            report(f"{label}: {name} starts")
            try:
                process = stack.enter_context(Process(job))
                found[name] = _prepare(name, process, expected, mode, label, report)
                running[name] = process
            except (PeerError, WrongNetError) as error:
                status = "wrong" if isinstance(error, WrongNetError) else "failed"
                found[name] = {"status": status, "reason": str(error)}
        for i in range(rounds):
            for name, process in list(running.items()):
                report(f"{label}: round {i + 1}/{rounds}, {name}")
                try:
                    found[name]["seconds"].append(process.ask("round", ROUND)["seconds"])
                except PeerError as error:
                    found[name] = {"status": "failed", "reason": str(error)}
                    del running[name]
        for name, process in running.items():
            found[name]["peak_memory"] = process.ask("memory", ROUND)["peak"]
    return {
        "workload": workload, "batch_size": batch_size, "mode": mode, "steps_per_round": steps,
        "loss_on_first_batch": expected.loss, "parameters": expected.parameters,
        "peers": _summed_up(found, batch_size, workloads.flops(net, mode)),
    }


def _prepare(
    name: str, process: Process, expected: Expected, mode: str, label: str, report: Report
) -> dict[str, Any]:
    """Checks a peer's net and lets it warm up."""
    ready = process.answer(STARTING)
    expected.check(name, ready)
    report(f"{label}: {name} warms up")
    check_trained(name, process.ask("warm-up", STARTING), mode)
    return {"status": "timed", "versions": ready["versions"], "loss": ready["loss"], "seconds": []}


def _summed_up(found: dict[str, dict[str, Any]], batch_size: int, flops: float) -> dict[str, dict[str, Any]]:
    base = next((f["seconds"] for f in found.values() if f["status"] == "timed"), None)
    for f in found.values():
        if f["status"] == "timed":
            f["images_per_s"] = stats.spread([batch_size / s for s in f["seconds"]])
            f["ratio"] = stats.ratio(f["seconds"], base)  # type: ignore[arg-type]
            f["flops_per_image"] = flops
    return found
