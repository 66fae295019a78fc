"""`Outputs`: the predictions of a model for all batches of a source."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.device import Device
from .source import Source
from .step import Step
from .stream import Stream


class Outputs:
    """Collects the outputs of steps: of arrays in one array (N, ...) an output, which the steps write their rows into,
    on a GPU there, where they fit; of a stream, whose length nobody knows, batch by batch.
    """

    def __init__(self, device: Device, samples: int | None) -> None:
        self._device, self._samples, self._count = device, samples, 0
        self._rows: list[Any] | None = None
        self._parts: list[list[np.ndarray]] = []

    def take(self, source: Source | Stream, step: Step, tickets: Sequence[Any]) -> None:
        """Runs a step on these batches, of which the first is the source's next one, and keeps its outputs."""
        if self._rows is None and self._samples is not None and step.ran and step.is_current():
            self._rows = self._arrays(step, self._samples)  # the outputs' shapes are known
        if self._rows is None and len(tickets) > 1:
            first, *tickets = tickets
            self.take(source, step, [first])
            source.seek(tickets[0])
        source.run(step, tickets, self._rows)
        self._step, self._count = step, self._count + step.samples * len(tickets)
        if self._samples is None:
            _check(step)
            self._parts.append([np.array(self._device.numpy(rows)) for rows in step.outputs()])
        elif self._rows is None:
            _check(step)
            self._rows = self._arrays(step, self._samples)
            source.add_sink(step, self._rows)  # type: ignore[union-attr]

    def last(self) -> list[np.ndarray]:
        """Copies of the last batch's outputs, one array an output."""
        return [np.array(self._device.numpy(rows)) for rows in self._step.outputs()]

    def all(self) -> list[np.ndarray]:
        """The outputs of all steps, one array an output."""
        if self._rows is None:
            return [np.concatenate(parts) for parts in zip(*self._parts)]
        return [self._device.numpy(rows)[: self._count] for rows in self._rows]

    def _arrays(self, step: Step, samples: int) -> list[Any]:
        outputs = step.outputs()
        shapes = [(samples, *a.shape[1:]) for a in outputs]
        size = sum(math.prod(shape) * a.dtype.itemsize for shape, a in zip(shapes, outputs))
        if not self._device.has_room_for(size):
            return [np.empty(shape, a.dtype) for shape, a in zip(shapes, outputs)]
        return [self._device.fresh(shape, a.dtype) for shape, a in zip(shapes, outputs)]


def _check(step: Step) -> None:
    for output in step.outputs():
        if not output.shape or len(output) != step.samples:
            raise ValueError(f"predict() needs one row of output a sample. Received shape {tuple(output.shape)} "
                             f"for {step.samples} samples: call the model on the data.")
