"""`CudaDevice`: an NVIDIA GPU as a device. This module is imported when a GPU is first named. It
imports Numba only when a GPU is opened.
"""

import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import trace
from ..device import Device, DeviceError, real_numbers
from ..trace import Trace
from . import driver, libraries

SHARE = 0.5  # maximum fraction of the free memory that a data set or predictions may occupy

_opened: dict[int, "CudaDevice"] = {}


class CudaDevice(Device):
    """A GPU as a device, which creates arrays in GPU memory and prepares kernels. The constructor
    raises DeviceError if the GPU cannot be used.
    """

    # number of replays in one graph, because launching a graph takes the host about as long as a
    # small net's step takes the GPU
    series = 8
    is_synchronous = drops_results = False
    captures_graphs = keeps_steps = needs_order = True
    reuses_memory = True  # `Arena` (arena.py) reuses freed memory

    def __init__(self, index: int) -> None:
        super().__init__(f"cuda:{index}" if index else "cuda", "autoconv.kernels.cuda")
        self.index = index
        driver.check(index)
        self._arrays: ModuleType = self.module("array")
        self._gpu = self.module("runtime").gpu(index)

    def prepare(self, kernels: Iterable[tuple[Any, Any]], report: Callable[[int, int], None]) -> None:
        self._prepare(self.module("joining").add_joint_kernels(kernels), report)

    def begin(self, missing: Iterable[tuple[Any, Any]]) -> None:
        # on a GPU, the caller waits until all kernels are compiled
        self._prepare(list(missing), lambda done, total: None)

    def _prepare(self, kernels: list[tuple[Any, Any]], report: Callable[[int, int], None]) -> None:
        self._gpu.enter()
        self.module("kernels").prepare(kernels, report)

    def import_ahead(self) -> None:
        """Does nothing, because opening the GPU has imported the compiler."""

    def all_kernels(self, dtypes: Iterable[Any]) -> list[tuple[Any, Any]]:
        kernels = self.module("assembly").kernels().values()
        return [(k, np.dtype(dtype)) for dtype in dtypes for k in kernels
                if k.serves(dtype, self._gpu.uses_tensor_cores(dtype))]

    def trace(self) -> Trace:
        return self.module("trace").CudaTrace(self._gpu, self.series)

    def get_num_threads(self) -> int:
        return 0

    def memory_left(self) -> int:
        """Returns the number of bytes that can still be allocated."""
        return self._gpu.memory_left()

    def can_hold(self, size: int) -> bool:
        return size <= SHARE * self.memory_left()

    def on_low_memory(self, release: Callable[[], object]) -> None:
        self._gpu.on_low_memory(release)

    def transfer(self, source: Any, out: Any) -> None:
        if isinstance(out, np.ndarray):
            out[...] = self.numpy(source)
        else:
            self._arrays.write(source, out)

    def permute(self, seed: int, stream: int, order: Any) -> bool:
        return self.module("permutation").permute(seed, stream, order)

    def describe(self) -> dict[str, Any]:
        """Returns data about the GPU (`describe` below) and about its kernel cache."""
        return {**describe(self.index), **self.module("store").describe()}

    def fresh(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        return self._arrays.empty(self._gpu, shape, dtype)

    def array(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        own = self._arrays.Array
        if array.gpu is not self._gpu if isinstance(array, own) else not hasattr(array, "__cuda_array_interface__"):
            return self.asarray(array, dtype)  # makes a copy, because the array is elsewhere
        here = self.asarray(array)
        return here.astype(here.dtype if dtype is None else dtype)

    def asarray(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns `array` on this device, C-contiguous. Makes no copy if `array` is already on this
        device, contiguous and of this dtype, even if another package created it and exports it
        through `__cuda_array_interface__`.
        """
        if np.ndim(array) == 0 and isinstance(array, int | float):
            out = self.fresh((), np.asarray(array).dtype if dtype is None else dtype)
            out[...] = array  # a kernel launch, which a recording can replay
            return out
        own = self._arrays.Array
        if not isinstance(array, own) and hasattr(array, "__cuda_array_interface__"):
            array = self._arrays.adopt(self._gpu, array)
        if not isinstance(array, own):
            return self._arrays.put(self._gpu, real_numbers(array, dtype))
        if array.gpu is not self._gpu:
            array = self._arrays.move(self._gpu, array)
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array if array.contiguous else array.copy()

    def place_data(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        return self.asarray(array, dtype)

    def writes_to(self, array: Any) -> bool:
        return not isinstance(array, np.ndarray)

    def constant(self, array: np.ndarray) -> Any:
        # suspended, because a copy from the host would make the recording incomplete
        with trace.suspend_recording():
            return self.asarray(array)

    def from_dlpack(self, producer: Any) -> Any:
        return self.asarray(self._arrays.from_dlpack(self._gpu, producer))

    def numpy(self, array: Any) -> np.ndarray:
        return array if isinstance(array, np.ndarray) else array.numpy()

    def synchronize(self) -> None:
        """Waits until all launches on this GPU are complete."""
        self._gpu.synchronize()

    def measure_time(self, work: Callable[[], Any], repeats: int) -> float:
        """Returns how many seconds one call of `work` keeps the GPU busy, measured with the GPU's
        clock. It is the mean of `repeats` consecutive calls.
        """
        return self.module("timing").measure_time(self._gpu, work, repeats)


def get(index: int) -> CudaDevice:
    """Returns GPU number `index` as a device, and opens it on the first call. Raises DeviceError if
    the GPU cannot be used.
    """
    if index not in _opened:
        _opened[index] = CudaDevice(index)
    return _opened[index]


def usable() -> bool:
    """Returns whether the first GPU can be used. Without a GPU, this takes almost no time."""
    if not driver.is_installed():
        return False
    try:
        driver.check(0)
    except DeviceError:
        return False
    return True


def check(index: int) -> None:
    """Raises DeviceError if GPU number `index` cannot be used."""
    driver.check(index)


def count() -> int:
    """Returns the number of GPUs that the driver finds."""
    return driver.count()


def versions() -> dict[str, str | None]:
    """Returns the versions of the packages and libraries that compile and run GPU kernels, and the
    location of NVVM; None for anything missing. Returns {} if numba-cuda is not installed. Needs no
    GPU, and does not import Numba.
    """
    if not driver.is_installed():
        return {}
    packages = ("numba", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder")
    libraries.missing_part()  # this may find a toolkit and set CUDA_HOME
    nvvm = libraries.load_library("nvvm")
    home = libraries.variable()
    has_driver = not isinstance(driver.library(), int | None)
    return {
        **{package: driver.installed_version(package) for package in packages},
        "driver": "for CUDA {}.{}".format(*driver.version()) if has_driver else None,
        "nvrtc": libraries.version("nvrtc"), "nvjitlink": libraries.version("nvJitLink"),
        "nvvm": None if nvvm is None else nvvm.abs_path,
    **({} if home is None else {"toolkit": os.environ[home]}), }


def describe_all() -> dict[str, str]:
    """Returns, for the device name of each GPU, a description or the reason why the GPU cannot be
    used. The dict always has the key "cuda".
    """
    descriptions = {}
    for index in range(max(1, count())):
        name = f"cuda:{index}" if index else "cuda"
        try:
            check(index)
        except DeviceError as error:
            descriptions[name] = f"no: {error}"
            continue
        gpu = describe(index)
        descriptions[name] = ", ".join([gpu.pop("name"), *(f"{k.replace('_', ' ')} {v}" for k, v in gpu.items())])
    return descriptions


def describe(index: int) -> dict[str, Any]:
    """Returns a usable GPU's name, compute capability, memory, driver and numba-cuda version."""
    return {"name": driver.name(index), "compute_capability": "{}.{}".format(*driver.capability(index)),
            "memory": f"{driver.memory(index) / 2**30:.1f} GiB", "driver": "for CUDA {}.{}".format(*driver.version()),
            "numba-cuda": driver.installed_version("numba-cuda")}
