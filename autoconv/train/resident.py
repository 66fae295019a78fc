"""Steps that a GPU does by itself: the data, the running sums and the step, noted once, lie in its memory.

The host says which batch comes next, draws the few numbers that change, and looks at the sums when somebody wants to
see them. `Steps` train or evaluate, `Answers` predict.
"""

from typing import Any, cast

import numpy as np

from .. import losses as losses_module
from .. import metrics as metrics_module
from .. import optimizers as optim
from ..backend.recording import Recording
from ..tensor import Tensor, no_grad
from .batches import Batches
from .replay import Remembered, comes_with_autoconv, is_plain

SHARE = 0.5  # of the device's free memory: what a data set may take
_READ = [np.dtype(kind) for kind in "?bBhHiIf"]  # inputs of these types kernels read as they are


class Feed:
    """A data set as batches on a device: all of it there, where it fits, else sent batch by batch.

    `labels`: the targets are whole numbers that name classes. `go_to(i)` comes before each step; `batch(n)` is a part
    of the step that is noted.
    """

    def __init__(self, batches: Batches, labels: bool) -> None:
        self._batches, self._device, self._labels = batches, cast(Any, batches.device), labels
        size = sum(a.size * self._plain(a[:0], j).dtype.itemsize for j, a in enumerate(batches.data) if a is not None)
        self._fits = size <= SHARE * self._device.memory_left()
        self._sent: dict[int, list[Any]] = {}
        self._first = 0
        if self._fits:
            self._there = [None if a is None else self._device.asarray(self._plain(a, j))
                           for j, a in enumerate(batches.data)]
            self._order = self._device.asarray(batches.order())

    def shuffled(self) -> None:
        """The batches have a new order."""
        if self._fits:
            self._order[...] = self._batches.order()

    def go_to(self, i: int) -> int:
        """Makes minibatch i the next one. Returns how many samples it has."""
        rows = self._batches.rows(i)
        self._first, n = i * self._batches.batch_size, len(rows)
        if not self._fits:
            self._send(i, n)
        return n

    def first(self) -> int:
        """The place of the batch's first sample in the order."""
        return self._first

    def batch(self, n: int) -> list[Any]:
        """x (n, ...) in the model's dtype, the targets and the weights, or None, of the batch that is the next one."""
        k = self._device.room("resident")
        arrays: list[Any] = []
        first = self._device.varying(self.first, np.int64) if self._fits else None
        for j, source in enumerate(self._there if self._fits else self._sent[n]):
            if source is None:
                arrays.append(None)
                continue
            dtype = self._batches.dtype if j == 0 else source.dtype
            arrays.append(self._device.empty((n, *source.shape[1:]), dtype))
            if self._fits:
                k.take_rows(source, self._order, first, arrays[-1])
            else:
                arrays[-1][...] = source
        return arrays

    def _send(self, i: int, n: int) -> None:
        """From the host's memory into arrays that stay."""
        host = [None if a is None else self._plain(a, j) for j, a in enumerate(self._batches.host(i))]
        if n not in self._sent:
            self._sent[n] = [None if a is None else self._device.asarray(a) for a in host]
            return
        for source, there in zip(host, self._sent[n]):
            if there is not None:
                there[...] = source

    def _plain(self, array: np.ndarray, which: int) -> np.ndarray:
        """Inputs of few bytes, and those on a GPU, as they are, labels as int64, all else in the model's dtype."""
        if which == 0 and (array.dtype in _READ or not isinstance(array, np.ndarray)):
            return array
        if which == 1 and self._labels:
            with np.errstate(invalid="ignore"):
                whole = array.astype(np.int64)
            return whole if (whole == array).all() else array  # which no loss takes
        return array.astype(self._batches.dtype, copy=False)


class _ByItself:
    """Steps over the batches of a feed, noted for each size of a batch when it first comes."""

    def __init__(self, model: Any, batches: Batches, labels: bool = False) -> None:
        self._model, self._device, self._feed = model, model.device, Feed(batches, labels)
        self._noted: dict[int, Recording] = {}
        self._model_then = Remembered(model)
        self._whole = True

    def start(self) -> None:
        """Before the first batch of an epoch: the order is new, and the model may have been changed."""
        self._feed.shuffled()
        self.look_again()

    def look_again(self) -> None:
        """Forgets what was noted, if the model is not what it was then."""
        if not self._model_then.is_now():
            self._noted.clear()
            self._model_then = Remembered(self._model)

    def run(self, i: int) -> bool:
        """The step of minibatch i. Returns whether it was done: not where a step cannot be noted."""
        if not self._whole:
            return False
        n = self._feed.go_to(i)
        if n in self._noted:
            self._noted[n].again()
            self._ran_again()
        else:
            with self._device.recording() as recording:
                self._step(n, *self._feed.batch(n))
            self._noted[n] = recording
            self._whole = recording.whole
        self._count(n)
        return True

    def _step(self, n: int, x: Any, y: Any, weights: Any) -> None:
        raise NotImplementedError

    def _ran_again(self) -> None:
        """What the host does for a step that did not go through Python."""

    def _count(self, n: int) -> None:
        """After each step."""


