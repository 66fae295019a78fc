"""What NVIDIA's driver says about this machine, asked without importing Numba: so that asking costs next to nothing.

`check(index)` raises the one sentence that tells why a GPU cannot be used, and what to do about it.
"""

import ctypes
import importlib.util
import sys
from functools import cache
from typing import Any

from ...engine.errors import DeviceError
from . import libraries

OLDEST = (7, 5)  # the compute capability that the kernels need: Turing, such as the T4
_NAME, _MAJOR, _MINOR = 256, 75, 76  # the length of a name's buffer; two of the driver's attributes of a GPU
_ORDINAL = 9  # and one of memory's: the number of the GPU it is on
_NO_DEVICE = 100  # the driver's error code where it is there, but no GPU is


def installed() -> bool:
    """Whether numba-cuda is there."""
    return importlib.util.find_spec("numba_cuda") is not None


def installed_version(package: str) -> str:
    """The version of an installed package."""
    from importlib import metadata  # its import would take most of the time that all of this takes

    return metadata.version(package)


@cache
def library() -> Any:
    """The driver's library, started; None where there is no driver, the driver's error code where it has no GPU."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    return driver.cuInit(0) or driver


def version() -> tuple[int, int]:
    """The newest CUDA that the driver can run, such as (13, 0)."""
    number = _ask("cuDriverGetVersion")
    return number // 1000, number % 1000 // 10


def count() -> int:
    """How many GPUs the driver has; 0 where it has none, or is not there."""
    return 0 if isinstance(library(), int | None) else _ask("cuDeviceGetCount")


def capability(index: int) -> tuple[int, int]:
    """The compute capability of a GPU."""
    gpu = _ask("cuDeviceGet", index)
    return _ask("cuDeviceGetAttribute", _MAJOR, gpu), _ask("cuDeviceGetAttribute", _MINOR, gpu)


def name(index: int) -> str:
    """What NVIDIA calls a GPU."""
    text = ctypes.create_string_buffer(_NAME)
    _call("cuDeviceGetName", text, _NAME, _ask("cuDeviceGet", index))
    return text.value.decode()


def memory(index: int) -> int:
    """How many bytes a GPU has."""
    size = ctypes.c_size_t()
    _call("cuDeviceTotalMem_v2", ctypes.byref(size), _ask("cuDeviceGet", index))
    return size.value


def gpu_of(address: int) -> int:
    """The number of the GPU that this memory is on."""
    return _ask("cuPointerGetAttribute", _ORDINAL, ctypes.c_uint64(address))


def reaches(index: int, other: int) -> bool:
    """Whether a GPU can read and write the memory of another one."""
    return _ask("cuDeviceCanAccessPeer", *(_ask("cuDeviceGet", number) for number in (index, other))) != 0


def toolkit() -> int:
    """The major version of CUDA that the installed package compiles for."""
    return int(installed_version("cuda-bindings").partition(".")[0])


def check(index: int) -> None:
    """Raises DeviceError where GPU number `index` cannot be used."""
    problem = _problem(index)
    if problem is not None:
        name = f"cuda:{index}" if index else "cuda"
        raise DeviceError(f"Device {name!r} cannot be used: {problem} To compute on the CPU use device='cpu' (on the "
                          "command line: --device cpu).")


def _problem(index: int) -> str | None:
    """What keeps GPU number `index` from being used, and the remedy; None where nothing does."""
    if not installed():
        return "the package numba-cuda is not installed. Install it with pip install 'autoconv[cuda]'."
    if library() is None:
        return "no NVIDIA driver was found. Install it: from nvidia.com/drivers, or with your system's packages."
    if library() == _NO_DEVICE or (not isinstance(library(), int) and count() == 0):
        return ("the NVIDIA driver finds no GPU. Check that nvidia-smi lists one, and that CUDA_VISIBLE_DEVICES does "
                "not hide it.")
    if isinstance(library(), int):
        return (f"the NVIDIA driver does not start (error {library()}). Check that nvidia-smi runs; after an update "
                "of the driver restart the machine.")
    if version()[0] < toolkit():
        return (f"the NVIDIA driver is too old: it runs CUDA {_dotted(version())}, and CUDA {toolkit()}.0 is needed. "
                f"Update the driver, or install what fits it with pip install 'numba-cuda[cu{version()[0]}]'.")
    missing = libraries.missing_part()
    if missing is not None:
        return f"the package numba-cuda is there, but not CUDA's compiler ({missing}). {libraries.remedy(missing)}"
    if index >= count():
        return f"there is no GPU number {index}: the driver finds {count()}. Use 'cuda:0'..'cuda:{count() - 1}'."
    if capability(index) < OLDEST:
        return (f"{name(index)} is too old: it has compute capability {_dotted(capability(index))}, and "
                f"{_dotted(OLDEST)} is needed (a T4, or newer).")
    return None


def _ask(function: str, *arguments: Any) -> int:
    """One number of the driver's. Raises DeviceError where it refuses."""
    number = ctypes.c_int()
    _call(function, ctypes.byref(number), *arguments)
    return number.value


def _call(function: str, *arguments: Any) -> None:
    code = getattr(library(), function)(*arguments)
    if code:
        raise DeviceError(f"NVIDIA's driver refuses {function} with error {code}. Check that nvidia-smi runs; after an "
                          "update of the driver restart the machine.")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
