"""What callbacks, losses and metrics of the user's may do while a model trains."""

import copy
import gc
import weakref
from collections import deque

import numpy as np
import pytest

from autoconv import callbacks, layers, losses, models, optimizers, utils
from autoconv import functional as F

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype("float32")
LABELS = RNG.integers(0, 3, 50)
Y = np.eye(3, dtype="float32")[LABELS]


def net(last=layers.Dense):
    utils.set_random_seed(0)
    return models.Sequential([layers.Input((6,)), layers.Dense(8, "relu"), last(3, "softmax")])


class Eager(layers.Dense):
    """A layer that is not recorded."""

    def call(self, x):
        return super().call(x)


def test_a_loss_that_reaches_the_outputs_in_another_way_later():
    weights = []
    for last in (layers.Dense, Eager):
        model, calls = net(last), []

        def changing(y, p, calls=calls):
            calls.append(1)
            return F.mean_squared_error(y, p) if len(calls) <= 3 else F.categorical_crossentropy(y, p)

        model.compile(optimizers.SGD(0.5), changing)
        for _ in range(6):
            model.train_on_batch(X, Y)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_array_equal(*weights)


def test_what_a_metric_or_a_loss_keeps_stays_as_it_was():
    kept = []

    def metric(y, p):
        kept.append((p, p.copy()))
        return np.zeros(len(y))

    def loss(y, p):
        kept.append((p.detach().numpy(), p.detach().numpy().copy()))
        return F.mean_squared_error(y, p)

    for how in ({"loss": "mse", "metrics": [metric]}, {"loss": loss}):
        model = net()
        model.compile("sgd", **how)
        model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    assert len(kept) == 20
    for values, before in kept:
        np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("change", [
    lambda m: setattr(m, "loss", "mae") or m.evaluate(X, Y, verbose=0), lambda m: m.compile("sgd", "mse"),
])
@pytest.mark.parametrize("stage", ["on_epoch_begin", "on_epoch_end", "on_train_batch_end"])
def test_another_loss_while_fit_runs_is_refused(change, stage):
    model = net()
    model.compile("sgd", "categorical_crossentropy")
    brings = callbacks.LambdaCallback(**{stage: lambda number, logs: change(model) if number == 1 else None})
    with pytest.raises(RuntimeError, match="between two calls of fit"):
        model.fit(X, Y, batch_size=10, epochs=3, verbose=0, callbacks=brings)


def test_an_evaluation_while_fit_runs_leaves_its_logs_alone():
    def both(model):
        model.test_on_batch(X[:3], Y[:3])
        model.evaluate(X, Y, verbose=0)

    logs = []
    for look in (lambda model: None, both):
        model = net()
        model.compile("sgd", "categorical_crossentropy")
        every = callbacks.LambdaCallback(on_train_batch_end=lambda batch, so_far, look=look, model=model: look(model))
        logs.append(model.fit(X, Y, batch_size=10, epochs=2, verbose=0, callbacks=every).history)
    assert logs[0] == logs[1]


def test_training_stops_after_the_batch_that_says_so():
    model, seen = net(), []
    model.compile("sgd", "mse")

    def stop(batch, logs):
        seen.append(batch)
        model.stop_training = batch == 2

    history = model.fit(X, Y, batch_size=10, epochs=3, verbose=0, validation_data=(X, Y),
                        callbacks=callbacks.LambdaCallback(on_train_batch_end=stop)).history
    assert seen == [0, 1, 2]
    assert len(history["loss"]) == len(history["val_loss"]) == 1


def test_data_are_let_go_of_also_after_an_interrupt():
    class Data(np.ndarray):
        """An array that can be watched."""

    def interrupt(batch, logs):
        raise KeyboardInterrupt

    model = net()
    model.compile("sgd", "mse")
    x = np.array(X).view(Data)
    watch = weakref.ref(x)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, Y, verbose=0, callbacks=callbacks.LambdaCallback(on_train_batch_end=interrupt))
    model.train_on_batch(x, Y)
    model.predict_on_batch(x)
    del x
    gc.collect()
    assert watch() is None


def test_a_shallow_copy_has_steps_of_its_own():
    model = models.Model((x := layers.Input((6,))), layers.Dense(3)(x))
    before = model.predict(X, verbose=0)
    other = copy.copy(model)
    np.testing.assert_array_equal(other.predict(X, verbose=0), before)


def test_forms_of_input_are_told_apart():
    class Either(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x["a"]) if isinstance(x, dict) else self.dense(x) * 0

    model = Either()
    assert model.predict_on_batch({"a": X}).any()
    assert not model.predict_on_batch(X).any()
    with pytest.raises(TypeError, match="array of numbers"):
        model.predict_on_batch(np.array([["1"] * 6]))


def test_contents_of_slots_and_queues_are_watched():
    class Box:
        __slots__ = ("factor",)

    class Scaled(layers.Layer):
        recordable = True

        def __init__(self):
            super().__init__()
            self.box, self.queue = Box(), deque([1.0])
            self.box.factor = 2.0

        def call(self, x):
            return x * self.box.factor * self.queue[0]

    layer = Scaled()
    model = models.Sequential([layers.Input((6,)), layer])
    np.testing.assert_allclose(model.predict_on_batch(X), 2 * X, rtol=1e-6)
    layer.box.factor = 5.0
    np.testing.assert_allclose(model.predict_on_batch(X), 5 * X, rtol=1e-6)
    layer.queue[0] = 3.0
    np.testing.assert_allclose(model.predict_on_batch(X), 15 * X, rtol=1e-6)


def test_labels_in_a_list_and_losses_that_give_no_number():
    model = net()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, list(LABELS), class_weight={0: 1, 1: 2, 2: 3}, verbose=0)
    model.compile("sgd", losses.MeanSquaredError(reduction="none"))
    with pytest.raises(ValueError, match="one number per batch"):
        model.fit(X, Y, verbose=0)
