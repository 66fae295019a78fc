"""`Sums`: the running sums of losses and metrics over an epoch, which lie on the device until somebody looks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.device import Device
from .compiled import Goal, Score

_FIRST = 3  # what comes before the outputs' losses: the loss, the steps, the first step after which it was not finite


class Sums:
    """The means of the total loss, of each output's loss and of the metrics, by steps that add to them."""

    def __init__(self, device: Device, goals: Sequence[Goal], scores: Sequence[Score]) -> None:
        self._k, self._device, self._goals, self._scores = device.kernels("step"), device, goals, scores
        self._totals = device.asarray(np.zeros(_FIRST + len(goals) + len(scores)))
        self.reset()

    def reset(self) -> None:
        """Starts an epoch."""
        self._k.clear(self._totals)
        self._losses, self._samples, self._steps = np.zeros(1 + len(self._goals)), 0, 0
        self._new_samples, self._new_values = 0, [0] * len(self._scores)
        for score in self._scores:
            score.metric.reset_state()

    def add_losses(self, losses: Sequence[tuple[float, Any, Any]], samples: float) -> None:
        """Of a batch: (weight of the output, values, normalized weights of the samples) of each output with a loss."""
        for i, (weight, values, weights) in enumerate(losses):
            self._k.accumulate(values, weights, weight * samples, self._totals, 0)
            if len(losses) > 1:
                self._k.accumulate(values, weights, samples, self._totals, _FIRST + i)

    def add_score(self, which: int, values: Any) -> None:
        """Of a batch: the values of metric number `which`, one a sample."""
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, 1.0, self._totals, _FIRST + len(self._goals) + which)

    def close_step(self) -> None:
        """Counts a step, on the device."""
        self._k.close_step(self._totals)

    def count(self, samples: int, values: Sequence[int]) -> None:
        """Counts what a step added, on the host."""
        self._new_samples += samples
        for j, n in enumerate(values):
            self._new_values[j] += n

    def drain(self) -> int | None:
        """Takes the sums so far from the device. Returns the first step after which the loss was NaN or
        infinite, if any."""
        host = np.array(self._device.numpy(self._totals))
        self._k.clear(self._totals)
        self._losses[0] += host[0]
        self._losses[1:] += host[_FIRST : _FIRST + len(self._goals)]
        self._samples += self._new_samples
        for j, score in enumerate(self._scores):
            if self._new_values[j]:
                score.metric.total += float(host[_FIRST + len(self._goals) + j])  # type: ignore[attr-defined]
                score.metric.count += self._new_values[j]  # type: ignore[attr-defined]
        bad = self._steps + int(host[2]) - 1 if host[2] else None
        self._steps += int(host[1])
        self._new_samples, self._new_values = 0, [0] * len(self._scores)
        return bad

    def logs(self) -> dict[str, float]:
        """The means so far, as of the last `drain`."""
        means = (self._losses / max(self._samples, 1)).tolist()
        several = zip((goal.name for goal in self._goals), means[1:]) if len(self._goals) > 1 else ()
        scores = {score.name: float(score.metric.result()) for score in self._scores}
        return {"loss": means[0], **dict(several), **scores}