class Steps(_ByItself):
    """Training or evaluation. The sums of the losses and of the metrics are on the device until `drain`."""

    def __init__(self, model: Any, batches: Batches, loss: Any, metrics: tuple, optimizer: Any = None) -> None:
        super().__init__(model, batches, isinstance(loss, losses_module.SparseCategoricalCrossentropy))
        self._loss, self._metrics, self._optimizer = loss, metrics, optimizer
        self._settings = self._settings_now()
        self._totals = self._device.asarray(np.zeros(_FIRST_METRIC + len(metrics)))
        self._values_of: dict[int, list[int]] = {}  # how many values each metric has of a batch of that size
        self._samples, self._values, self._drained = 0, [0] * len(metrics), 0

    def start(self) -> None:
        super().start()
        self._drained = 0

    def look_again(self) -> None:
        if self._optimizer is not None:
            self._optimizer.flat.adopt()  # from a model that shares them; a step must not note that it was done
        super().look_again()
        if self._settings != self._settings_now():
            self._noted.clear()
            self._settings = self._settings_now()
        if self._model.loss is not self._loss or self._optimizer not in (None, self._model.optimizer):
            self._whole = False  # a callback brought others, which are not known

    def drain(self, mean_loss: metrics_module.Mean) -> int | None:
        """Adds the sums so far to the means, and starts them anew. Returns the first step whose loss was no number."""
        host = self._device.numpy(self._totals)
        self._device.room("resident").clear(self._totals)
        mean_loss.total += float(host[0])
        mean_loss.count += self._samples
        for metric, total, values in zip(self._metrics, host[_FIRST_METRIC:], self._values):
            metric.total += float(total)
            metric.count += values
        bad = self._drained + int(host[2]) - 1 if host[2] else None
        self._drained += int(host[1])
        self._samples, self._values = 0, [0] * len(self._metrics)
        return bad

    def _step(self, n: int, x: Any, y: Any, weights: Any) -> None:
        k, targets = self._device.room("resident"), Tensor(y, device=self._device)
        if self._optimizer is None:
            with no_grad():
                y_pred = self._model(Tensor(x, device=self._device), training=False)
                values = self._loss.call(targets, y_pred)
            shares = self._shares(values, weights)
        else:
            flat = self._optimizer.flat
            flat.lend()
            try:
                y_pred = self._model(Tensor(x, device=self._device), training=True)
                values = self._loss.call(targets, y_pred)
                shares = self._shares(values, weights)
                values.backward(Tensor(shares, device=self._device))
                self._optimizer.apply([p.grad for p in flat.parameters])
            finally:
                flat.take_back()
        k.accumulate(values.data, shares, n, self._totals, 0)
        self._values_of[n] = []
        for j, metric in enumerate(self._metrics):
            found = metric.on_device(targets, y_pred.detach())
            ones = self._device.constant(np.ones(found.shape, found.dtype))
            k.accumulate(found, ones, 1.0, self._totals, _FIRST_METRIC + j)
            self._values_of[n].append(found.size)
        k.close_step(self._totals)

    def _shares(self, values: Tensor, weights: Any) -> Any:
        """How much each sample's loss counts, as `Loss.shares` has it."""
        shares = self._device.constant(self._loss.shares(values))
        if weights is None:
            return shares
        weighted = self._device.empty(values.shape, values.dtype)
        spread = weights.reshape(*weights.shape, *(1,) * (values.ndim - weights.ndim))
        self._device.room("arith").multiply(shares, spread, weighted)
        return weighted

    def _ran_again(self) -> None:
        if self._optimizer is not None:
            self._optimizer.iterations += 1

    def _count(self, n: int) -> None:
        self._samples += n
        self._values = [have + more for have, more in zip(self._values, self._values_of[n])]

    def _settings_now(self) -> dict[str, Any]:
        """The loss's numbers, and the optimizer's but for those that are drawn anew for each step."""
        optimizer = {} if self._optimizer is None else vars(self._optimizer)
        return {**vars(self._loss), **{name: optimizer[name] for name in _SETTINGS if name in optimizer}}


class Answers(_ByItself):
    """Predictions, which are on the device until all are there."""

    def __init__(self, model: Any, batches: Batches) -> None:
        super().__init__(model, batches)
        self._samples, self._outputs = len(batches.data), None  # type: ignore[var-annotated]

    def numpy(self) -> np.ndarray:
        """The outputs of all batches that were run, in their order: (N, ...)."""
        return self._device.numpy(self._outputs)

    def _step(self, n: int, x: Any, y: Any, weights: Any) -> None:
        with no_grad():
            outputs = self._model(Tensor(x, device=self._device), training=False).data
        if self._outputs is None:
            self._outputs = self._device.empty((self._samples, *outputs.shape[1:]), outputs.dtype)
        first = self._device.varying(self._feed.first, np.int64)
        self._device.room("resident").put_rows(outputs, first, self._outputs)


_FIRST_METRIC = 3  # what stands before the metrics' sums: see backend/cuda/resident.py, close_step
_SETTINGS = ("momentum", "nesterov", "rho", "epsilon", "centered", "beta_1", "beta_2", "weight_decay", "clipnorm",
             "clipvalue", "global_clipnorm")


def steps(model: Any, batches: Batches, loss: losses_module.Loss, metrics: tuple,
          optimizer: optim.Optimizer | None = None) -> Steps | None:
    """Steps that the model's device does by itself, or None where it cannot: on the CPU, with layers, losses, metrics
    or optimizers of the user's, which may do anything.
    """
    ours = [type(loss), getattr(loss, "_function", None), *map(type, metrics), type(optimizer)]
    known = is_plain(model) and all(of is type(None) or comes_with_autoconv(of) for of in ours)
    if not (model.device.resident and known and all(metric.on_device is not None for metric in metrics)):
        return None
    return Steps(model, batches, loss, metrics, optimizer)


def answers(model: Any, batches: Batches) -> Answers | None:
    """Predictions that the model's device makes by itself, or None where it cannot, or has no room for all of them."""
    each = np.prod([size or np.inf for size in model.output_shape[1:]]) * np.dtype(model.dtype).itemsize
    device = model.device
    if not (device.resident and is_plain(model)) or len(batches.data) * each > SHARE * device.memory_left():
        return None
    return Answers(model, batches)
