"""Measures the time of each call of a net, relative to this machine's speed limits."""

import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...kernels.device import Device, Pool, reusing
from ..graph import fusion
from ..graph.graph import Graph
from ..graph.patterns import Fusion
from ..tensor import Tensor, no_grad
from . import ceilings, counting

ROUNDS = 3
RETRY_SECONDS = 0.5  # after this time, ceilings that a call has exceeded are not measured again

Shapes = dict[int, tuple[int, ...]]


class Timing(NamedTuple):
    """A call's time on a batch in seconds, and `share`, the least possible time divided by that time.
    If the kernel of another layer includes the call, only that layer's name, `fused_layer`, is set.
    """

    seconds: float | None = None
    share: float | None = None
    fused_layer: str | None = None


def calls(graph: Graph, device: Device, shapes: Shapes, size: dict[int, int]) -> dict[int, Timing]:
    """Returns the measured `Timing` of each node, keyed by the node's id. Runs the calls of the
    graph's plan one by one, in inference mode, on random numbers. `shapes` and `size` hold the
    shape and the number of bytes of every tensor in the graph, keyed by the tensor's id.

    The shortest times and the highest ceilings of a few runs are used, because other programs can
    only slow the machine down. If a call exceeds its ceiling, the ceiling is measured again.
    """
    ceiling = ceilings.Ceilings(device)
    plan = fusion.fuse(graph)
    random = np.random.default_rng(0)
    values = plan.begin(Tensor(device.asarray(random.random(shapes[id(tensor)]), tensor.dtype), device=device)
                        for tensor in graph.inputs)
    work = [_work(graph, call, shapes, size) for call in plan.calls]
    shares = []
    with no_grad(), reusing(Pool()):
        for call, (flops, nbytes) in zip(plan.calls, work):
            shares.append(ceilings.share(ceiling, partial(_run, call, values), flops, nbytes, ROUNDS))
            call.keep(values, _run(call, values))
    results: dict[int, Timing] = {}
    for call, share, fraction in zip(plan.calls, shares, settle(ceiling, work, shares)):
        results.update((id(node), Timing(fused_layer=call.nodes[0].operation.name)) for node in call.nodes[1:])
        results[id(call.nodes[0])] = Timing(min(share.seconds), fraction or None)
    return results


def settle(ceiling: ceilings.Ceilings, work: list[tuple[float, int]], shares: list[ceilings.Share]) -> list[float]:
    """Returns the fraction of its ceiling that each call, with `work` operations and bytes, reaches. The ceilings of
    calls that exceed theirs are measured again for at most `RETRY_SECONDS`.
    """
    fractions = _fractions(work, shares)
    end = time.perf_counter() + RETRY_SECONDS
    while max(fractions, default=0) > 1 and time.perf_counter() < end:
        for (_, nbytes), share, fraction in zip(work, shares, fractions):
            if fraction > 1:
                share.peak_flops.append(ceiling.flops())
                share.peak_bandwidth.append(ceiling.bandwidth(nbytes))
        fractions = _fractions(work, shares)
    return fractions


def _fractions(work: list[tuple[float, int]], shares: list[ceilings.Share]) -> list[float]:
    """Divides each call's least possible time, at the highest ceilings of all rounds, by its shortest measured time."""
    peak = max((max(share.peak_flops) for share in shares), default=1)
    copies = [(nbytes, max(share.peak_bandwidth)) for (_, nbytes), share in zip(work, shares)]
    fractions = []
    for (flops, nbytes), share in zip(work, shares):
        bandwidth = max(speed for n, speed in copies if n >= nbytes)  # small copies are no slower than large ones
        fractions.append(max(flops / peak, nbytes / bandwidth) / min(share.seconds))
    return fractions


def _run(call: fusion.Call, values: list[Any]) -> Any:
    """Returns the result of a call. The list `values` remains unchanged."""
    args, kwargs = call.arguments(values)
    return call.operation(*args, **kwargs)


def _work(graph: Graph, call: fusion.Call, shapes: Shapes, size: dict[int, int]) -> tuple[float, int]:
    """Returns a call's number of multiplications and additions, and the number of bytes that it
    reads and writes. Both numbers are 0 if the call returns its input.
    """
    if all(counting.is_view(node, training=False) for node in call.nodes):
        return 0.0, 0
    parts = [counting.call_shapes(graph, node, shapes) for node in call.nodes]
    flops = 2.0 * sum(counting.multiply_adds(node.operation, *part) for node, part in zip(call.nodes, parts))
    if isinstance(call.operation, Fusion) and call.operation.pattern[-1] == "pool":
        # The convolution computes only the pixels that the pooling reads.
        (_, ((_, h, w, _),)), *_, (_, ((_, pooled_h, pooled_w, _),)) = parts
        flops *= 4 * pooled_h * pooled_w / (h * w)
    bytes_read = sum(size[id(graph.resolve(t))] for t in call.reads)
    bytes_written = sum(size[id(t)] for t in call.nodes[-1].outputs)
    weights = [w for node in call.nodes for w in getattr(node.operation, "weights", ())]
    return flops, bytes_read + bytes_written + sum(w.size * w.dtype.itemsize for w in weights)
