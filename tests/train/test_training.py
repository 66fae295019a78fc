"""fit, evaluate and predict: what they compute, show and refuse, and that they overwrite nobody's data."""

import io
import os
import re
import sys
import threading
import time
import warnings

import numba
import numpy as np
import pytest

import autoconv as ac
from autoconv import callbacks, layers, losses, models, utils
from autoconv import optimizers as optim
from autoconv.train.progress import Progress

CLASSES = 3


def problem(n=90, dtype="float32", seed=0):
    """Points around three centres, their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    x = rng.normal(size=(n, 4)) + 4 * np.eye(CLASSES, 4)[y]
    return x.astype(dtype), y


def net(*middle, units=CLASSES, activation="softmax"):
    return models.Sequential([layers.Input((4,)), *middle, layers.Dense(units, activation=activation)])


def compiled(*middle, optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=("accuracy",), **kwargs):
    utils.set_random_seed(7)
    model = net(*middle, **kwargs)
    model.compile(optimizer, loss, metrics=metrics)
    return model


class Stash(layers.Layer):
    """Keeps every input it gets, as a user's layer might."""

    def __init__(self, take=lambda data: data):
        super().__init__()
        self.take, self.seen = take, []

    def call(self, x, training=False):
        array = self.take(x.data)
        self.seen.append((array, array.copy()))
        return x


# What is computed.


def test_fit_learns():
    x, y = problem()
    model = compiled(layers.Dense(8, "relu"), optimizer=optim.Adam(0.02))
    history = model.fit(x, y, epochs=15, validation_data=problem(30, seed=1), verbose=0)
    assert history is model.history
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.epoch == list(range(15))
    assert all(type(v) is float for values in history.history.values() for v in values)
    assert history.history["val_accuracy"][-1] > 0.9
    assert history.history["loss"][-1] < history.history["loss"][0] / 2


def test_an_epoch_is_steps_of_gradient_descent_on_batches_of_32_and_a_smaller_one():
    x, y = problem(70, "float64")
    model = compiled(optimizer=optim.SGD(0.5))
    w, b = (a.astype("float64") for a in model.get_weights())
    total, hits = 0.0, 0
    for rows in (slice(0, 32), slice(32, 64), slice(64, 70)):
        xs, t = x[rows], np.eye(CLASSES)[y[rows]]
        z = xs @ w + b
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        total -= np.log(p[t == 1]).sum()
        hits += (p.argmax(1) == y[rows]).sum()
        dz = (p - t) / len(xs)
        w, b = w - 0.5 * xs.T @ dz, b - 0.5 * dz.sum(0)
    logs = model.fit(x, y, shuffle=False, verbose=0).history
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], b, rtol=1e-4, atol=1e-5)
    assert logs["loss"] == pytest.approx([total / 70], rel=1e-5)
    assert logs["accuracy"] == pytest.approx([hits / 70])


def test_evaluate_and_predict():
    x, y = problem(70)
    model = compiled()
    p = model.predict(x, batch_size=32, verbose=0)
    expected = [-np.log(p[np.arange(70), y]).mean(), (p.argmax(1) == y).mean()]
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(
        dict(zip(["loss", "accuracy"], expected)), rel=1e-5)
    assert model.metrics_names == ["loss", "compile_metrics"]
    model.compile(loss="sparse_categorical_crossentropy")
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(x), p, rtol=1e-5)


def test_predictions_need_no_compile():
    x, _ = problem(10)
    model = net()
    np.testing.assert_allclose(model.predict(x, verbose=0), model.predict_on_batch(x), rtol=1e-6)


def test_evaluation_does_not_train():
    x, y = problem(40)
    model = compiled(layers.BatchNormalization(), layers.Dropout(0.5))
    before = model.get_weights()
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert model.test_on_batch(x, y) == pytest.approx(model.evaluate(x, y, batch_size=40, verbose=0))
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_steps_on_single_batches_report_that_batch():
    x, y = problem(64)
    model, twin = compiled(), compiled()
    first = twin.test_on_batch(x[:32], y[:32])
    assert model.train_on_batch(x[:32], y[:32]) == pytest.approx(first)
    second = model.test_on_batch(x[32:], y[32:], return_dict=True)
    assert model.train_on_batch(x[32:], y[32:], return_dict=True) == pytest.approx(second)
    twin.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", ">f4", "float16", "bool"])
