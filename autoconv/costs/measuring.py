"""How long each step of a net takes, and how near that is to what this machine can do."""

import time
from functools import partial
from typing import NamedTuple

import numpy as np

from ..backend.device import Device, Pool, reusing
from ..graph import fusion
from ..graph.graph import Graph
from ..graph.patterns import Fused
from ..tensor import Tensor, no_grad
from . import ceilings, counting

ROUNDS = 3
AGAIN = 0.5  # seconds at most in which ceilings are measured again that a step exceeded

Known = dict[int, tuple[int, ...]]


class Measured(NamedTuple):
    """Seconds of a call on a batch, and the least time that its operations and bytes can take, divided by that; or the
    name of the layer in whose kernel the call runs.
    """

    seconds: float | None = None
    share: float | None = None
    within: str | None = None


def steps(graph: Graph, device: Device, shapes: Known, size: dict[int, int]) -> dict[int, Measured]:
    """What was measured of each node, under its id: the steps of the graph's plan run one by one, in inference, on
    random numbers. `shapes` and `size` (in bytes) are those of all values in the graph, under their ids.

    Times are the shortest of a few, ceilings the highest: what else the machine does can only have slowed them down.
    Where a step exceeds its ceiling, that is measured again.
    """
    ceiling, plan = ceilings.Ceilings(device), fusion.fuse(graph)
    random = np.random.default_rng(0)
    values: list[Tensor | None] = [None] * plan.size
    for place, tensor in zip(plan.inputs, graph.inputs):
        values[place] = Tensor(device.asarray(random.random(shapes[id(tensor)]), tensor.dtype), device=device)
    work, found = [_work(graph, step, shapes, size) for step in plan.steps], []
    with no_grad(), reusing(Pool()):
        for step, (flops, moved) in zip(plan.steps, work):
            found.append(ceilings.share(ceiling, partial(_run, step, values), flops, moved, ROUNDS))
            step.run(values)
    shares = _shares(work, found)
    end = time.perf_counter() + AGAIN
    while max(shares, default=0) > 1 and time.perf_counter() < end:
        for (_, moved), each, part in zip(work, found, shares):
            if part > 1:
                each.peak_flops.append(ceiling.flops())
                each.peak_bandwidth.append(ceiling.bandwidth(moved))
        shares = _shares(work, found)
    measured: dict[int, Measured] = {}
    for step, each, part in zip(plan.steps, found, shares):
        measured.update((id(node), Measured(within=step.nodes[0].operation.name)) for node in step.nodes[1:])
        measured[id(step.nodes[0])] = Measured(min(each.seconds), part or None)
    return measured


def _shares(work: list[tuple[float, int]], found: list[ceilings.Share]) -> list[float]:
    """The least time of each step at the highest ceilings that any round has found, divided by its own least."""
    peak = max((max(each.peak_flops) for each in found), default=1)
    copies = [(moved, max(each.peak_bandwidth)) for (_, moved), each in zip(work, found)]
    shares = []
    for (flops, moved), each in zip(work, found):
        bandwidth = max(speed for n, speed in copies if n >= moved)  # small copies are no slower than large ones
        shares.append(max(flops / peak, moved / bandwidth) / min(each.seconds))
    return shares


def _run(step: fusion.Step, values: list[Tensor | None]) -> None:
    """One call, which leaves the values as they are."""
    step.run(list(values))


def _work(graph: Graph, step: fusion.Step, shapes: Known, size: dict[int, int]) -> tuple[float, int]:
    """The multiplications and additions of a step, and the bytes of what it reads and writes, each once; 0 of a step
    that gives what it got.
    """
    if all(counting.is_view(node, training=False) for node in step.nodes):
        return 0.0, 0
    parts = [counting.shapes_of(graph, node, shapes) for node in step.nodes]
    flops = 2.0 * sum(counting.multiply_adds(node.operation, *part) for node, part in zip(step.nodes, parts))
    if isinstance(step.operation, Fused) and step.operation.pattern[-1] == "pool":
        # The convolution computes only the pixels that the pooling reads.
        (_, ((_, h, w, _),)), *_, (_, ((_, pooled_h, pooled_w, _),)) = parts
        flops *= 4 * pooled_h * pooled_w / (h * w)
    read = sum(size[id(graph.resolve(t))] for t in step.reads)
    written = sum(size[id(t)] for t in step.nodes[-1].outputs)
    weights = [w for node in step.nodes for w in getattr(node.operation, "weights", ())]
    return flops, read + written + sum(w.size * w.dtype.itemsize for w in weights)
