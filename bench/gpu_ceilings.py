"""Measures a GPU's peak bandwidth and FLOP rate with PyTorch, by a large copy and a large matrix product."""

from collections.abc import Callable
from typing import Any

import torch

from autoconv.engine.costs import stats, timing

TRIES = 5


def measure(device: str = "cuda", copy_bytes: int = 1 << 30, size: int = 8192, repeats: int = 10) -> dict[str, Any]:
    """Returns the bytes per second of copying `copy_bytes` bytes, where bytes read and written both
    count, and the FLOP per second of a TF32 product of two random matrices (size, size). Both are
    medians of `repeats` tries.
    """
    source = torch.randn(copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    torch.set_float32_matmul_precision("high")
    bandwidth = [2 * copy_bytes / _seconds(lambda: target.copy_(source), device, repeats) for _ in range(TRIES)]
    flops = [2 * size**3 / _seconds(lambda: a @ b, device, repeats) for _ in range(TRIES)]
    facts = torch.cuda.get_device_properties(device) if device == "cuda" else None
    return {"bytes_per_s": stats.spread(bandwidth), "tf32_flops": stats.spread(flops), "copied_bytes": copy_bytes,
            "matrix": size, "l2_bytes": getattr(facts, "L2_cache_size", None), "versions": {"torch": torch.__version__}}


def _seconds(call: Callable[[], Any], device: str, repeats: int) -> float:
    """Returns the seconds per call, measured by the GPU's clock if the device is a GPU."""
    call()
    if device != "cuda":
        return timing.time_call(call, repeats)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats
