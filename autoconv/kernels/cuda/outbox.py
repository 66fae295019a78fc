"""Numbers on their way to a GPU: the host writes them down, and goes on at once."""

from typing import Any

import numpy as np
from cuda.bindings import driver  # type: ignore[import-not-found,unused-ignore]

from . import failures
from .internals import cuda
from .runtime import Gpu

HALF = 256 << 10  # bytes: hundreds of replays before the host could have to wait
_ALIGNMENT = 64


class Outbox:
    """A ring of pinned memory, which the GPU reads by itself when its stream comes to the copy.

    Of other memory the driver takes a copy along with the call, and may wait for the stream before.
    What lies here must stay until it was read. So the ring has two halves: whoever comes to the end
    of one waits until all that was sent from the other was read, which is long ago.
    """

    def __init__(self, gpu: Gpu, half: int = HALF) -> None:
        self._gpu = gpu
        self._size = half
        self._memory = gpu.pinned(2 * half, np.uint8)
        self._address = self._memory.ctypes.data
        self._half = self._at = 0  # where the next numbers go
        self._read: list[Any] = [None, None]  # of each half the event that comes when it was read

    def send(self, numbers: np.ndarray, to: int) -> None:
        """Copies numbers, contiguous and no more than a half, to that address of the GPU's, in the
        order of its stream. They may change at once.
        """
        size = numbers.nbytes
        if self._at + size > self._size:
            self._turn()
        start = self._half * self._size + self._at
        self._memory[start : start + size] = numbers.reshape(-1).view(np.uint8)
        stream = int(self._gpu.stream.handle)
        failures.checked(driver.cuMemcpyHtoDAsync(to, self._address + start, size, stream), "send numbers to a GPU")
        self._at += -(-size // _ALIGNMENT) * _ALIGNMENT

    def _turn(self) -> None:
        """Goes on to the other half."""
        if self._read[self._half] is None:
            self._read[self._half] = cuda.event(timing=False)
        self._read[self._half].record(self._gpu.stream)
        self._half = 1 - self._half
        self._at = 0
        if self._read[self._half] is not None:
            self._read[self._half].synchronize()
