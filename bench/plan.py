"""Measures how evenly the kernels of a step are distributed over threads: `python -m bench.plan`.

For each number of threads, it records a step and runs its kernels on one thread, one thread's share after the other
(shares.py). The bound on the speed-up is the total work divided by the sum of the largest shares. Real cores could
reach it if barriers, memory and clock rates cost nothing. The exit code is 1 if the bound of a step for 16 threads is
below 70% of 16.
"""

import argparse
import sys
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from autoconv.engine.costs.tables import table

from . import shares, workloads
from .workloads import WORKLOADS, Workload

THREADS = (1, 2, 8, 16, 32, 64)
AT, LEAST = 16, 0.7  # number of threads, and the fraction of the ideal speed-up that a step must reach
TRIES = 3  # a low bound is measured again, because other programs can only lengthen shares
SHOWN = 0.01  # minimum fraction of the work for a separate line


class Call(NamedTuple):
    """A call of a kernel: its name with the shapes of its arrays, the size of all arrays in bytes, and the measured
    times.
    """

    name: str
    bytes: int
    found: shares.Timed


class Plan(NamedTuple):
    """The calls of a step for each number of threads."""

    workload: str
    batch_size: int
    mode: str
    calls: dict[int, list[Call]]

    def work(self, name: str | None = None, threads: int = 1) -> int:
        """Returns the nanoseconds of all calls of that name, or of the step, divided for this number of threads."""
        return sum(call.found.work for call in self.calls[threads] if name in (None, call.name))

    def bound(self, threads: int, name: str | None = None) -> float:
        """Returns the upper bound on the speed-up with this number of threads."""
        return self.work(name, threads) / max(self.longest(threads, name), 1)

    def longest(self, threads: int, name: str | None = None) -> int:
        """Returns the minimum time with this number of threads in nanoseconds: the sum of the largest shares of all
        regions.
        """
        return sum(call.found.longest for call in self.calls[threads] if name in (None, call.name))

    @property
    def regions(self) -> int:
        """Returns the number of parallel regions with the most threads. One thread needs none."""
        return sum(len(call.found.regions) for call in self.calls[max(self.calls)])

    @property
    def bytes(self) -> int:
        """Returns the size of all arrays of all calls: the minimum that passes through caches or memory in a step."""
        return sum(call.bytes for call in self.calls[1])

    def names(self) -> list[str]:
        """Returns the names of the calls with the most work, in the order of the step."""
        names = dict.fromkeys(call.name for call in self.calls[1])
        return [name for name in names if self.work(name) >= SHOWN * self.work()]

    def __str__(self) -> str:
        columns = [threads for threads in self.calls if threads > 1]
        rows = [[name or "the step", f"{self.work(name) / self.work():.1%}",
                 *(f"{self.bound(threads, name):.1f}" for threads in columns)] for name in [*self.names(), None]]
        for what, value in (
            ("work, relative to one thread", lambda threads: self.work(None, threads) / self.work()),
            ("us between two barriers", lambda threads: self.longest(threads) / 1e3 / max(self.regions, 1)),
            ("GB/s of array traffic", lambda threads: self.bytes / self.longest(threads)),
        ):
            rows.append([what, "", *(f"{value(threads):.3g}" for threads in columns)])
        head = (f"{self.workload}, batch {self.batch_size}, {self.mode}: {self.work() / 1e6:.1f} ms of work in "
                f"{self.regions} parallel regions on {self.bytes / 1e6:.0f} MB of arrays")
        return f"{head}\n{table(['kernel', 'work', *map(str, columns)], rows)}"


def of(workload: Workload, batch_size: int, mode: str, threads: Sequence[int] = THREADS, rounds: int = 3) -> Plan:
    """Computes the plan of a training step ("train") or of inference ("infer")."""
    entry, calls = shares.cost_of_entry(), {}
    for count in dict.fromkeys((1, *threads)):
        calls[count] = [Call(*_described(function, arguments), shares.timed(function, arguments, rounds, entry))
                        for function, arguments in _recorded(workload, batch_size, mode, count)]
    return Plan(workload.name, batch_size, mode, calls)


def _recorded(workload: Workload, batch_size: int, mode: str, threads: int) -> list[tuple[Any, tuple]]:
    """Returns the calls of a step for this number of threads, each as a compiled function with its arguments."""
    from autoconv.kernels import device, trace

    from .peers.autoconv import Autoconv

    device.get("cpu").set_num_threads(threads)
    peer = Autoconv(workload, threads, mode, workloads.SEED)
    peer.load(workloads.weights(workload))
    peer.hold(*workloads.data(workload, batch_size), batch_size)

    def step() -> None:
        if mode == "train":
            peer.net.train_on_batch(peer.images, peer.targets)
        else:
            peer.net.predict_on_batch(peer.images)

    step()  # records the step
    kind = "train" if mode == "train" else "predict"
    if missing := {phase: reason for phase, reason in peer.net.recording_report()[kind].items() if reason is not None}:
        raise RuntimeError(f"A plan needs a step that is recorded. Not recorded: {missing}.")
    calls: list[tuple[Any, tuple]] = []
    replay = trace.Trace.replay

    def watched(self: trace.Trace, *names: str) -> None:
        calls.extend(call for name in names for call in self.sections[name].calls)
        replay(self, *names)

    with mock.patch.object(trace.Trace, "replay", watched):
        step()
    return calls


def _described(function: Any, arguments: tuple) -> tuple[str, int]:
    """Returns the name of a call's kernel with the shapes of its two largest arrays, and the size of all arrays in
    bytes.
    """
    if arguments and callable(arguments[0]):  # with dynamic scalars
        function, arguments = arguments
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    largest = sorted((a for a in arrays if a.ndim > 1), key=lambda a: -prod(a.shape))[:2]
    shapes = ", ".join("x".join(map(str, a.shape)) for a in sorted(largest, key=lambda a: -a.ndim))
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__.strip('_')} {shapes}"
    return name, sum(a.nbytes for a in arrays)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__.partition("\n")[0])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="default: all nets")
    parser.add_argument("--batch", type=int, default=256, help="batch size; default: %(default)s")
    parser.add_argument("--mode", choices=("train", "infer"), default="train", help="default: %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS,
                        help="numbers of threads; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="times to measure each call; default: %(default)s")
    given = parser.parse_args(argv)
    shares.watch(max(given.threads))
    low = []
    for name in given.workload:
        for _ in range(TRIES):
            plan = of(WORKLOADS[name], given.batch, given.mode, given.threads, given.rounds)
            even = AT not in plan.calls or plan.bound(AT) >= LEAST * AT
            if even:
                break
        print(plan, end="\n\n", flush=True)
        if not even:
            low.append(name)
    if low:
        print(f"Below {LEAST:.0%} of {AT} threads: {', '.join(low)}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
