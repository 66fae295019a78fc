"""CUDA graphs: many launches are captured once and then launched together.

This module calls the driver's own functions, because their names are stable, unlike those of the
packages above the driver.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cuda.bindings import driver  # type: ignore[import-not-found,unused-ignore]

from ...engine.errors import DeviceError
from . import failures
from .order import Place

Launch = Callable[[int], None]  # launches on the stream with the given handle


class CudaGraph:
    """Launches placed on streams by `places`, to be launched together on the stream with this
    handle.

    They are captured on separate streams, so that launches of other threads are not captured.
    Raises DeviceError if the driver cannot capture them.
    """

    def __init__(self, handle: int, launches: Sequence[Launch], places: list[Place]) -> None:
        self._executable = None
        self._stream = driver.CUstream(handle)
        self._streams, self._events = [], []  # type: ignore[var-annotated]
        try:
            for _ in range(1 + max((place.stream for place in places), default=0)):
                self._streams += _checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
            graph = self._captured(launches, places)
            try:
                (self._executable,) = _checked(driver.cuGraphInstantiate(graph, 0))
            finally:
                driver.cuGraphDestroy(graph)
        finally:
            for event in self._events:
                driver.cuEventDestroy(event)
            for stream in self._streams:
                driver.cuStreamDestroy(stream)

    def __call__(self) -> None:
        """Launches the graph, in stream order."""
        _checked(driver.cuGraphLaunch(self._executable, self._stream))

    def __del__(self) -> None:
        if self._executable is not None:
            driver.cuGraphExecDestroy(self._executable)

    def _captured(self, launches: Sequence[Launch], places: list[Place]) -> Any:
        """Captures the launches and returns the driver's graph."""
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        _checked(driver.cuStreamBeginCapture(self._streams[0], mode))
        whole = False
        try:
            self._launch(launches, places)
            whole = True
        except DeviceError:
            raise
        except Exception as error:  # any class: Numba passes on errors of the packages below it
            raise DeviceError(f"A kernel could not be captured: {error}") from error
        finally:  # the stream must leave capture mode in any case
            ended = driver.cuStreamEndCapture(self._streams[0])
            if not whole and not int(ended[0]):
                driver.cuGraphDestroy(ended[1])
        (graph,) = _checked(ended)
        try:
            *_, count = _checked(driver.cuGraphGetNodes(graph))
            if count < len(launches):
                raise DeviceError(f"NVIDIA's driver captured {count} of {len(launches)} launches.")
        except DeviceError:
            driver.cuGraphDestroy(graph)
            raise
        return graph

    def _launch(self, launches: Sequence[Launch], places: list[Place]) -> None:
        start = self._mark(0)
        for stream in range(1, len(self._streams)):
            self._wait(stream, start)
        awaited = {j for place in places for j in place.after}
        marks = {}
        for i, (launch, place) in enumerate(zip(launches, places)):
            for j in place.after:
                self._wait(place.stream, marks[j])
            launch(int(self._streams[place.stream]))
            if i in awaited:
                marks[i] = self._mark(place.stream)
        for stream in range(1, len(self._streams)):
            self._wait(0, self._mark(stream))

    def _mark(self, stream: int) -> Any:
        """Records an event that occurs when all earlier launches on a stream are complete."""
        (event,) = _checked(driver.cuEventCreate(driver.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        self._events.append(event)
        _checked(driver.cuEventRecord(event, self._streams[stream]))
        return event

    def _wait(self, stream: int, event: Any) -> None:
        _checked(driver.cuStreamWaitEvent(self._streams[stream], event, 0))


def _checked(answer: tuple) -> tuple[Any, ...]:
    return failures.checked(answer, "capture or launch a graph")
