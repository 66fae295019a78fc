"""How long each step of a net takes, and how near that is to what this machine can do."""

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
    peak = max((max(each.peak_flops) for each in found), default=1)
    copies = [(moved, max(each.peak_bandwidth)) for (_, moved), each in zip(work, found)]
    measured: dict[int, Measured] = {}
    for step, (flops, moved), each in zip(plan.steps, work, found):
        bandwidth = max(speed for n, speed in copies if n >= moved)  # small copies are no slower than large ones
        seconds, least = min(each.seconds), max(flops / peak, moved / bandwidth)
        view = all(counting.is_view(node, training=False) for node in step.nodes)
        measured.update((id(node), Measured(within=step.nodes[0].operation.name)) for node in step.nodes[1:])
        measured[id(step.nodes[0])] = Measured(seconds, None if view else least / seconds)
    return measured


def _run(step: fusion.Step, values: list[Tensor | None]) -> None:
    """One call, which leaves the values as they are."""
    step.run(list(values))


def _work(graph: Graph, step: fusion.Step, shapes: Known, size: dict[int, int]) -> tuple[float, int]:
    """The multiplications and additions of a step, and the bytes of what it reads and writes, each once."""
    parts = [counting.shapes_of(graph, node, shapes) for node in step.nodes]
    flops = 2.0 * sum(counting.multiply_adds(node.operation, *part) for node, part in zip(step.nodes, parts))
    if isinstance(step.operation, Fused) and step.operation.pattern[-1] == "pool":
        # The convolution computes only the pixels that the pooling reads.
        (_, ((_, h, w, _),)), *_, (_, ((_, pooled_h, pooled_w, _),)) = parts
        flops *= 4 * pooled_h * pooled_w / (h * w)
    read = sum(size[id(graph.resolve(t))] for t in step.nodes[0].inputs)
    written = sum(size[id(t)] for t in step.nodes[-1].outputs)
    weights = [w for node in step.nodes for w in getattr(node.operation, "weights", ())]
    return flops, read + written + sum(w.size * w.dtype.itemsize for w in weights)
