"""Compiling the kernels ahead of the first step, so that it is seen and can be timed."""

import time
from collections.abc import Iterable

from ..backend.device import Device
from ..train.progress import Progress


def compile_kernels(device: Device, rooms: Iterable[str], verbose: int) -> float:
    """Compiles what this machine has not compiled yet, in one line of progress. Returns the seconds it took, with
    loading what was compiled before.
    """
    begun = time.perf_counter()
    device.prepare(rooms, "float32", Progress(0, verbose).compiling)
    return time.perf_counter() - begun