def test_inputs_of_any_number_type_become_float32(dtype):
    x, y = problem(50)
    x = np.abs(x * 20).astype(dtype)
    results = []
    for given in (x, x.astype("float32")):
        model = compiled()
        model.fit(given, y, verbose=0)
        results.append((model.get_weights()[0], model.predict(given, verbose=0), model.predict_on_batch(given)))
    for a, b in zip(*results):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def test_pixels_and_one_hot_targets_that_are_bytes():
    x, y = problem(50)
    x, y = np.abs(x * 20).astype(np.uint8), np.eye(CLASSES, dtype=np.uint8)[y]
    x.flags.writeable = False  # as a mapped file is
    results = []
    for dtype in (np.uint8, np.float32):
        model = compiled(loss="categorical_crossentropy")
        model.fit(x.astype(dtype, copy=False), y.astype(dtype, copy=False), batch_size=7, verbose=0)
        results.append((model.get_weights()[0], model.evaluate(x.astype(dtype), y.astype(dtype), verbose=0)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_arrays_that_are_lists_strided_or_read_only():
    x, y = problem(50)
    wide = np.repeat(x, 2, axis=1)
    readonly = x.copy()
    readonly.flags.writeable = False
    results = []
    for given in (x, x.tolist(), wide[:, ::2], np.asfortranarray(x), readonly):
        model = compiled()
        model.fit(given, y.tolist(), verbose=0)
        results.append(model.get_weights()[0])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize(("loss", "targets"), [
    ("categorical_crossentropy", lambda y: utils.to_categorical(y)),
    ("sparse_categorical_crossentropy", lambda y: y[:, None].astype("uint8")),
])
def test_one_hot_and_integer_labels_are_the_same(loss, targets):
    x, y = problem(50)
    model, twin = compiled(loss=loss), compiled()
    histories = [m.fit(x, t, shuffle=False, verbose=0).history for m, t in ((model, targets(y)), (twin, y))]
    assert histories[0] == histories[1]


def test_regression_and_two_classes():
    x, y = problem(60)
    model = compiled(loss="mse", metrics=["mae"], units=1, activation=None)
    logs = model.fit(x, x.sum(1), epochs=5, verbose=0).history
    assert logs["mae"][-1] < logs["mae"][0]
    model = compiled(loss="binary_crossentropy", units=1, activation="sigmoid", optimizer=optim.SGD(0.5))
    assert model.fit(x, y == 0, epochs=10, verbose=0).history["accuracy"][-1] > 0.9


def test_a_loss_of_your_own():
    x, y = problem(40)

    def mine(y_true, y_pred):
        return ((y_pred - y_true) ** 2).mean()

    model, twin = compiled(loss=mine, metrics=None), compiled(loss="mse", metrics=None)
    one_hot = utils.to_categorical(y).astype("float32")
    for m in (model, twin):
        m.fit(x, one_hot, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], twin.get_weights()[0], rtol=1e-5)


# The samples: their order, their share, their weight.


def seen_in_training(model):
    return np.concatenate([copy for _, copy in model.layers[0].seen])


def test_validation_split_takes_the_last_samples_before_shuffling():
    x, y = problem(50)
    stash = Stash()
    model = compiled(stash)
    stash.seen.clear()
    logs = model.fit(x, y, validation_split=0.3, epochs=1, verbose=0).history
    seen = seen_in_training(model)
    np.testing.assert_array_equal(np.sort(seen[:35], axis=0), np.sort(x[:35], axis=0))
    np.testing.assert_array_equal(seen[35:], x[35:])
    assert model.evaluate(x[35:], y[35:], verbose=0) == pytest.approx([logs["val_loss"][0], logs["val_accuracy"][0]])


def test_shuffle_is_new_each_epoch_and_repeated_by_the_seed():
    x, y = problem(40)
    orders = []
    for _ in range(2):
        model = compiled(Stash())
        model.layers[0].seen.clear()
        model.fit(x, y, epochs=2, verbose=0)
        orders.append(seen_in_training(model))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0][:40] != x).any()
    assert (orders[0][:40] != orders[0][40:]).any()


