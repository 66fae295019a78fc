"""`Trainer`: what makes a layer a model that can be fitted, evaluated and asked, with Keras's methods and defaults."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import losses as losses_module
from .. import metrics as metrics_module
from .. import optimizers as optim
from ..backend import device as devices
from ..backend.turns import turn
from ..callbacks import Callback, CallbackList, History
from ..tensor import Parameter, Tensor, no_grad
from . import resident
from .batches import Batches, Data, check_data, class_weights, split_validation
from .progress import Progress, check_verbose
from .replay import Pass, Replays

Logs = dict[str, float]


class Trainer:
    """Mixed into a layer, gives it compile, fit, evaluate and predict.

    A step runs in a pool of buffers that it uses again and again; what is handed out is never written to again.
    """

    # What the layer brings.
    __call__: Callable[..., Tensor]
    build: Callable[[tuple[int | None, ...]], None]
    check_input: Callable[[tuple[int | None, ...]], None]
    built: bool
    output_shape: tuple[int | None, ...]
    trainable_weights: list[Parameter]
    rooms: tuple[str, ...]
    device: devices.Device
    dtype: str

    optimizer: optim.Optimizer | None = None
    loss: losses_module.Loss | None = None
    history: History | None = None
    stop_training = False
    _metrics_wanted: tuple = ()
    _metrics: tuple[metrics_module.Metric, ...] | None = None  # made at the first batch: "accuracy" depends on shapes
    _pool: devices.Pool | None = None
    _replays: Replays | None = None
    _mean_loss: metrics_module.Mean
    _nan_seen = False

    def compile(
        self, optimizer: str | optim.Optimizer = "rmsprop", loss: Any = None, metrics: Any = None
    ) -> None:
        """Says how to train: an optimizer and a loss, by name or as objects, and metrics to report.

        metrics: a list of names ("accuracy", "mse", ...), metrics, or functions `(y_true, y_pred)` on NumPy arrays.
        Raises ValueError for unknown names. Training so far is kept in the weights; the optimizer starts anew.
        """
        if isinstance(metrics, Mapping):
            raise ValueError(f"metrics must be a list, as a model has one output here. Received: {metrics!r}.")
        wanted = () if metrics is None else tuple(metrics) if isinstance(metrics, Sequence | set) and not isinstance(
            metrics, str) else (metrics,)
        given = [metrics_module.check(m) for m in wanted]
        if len(set(given)) < len(given):
            raise ValueError(f"Each metric needs a name of its own. Received: {given}.")
        self.loss = None if loss is None else losses_module.get(loss)
        self.optimizer, self._metrics_wanted, self._metrics = optim.get(optimizer), wanted, None
        self.stop_training = False

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        return ["loss", *(metrics_module.check(m) for m in self._metrics_wanted)]

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
        verbose: str | int = "auto", callbacks: Iterable[Callback] | Callback | None = None,
        validation_split: float = 0.0, validation_data: Sequence | None = None, shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None, sample_weight: Any = None, initial_epoch: int = 0,
        validation_batch_size: int | None = None, validation_freq: int = 1,
    ) -> History:
        """Trains for `epochs - initial_epoch` passes over x (N, ...) and y (N, ...). Returns the `History`.

        batch_size: 32 by default. validation_split: that share of the samples, the last ones, is only evaluated;
        validation_data: (x, y) or (x, y, sample_weight) instead. shuffle: a new order each epoch. class_weight: {class:
        weight}; sample_weight: (N,). Arrays of any number type are converted to the model's dtype batch by batch.
        All arguments are checked before anything runs. Warns when the loss is no longer a number. An interrupt leaves
        the weights as the last whole step left them.
        """
        loss = self._compiled_loss("fit")
        verbose = check_verbose(verbose)
        for name, value, least in (("epochs", epochs, 0), ("initial_epoch", initial_epoch, 0),
                                   ("validation_freq", validation_freq, 1)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}. Received: {value!r}.")
        data, validation = _training_and_validation(
            check_data(x, _targets(y), _weights(y, sample_weight, class_weight)), validation_split, validation_data
        )
        batches = self._batches(data, batch_size, loss)
        tests = None if validation is None else self._batches(validation, validation_batch_size or batch_size, loss)
        self._prepare_kernels((*self.optimizer.rooms, "random.bits", *loss.rooms), verbose)  # type: ignore[union-attr]
        self._build_optimizer()

        self.history, self.stop_training, self._nan_seen = History(), False, False
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        params = {"epochs": epochs, "steps": len(batches), "verbose": verbose}
        hooks = CallbackList([*given, self.history], self, params)
        hooks.call("on_train_begin", {})
        logs: Logs = {}
        steps = self._device_steps(batches, self.optimizer)
        test_steps = None if tests is None else self._device_steps(tests)
        for epoch in range(initial_epoch, epochs):
            hooks.call("on_epoch_begin", epoch, {})
            line = Progress(len(batches), verbose, f"Epoch {epoch + 1}/{epochs}")
            if shuffle:
                batches.shuffle()
            logs = self._train_epoch(batches, steps, epoch, hooks, line)
            if tests is not None and (epoch + 1) % validation_freq == 0:
                logs.update({f"val_{name}": value for name, value in self._test(tests, test_steps, hooks).items()})
            line.finish(logs)
            hooks.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        hooks.call("on_train_end", logs)
        self._pool = self._replays = None  # their buffers: much memory, and the next training may need other sizes
        return self.history

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto",
        sample_weight: Any = None, callbacks: Iterable[Callback] | None = None, return_dict: bool = False,
    ) -> Any:
        """The loss over x and y, with metrics `[loss, metric, ...]` (see `metrics_names`), or a dict of them."""
        loss = self._compiled_loss("evaluate")
        batches = self._batches(check_data(x, _targets(y), sample_weight), batch_size, loss)
        self._prepare_kernels(loss.rooms, verbose)
        hooks = CallbackList(callbacks or (), self, {"steps": len(batches), "verbose": check_verbose(verbose)})
        line = Progress(len(batches), verbose)
        logs = self._test(batches, self._device_steps(batches), hooks, line)
        line.finish(logs)
        return self._returned(logs, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto") -> np.ndarray:
        """The outputs for x (N, ...), batch by batch: an array (N, ...). Needs no compile()."""
        data = check_data(x)
        self._build_for(data)
        batches = Batches(data, batch_size, self.dtype, self.device)
        self._prepare_kernels((), verbose)
        line, outputs, by_itself = Progress(len(batches), verbose), None, resident.answers(self, batches)
        for i in range(len(batches)):
            if by_itself is not None and self._ran(by_itself, i):
                line.update(i + 1, dict)
                continue
            y = self._answer(batches[i][0])
            if outputs is None and by_itself is not None and i:
                outputs = by_itself.numpy()  # the device began, and found that it cannot go on by itself
            if outputs is None:
                outputs = np.empty((len(data), *y.shape[1:]), y.dtype)
            outputs[i * batches.batch_size :][: len(y)] = y
            line.update(i + 1, dict)
        if outputs is None:
            outputs = by_itself.numpy()  # type: ignore[union-attr]
        line.finish({})
        return outputs

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """The outputs for one batch x (N, ...) at once: the shortest way to an answer. Needs no compile()."""
        return self._answer(np.asarray(x))

    def _answer(self, x: np.ndarray) -> np.ndarray:
        """The outputs for one batch, in an array of their own."""
        with turn:
            return self.device.numpy(self._pass(x.shape).forward(x))

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch. Returns this batch's loss, with metrics `[loss, metric, ...]`, or a dict of them."""
        loss = self._compiled_loss("train_on_batch")
        data = check_data(x, _targets(y), _weights(y, sample_weight, class_weight))
        batches = self._batches(data, len(data), loss)
        self._build_optimizer()
        self._reset()
        self._train_step(batches, 0, loss)
        return self._returned(self._logs(), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of one batch, with metrics `[loss, metric, ...]`, or a dict of them. Nothing is trained."""
        loss = self._compiled_loss("test_on_batch")
        data = check_data(x, _targets(y), sample_weight)
        batches = self._batches(data, len(data), loss)
        self._reset()
        self._test_step(batches, 0, loss)
        return self._returned(self._logs(), return_dict)

    # One epoch, one step.

    def _train_epoch(self, batches: Batches, steps: resident.Steps | None, epoch: int, hooks: CallbackList,
                     line: Progress) -> Logs:
        """All steps of one epoch; the means over it. `steps` are the device's own, where it has such."""
        self._reset()
        begin, end = hooks.listeners("on_train_batch_begin"), hooks.listeners("on_train_batch_end")
        if steps is not None:
            steps.start()

        def so_far() -> Logs:
            bad = None if steps is None else steps.drain(self._mean_loss)
            if bad is not None:
                self._warn_once(self._mean_loss.total, epoch, bad)
            return self._logs()

        for i in range(len(batches)):
            for method in begin:
                method(i, {})
            if steps is not None and (begin or end):
                steps.look_again()  # the user's code ran
            if steps is None or not self._ran(steps, i):
                value = self._train_step(batches, i, self.loss)
                if not math.isfinite(value):
                    self._warn_once(value, epoch, i)
            if end:
                logs = so_far()
                for method in end:
                    method(i, logs)
            line.update(i + 1, so_far)
        return so_far()

    def _test(self, batches: Batches, steps: resident.Steps | None, hooks: CallbackList,
              line: Progress | None = None) -> Logs:
        """The means over a data set that is not trained on."""
        hooks.call("on_test_begin", {})
        self._reset()
        if steps is not None:
            steps.start()

        def so_far() -> Logs:
            if steps is not None:
                steps.drain(self._mean_loss)
            return self._logs()

        for i in range(len(batches)):
            if steps is None or not self._ran(steps, i):
                self._test_step(batches, i, self.loss)
            if line is not None:
                line.update(i + 1, so_far)
        logs = so_far()
        hooks.call("on_test_end", logs)
        return logs

    @staticmethod
    def _ran(by_itself: Any, i: int) -> bool:
        """Whether the device did minibatch i by itself."""
        with turn:
            return by_itself.run(i)

    def _device_steps(self, batches: Batches, optimizer: Any = None) -> resident.Steps | None:
        """The steps over these batches that the device does by itself, where it can; training with an optimizer."""
        if not self.device.resident or (optimizer is not None and optimizer.flat is None):
            return None
        if self._metrics is None:
            self._make_metrics(batches.data.y.shape, self.output_shape)  # type: ignore[union-attr]
        return resident.steps(self, batches, self.loss, self._metrics, optimizer)  # type: ignore[arg-type]

    def _train_step(self, batches: Batches, i: int, loss: Any) -> float:
        """Forward, loss, backward, update. Returns the batch's loss."""
        optimizer: Any = self.optimizer
        flat = optimizer.flat
        with turn, devices.reusing(self._step_pool()):
            x, y, weights = batches[i]
            if flat is not None:
                flat.adopt()
            step = self._pass(x.shape, training=True)
            y_pred = Tensor(step.forward(x), flat is not None, self.device)
            values = loss.call(y, y_pred)
            shares = loss.shares(values, weights)
            if flat is not None:
                values.backward(shares)
                optimizer.apply(step.backward(y_pred.grad, flat))
            return self._account(loss, values, shares, y, y_pred)

    def _test_step(self, batches: Batches, i: int, loss: Any) -> None:
        with turn, devices.reusing(self._step_pool()), no_grad():
            x, y, weights = batches[i]
            y_pred = Tensor(self._pass(x.shape).forward(x), device=self.device)
            values = loss.call(y, y_pred)
            self._account(loss, values, loss.shares(values, weights), y, y_pred)

    def _pass(self, shape: tuple[int, ...], training: bool = False) -> Pass:
        if self._replays is None:
            self._replays = Replays()
        return self._replays.of(self, shape, training)

    def _account(self, loss: Any, values: Tensor, shares: np.ndarray, y: Any, y_pred: Tensor) -> float:
        """Adds a batch to the running means. Returns its loss."""
        value = float((values.numpy() * shares).sum(dtype=np.float64))
        self._mean_loss.total += value * len(y)
        self._mean_loss.count += len(y)
        if self._metrics is None:
            self._make_metrics(y.shape, y_pred.shape)
        outputs = y_pred.numpy()
        for metric in self._metrics:  # type: ignore[union-attr]
            metric.update_state(y, outputs)
        return value

    def _make_metrics(self, y_shape: tuple[int, ...], outputs_shape: tuple[int | None, ...]) -> None:
        self._metrics = tuple(metrics_module.get(m, y_shape, outputs_shape) for m in self._metrics_wanted)
        for metric in self._metrics:
            metric.reset_state()  # it may have served another model

    def _reset(self) -> None:
        self._mean_loss = metrics_module.Mean("loss")
        for metric in self._metrics or ():
            metric.reset_state()

    def _logs(self) -> Logs:
        return {"loss": self._mean_loss.result(), **{m.name: float(m.result()) for m in self._metrics or ()}}

    @staticmethod
    def _returned(logs: Logs, return_dict: bool) -> Any:
        return logs if return_dict else list(logs.values()) if len(logs) > 1 else logs["loss"]

    def _warn_once(self, value: float, epoch: int, step: int) -> None:
        if not self._nan_seen:
            self._nan_seen = True
            warnings.warn(
                f"The loss became {value} in epoch {epoch + 1}, step {step + 1}. The usual causes are a learning rate "
                "that is too high and inputs that are not scaled to about [-1, 1] or hold NaN.", RuntimeWarning, 4,
            )

    # What comes before the first step.

    def _compiled_loss(self, method: str) -> losses_module.Loss:
        if self.optimizer is None:
            raise ValueError(f"Call compile() before {method}(), e.g. model.compile('adam', "
                             "'sparse_categorical_crossentropy', ['accuracy']).")
        if self.loss is None:
            raise ValueError(f"{method}() needs a loss: model.compile(..., loss='sparse_categorical_crossentropy').")
        return self.loss

    def _batches(self, data: Data, batch_size: int | None, loss: losses_module.Loss) -> Batches:
        """The minibatches, after a look at the targets; builds the model where it is not built."""
        output_shape = self._build_for(data)
        loss.check_targets(data.y, output_shape)  # type: ignore[arg-type]
        return Batches(data, batch_size, self.dtype, self.device)

    def _build_for(self, data: Data) -> tuple[int | None, ...]:
        """The shape of the outputs for this data, from a model that is built and was asked whether the data fit."""
        if not self.built:
            self.build((None, *data.x.shape[1:]))
        self.check_input(data.x.shape)
        return self.output_shape

    def _build_optimizer(self) -> None:
        parameters = self.trainable_weights
        if parameters:
            self.optimizer.build(parameters)  # type: ignore[union-attr]
        else:
            warnings.warn("The model has no trainable weights, so nothing is trained.", stacklevel=3)

    def _step_pool(self) -> devices.Pool:
        if self._pool is None:
            self._pool = devices.Pool()
        return self._pool

    def _prepare_kernels(self, rooms: Iterable[str], verbose: str | int) -> None:
        """Compiles, once a machine, what the first step would otherwise have to wait for, and says so."""
        line, wanted = Progress(0, verbose), {*self.rooms, *rooms}
        self.device.prepare(wanted, self.dtype, line.compiling)


def _targets(y: Any) -> Any:
    if y is None:
        raise ValueError("y is missing: the targets are passed as an array of their own. Received: y=None.")
    return y


def _weights(y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """The weights of the samples, from whichever of the two was given."""
    if class_weight is None:
        return sample_weight
    if sample_weight is not None:
        raise ValueError("Only one of class_weight and sample_weight can be given. Received both.")
    return class_weights(np.asarray(y), class_weight)


def _training_and_validation(data: Data, share: float, given: Sequence | None) -> tuple[Data, Data | None]:
    if given is not None:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError("validation_data must be (x, y) or (x, y, sample_weight). "
                             f"Received: {type(given).__name__} of length {len(given)}.")
        return data, check_data(given[0], _targets(given[1]), *given[2:])
    return split_validation(data, share) if share else (data, None)
