"""Measures the convolution kernels of the nets on a GPU. Each is compared with the lower of two
ceilings, the card's memory bandwidth and its peak FLOP rate.
"""

import time
from typing import Any

from autoconv.engine.costs import ceilings
from autoconv.kernels import device, precision
from autoconv.programs.bench.cases import Case, cases
from autoconv.programs.bench.suite import SUITE

REPEATS, TRIES = 50, 3


def prepare(name: str = "cuda") -> dict[str, Any]:
    """Compiles every kernel that the other phases need, in one process per core. These are GPU
    kernels at each precision, and the CPU kernels that compute the tests' expected results. Returns
    the number of compiled kernels, and the seconds needed.
    """
    target, compiled, start = device.get(name), 0, time.perf_counter()
    for on, dtype, mode in ((target, "float32", "tf32"), (target, "float32", "highest"), (target, "float64", "highest"),
                            (device.get("cpu"), "float64", "highest"), (device.get("cpu"), "float32", "highest")):
        totals = [0]
        precision.set_precision(mode)
        on.prepare(on.all_kernels([dtype]), lambda done, total, totals=totals: totals.append(total))
        compiled += max(totals)
    precision.set_precision("tf32")
    return {"kernels": compiled, "seconds": time.perf_counter() - start, "device": target.describe()}


def measure(
    nets: list[tuple[str, int]], flops: float, bandwidth: float, l2_bytes: int | None, name: str = "cuda",
    repeats: int = REPEATS,
) -> list[dict[str, Any]]:
    """Measures each convolution of these pairs (net, batch size). Returns each kernel's seconds by the
    GPU's clock, and the fraction of the card's ceiling that the kernel reaches.

    `flops` and `bandwidth` are the ceilings, in FLOP and bytes per second. The repeated calls read
    the same data. If these fit into the L2 cache of `l2_bytes` bytes, they are read from the cache, as
    in a training step, and "in_l2" is True.
    """
    target = device.get(name)
    return [
        {"workload": f"{net}, batch size {batch_size}", "kind": case.kind, "layer": case.layer,
         "in_l2": l2_bytes is not None and case.bytes < l2_bytes,
         **_share(case, target, flops, bandwidth, repeats)}
        for net, batch_size in nets
        for case in cases(SUITE[net].build(), batch_size, target) if case.kind.startswith("conv")
    ]


def _share(case: Case, target: Any, flops: float, bandwidth: float, repeats: int) -> dict[str, Any]:
    seconds = [target.measure_time(case.call, repeats) for _ in range(TRIES)]
    least = max(case.flops / flops, case.bytes / bandwidth)
    share = ceilings.Share(seconds, [flops], [bandwidth], [least / s for s in seconds])
    return ceilings.summarize(share, case.flops, case.bytes)
