"""Measures how evenly a step's kernels are distributed over threads: `python -m bench.plan
[--workload NAME ...]`, on any machine.

For each number of threads, a step is recorded. Its kernels then run call by call, and the threads'
shares of a call run one after the other (shares.py). The bound on the speed-up is the total work
divided by the sum of the largest shares. It is the speed-up if barriers, memory and clock rates had no
effect. The exit code is 1 if a step's bound with 16 threads is below 70% of 16.
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
AT, LEAST = 16, 0.7  # with AT threads, a step must reach the fraction LEAST of the ideal speed-up
TRIES = 3  # number of measurements if the bound is low, because other programs can only lengthen shares
SHOWN = 0.01  # minimum fraction of the work for which a call has a separate line


class Call(NamedTuple):
    """A kernel's call: its name with the shapes of its arrays, the bytes of all its arrays, and its
    measured times.
    """

    name: str
    bytes: int
    times: shares.CallTimes


class Plan(NamedTuple):
    """A step's calls, in order, keyed by the number of threads."""

    workload: str
    batch_size: int
    mode: str
    calls: dict[int, list[Call]]

    def work(self, name: str | None = None, threads: int = 1) -> int:
        """Returns the nanoseconds of all calls with this name, or of all calls of the step, if their
        work is divided for this many threads.
        """
        return sum(call.times.work for call in self.calls[threads] if name in (None, call.name))

    def bound(self, threads: int, name: str | None = None) -> float:
        """Returns the maximum speed-up on this many threads."""
        return self.work(name, threads) / max(self.longest(threads, name), 1)

    def longest(self, threads: int, name: str | None = None) -> int:
        """Returns the minimum nanoseconds on this many threads: the sum of the largest share in each
        parallel region.
        """
        return sum(call.times.longest for call in self.calls[threads] if name in (None, call.name))

    @property
    def regions(self) -> int:
        """The number of parallel regions of a step with the largest number of threads."""
        return sum(len(call.times.regions) for call in self.calls[max(self.calls)])

    @property
    def bytes(self) -> int:
        """The total bytes of the arrays of all calls. At least this many bytes pass through caches or
        memory in a step.
        """
        return sum(call.bytes for call in self.calls[1])

    def names(self) -> list[str]:
        """Returns the names of the calls with at least the fraction SHOWN of the work, in step order."""
        names = dict.fromkeys(call.name for call in self.calls[1])
        return [name for name in names if self.work(name) >= SHOWN * self.work()]

    def __str__(self) -> str:
        columns = [threads for threads in self.calls if threads > 1]
        rows = [[name or "the step", f"{self.work(name) / self.work():.1%}",
                 *(f"{self.bound(threads, name):.1f}" for threads in columns)] for name in [*self.names(), None]]
        for label, value in (
            ("work, relative to one thread", lambda threads: self.work(None, threads) / self.work()),
            ("us between two barriers", lambda threads: self.longest(threads) / 1e3 / max(self.regions, 1)),
            ("GB/s of array traffic", lambda threads: self.bytes / self.longest(threads)),
        ):
            rows.append([label, "", *(f"{value(threads):.3g}" for threads in columns)])
        head = (f"{self.workload}, batch {self.batch_size}, {self.mode}: {self.work() / 1e6:.1f} ms of work in "
                f"{self.regions} parallel regions on {self.bytes / 1e6:.0f} MB of arrays")
        return f"{head}\n{table(['kernel', 'work', *map(str, columns)], rows)}"


def make_plan(
    workload: Workload, batch_size: int, mode: str, threads: Sequence[int] = THREADS, rounds: int = 3
) -> Plan:
    """Returns the measured plan of a step of training ("train") or of inference ("infer")."""
    entry, calls = shares.cost_of_entry(), {}
    for count in dict.fromkeys((1, *threads)):
        calls[count] = [Call(*_describe_call(function, arguments), shares.time_call(function, arguments, rounds, entry))
                        for function, arguments in _record_calls(workload, batch_size, mode, count)]
    return Plan(workload.name, batch_size, mode, calls)


def _record_calls(workload: Workload, batch_size: int, mode: str, threads: int) -> list[tuple[Any, tuple]]:
    """Records a step for this many threads. Returns its calls, each as a compiled function and the
    function's arguments.
    """
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

    step()  # this step is recorded
    kind = "train" if mode == "train" else "predict"
    if missing := {phase: reason for phase, reason in peer.net.recording_report()[kind].items() if reason is not None}:
        raise RuntimeError(f"A plan needs a recorded step. Not recorded: {missing}.")
    calls: list[tuple[Any, tuple]] = []
    replay = trace.Trace.replay

    def keep_calls(self: trace.Trace, *names: str) -> None:
        calls.extend(call for name in names for call in self.sections[name].calls)
        replay(self, *names)

    with mock.patch.object(trace.Trace, "replay", keep_calls):
        step()
    return calls


def _describe_call(function: Any, arguments: tuple) -> tuple[str, int]:
    """Returns the name of a call's kernel with the shapes of its two largest arrays, and the bytes of
    all its arrays.
    """
    if arguments and callable(arguments[0]):  # a call with dynamic scalars
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
    options = parser.parse_args(argv)
    shares.watch(max(options.threads))
    low = []
    for name in options.workload:
        for _ in range(TRIES):
            plan = make_plan(WORKLOADS[name], options.batch, options.mode, options.threads, options.rounds)
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
