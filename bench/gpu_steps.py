"""Records the launches of a training step on a GPU, without a GPU. No kernel runs, and no array is
accessed.
"""

from typing import Any
from unittest import mock

import numpy as np

from . import workloads
from .workloads import Workload

# Each epoch has one batch. The step is recorded in the first, replayed in the second, and captured in
# the third.
EPOCHS = 4


def launches(workload: Workload, batch_size: int) -> list[Any]:
    """Returns the launches of a training step, in the order of its CUDA graph. The step is that of
    `fit` on data in the GPU's memory, with products on tensor cores.
    """
    from autoconv.kernels import precision as precisions
    from autoconv.kernels.cuda import kernels, runtime
    from ptx import device as interpreter

    from .peers.autoconv import OnGpu

    captured: list[list[Any]] = []

    def capture(gpu: Any, calls: list[Any], *_: Any) -> Any:
        captured.append(calls)
        return lambda: None

    before = precisions.get_precision()
    with (interpreter.interpreted(), mock.patch.object(kernels.CudaKernel, "_dispatcher", _Idle()),
          mock.patch.object(runtime.cuda, "device_array", _allocate_zeros),
          mock.patch.object(runtime.Gpu, "capture", capture)):
        precisions.set_precision("tf32")
        try:
            peer = OnGpu(workload, 1, "train", workloads.SEED)
            peer.hold(*workloads.data(workload, batch_size), batch_size)
            peer.net.fit(peer.images, peer.targets, batch_size, epochs=EPOCHS, verbose=0)
        finally:
            precisions.set_precision(before)
    if not captured:
        raise RuntimeError(f"A plan needs a completely recorded step. Not recorded: "
                           f"{peer.net.recording_report()['train']}.")
    return captured[0]


class _Idle:
    """Replaces the launcher of all kernels by one that launches nothing."""

    def __get__(self, kernel: Any, owner: Any) -> "_Idle":
        return self

    def __set__(self, kernel: Any, value: Any) -> None:
        """Ignores the launcher of a new kernel, so that new kernels launch nothing either."""

    def __getitem__(self, configuration: Any) -> Any:
        return lambda *arguments: None


def _allocate_zeros(shape: Any, dtype: Any) -> Any:
    """Returns an array of zeros, aligned like arrays on a GPU. It uses no physical memory, because no
    code accesses it.
    """
    from ptx.device import HostArray

    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 256, np.uint8)
    start = -raw.ctypes.data % 256
    return raw[start : start + size].view(HostArray).view(dtype).reshape(shape)