def test_labels_stay_with_their_samples():
    x = np.repeat(np.arange(CLASSES, dtype="float32")[:, None], 4, 1).repeat(30, 0)
    y = x[:, 0].astype(int)
    seen = []

    class Check(losses.SparseCategoricalCrossentropy):
        def call(self, y_true, y_pred):
            seen.append((model.layers[0].seen[-1][1][:, 0], np.array(y_true)))
            return super().call(y_true, y_pred)

    model = compiled(Stash(), loss=Check())
    model.fit(x, y, epochs=2, verbose=0)
    assert len(seen) == 6
    for inputs, labels in seen:
        np.testing.assert_array_equal(inputs, labels)


def test_class_and_sample_weights_are_the_same_thing():
    x, y = problem(50)
    weights = np.array([1.0, 0.5, 3.0])
    results = []
    for targets, given in ((y, {"class_weight": dict(enumerate(weights))}), (y, {"sample_weight": weights[y]}),
                           (y[:, None], {"class_weight": dict(enumerate(weights))})):
        model = compiled()
        history = model.fit(x, targets, verbose=0, **given).history
        results.append((model.get_weights()[0], history["loss"]))
    for weight, loss in results[1:]:
        np.testing.assert_array_equal(weight, results[0][0])
        assert loss == results[0][1]
    unweighted = compiled()
    assert unweighted.fit(x, y, verbose=0).history["loss"] != results[0][1]


def test_a_class_without_a_weight_counts_once():
    x, y = problem(60)
    weights = []
    for given in ({0: 3.0}, {0: 3.0, 1: 1.0, 2: 1.0}):
        model = compiled()
        model.fit(x, y, shuffle=False, verbose=0, class_weight=given)
        weights.append(model.get_weights())
    for a, b in zip(*weights):
        np.testing.assert_array_equal(a, b)


def test_class_weights_do_not_weigh_the_validation_loss():
    x, y = problem(50)
    split = compiled()
    history = split.fit(x, y, verbose=0, class_weight={0: 1.0, 1: 0.5, 2: 3.0}, validation_split=0.2).history
    assert history["val_loss"][-1] == pytest.approx(split.evaluate(x[40:], y[40:], verbose=0)[0], rel=1e-6)


def test_weight_zero_leaves_a_sample_out_of_the_gradient():
    x, y = problem(32)
    model, twin = compiled(), compiled()
    weights = np.r_[np.ones(16), np.zeros(16)]
    loss = model.train_on_batch(x, y, sample_weight=weights)[0]
    assert loss == pytest.approx(twin.test_on_batch(x[:16], y[:16])[0] / 2)
    twin.compile(optim.SGD(0.005), twin.loss)
    twin.train_on_batch(x[:16], y[:16])  # half the rate, as the mean is over half the samples
    np.testing.assert_allclose(model.get_weights()[0], twin.get_weights()[0], rtol=1e-5)


# Reuse of buffers, threads, interrupts.


@pytest.mark.parametrize("take", [lambda d: d, lambda d: d[:1], lambda d: d.reshape(-1), lambda d: d.T[1]],
                         ids=["whole", "rows", "reshaped", "transposed"])
def test_what_a_layer_keeps_is_never_overwritten(take):
    x, y = problem(70)
    first, second = Stash(take), Stash(take)
    model = compiled(first, layers.Dense(5, "relu"), second)
    model.fit(x, y, batch_size=16, epochs=2, validation_split=0.3, verbose=0)
    model.evaluate(x, y, batch_size=16, verbose=0)
    assert len(first.seen) > 10
    for kept, copy in first.seen + second.seen:
        np.testing.assert_array_equal(kept, copy)


@pytest.mark.parametrize("take", [lambda p: p, lambda p: p[0], lambda p: p[:, 1], lambda p: p.T],
                         ids=["whole", "row", "column", "transposed"])
def test_predictions_that_are_kept_are_never_overwritten(take):
    x, _ = problem(40)
    model = net()
    for method in (model.predict_on_batch, lambda x: model.predict(x, verbose=0)):
        kept = [take(method(x[i : i + 4])) for i in range(0, 40, 4)]
        expected = model.predict(x, batch_size=4, verbose=0)
        for i, p in enumerate(kept):
            np.testing.assert_allclose(p, take(expected[4 * i : 4 * i + 4]), rtol=1e-6)


