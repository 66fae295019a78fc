"""Measures every convolution of every net against this machine's peak rate of multiply-adds: `python
-m bench.convolutions`.

Each convolution is timed as in a training step, including any ReLU and pooling. Its rounds alternate
with rounds of a loop that only multiplies and adds in registers, which is the peak. Operations are
counted as for a direct convolution, so a kernel that needs fewer operations can exceed 100%. Two
wide layers that are in no net are timed as well. Depthwise convolutions are not measured here,
because they are limited by memory bandwidth: `autoconv bench` measures them.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoconv.engine.costs import ceilings
from autoconv.engine.costs.tables import table
from autoconv.kernels import device as devices
from autoconv.layers import Conv2D, Input
from autoconv.models import Sequential
from autoconv.programs.bench import machine
from autoconv.programs.bench.cases import Case, cases
from autoconv.programs.bench.suite import SUITE, TimedNet

from . import show

NETS = ("lecture", "lecture-bn", "lecture-large", "photos", "lenet5", "resnet20", "vgg-bn", "mobile", "wide")
PASSES = ("forward", "input gradient", "weight gradient", "gradients")


class Group(NamedTuple):
    """A group of layers, and the fractions of the peak that their kernels must and should reach."""

    name: str
    least: float
    aim: float


FIRST = Group("first layers (1 or 3 channels)", 0.65, 0.9)
WIDE = Group("3x3 with strides of 1, 128 channels and more", 1.5, 1.8)
OTHERS = Group("all others", 0.75, 0.9)


class Measurement(NamedTuple):
    """The measurement of one kernel: the nets that use the kernel, its layer and pass, its seconds,
    GFLOP/s and fraction of the peak.
    """

    nets: list[str]
    layer: str
    which: str
    seconds: float
    gflops: float
    share: float

    @property
    def group(self) -> Group:
        x, _, y = self.layer.partition(" -> ")
        channels = int(x.split("x")[-1])
        if channels <= 3:
            return FIRST
        return WIDE if channels >= 128 and "," not in y and x.split("x")[0] == y.split("x")[0] else OTHERS


def extra_layers(shape: tuple[int, int, int], classes: int) -> Sequential:
    """Builds a model with two wide layers that no net has: 3x3 with strides of 2 and 5x5, 128 filters."""
    return Sequential([Input(shape), Conv2D(64, 1, padding="same"), Conv2D(128, 3, 2, padding="same"),
                       Conv2D(128, 5, padding="same")])


IN_NO_NET = TimedNet(extra_layers, (28, 28, 64), 0, 64)


def layers(names: Sequence[str], target: Any) -> Iterator[tuple[str, Case]]:
    """Yields (name of the net, case) for each kernel of each convolution."""
    nets = {name: SUITE[name] for name in names} | {"no net": IN_NO_NET}
    for name, net in nets.items():
        yield from ((name, case) for case in cases(net.build(), net.batch_size, target)
                    if case.kind.startswith("conv"))


def measure(names: Sequence[str], rounds: int, report: Any) -> list[Measurement]:
    """Measures the kernels of all convolutions. Kernels of equal shapes are measured once."""
    target, measurements = devices.get("cpu"), {}
    peak = ceilings.Ceilings(target)
    for net, case in layers(names, target):
        key = case.layer, case.kind, case.flops
        if key in measurements:
            measurements[key].nets.append(net)
            continue
        report(f"{net}: {case.name}")
        result = ceilings.share(peak, case.call, case.flops, case.bytes, rounds)
        median = partial(np.median, axis=0)
        seconds = float(median(result.seconds))
        share = float(median([case.flops / p / s for p, s in zip(result.peak_flops, result.seconds)]))
        which = case.kind.partition(" ")[2] + (", pooled" if "pool" in case.kind else "")
        measurements[key] = Measurement([net], case.layer, which, seconds, case.flops / seconds / 1e9, share)
    return list(measurements.values())


def format_tables(kernels: Sequence[Measurement]) -> str:
    """Returns a table with a line per kernel, and a table with a line per group: the lowest and the
    median fraction of the peak, and the mean weighted by time.
    """
    rows = [[f.layer, f.which, ", ".join(dict.fromkeys(f.nets)), f"{1e3 * f.seconds:.3f}", f"{f.gflops:,.0f}",
             f"{f.share:.0%}"] for f in kernels]
    parts = [table(["layer", "", "nets", "ms", "GFLOP/s", "share"], rows)]
    summary = []
    for group in (FIRST, WIDE, OTHERS):
        members = [f for f in kernels if f.group == group]
        if not members:
            continue
        shares, seconds = [f.share for f in members], sum(f.seconds for f in members)
        together = sum(f.share * f.seconds for f in members) / seconds
        summary.append([group.name, str(len(members)), f"{min(shares):.0%}", f"{np.median(shares):.0%}",
                        f"{together:.0%}", f"{sum(s >= group.least for s in shares)}", f"{group.least:.0%}",
                        f"{group.aim:.0%}"])
    parts.append(table(["share of the peak", "kernels", "lowest", "median", "together", "reach it", "at least", "aim"],
                       summary))
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.convolutions", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--threads", type=int, default=machine.processors(), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    options, say = parser.parse_args(argv), show.Progress()
    target = devices.get("cpu")
    target.set_num_threads(options.threads)
    kernels = measure(options.net, options.rounds, say)
    say.clear()
    about = machine.describe()
    print(f"{about['cpu']}, threads: {options.threads}\n\n{format_tables(kernels)}")
    if options.json is not None:
        document = {"machine": about, "threads": options.threads, "rounds": options.rounds,
                    "convolutions": [{**f._asdict(), "group": f.group.name} for f in kernels]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
