"""Callbacks are called when Keras calls them and do what Keras's do."""

import csv
import sys

import numpy as np
import pytest

from autoconv import callbacks, layers, metrics, models, optimizers, utils

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


def fit(*given, epochs=3, **kwargs):
    utils.set_random_seed(0)
    model = models.Sequential([layers.Input((4,)), layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(X, Y, batch_size=20, epochs=epochs, verbose=0, callbacks=list(given), **kwargs), model


class Replay(callbacks.Callback):
    """Puts given values into the logs, as if training had gone so."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


def test_stages_come_in_order():
    seen = []

    class Listener(callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append("train")

        def on_train_end(self, logs=None):
            seen.append(("trained", sorted(logs)))

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(("epoch", epoch))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(("epoch done", epoch, sorted(logs)))

        def on_train_batch_begin(self, batch, logs=None):
            seen.append(("batch", batch))

        def on_train_batch_end(self, batch, logs=None):
            seen.append(("batch done", batch, sorted(logs)))

        def on_test_begin(self, logs=None):
            seen.append("test")

        def on_test_end(self, logs=None):
            seen.append(("tested", sorted(logs)))

    listener = Listener()
    _, model = fit(listener, epochs=1, validation_data=(X, Y))
    names = ["accuracy", "loss"]
    everything = [*names, "val_accuracy", "val_loss"]
    assert seen == [
        "train", ("epoch", 0), ("batch", 0), ("batch done", 0, names), ("batch", 1), ("batch done", 1, names),
        "test", ("tested", names), ("epoch done", 0, everything), ("trained", everything),
    ]
    assert listener.model is model
    assert listener.params == {"epochs": 1, "steps": 2, "verbose": 0}


def test_logs_of_a_batch_are_the_means_so_far():
    losses = []
    history, _ = fit(callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])),
                     epochs=1)
    assert history.history["loss"] == [losses[-1]]


def test_what_a_callback_logs_the_history_keeps():
    history, _ = fit(Replay([1.0, 2.0, 3.0], "mine"))
    assert history.history["mine"] == [1.0, 2.0, 3.0]


def test_a_callback_can_stop_training():
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    assert fit(Stop(), epochs=5)[0].epoch == [0, 1]


@pytest.mark.parametrize(("values", "arguments", "epochs"), [
    ([3, 2, 1, 0], {}, 4),
    ([3, 2, 2, 0], {}, 3),
    ([3, 2, 2, 2, 2], {"patience": 2}, 4),
    ([3, 2, 2, 1, 1, 1], {"patience": 2}, 6),
    ([3, 2.9, 2.8, 2.7], {"min_delta": 0.5, "patience": 2}, 3),
    ([1, 2, 3, 2], {"mode": "max"}, 4),
    ([3, 2, 1, 0], {"baseline": 0.5, "patience": 2}, 4),
    ([3, 2.5, 2.5, 0], {"baseline": 1.0, "patience": 2}, 3),
    ([1, 2, 3, 4, 5], {"start_from_epoch": 2}, 4),
    ([np.nan, np.nan, 1.0], {}, 2),
])
def test_early_stopping(values, arguments, epochs):
    history, _ = fit(Replay(values), callbacks.EarlyStopping(**arguments), epochs=len(values))
    assert len(history.epoch) == epochs


def test_early_stopping_knows_that_accuracy_grows():
    history, _ = fit(Replay([0.1, 0.5, 0.4], "val_accuracy"), callbacks.EarlyStopping("val_accuracy"), epochs=3)
    assert len(history.epoch) == 3
    history, _ = fit(Replay([0.5, 0.4, 0.6], "val_accuracy"), callbacks.EarlyStopping("val_accuracy"), epochs=3)
    assert len(history.epoch) == 2


def test_early_stopping_restores_the_best_weights():
    after = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(keep.model.get_weights()))
    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    _, model = fit(keep, Replay([3, 1, 2, 2, 0]), stop, epochs=5)
    assert (len(after), stop.best_epoch, stop.best) == (4, 1, 1)
    for a, b in zip(model.get_weights(), after[1]):
        np.testing.assert_array_equal(a, b)
    assert (after[1][0] != after[3][0]).any()


def test_a_value_that_is_not_there_is_said():
    with pytest.warns(UserWarning, match=r"EarlyStopping monitors 'val_loss', which is missing. Known: loss, accuracy"):
        history, _ = fit(callbacks.EarlyStopping(), epochs=1)
    assert history.epoch == [0]


def test_learning_rate_scheduler():
    history, model = fit(callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else 0.4))
    assert history.history["learning_rate"] == [0.4, 0.2, 0.1]
    assert model.optimizer.learning_rate == 0.1


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    history, _ = fit(callbacks.CSVLogger(path), epochs=2)
    fit(callbacks.CSVLogger(path, append=True), epochs=1)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert [float(row["loss"]) for row in rows[:2]] == history.history["loss"]
    fit(callbacks.CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().splitlines()[0] == "epoch;accuracy;loss;val_accuracy;val_loss"
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(("given", "remedy"), [
    ("early", r"Received: 'early'.*EarlyStopping\(\)\. Did you mean 'EarlyStopping'\?"),
    (["early"], "Received: 'early'"),
    ("CSVLogger", r"Pass an instance, such as CSVLogger\(\)\.$"),
    ([np.zeros(2)], r"Received: array\(\[0., 0.\]\)\. Pass an instance, such as callbacks\.EarlyStopping\(\)\.$"),
    (callbacks.EarlyStopping, r"Pass an instance, such as EarlyStopping\(\)"),
    ([callbacks.EarlyStopping(), print], "Received: <built-in function print>"),
    (3, "Received: 3"),
])
def test_what_is_no_callback_is_refused(given, remedy):
    _, model = fit(epochs=0)
    for method in (model.fit, model.evaluate):
        with pytest.raises(TypeError, match=rf"instance of callbacks\.Callback, or a list.*{remedy}"):
            method(X, Y, callbacks=given, verbose=0)


def test_lambda_callback_refuses_unknown_stages():
    with pytest.raises(ValueError, match=r"no argument 'on_epoch_ends'.*on_epoch_end"):
        callbacks.LambdaCallback(on_epoch_ends=print)


@pytest.mark.parametrize(("best_only", "saved"), [(False, [1, 2, 3, 4]), (True, [1, 3])])
def test_checkpoints(best_only, saved, monkeypatch):
    paths = []
    monkeypatch.setattr(models.Sequential, "save", lambda self, path: paths.append(path.name))
    checkpoint = callbacks.ModelCheckpoint("{epoch:02d}-{val_loss:.1f}.safetensors", save_best_only=best_only)
    fit(Replay([3, 4, 1, 2.0]), checkpoint, epochs=4)
    assert paths == [f"{n:02d}-{[3, 4, 1, 2][n - 1]:.1f}.safetensors" for n in saved]


@pytest.mark.parametrize("name", ["best.keras", "best.h5", "m.weights.h5", "{epoch}/{val_loss:.2f}.keras"])
def test_checkpoints_need_h5py_before_the_first_step(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    checkpoint = callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=name.endswith(".weights.h5"))
    steps = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: pytest.fail("a step began"))
    with pytest.raises(ImportError, match=r"ModelCheckpoint\('.*'\) needs h5py.*autoconv\[keras\]"):
        fit(checkpoint, steps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/best.safetensors", "file/new/{epoch}.safetensors", "gone.safetensors"])
def test_checkpoints_need_a_place_before_the_first_step(name, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "none" / "file")
    checkpoint = callbacks.ModelCheckpoint(tmp_path / name)
    steps = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: pytest.fail("a step began"))
    with pytest.raises(OSError, match=r"cannot write its file '.*': (Not a dir|No such file).* Choose"):
        fit(checkpoint, steps)
    fit(callbacks.ModelCheckpoint(tmp_path / "new" / "{epoch}" / "m.safetensors"), epochs=1)
    assert (tmp_path / "new" / "1" / "m.safetensors").is_file()


def test_what_is_said_goes_to_standard_output(capsys):
    fit(Replay([1, 2, 3]), callbacks.EarlyStopping(verbose=1), callbacks.LearningRateScheduler(lambda e, r: 0.5, 1))
    assert capsys.readouterr().out == (
        "\nEpoch 1: LearningRateScheduler setting learning rate to 0.5.\n"
        "\nEpoch 2: LearningRateScheduler setting learning rate to 0.5.\nEpoch 2: early stopping\n"
    )


def test_evaluating_in_a_callback_leaves_the_metrics_of_training_alone():
    def looked(batch, logs=None):
        each.append(logs["accuracy"])
        model.evaluate(X, Y, verbose=0)

    plain, _ = fit(epochs=2)
    utils.set_random_seed(0)
    model = models.Sequential([layers.Input((4,)), layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    each = []
    history = model.fit(X, Y, batch_size=20, epochs=2, verbose=0,
                        callbacks=callbacks.LambdaCallback(on_train_batch_end=looked))
    assert history.history == plain.history
    assert each[1::2] == history.history["accuracy"]


def test_a_metric_object_is_shared_by_fit_and_evaluate_as_in_keras():
    """`evaluate` starts its mean anew, and what comes later in the epoch is added. Keras 3 gives the same number."""
    x = np.arange(8, dtype=np.float32)[:, None]
    model = models.Sequential([layers.Input((1,)), layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((1, 1), np.float32)])
    model.compile(optimizers.SGD(1e-30), "mse", metrics=[metrics.MeanAbsoluteError(name="mae")])

    def between(batch, logs=None):
        if batch == 1:
            model.evaluate(x[:2], x[:2] + 40, verbose=0)

    history = model.fit(x, x + np.repeat([10, 20, 30, 40], 2)[:, None], batch_size=2, shuffle=False, verbose=0,
                        callbacks=callbacks.LambdaCallback(on_train_batch_end=between)).history
    assert history["mae"] == pytest.approx([(40 + 30 + 40) / 3])
    assert history["loss"] == pytest.approx([(100 + 400 + 900 + 1600) / 4])


@pytest.mark.parametrize(("stage", "batches"), [("batch_end", 2), ("begin", 1)])
def test_an_evaluation_and_a_prediction_can_be_stopped(stage, batches):
    class Stop(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = stage == "batch_end" and batch == 1

        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = stage == "batch_end" and batch == 1

    class StopAtOnce(callbacks.Callback):
        def on_test_begin(self, logs=None):
            self.model.stop_evaluating = True

        def on_predict_begin(self, logs=None):
            self.model.stop_predicting = True

    model = models.Sequential([layers.Input((4,)), layers.Dense(2, kernel_initializer="ones")])
    model.compile(optimizers.SGD(1e-30), "mse")
    x, y, stop = np.arange(40.0).reshape(10, 4), np.ones((10, 2)), Stop() if stage == "batch_end" else StopAtOnce()
    loss = {1: 233.0, 2: 1161.0}[batches]  # Keras's numbers, of the first batches
    for _ in range(2):
        assert model.evaluate(x, y, batch_size=2, callbacks=[stop], verbose=0) == loss
        assert model.predict(x, batch_size=2, callbacks=[stop], verbose=0).shape == (2 * batches, 2)
        assert model.evaluate(x, y, batch_size=2, verbose=0) == 8041.0
        assert model.predict(x, batch_size=2, verbose=0).shape == (10, 2)
    history = model.fit(x, y, batch_size=2, epochs=2, validation_data=(x, y), callbacks=[stop], verbose=0).history
    assert history == {"loss": [8041.0] * 2, "val_loss": [loss] * 2}
