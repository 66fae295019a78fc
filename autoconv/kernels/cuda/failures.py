"""Converts driver errors to DeviceError, with a message and a remedy, whichever package raised
them.

numba-cuda, cuda-core and cuda-bindings have their own error classes. The text of each such error
contains the driver's name of the error.
"""

import re
from collections.abc import Callable
from typing import Any

from ...engine.errors import DeviceError

# Errors that mean that a kernel failed, some time before the call that reports the error. Every
# later call reports the same error.
ENDINGS = {"CUDA_ERROR_ASSERT", "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_HARDWARE_STACK_ERROR",
           "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "CUDA_ERROR_INVALID_ADDRESS_SPACE",
           "CUDA_ERROR_INVALID_PC", "CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_LAUNCH_TIMEOUT",
           "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_UNKNOWN"}


def code(error: BaseException | str) -> str:
    """Returns the driver's name of an error, such as CUDA_ERROR_INVALID_VALUE, or "" if the driver
    did not cause the error.
    """
    match = re.search(r"CUDA_ERROR_\w+", str(error))
    return match[0] if match else ""


def sentence(error: BaseException | str) -> str:
    """Returns the message for the user about a driver error."""
    name = code(error)
    call = re.search(r"\bcu[A-Z]\w+", str(error))
    if name in ENDINGS:
        return (f"A kernel failed on the GPU ({name}), so this process can no longer use the "
                "GPU. To continue, start Python again. CUDA_LAUNCH_BLOCKING=1 in the environment "
                "shows which launch failed, and compute-sanitizer shows which thread: please report it.")
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        return (f"The GPU is out of memory{f' ({call[0]})' if call else ''}. Use a smaller "
                "batch_size, or end other programs on this GPU.")
    return (f"NVIDIA's driver refused {call[0] if call else 'a call'} ({name}). Check with "
            "nvidia-smi that the GPU works. If it does, this is a bug in autoconv: please report "
            "it with the output of `autoconv info`.")


def check_result(answer: tuple, action: str) -> tuple[Any, ...]:
    """Returns the results of a cuda-bindings function without the error code. Raises DeviceError,
    which names the failed `action`, if the error code is not 0.
    """
    error, *values = answer
    if int(error):
        raise DeviceError(sentence(error.name) if error.name in ENDINGS else
                          f"NVIDIA's driver could not {action}: {error.name}.")
    return tuple(values)


class Failures:
    """Inside `with failures:`, driver errors are raised as DeviceError. `on_fatal()` is called
    after a fatal error, when every later call would fail too.
    """

    __slots__ = ("_on_fatal",)

    def __init__(self, on_fatal: Callable[[], None]) -> None:
        self._on_fatal = on_fatal

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None or not code(error):
            return
        if code(error) in ENDINGS:
            self._on_fatal()
        if not isinstance(error, DeviceError):
            raise DeviceError(sentence(error)) from error
