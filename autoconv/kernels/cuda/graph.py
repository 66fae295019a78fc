"""Captures many launches as one CUDA graph, which launches them together.

This module calls the driver's own functions, because their names are stable, unlike the names
in packages that wrap the driver.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cuda.bindings import driver  # type: ignore[import-not-found,unused-ignore]

from ...engine.errors import DeviceError
from . import failures
from .order import Place

Launch = Callable[[int], None]  # launches a kernel on the stream with this handle


class CudaGraph:
    """A CUDA graph of `launches`, which were captured on the streams in `places`. Calling the
    object launches the graph on the stream `handle`.

    The capture uses separate streams, so that launches of other threads are not captured. The
    constructor raises DeviceError if the driver cannot capture the launches.
    """

    def __init__(self, handle: int, launches: Sequence[Launch], places: list[Place]) -> None:
        self._executable = None
        self._stream = driver.CUstream(handle)
        self._streams, self._events = [], []  # type: ignore[var-annotated]
        try:
            for _ in range(1 + max((place.stream for place in places), default=0)):
                self._streams += _check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
            graph = self._capture(launches, places)
            try:
                (self._executable,) = _check(driver.cuGraphInstantiate(graph, 0))
            finally:
                driver.cuGraphDestroy(graph)
        finally:
            for event in self._events:
                driver.cuEventDestroy(event)
            for stream in self._streams:
                driver.cuStreamDestroy(stream)

    def __call__(self) -> None:
        """Launches the graph, after all earlier launches on its stream."""
        _check(driver.cuGraphLaunch(self._executable, self._stream))

    def __del__(self) -> None:
        if self._executable is not None:
            driver.cuGraphExecDestroy(self._executable)

    def _capture(self, launches: Sequence[Launch], places: list[Place]) -> Any:
        """Captures the launches and returns the driver's graph."""
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        _check(driver.cuStreamBeginCapture(self._streams[0], mode))
        is_complete = False
        try:
            self._launch(launches, places)
            is_complete = True
        except DeviceError:
            raise
        except Exception as error:  # any class, because Numba passes on other packages' errors
            raise DeviceError(f"A kernel launch could not be captured in a CUDA graph: {error}") from error
        finally:  # end the stream's capture mode in any case
            answer = driver.cuStreamEndCapture(self._streams[0])
            if not is_complete and not int(answer[0]):
                driver.cuGraphDestroy(answer[1])
        (graph,) = _check(answer)
        try:
            *_, count = _check(driver.cuGraphGetNodes(graph))
            if count < len(launches):
                raise DeviceError(f"NVIDIA's driver captured only {count} of {len(launches)} kernel launches.")
        except DeviceError:
            driver.cuGraphDestroy(graph)
            raise
        return graph

    def _launch(self, launches: Sequence[Launch], places: list[Place]) -> None:
        start = self._mark(0)
        for stream in range(1, len(self._streams)):
            self._wait(stream, start)
        marked = {j for place in places for j in place.dependencies}
        marks = {}
        for i, (launch, place) in enumerate(zip(launches, places)):
            for j in place.dependencies:
                self._wait(place.stream, marks[j])
            launch(int(self._streams[place.stream]))
            if i in marked:
                marks[i] = self._mark(place.stream)
        for stream in range(1, len(self._streams)):
            self._wait(0, self._mark(stream))

    def _mark(self, stream: int) -> Any:
        """Records an event that occurs when all earlier launches on a stream are complete."""
        (event,) = _check(driver.cuEventCreate(driver.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        self._events.append(event)
        _check(driver.cuEventRecord(event, self._streams[stream]))
        return event

    def _wait(self, stream: int, event: Any) -> None:
        _check(driver.cuStreamWaitEvent(self._streams[stream], event, 0))


def _check(answer: tuple) -> tuple[Any, ...]:
    return failures.check_result(answer, "capture or launch a graph")
