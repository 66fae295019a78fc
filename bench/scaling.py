"""`python -m bench.scaling` trains with one, two and four processes that divide each batch, and
compares autoconv with PyTorch's DistributedDataParallel over gloo. All settings run in rotation, and
medians are reported. With --network GBITS, two ranks also train on two simulated hosts, which a
network of GBITS Gbit/s connects.
"""

import argparse
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from autoconv.engine.costs.tables import table
from autoconv.programs.bench import machine

from . import environment, hosts, messages, peers, show, workloads

USUAL = ("lecture", "lecture-large", "photos", "resnet20")
# seconds per pass, if two threads reach 100 GFLOP/s; number of timed passes per process
SECONDS, PASSES = 1.0, 3
# allowed relative difference of losses. After some steps only autoconv's losses are compared, because
# PyTorch's dropout and epsilon differ
APART_AT_MOST = 1e-3
MPIEXEC = os.environ.get("MPIEXEC", "mpiexec")
# environment variables that make MPICH use the network even on one machine
APART = {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
           "OMPI_MCA_rmaps_base_oversubscribe": "1"}

TIMEOUT, TRIES = 120, 3  # maximum seconds and maximum tries per job

Setting = tuple[str, int, int]  # engine, processes, threads per process


def settings(torch: bool, four: bool) -> list[Setting]:
    result = [("autoconv", 1, 2), ("autoconv", 2, 1), *([("autoconv", 4, 1)] if four else [])]
    return result + ([("torch", 1, 2), ("torch", 2, 1)] if torch else [])


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if a process computed a different loss."""
    parser = argparse.ArgumentParser("python -m bench.scaling", description=__doc__)
    parser.add_argument("--workload", nargs="+", default=list(USUAL), choices=workloads.WORKLOADS, metavar="NET")
    parser.add_argument("--batch-size", type=int, default=128, help="for all processes together; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--network", nargs="*", type=float, default=[], metavar="GBIT", help="e.g. 1 10; requires root")
    parser.add_argument("--four", action="store_true", help="also use four processes")
    parser.add_argument("--compression", choices=["float16"], help="compression of the transmitted gradients")
    parser.add_argument("--bucket-bytes", type=int, default=1 << 18, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to FILE")
    options = parser.parse_args(argv)
    if shutil.which(MPIEXEC) is None:
        parser.error("mpiexec was not found: pip install 'autoconv[mpi]' mpich")
    reason, results = hosts.missing() if options.network else "", []  # type: ignore[var-annotated]
    for place in (None, *([] if reason else options.network)):
        for name in options.workload:
            results.append(measure(name, place, options))
            if options.json is not None:  # written after each net, because a long run may end early
                document = {"machine": machine.describe(), "results": results,
                            "command": show.command(sys.argv[1:] if argv is None else argv)}
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(format_table(results))
    if reason:
        print(f"Without --network: {reason}.")
    for result in (result for result in results if result["wrong"]):
        print(f"{result['workload']}: the losses of the first batch differ: {result['losses']}")
    return int(any(result["wrong"] for result in results))


def measure(name: str, gigabits: float | None, options: argparse.Namespace) -> dict[str, Any]:
    """Runs all rounds of a net on one machine, or on two simulated hosts that are connected with
    `gigabits` Gbit/s.
    """
    work = workloads.flops(workloads.WORKLOADS[name], "train") * options.batch_size
    steps = max(4, math.ceil(SECONDS * 1e11 / work))
    processes = [setting for setting in settings(not peers.missing("torch"), options.four and gigabits is None)
                 if gigabits is None or setting[1] == 2]
    ranks = {name: getattr(options, name) for name in ("compression", "bucket_bytes")}
    results: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        launcher = None if gigabits is None else stack.enter_context(hosts.create_hosts(gigabits))
        for turn in range(options.rounds):
            for engine, size, threads in processes[turn % len(processes) :] + processes[: turn % len(processes)]:
                job = {"engine": engine, "size": size, "threads": threads, "workload": name, "steps": steps,
                       "batch_size": options.batch_size, "passes": PASSES,
                       "ranks": ranks}
                results.setdefault(f"{engine} {size}x{threads}", []).append(run(job, launcher))
    losses = {setting: [rounds[0]["loss"], rounds[0]["later"]] for setting, rounds in results.items()}
    return {"workload": name, "gigabits": gigabits, "batch_size": options.batch_size, "steps": steps, "rounds": results,
            "ranks": ranks, "losses": losses, "wrong": not (
                _are_alike(losses.values(), 0) and _are_alike([losses[n] for n in losses if "autoconv" in n], 1))}


def _are_alike(losses: Iterable[list[float]], index: int) -> bool:
    """Returns whether all losses agree. `index` is 0 for the losses before training, and 1 for the
    losses after some steps.
    """
    first, *others = [pair[index] for pair in losses]
    return all(math.isclose(loss, first, rel_tol=APART_AT_MOST) for loss in others)


def run(job: dict[str, Any], launcher: Path | None) -> dict[str, Any]:
    """Runs a job and returns the result of its first process. Because DDP with gloo sometimes hangs in
    its first steps, a job is tried several times.
    """
    for _ in range(TRIES - 1):
        with suppress(subprocess.TimeoutExpired):
            return _run(job, launcher)
    return _run(job, launcher)


def _run(job: dict[str, Any], launcher: Path | None) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        job = {**job, "file": file.name}
        words = [sys.executable, "-m", "bench.rank", json.dumps(job)]
        env = {**environment.clean(job["threads"]), **AS_ROOT}
        size, has_network = job["size"], launcher is not None
        if size == 1:
            started = [subprocess.Popen(words, env=env)]
        elif job["engine"] == "autoconv":
            across = ["-localhost", hosts.ADDRESSES[0], "-hosts", ",".join(hosts.ADDRESSES), "-launcher", "ssh",
                      "-launcher-exec", str(launcher)] if has_network else []
            words = [shutil.which(MPIEXEC) or MPIEXEC, *across, "-n", str(size), *words[:1], "-m", "mpi4py", *words[1:]]
            env |= APART if has_network else {}
            started = [subprocess.Popen([*(hosts.host_command(0) if has_network else []), *words], env=env)]
        else:
            env |= {"MASTER_ADDR": hosts.ADDRESSES[0] if has_network else "127.0.0.1", "MASTER_PORT": str(_free_port())}
            started = [subprocess.Popen([*(hosts.host_command(rank) if has_network else []), *words], env={
                **env, "RANK": str(rank), "GLOO_SOCKET_IFNAME": hosts.CABLES[rank] if has_network else "lo"})
                for rank in range(size)]
        try:
            failed = sum(process.wait(TIMEOUT) != 0 for process in started)
        finally:
            for process in started:
                process.kill()
        if failed:
            raise RuntimeError(f"A process of {job['engine']} failed; its message is above.")
        return json.loads(file.read())


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def median(rounds: list[dict[str, Any]], key: str = "seconds") -> float:
    """Returns the median over rounds of each round's median over its passes."""
    return statistics.median(statistics.median(each[key]) if isinstance(each[key], list) else each[key]
                             for each in rounds)


