"""CUDA graphs through NVIDIA's driver: many launches captured once, and from then on launched as one.

The driver's own functions, since their names have stayed while those of the packages above them moved.
"""

from collections.abc import Callable
from typing import Any

from cuda.bindings import driver  # type: ignore[import-not-found,unused-ignore]

from ...errors import DeviceError


class Graph:
    """What `run` launches on a stream, given by its handle. Raises DeviceError where the driver cannot capture it."""

    def __init__(self, handle: int, run: Callable[[], None]) -> None:
        self._stream, self._executable = driver.CUstream(handle), None
        _checked(driver.cuStreamBeginCapture(self._stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
        try:
            run()
        finally:  # whatever happened, the stream must leave the capture
            error, graph = driver.cuStreamEndCapture(self._stream)
        _checked((error,))
        try:
            (self._executable,) = _checked(driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)

    def __call__(self) -> None:
        """Launches it, in the order of its stream."""
        _checked(driver.cuGraphLaunch(self._executable, self._stream))

    def __del__(self) -> None:
        if self._executable is not None:
            driver.cuGraphExecDestroy(self._executable)


def _checked(answer: tuple) -> tuple[Any, ...]:
    """What a function of the driver gives beside its error code, which must be 0."""
    error, *values = answer
    if int(error):
        raise DeviceError(f"NVIDIA's driver could not capture or launch a graph: {error.name}.")
    return tuple(values)
