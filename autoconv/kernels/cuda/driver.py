"""Queries NVIDIA's driver without importing Numba, so that a query takes almost no time.

`check(index)` raises an error that states why a GPU cannot be used, and what to do about it.
"""

import ctypes
import importlib.util
import sys
from functools import cache
from typing import Any

from ...engine.errors import DeviceError
from . import libraries

OLDEST = (7, 5)  # the oldest compute capability that the kernels support: Turing, such as the T4
# size of the buffer for a GPU's name; the driver's attribute numbers for the compute capability
_NAME, _MAJOR, _MINOR = 256, 75, 76
_ORDINAL = 9  # the driver's pointer attribute for the number of the GPU that holds the memory
_NO_DEVICE = 100  # the error code of a driver that finds no GPU


def is_installed() -> bool:
    """Returns whether numba-cuda is installed."""
    return importlib.util.find_spec("numba_cuda") is not None


def installed_version(package: str) -> str:
    """Returns the version of an installed package."""
    from importlib import metadata  # imported here: the import takes longer than all queries

    return metadata.version(package)


@cache
def library() -> Any:
    """Loads and initializes the driver's library, and returns it. Returns None if no driver is
    installed. If initialization fails, for example without a GPU, returns the driver's error code.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    return driver.cuInit(0) or driver


def version() -> tuple[int, int]:
    """Returns the newest CUDA version that the driver supports, such as (13, 0)."""
    number = _ask("cuDriverGetVersion")
    return number // 1000, number % 1000 // 10


def count() -> int:
    """Returns the number of GPUs that the driver finds; 0 if no driver is installed."""
    return 0 if isinstance(library(), int | None) else _ask("cuDeviceGetCount")


def capability(index: int) -> tuple[int, int]:
    """Returns the compute capability of a GPU."""
    gpu = _ask("cuDeviceGet", index)
    return _ask("cuDeviceGetAttribute", _MAJOR, gpu), _ask("cuDeviceGetAttribute", _MINOR, gpu)


def name(index: int) -> str:
    """Returns a GPU's product name, as the driver reports it."""
    text = ctypes.create_string_buffer(_NAME)
    _call("cuDeviceGetName", text, _NAME, _ask("cuDeviceGet", index))
    return text.value.decode()


def memory(index: int) -> int:
    """Returns the memory size of a GPU in bytes."""
    size = ctypes.c_size_t()
    _call("cuDeviceTotalMem_v2", ctypes.byref(size), _ask("cuDeviceGet", index))
    return size.value


def find_gpu(address: int) -> int:
    """Returns the number of the GPU that holds the memory at this address."""
    return _ask("cuPointerGetAttribute", _ORDINAL, ctypes.c_uint64(address))


def can_access(index: int, peer: int) -> bool:
    """Returns whether GPU `index` can directly access the memory of GPU `peer`."""
    return _ask("cuDeviceCanAccessPeer", *(_ask("cuDeviceGet", gpu) for gpu in (index, peer))) != 0


def toolkit() -> int:
    """Returns the major version of CUDA that the installed package compiles for."""
    return int(installed_version("cuda-bindings").partition(".")[0])


def check(index: int) -> None:
    """Raises DeviceError if GPU number `index` cannot be used."""
    problem = _problem(index)
    if problem is not None:
        name = f"cuda:{index}" if index else "cuda"
        raise DeviceError(f"Device {name!r} cannot be used: {problem} To compute on the CPU, use "
                          "device='cpu' (on the command line: --device cpu).")


def _problem(index: int) -> str | None:
    """Returns why GPU number `index` cannot be used, and the remedy; None if it can be used."""
    if not is_installed():
        return "the package numba-cuda is not installed. Install it with pip install 'autoconv[cuda]'."
    if library() is None:
        return ("no NVIDIA driver was found. Install one from nvidia.com/drivers, or with your "
                "system's package manager.")
    if library() == _NO_DEVICE or (not isinstance(library(), int) and count() == 0):
        return ("the NVIDIA driver finds no GPU. Check that nvidia-smi lists one, and that "
                "CUDA_VISIBLE_DEVICES does not hide it.")
    if isinstance(library(), int):
        return (f"the NVIDIA driver does not start (error {library()}). Check that nvidia-smi "
                "runs; after a driver update, restart the machine.")
    if version()[0] < toolkit():
        return (f"the NVIDIA driver is too old: it runs CUDA {_format_version(version())}, and "
                f"CUDA {toolkit()}.0 is needed. Update the driver, or install a matching package "
                f"with pip install 'numba-cuda[cu{version()[0]}]'.")
    missing = libraries.missing_part()
    if missing is not None:
        return (f"numba-cuda is installed, but a part of CUDA's compiler ({missing}) is missing. "
                f"{libraries.remedy(missing)}")
    if index >= count():
        return (f"there is no GPU number {index}: the driver finds {count()}. Use "
                f"'cuda:0'..'cuda:{count() - 1}'.")
    if capability(index) < OLDEST:
        return (f"{name(index)} is too old: it has compute capability {_format_version(capability(index))}, and "
                f"{_format_version(OLDEST)} is needed (a T4, or newer).")
    return None


def _ask(function: str, *arguments: Any) -> int:
    """Returns one number that the driver reports. Raises DeviceError if the call fails."""
    number = ctypes.c_int()
    _call(function, ctypes.byref(number), *arguments)
    return number.value


def _call(function: str, *arguments: Any) -> None:
    code = getattr(library(), function)(*arguments)
    if code:
        raise DeviceError(f"The function {function} of NVIDIA's driver failed with error {code}. "
                          "Check that nvidia-smi runs. After a driver update, restart the machine.")


def _format_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
