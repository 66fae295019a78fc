"""What the driver refuses, as DeviceError: in sentences, with a remedy, whichever package passed it on.

numba-cuda, cuda-core and cuda-bindings each have errors of their own for it. All of them have the driver's name of the
error in their text.
"""

import re
from collections.abc import Callable
from typing import Any

from ...engine.errors import DeviceError

# A kernel failed, some time before the call that says so. From then on every call gives the same error.
ENDINGS = {"CUDA_ERROR_ASSERT", "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_HARDWARE_STACK_ERROR",
           "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "CUDA_ERROR_INVALID_ADDRESS_SPACE",
           "CUDA_ERROR_INVALID_PC", "CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_LAUNCH_TIMEOUT",
           "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_UNKNOWN"}


def code(error: BaseException | str) -> str:
    """The driver's name of an error, such as CUDA_ERROR_INVALID_VALUE; empty where the error is none of its."""
    found = re.search(r"CUDA_ERROR_\w+", str(error))
    return found[0] if found else ""


def sentence(error: BaseException | str) -> str:
    """What a user is told of an error of the driver's."""
    name = code(error)
    call = re.search(r"\bcu[A-Z]\w+", str(error))
    if name in ENDINGS:
        return (f"A kernel failed on the GPU ({name}), so this process can compute nothing there any more: start "
                "Python again. CUDA_LAUNCH_BLOCKING=1 in the environment shows which launch it was, and "
                "compute-sanitizer which thread: please report it.")
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        return (f"The GPU is out of memory{f' ({call[0]})' if call else ''}. Use a smaller batch_size, or end other "
                "programs on this GPU.")
    return (f"NVIDIA's driver refused {call[0] if call else 'a call'} ({name}). Check with nvidia-smi that the GPU is "
            "in order; if it is, this is autoconv's mistake: please report it with what `autoconv info` prints.")


def checked(answer: tuple, doing: str) -> tuple[Any, ...]:
    """What a function of cuda-bindings gives beside its error code, which must be 0; `doing`: what
    could not be done otherwise.
    """
    error, *values = answer
    if int(error):
        raise DeviceError(sentence(error.name) if error.name in ENDINGS else
                          f"NVIDIA's driver could not {doing}: {error.name}.")
    return tuple(values)


class Failures:
    """`with failures:` makes the driver's errors in the block DeviceErrors; `ended()` is called
    once none can follow but the same.
    """

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None or not code(error):
            return
        if code(error) in ENDINGS:
            self._ended()
        if not isinstance(error, DeviceError):
            raise DeviceError(sentence(error)) from error
