"""Shares GPU memory with other packages, in both directions, without a copy."""

from typing import Any

import numpy as np

from ...engine.errors import DeviceError
from . import driver
from .internals import cuda
from .runtime import Gpu


def stream_number(gpu: Gpu) -> int:
    """Returns the number by which other packages identify this GPU's stream."""
    return int(gpu.stream)


def adopt(gpu: Gpu, interface: dict[str, Any], owner: Any) -> Any:
    """Returns a Numba array over the memory described by a `__cuda_array_interface__`, without a
    copy. Raises DeviceError for memory of another GPU.
    """
    gpu.enter()
    index = driver.find_gpu(interface["data"][0])
    if index != gpu.index and 0 not in interface["shape"]:
        raise DeviceError(f"This array is on GPU number {index}, but GPU number {gpu.index} was requested. Import the "
                          f"array with device='cuda:{index}', then move the tensor with .to('cuda:{gpu.index}').")
    return cuda.from_cuda_array_interface(interface, owner=owner)


def as_numpy(interface: dict[str, Any], owner: Any) -> np.ndarray:
    """Returns a NumPy array over the GPU memory that `interface` describes. The host must not
    access the array's elements.
    """
    return np.asarray(_ArrayInterface(interface, owner))


class _ArrayInterface:
    """Describes memory to NumPy, and keeps the memory's owner alive."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__, self.owner = {**interface, "version": 3}, owner