def format_table(results: list[dict[str, Any]]) -> str:
    """Returns the table of results. Its columns are images per second, their ratios to one process and
    to DDP, and the parts of a step's time with the estimates of the model in messages.py.
    """
    head = ["net", "Gbit/s", "processes x threads", "images/s", "over 1x2", "over DDP 2x1", "ms a step", "model",
            "computes", "waits", "sum alone", "model"]
    rows = []
    for result in results:
        speeds = _speeds(result)
        local = next((r for r in results if r["workload"] == result["workload"] and r["gigabits"] is None), result)
        for name, rounds in result["rounds"].items():
            over = [f"{speeds[name] / other:.2f}" if other else "" for other in (
                _speeds(local).get("autoconv 1x2"), speeds.get("torch 2x1"))]
            step, *parts = _parts(name, rounds, local["rounds"].get(name, rounds))
            rows.append([result["workload"], "" if result["gigabits"] is None else f"{result['gigabits']:g}",
                         name.replace("torch 2", "torch DDP 2"), f"{speeds[name]:,.0f}", *over,
                         f"{1e3 * median(rounds):.2f}", step, *parts])
    return table(head, rows)


def _parts(name: str, rounds: list[dict[str, Any]], local: list[dict[str, Any]]) -> list[str]:
    """Returns the table's times for several ranks, in ms: the estimated step, the measured computing
    and waiting times, the measured sum of a gradient without other work, and the estimated sum.
    """
    if "waited" not in rounds[0]:
        return [""] * 5
    ranks, size = int(name.split()[1].split("x")[0]), rounds[0]["bytes"]
    network = messages.fit_network([tuple(pair) for each in rounds for pair in each["sums"]], ranks)
    computes, sum_seconds = median(local) - median(local, "waited"), median(rounds, "gradient")
    return [f"{1e3 * seconds:.2f}" for seconds in (
        messages.step(computes, size, ranks, network), median(rounds) - median(rounds, "waited"),
        median(rounds, "waited"), sum_seconds, network.seconds(size, ranks))]


def _speeds(result: dict[str, Any]) -> dict[str, float]:
    return {name: result["batch_size"] / median(rounds) for name, rounds in result["rounds"].items()}


if __name__ == "__main__":
    sys.exit(main())
