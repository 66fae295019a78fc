"""`Sums`: the running sums of losses and metrics over an epoch, which stay on the device until they are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.versions import changes
from ..kernels.device import Device
from ..metrics import Metric
from .compiled import Goal, Score

_FIRST = 3  # entries before the outputs' losses: loss, steps, first step with a loss that was not finite


class Sums:
    """The means of the total loss, of each output's loss and of the metrics, by steps that add to them.

    held: finds the metrics in the model's attributes, which its `call` updates.
    """

    def __init__(self, device: Device, goals: Sequence[Goal], scores: Sequence[Score],
                 held: Callable[[], list[Metric]] = list) -> None:
        self._find_held = held
        self._held: list[Metric] = []
        self._held_at = -1  # the count of changes when they were found
        self._k, self._device, self._goals, self._scores = device.kernels("step"), device, goals, scores
        self._totals = device.asarray(np.zeros(_FIRST + len(goals) + len(scores)))
        self.reset()

    def reset(self) -> None:
        """Resets the sums for an epoch."""
        self._k.clear(self._totals)
        self._losses, self._samples = np.zeros(1 + len(self._goals)), 0
        self._counted = 0  # number of samples in the losses at the last read
        self._values = [0] * len(self._scores)  # number of values in each metric's sum
        for metric in (*(score.metric for score in self._scores), *self._held_metrics()):
            metric.reset_state()
        # Each metric's sums at its last write, and the part of them from other owners of the metric.
        self._shown, self._others = [[0.0, 0.0] for _ in self._scores], [[0.0, 0.0] for _ in self._scores]

    def _held_metrics(self) -> list[Metric]:
        """Returns the metrics now in the model's attributes."""
        if self._held_at != changes():
            self._held, self._held_at = self._find_held(), changes()
        return self._held

    def add_losses(self, losses: Sequence[tuple[float, Any, Any]], samples: float) -> None:
        """Adds a batch's (output weight, values, normalized sample weights) of each output with a loss."""
        for i, (weight, values, weights) in enumerate(losses):
            self._k.accumulate(values, weights, weight * samples, self._totals, 0)
            if len(losses) > 1:
                self._k.accumulate(values, weights, samples, self._totals, _FIRST + i)

    def add_penalty(self, values: Any, samples: int) -> None:
        """Adds a batch's penalty, which counts only in the total loss."""
        values = values.reshape(-1)
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, samples, self._totals, 0)

    def add_score(self, which: int, values: Any) -> None:
        """Adds a batch's values of metric number `which`, one per sample."""
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, 1.0, self._totals, _FIRST + len(self._goals) + which)

    def close_step(self) -> None:
        """Counts a step, on the device."""
        self._k.close_step(self._totals)

    def count(self, samples: int, values: Sequence[int]) -> None:
        """Counts what a step added, on the host."""
        self._samples += samples
        for j, n in enumerate(values):
            self._values[j] += n

    def read(self, ranks: Ranks = ALONE) -> int | None:
        """Reads the current sums of all `ranks` together without changing them: reading never affects later results.
        Returns the first step after which the loss was NaN or infinite, if any.
        """
        host, self._counted, values = self._together(ranks)
        self._losses[0], self._losses[1:] = host[0], host[_FIRST : _FIRST + len(self._goals)]
        for j, score in enumerate(self._scores):
            if values[j]:
                own = float(host[_FIRST + len(self._goals) + j]), values[j]
                shown, others = self._shown[j], self._others[j]
                for i, name in enumerate(("total", "count")):  # in addition to values from other owners of the metric
                    variable = getattr(score.metric, name)
                    if (held := float(variable)) != shown[i]:
                        others[i] += held - shown[i]
                    shown[i] = others[i] + own[i]
                    variable.assign(shown[i])
        return int(host[2]) - 1 if host[2] else None

    def _together(self, ranks: Ranks) -> tuple[np.ndarray, int, list[int]]:
        """Returns all ranks' totals on the host, their number of samples, and each metric's number of values."""
        totals = np.array(self._device.numpy(self._totals))
        own = np.concatenate([totals, [self._samples], self._values])
        every = np.stack(ranks.gather(own))
        found = every.sum(0)
        found[1] = own[1]  # each rank counts the same steps
        found[2] = min((step for step in every[:, 2] if step), default=0)
        samples, *values = (int(n) for n in found[totals.size :])
        return found[: totals.size], samples, values

    def kept(self) -> tuple[np.ndarray, int, list[int]]:
        """Returns the current sums, for `put_back`."""
        return np.array(self._device.numpy(self._totals)), self._samples, list(self._values)

    def put_back(self, kept: tuple[np.ndarray, int, list[int]]) -> None:
        """Undoes a step's sums, as another rank counts them, but keeps the step count."""
        kept[0][1] += 1
        self._totals[...] = self._device.asarray(kept[0])
        self._samples, self._values = kept[1:]

    def get_state(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """Copies the sums of all `ranks` together and the state of the user's metrics, for `set_state`."""
        totals, samples, values = self._together(ranks)
        metrics = [score.metric.get_state() for score in self._scores]
        return {"totals": totals, "samples": samples, "values": values, "metrics": metrics,
                "held": [metric.get_state() for metric in self._held_metrics()],
                "shown": [list(two) for two in self._shown], "others": [list(two) for two in self._others]}

    def set_state(self, state: Mapping[str, Any], first: bool = True) -> None:
        """Restores `get_state`'s sums; with several ranks only the `first` has the earlier sums. Raises ValueError for
        sums of other losses or metrics.
        """
        if np.shape(state["totals"]) != self._totals.shape or len(state["metrics"]) != len(self._scores):
            raise ValueError("These sums belong to other losses or metrics than the model's.")
        totals = np.array(state["totals"])
        if not first:
            totals[[i for i in range(totals.size) if i != 1]] = 0
        self._totals[...] = self._device.asarray(totals)
        self._samples, self._values = int(state["samples"]) * first, [int(n) * first for n in state["values"]]
        self._shown, self._others = ([list(two) for two in state[name]] for name in ("shown", "others"))
        for metric, held in (*zip([score.metric for score in self._scores], state["metrics"]),
                             *zip(self._held_metrics(), state.get("held", ()))):
            metric.set_state(held)

    def read_logs(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """Reads the sums and returns the current means."""
        self.read(ranks)
        return self.logs()

    def logs(self) -> dict[str, float]:
        """Returns the means at the last `read`."""
        means = (self._losses / max(self._counted, 1)).tolist()
        several = zip((goal.name for goal in self._goals), means[1:]) if len(self._goals) > 1 else ()
        scores = {score.name: plain(score.metric.result()) for score in self._scores}
        held = {name: plain(value) for name, value in results(self._held_metrics()).items()}
        return {"loss": means[0], **dict(several), **scores, **held}


def results(metrics: Iterable[Metric]) -> dict[str, Any]:
    """Returns the results of metrics by name."""
    return flat({metric.name: metric.result() for metric in metrics})


def flat(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens logs in which a metric of several values, such as `compile_metrics`, has a dict."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        found.update(value if isinstance(value, Mapping) else {name: value})
    return found


def plain(result: Any) -> Any:
    """Converts a metric's result to a number; several numbers, such as one per class, stay an array."""
    return float(result) if np.size(result) == 1 else np.asarray(result)