def test_a_users_arrays_are_never_changed():
    x, y = problem(50)
    kept = x.copy()
    model = compiled(layers.Activation("relu"), layers.BatchNormalization())
    model.fit(x, y, shuffle=False, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(x, kept)


def test_weights_that_were_read_stay_as_they_were():
    x, y = problem(50)
    model = compiled()
    kept = [w.numpy() for w in model.weights] + model.get_weights()
    copies = [k.copy() for k in kept]
    model.fit(x, y, verbose=0)
    for a, b in zip(kept, copies):
        np.testing.assert_array_equal(a, b)
    assert (model.get_weights()[0] != kept[0]).any()


def test_same_bits_for_any_number_of_threads():
    x, y = problem(100)
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        model = compiled(layers.Dense(64, "relu"), layers.Dropout(0.2), optimizer="adam")
        results.append((model.fit(x, y, epochs=2, verbose=0).history, model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1]):
        np.testing.assert_array_equal(a, b)


def test_models_asked_from_several_threads_take_turns():
    class Crowd(layers.Layer):
        """Counts the threads that are in it at one time."""

        inside = most = 0

        def call(self, x, training=False):
            Crowd.inside += 1
            Crowd.most = max(Crowd.most, Crowd.inside)
            time.sleep(0.002)
            Crowd.inside -= 1
            return x

    x, _ = problem(8)
    model, other = net(Crowd()), net(Crowd())
    expected = [model.predict_on_batch(row[None]) for row in x]
    wrong = []

    def ask():
        for row, wanted in zip(x, expected):
            other.predict(row[None], verbose=0)
            if not np.array_equal(model.predict_on_batch(row[None]), wanted):
                wrong.append(row)

    workers = [threading.Thread(target=ask) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert Crowd.most == 1
    assert not wrong


def test_an_interrupt_keeps_the_last_whole_step():
    x, y = problem(64)

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.weights = self.model.get_weights()
                raise KeyboardInterrupt

    stop, model = Stop(), compiled()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=16, callbacks=stop, verbose=0)
    for a, b in zip(stop.weights, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, verbose=0)  # and it can go on


def test_an_interrupt_within_a_step_keeps_the_weights():
    x, y = problem(64)

    class Stop(layers.Layer):
        armed = False

        def call(self, x, training=False):
            if self.armed:
                raise KeyboardInterrupt
            return x

    stop = Stop()
    model = compiled(layers.Dense(4), stop)
    model.fit(x, y, verbose=0)
    before, stop.armed = model.get_weights(), True
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert all(w.grad is None and w._grad_buffer is None for w in model.trainable_weights)


# Optimizer and weights.


def test_fitting_twice_continues():
    x, y = problem(50)
    model, twin = compiled(optimizer="adam"), compiled(optimizer="adam")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    history = model.fit(x, y, epochs=3, initial_epoch=2, shuffle=False, verbose=0)
    twin.fit(x, y, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])
    assert history.epoch == [2]
    assert model.optimizer.iterations == 6


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["arrays", "sequence"])
def test_a_training_goes_on_from_an_initial_epoch_as_if_it_had_not_stopped(shuffle, kind):
    """The same order of samples, the same dropout masks, so the same bits."""
    x, y = problem(50)
    weights = []
    for parts in ([4], [2, 4], [1, 2, 3, 4]):
        utils.set_random_seed(3)
        model = models.Sequential([layers.Input(x.shape[1:]), layers.Dense(8, "relu"), layers.Dropout(0.3),
                                   layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        for first, last in zip([0, *parts], parts):
            of = (x, y) if kind == "arrays" else (Sequence(x, y),)
            model.fit(*of, epochs=last, initial_epoch=first, shuffle=shuffle, verbose=0)
        weights.append(model.get_weights())
    for others in weights[1:]:
        for a, b in zip(weights[0], others):
            np.testing.assert_array_equal(a, b)


def test_a_new_training_has_a_new_order():
    """Only an initial_epoch goes on; a second `fit` begins a training of its own."""
    x, y = problem(50)
    seen = []
    for first in (0, 1):
        utils.set_random_seed(3)
        model = compiled(optimizer="sgd")
        model.fit(x, y, epochs=1, verbose=0)
        model.fit(x, y, epochs=1 + first, initial_epoch=first, verbose=0)
        seen.append(model.get_weights()[0])
    assert not np.array_equal(*seen)


class Sequence:
    """Batches by their number, as Keras's PyDataset gives them."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 10

    def __getitem__(self, i):
        return self.x[10 * i : 10 * i + 10], self.y[10 * i : 10 * i + 10]


def test_compiling_again_starts_the_optimizer_anew_and_keeps_the_weights():
    x, y = problem(50)
    model = compiled(optimizer="adam")
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy")
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 2


def test_weights_set_between_two_fits_are_what_is_trained():
    x, y = problem(32)
    model, twin = compiled(), compiled()
    start = [np.ones_like(w) for w in model.get_weights()]
    model.fit(x, y, verbose=0)
    for m in (model, twin):
        m.set_weights(start)
        m.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])


def test_frozen_layers_stay():
    x, y = problem(50)
    model = net(layers.Dense(4, "relu"))
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[2] != after[2]).any()


def test_freezing_needs_no_second_compile():
    x, y = problem(50)
    model = compiled(layers.Dense(4))
    model.fit(x, y, verbose=0)
    model.layers[0].trainable = False
    (kernel, _), (trained, _) = (layer.get_weights() for layer in model.layers)
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], kernel)
    assert (model.layers[1].get_weights()[0] != trained).any()


def test_a_model_without_trainable_weights_says_so():
    x, y = problem(20)
    model = compiled()
    model.trainable = False
    before = model.get_weights()
    with pytest.warns(UserWarning, match="no trainable weights"):
        model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_two_models_that_share_a_layer():
    x, y = problem(40)
    shared = layers.Dense(4, "relu")
    one = models.Sequential([layers.Input((4,)), shared, layers.Dense(CLASSES, "softmax")])
    two = models.Sequential([layers.Input((4,)), shared, layers.Dense(CLASSES, "softmax")])
    for model in (one, two):
        model.compile("sgd", "sparse_categorical_crossentropy")
    for model in (one, two, one):
        before = shared.get_weights()[0]
        model.fit(x, y, verbose=0)
        assert (shared.get_weights()[0] != before).any()
        np.testing.assert_array_equal(one.get_weights()[0], two.get_weights()[0])


# What is refused.


@pytest.mark.parametrize(("arguments", "message"), [
    ({"epochs": -1}, "epochs must be an integer of at least 0.*-1"),
    ({"epochs": 1.5}, "epochs"),
    ({"initial_epoch": -1}, "initial_epoch"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1.*0"),
    ({"batch_size": 2.0}, "batch_size"),
    ({"validation_split": 1.0}, r"\[0, 1\).*1.0"),
    ({"validation_split": -0.1}, r"\[0, 1\)"),
    ({"validation_split": 0.999}, "must each contain at least one sample"),
    ({"validation_data": np.zeros(3)}, r"validation_data must be \(x, y\)"),
    ({"verbose": 3}, "verbose must be"),
    ({"class_weight": [2, 1, 1]}, r"must be a dict .class: weight.*Received: \[2, 1, 1\].*dict\(enumerate"),
    ({"class_weight": {"0": 2.0}}, "class_weight must be a dict .class: weight"),
    ({"class_weight": {0: 1.0, 1: 1.0, 2: 1.0}, "sample_weight": np.ones(90)}, "Only one of class_weight"),
    ({"sample_weight": np.ones(3)}, "90 and 3"),
    ({"sample_weight": np.ones((90, 2))}, "one number per sample"),
    ({"y": np.zeros(89, int)}, "x and y must have the same number of samples.*90 and 89"),
    ({"y": np.full(90, 3)}, r"Labels must be in 0\.\.2 for .* 3 outputs.*from 3 to 3.*needs 4 units"),
    ({"y": np.full(90, -1)}, "from -1"),
    ({"y": np.eye(90, 4)}, "integer label"),
    ({"y": None}, "y is missing"),
    ({"x": np.zeros((0, 4)), "y": np.zeros(0)}, "no samples"),
    ({"x": np.zeros((90, 5))}, r"\(90, 5\)|\(None, 5\)"),
    ({"x": 3.0}, "first axis"),
])
def test_arguments_that_do_not_fit_are_refused_before_anything_runs(arguments, message):
    x, y = problem(90)
    model = compiled()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(**{"x": x, "y": y, "verbose": 0, **arguments})
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(("units", "labels", "message"), [
    (1, [0, 1], r"1 output\..*from 0 to 1\. For two classes it needs 2 units; or 1 with a sigmoid, and loss='binary_"),
    (1, [0, 2], "The last layer needs 3 units, one for each class"),
    (2, [1, 2], r"from 1 to 2\. Count the labels from 0"),
    (2, [-1, 0], r"from -1 to 0\. Number the classes from 0: classes, y = np\.unique\(y, return_inverse=True\)"),
    (3, [10, 30], r"from 10 to 30\. Number the classes from 0: classes, y = np\.unique"),
])
def test_labels_that_a_net_has_no_output_for(units, labels, message):
    model = net(units=units)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=message):
        model.fit(np.ones((2, 4)), np.array(labels), verbose=0)


@pytest.mark.parametrize(("method", "argument", "near"), [
    ("fit", "epoch", "epochs"), ("compile", "metric", "metrics"), ("predict", "batchsize", "batch_size"),
    ("evaluate", "return_dic", "return_dict"), ("train_on_batch", "sampleweight", "sample_weight"),
    ("test_on_batch", "sampleweight", "sample_weight"),
])
def test_a_misspelt_argument_is_answered_with_the_nearest_one(method, argument, near):
    said = rf"^Sequential\.{method} has no argument '{argument}'\. Did you mean '{near}'\?"
    with pytest.raises(TypeError, match=said):
        getattr(net(), method)(np.ones((1, 4)), **{argument: 1})


def test_validation_labels_are_checked_before_the_first_epoch():
    x, y = problem(50)
    model = compiled()
    with pytest.raises(ValueError, match="Labels must be"):
        model.fit(x, y, validation_data=(x, y + 1), verbose=0)
    assert model.optimizer.iterations == 0


def test_arrays_of_no_numbers():
    x, y = problem(10)
    model = compiled()
    with pytest.raises(TypeError, match=r"x must be an array of numbers.*list"):
        model.fit(["a"] * 10, y)
    with pytest.raises(TypeError, match="y must be an array of numbers"):
        model.fit(x, ["a"] * 10)
    with pytest.raises(TypeError, match="callback"):
        model.fit(x, y, callbacks=[callbacks.History], verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_compile_comes_first(method):
    x, y = problem(10)
    model = net()
    with pytest.raises(ValueError, match=rf"Call compile\(\) before {method}\(\)"):
        getattr(model, method)(x, y)
    model.compile("adam")
    with pytest.raises(ValueError, match="needs a loss"):
        getattr(model, method)(x, y)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"optimizer": "adm"}, "Did you mean 'adam'"),
    ({"loss": "categorical_crosentropy"}, "Did you mean 'categorical_crossentropy'"),
    ({"loss": "sparse_crossentropy"}, "Did you mean 'sparse_categorical_crossentropy'"),
    ({"metrics": ["acuracy"]}, "Did you mean 'accuracy'"),
])
def test_names_are_checked_by_compile(arguments, message):
    with pytest.raises(ValueError, match=message):
        net().compile(**arguments)


def test_a_loss_that_is_no_number_is_said_once():
    x, y = problem(50)
    x[40] = np.nan
    model = compiled()
    with pytest.warns(RuntimeWarning, match="became nan in epoch 1, step 3") as caught:
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__


# What is shown.


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def shown(stream, monkeypatch, run):
    monkeypatch.setattr(sys, "stdout", stream)
    run()
    monkeypatch.undo()
    return stream.getvalue()


def test_plain_output_is_one_line_an_epoch(monkeypatch):
    x, y = problem(70)
    model = compiled()
    text = shown(io.StringIO(), monkeypatch, lambda: model.fit(x, y, epochs=2, validation_split=0.5))
    lines = [line for line in text.splitlines() if not line.startswith("compiling")]
    number = r"\d\.\d{4}(e-\d+)?"
    for i, line in enumerate(lines, 1):
        assert re.fullmatch(rf"Epoch {i}/2 - 2/2 - 0s \d+(us|ms)/step - accuracy: {number} - loss: {number} "
                            rf"- val_accuracy: {number} - val_loss: {number}", line)
    assert len(lines) == 2


def test_a_terminal_shows_a_line_that_is_updated_in_place(monkeypatch):
    x, y = problem(70)
    model = compiled()
    monkeypatch.setattr("autoconv.train.progress.INTERVAL", 0.0)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    model.predict(x, verbose=0)
    text = shown(Terminal(), monkeypatch, lambda: model.fit(x, y, epochs=2))
    epochs = re.findall(r"Epoch (\d)/2\n(.*)\n", text)
    assert [e for e, _ in epochs] == ["1", "2"]
    updates = epochs[0][1].split("\r")[1:]
    assert len(updates) == 4  # one a step, and the last
    assert re.match("1/3 ━━━━━[━─]+ ", updates[0])
    assert all(len(u) < 80 for u in updates[:-1])
    assert re.fullmatch(r"3/3 ━{20} 0s \d+(us|ms)/step - accuracy: \d\.\d{4} - loss: \d\.\d{4} *", updates[-1])


def test_a_narrow_terminal_gets_no_bar_and_a_line_for_the_values_that_do_not_fit(monkeypatch):
    x, y = problem(70)
    model = compiled()
    monkeypatch.setattr("autoconv.train.progress.INTERVAL", 0.0)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    text = shown(Terminal(), monkeypatch, lambda: model.fit(x, y, validation_split=0.5))
    *_, last, more = text.splitlines()
    assert max(len(line) for line in text.replace("\r", "\n").splitlines()) < 60
    assert re.fullmatch(r"2/2 \d+s \d+(us|ms)/step - accuracy: \S+ - loss: \S+ *", last.rpartition("\r")[2])
    assert re.fullmatch(r"    - val_accuracy: \S+ - val_loss: \S+", more)


def test_evaluate_and_predict_show_their_progress(monkeypatch):
    x, y = problem(70)
    model = compiled()
    model.predict(x, verbose=0)
    assert re.fullmatch(r"3/3 - 0s \d+(us|ms)/step - accuracy: \S+ - loss: \S+\n",
                        shown(io.StringIO(), monkeypatch, lambda: model.evaluate(x, y)))
    assert re.fullmatch(r"3/3 - 0s \d+(us|ms)/step\n", shown(io.StringIO(), monkeypatch, lambda: model.predict(x)))
    assert re.search(r"^\r?3/3 ━{20} 0s .*\n$", shown(Terminal(), monkeypatch, lambda: model.predict(x)))


def test_verbose_0_and_2(monkeypatch):
    x, y = problem(20)
    model = compiled()
    assert shown(io.StringIO(), monkeypatch, lambda: model.fit(x, y, verbose=0)) == ""
    text = shown(Terminal(), monkeypatch, lambda: model.fit(x, y, verbose=2))
    assert text.count("\n") == 1
    assert "\r" not in text


def test_a_line_is_updated_ten_times_a_second_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    asked = []
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    line = Progress(100, 1, "Epoch 1/1")
    for step in range(1, 101):
        now[0] += 1 / 32
        line.update(step, lambda: asked.append(1) or {"loss": 1.0})
    line.finish({"loss": 0.00012345})
    assert len(asked) == 25
    assert " 52/100 ━━━━━━━━━━────────── 1s 31ms/step - loss: 1.0000" in stream.getvalue()
    assert stream.getvalue().endswith("\r100/100 ━━━━━━━━━━━━━━━━━━━━ 3s 31ms/step - loss: 1.2345e-04\n")


def test_an_output_without_these_characters(monkeypatch):
    class Ascii(Terminal):
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    line = Progress(2, 1)
    line.finish({})
    assert "==========" in sys.stdout.getvalue()
    assert sys.stdout.getvalue().isascii()


@pytest.mark.parametrize(("stream", "expected"), [
    (io.StringIO, "compiling kernels, first run only: 0/2\ncompiling kernels, first run only: 2/2\n"),
    (Terminal, "".join(f"\rcompiling kernels, first run only: {i}/2" for i in range(3)) + "\n"),
])
def test_compiling_is_said_in_one_line(stream, expected, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream())
    line = Progress(0)
    for done in range(3):
        line.compiling(done, 2)
    assert sys.stdout.getvalue() == expected


def test_no_output_at_all(monkeypatch):
    x, y = problem(20)
    model = compiled()
    monkeypatch.setattr(sys, "stdout", None)
    model.fit(x, y)
    monkeypatch.undo()
    assert model.optimizer.iterations == 1


def test_a_tensor_is_an_array_too():
    x, y = problem(20)
    model, twin = compiled(), compiled()
    model.fit(ac.tensor(x), y, shuffle=False, verbose=0)
    twin.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])


def test_training_warns_of_nothing_where_nothing_is_wrong():
    x, y = problem(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(optimizer="rmsprop").fit(x, y, verbose=0)
