"""`Sums` keeps the sums of losses and metrics over an epoch on the device until they are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.versions import changes
from ..kernels.device import Device
from ..metrics import Metric
from .compiled import Goal, Score

_FIRST = 3  # entries before the outputs' losses: total loss, step count, first step with a NaN or infinite loss


class Sums:
    """The running sums from which the means of the total loss, each output's loss and the metrics are computed.

    `find_metrics()` returns the metrics in the model's attributes, which the model's `call` updates.
    """

    def __init__(self, device: Device, goals: Sequence[Goal], scores: Sequence[Score],
                 find_metrics: Callable[[], list[Metric]] = list) -> None:
        self._find_metrics = find_metrics
        self._metrics: list[Metric] = []
        self._metrics_version = -1  # the count of changes when the metrics were found
        self._k, self._device, self._goals, self._scores = device.kernels("step"), device, goals, scores
        self._totals = device.asarray(np.zeros(_FIRST + len(goals) + len(scores)))
        self.reset()

    def reset(self) -> None:
        """Resets all sums and metrics at the start of an epoch."""
        self._k.clear(self._totals)
        self._losses, self._samples = np.zeros(1 + len(self._goals)), 0
        self._sample_count = 0  # number of samples in the losses at the last read
        self._values = [0] * len(self._scores)  # number of values in each metric's sum
        for metric in (*(score.metric for score in self._scores), *self._list_metrics()):
            metric.reset_state()
        # The sums last written to each metric, and the amounts in them that other users of the metric added.
        self._last_sums = [[0.0, 0.0] for _ in self._scores]
        self._other_sums = [[0.0, 0.0] for _ in self._scores]

    def _list_metrics(self) -> list[Metric]:
        """Returns the metrics that are currently in the model's attributes."""
        if self._metrics_version != changes():
            self._metrics, self._metrics_version = self._find_metrics(), changes()
        return self._metrics

    def add_losses(self, losses: Sequence[tuple[float, Any, Any]], samples: float) -> None:
        """Adds a batch's losses: (output weight, values, normalized sample weights) per output with a loss."""
        for i, (weight, values, weights) in enumerate(losses):
            self._k.accumulate(values, weights, weight * samples, self._totals, 0)
            if len(losses) > 1:
                self._k.accumulate(values, weights, samples, self._totals, _FIRST + i)

    def add_penalty(self, values: Any, samples: int) -> None:
        """Adds a batch's penalty, which counts only in the total loss."""
        values = values.reshape(-1)
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, samples, self._totals, 0)

    def add_score(self, index: int, values: Any) -> None:
        """Adds a batch's values of metric number `index`, one value per sample."""
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, 1.0, self._totals, _FIRST + len(self._goals) + index)

    def close_step(self) -> None:
        """Counts a completed step, on the device."""
        self._k.close_step(self._totals)

    def count(self, samples: int, values: Sequence[int]) -> None:
        """Adds a step's number of samples and its numbers of metric values, on the host."""
        self._samples += samples
        for j, n in enumerate(values):
            self._values[j] += n

    def read(self, ranks: Ranks = ALONE) -> int | None:
        """Reads the sums over all `ranks`, without changing the sums, and updates the metrics.
        Returns the index of the first step after which the total loss was NaN or infinite, or None.
        """
        host, self._sample_count, values = self._sum_ranks(ranks)
        self._losses[0], self._losses[1:] = host[0], host[_FIRST : _FIRST + len(self._goals)]
        for j, score in enumerate(self._scores):
            if values[j]:
                local = float(host[_FIRST + len(self._goals) + j]), values[j]
                last_sums, other_sums = self._last_sums[j], self._other_sums[j]
                for i, name in enumerate(("total", "count")):  # keep what other users of the metric object added
                    variable = getattr(score.metric, name)
                    if (value := float(variable)) != last_sums[i]:
                        other_sums[i] += value - last_sums[i]
                    last_sums[i] = other_sums[i] + local[i]
                    variable.assign(last_sums[i])
        return int(host[2]) - 1 if host[2] else None

    def _sum_ranks(self, ranks: Ranks) -> tuple[np.ndarray, int, list[int]]:
        """Returns the totals over all ranks on the host, the number of samples, and each metric's number of values."""
        totals = np.array(self._device.numpy(self._totals))
        local = np.concatenate([totals, [self._samples], self._values])
        gathered = np.stack(ranks.gather(local))
        total = gathered.sum(0)
        total[1] = local[1]  # each rank counts the same steps
        total[2] = min((step for step in gathered[:, 2] if step), default=0)
        samples, *values = (int(n) for n in total[totals.size :])
        return total[: totals.size], samples, values

    def snapshot(self) -> tuple[np.ndarray, int, list[int]]:
        """Returns a copy of the current sums, for `restore`."""
        return np.array(self._device.numpy(self._totals)), self._samples, list(self._values)

    def restore(self, snapshot: tuple[np.ndarray, int, list[int]]) -> None:
        """Restores the sums from before a step, because another rank adds the step's values. Counts the step."""
        snapshot[0][1] += 1
        self._totals[...] = self._device.asarray(snapshot[0])
        self._samples, self._values = snapshot[1:]

    def get_state(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """Copies the sums over all `ranks` and the metrics' states, for `set_state`."""
        totals, samples, values = self._sum_ranks(ranks)
        metrics = [score.metric.get_state() for score in self._scores]
        return {"totals": totals, "samples": samples, "values": values, "metrics": metrics,
                "held": [metric.get_state() for metric in self._list_metrics()],
                "shown": [list(pair) for pair in self._last_sums], "others": [list(pair) for pair in self._other_sums]}

    def set_state(self, state: Mapping[str, Any], first: bool = True) -> None:
        """Restores the sums from `get_state`. Of several ranks, all but the `first` restore zeros
        and the step count. Raises ValueError if the sums belong to other losses or metrics.
        """
        if np.shape(state["totals"]) != self._totals.shape or len(state["metrics"]) != len(self._scores):
            raise ValueError("The saved losses and metrics do not match those of the model. Compile the model with "
                             "the same losses and metrics as in the saved training run.")
        totals = np.array(state["totals"])
        if not first:
            totals[[i for i in range(totals.size) if i != 1]] = 0
        self._totals[...] = self._device.asarray(totals)
        self._samples, self._values = int(state["samples"]) * first, [int(n) * first for n in state["values"]]
        self._last_sums, self._other_sums = ([list(pair) for pair in state[name]] for name in ("shown", "others"))
        for metric, entry in (*zip([score.metric for score in self._scores], state["metrics"]),
                              *zip(self._list_metrics(), state.get("held", ()))):
            metric.set_state(entry)

    def read_logs(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """Reads the sums and returns the current means by name."""
        self.read(ranks)
        return self.logs()

    def logs(self) -> dict[str, float]:
        """Returns the means at the time of the last `read`, keyed by name."""
        means = (self._losses / max(self._sample_count, 1)).tolist()
        losses = zip((goal.name for goal in self._goals), means[1:]) if len(self._goals) > 1 else ()
        scores = {score.name: plain(score.metric.result()) for score in self._scores}
        user_metrics = {name: plain(value) for name, value in results(self._list_metrics()).items()}
        return {"loss": means[0], **dict(losses), **scores, **user_metrics}


def results(metrics: Iterable[Metric]) -> dict[str, Any]:
    """Returns the results of metrics, keyed by the metrics' names."""
    return flat({metric.name: metric.result() for metric in metrics})


def flat(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces each dict in the logs, such as the result of `compile_metrics`, with the dict's entries."""
    result: dict[str, Any] = {}
    for name, value in logs.items():
        result.update(value if isinstance(value, Mapping) else {name: value})
    return result


def plain(result: Any) -> Any:
    """Converts a metric's result to a number, or an array if there is one number per class."""
    return float(result) if np.size(result) == 1 else np.asarray(result)
