"""Sends numbers to a GPU through pinned memory, so that the host need not wait for the GPU."""

from typing import Any

import numpy as np
from cuda.bindings import driver  # type: ignore[import-not-found,unused-ignore]

from . import failures
from .internals import cuda
from .runtime import Gpu

HALF = 256 << 10  # bytes per half: enough for hundreds of replays before the host may have to wait
_ALIGNMENT = 64


class Outbox:
    """A ring buffer in pinned memory, which the GPU reads when its stream reaches the copy.

    If the driver copies from other memory, it may first wait for the stream. Numbers in the ring
    must not be overwritten until the GPU has read them, so the ring has two halves. At the end of
    one half, `send` waits until the GPU has read everything in the other half, which is usually the
    case by then.
    """

    def __init__(self, gpu: Gpu, half: int = HALF) -> None:
        self._gpu = gpu
        self._size = half
        self._memory = gpu.allocate_pinned(2 * half, np.uint8)
        self._address = self._memory.ctypes.data
        self._half = self._position = 0  # the position of the next write
        # for each half, the event that occurs once the half has been read
        self._events: list[Any] = [None, None]

    def send(self, numbers: np.ndarray, address: int) -> None:
        """Copies contiguous numbers to this address of the GPU, in stream order. They must fit into
        half the ring. The caller may change `numbers` as soon as the method returns.
        """
        size = numbers.nbytes
        if self._position + size > self._size:
            self._turn()
        start = self._half * self._size + self._position
        self._memory[start : start + size] = numbers.reshape(-1).view(np.uint8)
        answer = driver.cuMemcpyHtoDAsync(address, self._address + start, size, int(self._gpu.stream.handle))
        failures.check_result(answer, "send numbers to a GPU")
        self._position += -(-size // _ALIGNMENT) * _ALIGNMENT

    def _turn(self) -> None:
        """Switches to the other half, once the GPU has read that half."""
        if self._events[self._half] is None:
            self._events[self._half] = cuda.event(timing=False)
        self._events[self._half].record(self._gpu.stream)
        self._half = 1 - self._half
        self._position = 0
        if self._events[self._half] is not None:
            self._events[self._half].synchronize()
