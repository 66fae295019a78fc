"""Memory that other packages own, and how they see ours."""

from typing import Any

import numpy as np

from ...engine.errors import DeviceError
from . import driver
from .internals import cuda
from .runtime import Gpu


def stream_number(gpu: Gpu) -> int:
    """What other packages know a GPU's stream by."""
    return int(gpu.stream)


def adopt(gpu: Gpu, interface: dict[str, Any], owner: Any) -> Any:
    """Numba's array over the memory that a `__cuda_array_interface__` shows, without a copy. Raises
    DeviceError for memory of another GPU.
    """
    gpu.enter()
    where = driver.gpu_of(interface["data"][0])
    if where != gpu.index and 0 not in interface["shape"]:
        raise DeviceError(f"This array is on GPU number {where}, and was taken for one on GPU number {gpu.index}. Use "
                          f"device='cuda:{where}', then .to('cuda:{gpu.index}').")
    return cuda.from_cuda_array_interface(interface, owner=owner)


def seen(interface: dict[str, Any], owner: Any) -> np.ndarray:
    """NumPy's array over such memory, whose items the host must not touch."""
    return np.asarray(_Shown(interface, owner))


class _Shown:
    """Memory for NumPy to see."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__, self.owner = {**interface, "version": 3}, owner
