"""`Outputs` collects a model's predictions for all batches of a source."""

import math
from typing import Any

import numpy as np

from ..kernels.device import Device
from ..kernels.locks import kernel_lock
from .step import Step
from .user_arrays import Batch


class Outputs:
    """Collects the outputs of steps. For input arrays, steps write rows of one array (N, ...) per output, on the
    GPU if these arrays fit there. For a stream of unknown length, the outputs of each batch are stored separately.
    """

    def __init__(self, device: Device, samples: int | None) -> None:
        self._device, self._samples, self._count = device, samples, 0
        self._rows: list[Any] | None = None
        self._parts: list[list[np.ndarray]] = []
        self._step: Any = None  # the last step that ran

    def take(self, step: Step, batch: Batch) -> None:
        """Runs a step on these batches and stores its outputs."""
        self._step = step
        with kernel_lock:
            self._take(step, batch)

    def _take(self, step: Step, batch: Batch) -> None:
        if self._rows is None and self._samples is not None and step.recorder.plan and step.recorder.is_current():
            self._rows = self._arrays(step, self._samples)  # allocated once the outputs' shapes are known
        if self._rows is None and len(batch.numbers) > 1:
            first, *rest = batch.numbers
            self._take(step, batch._replace(numbers=[first]))
            batch = batch.source.batch(rest)
        step.run(batch, self._rows)
        self._count += step.samples * len(batch.numbers)
        if self._samples is None:
            _check(step)
            self._parts.append(step.copied_outputs())
        elif self._rows is None:
            _check(step)
            self._rows = self._arrays(step, self._samples)
            step.add_sink(self._rows)

    def get_arrays(self) -> list[np.ndarray]:
        """Returns all stored outputs, one array per output of the model."""
        if self._rows is None:
            return [np.concatenate(parts) for parts in zip(*self._parts)]
        return [self._device.numpy(rows)[: self._count] for rows in self._rows]

    def copy_last(self) -> Any:
        """Returns copies of the last batch's outputs, in the structure of the model's result."""
        return self.restructure(self._step.copied_outputs())

    def restructure(self, outputs: list[Any]) -> Any:
        """Converts a list with one item per output to the structure of the model's result."""
        return self._step.space.restructure(outputs)

    def _arrays(self, step: Step, samples: int) -> list[Any]:
        outputs = [tensor.data for tensor in step.space.outputs]
        shapes = [(samples, *a.shape[1:]) for a in outputs]
        size = sum(math.prod(shape) * a.dtype.itemsize for shape, a in zip(shapes, outputs))
        if not self._device.can_hold(size):
            return [np.empty(shape, a.dtype) for shape, a in zip(shapes, outputs)]
        return [self._device.fresh(shape, a.dtype) for shape, a in zip(shapes, outputs)]


def _check(step: Step) -> None:
    for output in step.space.outputs:
        if not output.shape or len(output) != step.samples:
            raise ValueError("predict() needs a model that returns one row per sample. Received: "
                             f"output of shape {tuple(output.shape)} for {step.samples} samples. "
                             "Call the model directly on the data, as in model(x).")
