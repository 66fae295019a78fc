"""`Sums`: the running sums of losses and metrics over an epoch, which lie on the device until somebody looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.versions import changes
from ..kernels.device import Device
from ..metrics import Metric
from .compiled import Goal, Score

_FIRST = 3  # what comes before the outputs' losses: the loss, the steps, the first step after which it was not finite


class Sums:
    """The means of the total loss, of each output's loss and of the metrics, by steps that add to them.

    held: finds the metrics that the model has in attributes, which its `call` updates.
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
        """Starts an epoch."""
        self._k.clear(self._totals)
        self._losses, self._samples = np.zeros(1 + len(self._goals)), 0
        self._counted = 0  # the samples that the losses are of, when somebody looked
        self._values = [0] * len(self._scores)  # how many each metric's sum is of
        for metric in (*(score.metric for score in self._scores), *self._held_metrics()):
            metric.reset_state()
        # What each metric held when it was last written to, and what of it came from others that have the same metric.
        self._shown, self._others = [[0.0, 0.0] for _ in self._scores], [[0.0, 0.0] for _ in self._scores]

    def _held_metrics(self) -> list[Metric]:
        """The metrics in the model's attributes now."""
        if self._held_at != changes():
            self._held, self._held_at = self._find_held(), changes()
        return self._held

    def add_losses(self, losses: Sequence[tuple[float, Any, Any]], samples: float) -> None:
        """Of a batch: (weight of the output, values, normalized weights of the samples) of each output with a loss."""
        for i, (weight, values, weights) in enumerate(losses):
            self._k.accumulate(values, weights, weight * samples, self._totals, 0)
            if len(losses) > 1:
                self._k.accumulate(values, weights, samples, self._totals, _FIRST + i)

    def add_penalty(self, values: Any, samples: int) -> None:
        """Of a batch: what counts in the total loss alone."""
        values = values.reshape(-1)
        ones = self._device.constant(np.ones(values.shape, values.dtype))
        self._k.accumulate(values, ones, samples, self._totals, 0)

    def add_score(self, which: int, values: Any) -> None:
        """Of a batch: the values of metric number `which`, one a sample."""
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
        """Looks at the sums so far, those of all `ranks` together, which stay as they are: who looks, and when, changes
        no bit of what comes later. Returns the first step after which the loss was NaN or infinite, if any.
        """
        host, self._counted, values = self._together(ranks)
        self._losses[0], self._losses[1:] = host[0], host[_FIRST : _FIRST + len(self._goals)]
        for j, score in enumerate(self._scores):
            if values[j]:
                own = float(host[_FIRST + len(self._goals) + j]), values[j]
                shown, others = self._shown[j], self._others[j]
                for i, name in enumerate(("total", "count")):  # on top of what others wrote to the metric
                    variable = getattr(score.metric, name)
                    if (held := float(variable)) != shown[i]:
                        others[i] += held - shown[i]
                    shown[i] = others[i] + own[i]
                    variable.assign(shown[i])
        return int(host[2]) - 1 if host[2] else None

    def _together(self, ranks: Ranks) -> tuple[np.ndarray, int, list[int]]:
        """The totals of all ranks on the host, how many samples they are of, and how many values each metric's is."""
        totals = np.array(self._device.numpy(self._totals))
        own = np.concatenate([totals, [self._samples], self._values])
        every = np.stack(ranks.gather(own))
        found = every.sum(0)
        found[1] = own[1]  # each rank counts the same steps
        found[2] = min((step for step in every[:, 2] if step), default=0)
        samples, *values = (int(n) for n in found[totals.size :])
        return found[: totals.size], samples, values

    def kept(self) -> tuple[np.ndarray, int, list[int]]:
        """The sums as they are, for `put_back`."""
        return np.array(self._device.numpy(self._totals)), self._samples, list(self._values)

    def put_back(self, kept: tuple[np.ndarray, int, list[int]]) -> None:
        """Takes a step back, which another rank counts, but not that there was one."""
        kept[0][1] += 1
        self._totals[...] = self._device.asarray(kept[0])
        self._samples, self._values = kept[1:]

    def get_state(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """Copies of the sums of all `ranks` together, and of what metrics of the user's hold, for `set_state`."""
        totals, samples, values = self._together(ranks)
        metrics = [score.metric.get_state() for score in self._scores]
        return {"totals": totals, "samples": samples, "values": values, "metrics": metrics,
                "held": [metric.get_state() for metric in self._held_metrics()],
                "shown": [list(two) for two in self._shown], "others": [list(two) for two in self._others]}

    def set_state(self, state: Mapping[str, Any], first: bool = True) -> None:
        """Goes on where `get_state` was called; of several ranks the `first` has what came before. Raises ValueError
        for sums of other losses or metrics.
        """
        if np.shape(state["totals"]) != self._totals.shape or len(state["metrics"]) != len(self._scores):
            raise ValueError("These sums are of other losses or metrics than the model's.")
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
        """The means so far, of now."""
        self.read(ranks)
        return self.logs()

    def logs(self) -> dict[str, float]:
        """The means so far, as of the last `read`."""
        means = (self._losses / max(self._counted, 1)).tolist()
        several = zip((goal.name for goal in self._goals), means[1:]) if len(self._goals) > 1 else ()
        scores = {score.name: plain(score.metric.result()) for score in self._scores}
        held = {name: plain(value) for name, value in results(self._held_metrics()).items()}
        return {"loss": means[0], **dict(several), **scores, **held}


def results(metrics: Iterable[Metric]) -> dict[str, Any]:
    """The results of metrics by their names."""
    return flat({metric.name: metric.result() for metric in metrics})


def flat(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs in which a metric of several values, such as `compile_metrics`, has a dict, as one dict."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        found.update(value if isinstance(value, Mapping) else {name: value})
    return found


def plain(result: Any) -> Any:
    """A metric's result as a number; of a metric of several numbers, such as one a class, the array."""
    return float(result) if np.size(result) == 1 else np.asarray(result)
