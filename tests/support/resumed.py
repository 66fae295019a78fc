"""Trainings that can be crashed at any step, for the tests of going on with them."""

import hashlib
import random

import numpy as np

from autoconv import callbacks, layers, metrics, models, optimizers, utils

X = np.random.default_rng(0).random((70, 12, 12, 2), np.float32)
Y = np.arange(70) % 5
EPOCHS, PER_EPOCH = 4, 9


class CrashError(Exception):
    pass


class CrashAt(callbacks.Callback):
    """Ends training before its step number `at`, counted in this process."""

    def __init__(self, at):
        self.left = at

    def on_train_batch_begin(self, batch, logs=None):
        if not self.left:
            raise CrashError
        self.left -= 1


class Noisy(callbacks.Callback):
    """Draws random numbers of NumPy's and Python's, and holds some."""

    drawn = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.drawn += np.random.rand() + random.random()

    def on_epoch_end(self, epoch, logs=None):
        logs["drawn"] = self.drawn

    def get_state(self):
        return {"drawn": self.drawn}

    def set_state(self, state):
        self.drawn = state["drawn"]


class Worst(metrics.Metric):
    """The largest mistake so far, in NumPy: its state is an array."""

    def reset_state(self):
        self.worst = np.zeros(1)

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.worst = np.maximum(self.worst, 1 - np.asarray(y_pred).min())

    def result(self):
        return float(self.worst[0])


class Batches:
    """A sequence, such as Keras's PyDataset."""

    def __len__(self):
        return PER_EPOCH

    def __getitem__(self, i):
        return X[7 * i : 7 * i + 7], Y[7 * i : 7 * i + 7]


class Own(layers.Dense):
    """A layer with which steps are not recorded."""

    recordable = False


def net(dense=layers.Dense, optimizer=None, measured=("accuracy",)):
    utils.set_random_seed(5)
    model = models.Sequential([
        layers.Input((12, 12, 2)), layers.RandomTranslation(0.1, 0.1), layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.Dropout(0.2), layers.Flatten(),
        layers.Dropout(0.3, seed=2), dense(5, "softmax"),
    ])
    model.compile(optimizer or optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=list(measured))
    return model


def sha256(model):
    return hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())).hexdigest()


ARRAYS = {"x": X[:63], "y": Y[:63], "batch_size": 7, "validation_data": (X[63:], Y[63:])}
TRAININGS = {  # the net, what fit gets, and callbacks
    "arrays": (net, ARRAYS, list),
    "steps_per_epoch": (net, {**ARRAYS, "steps_per_epoch": 3, "epochs": 9}, list),
    "a sequence": (net, {"x": Batches(), "validation_data": Batches(), "validation_freq": 2}, list),
    "a sequence, steps_per_epoch": (net, {"x": Batches(), "steps_per_epoch": 3, "epochs": 9}, list),
    "eager, NumPy's metric": (
        lambda: net(Own, optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 36), momentum=0.9), [Worst(), "acc"]),
        ARRAYS, list),
    "callbacks": (net, ARRAYS, lambda: [
        callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7), Noisy(),
        callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)]),
}


def train(kind, folder=None, crash=None, freq=2, **more):
    """Of a training that comes to its end the weights' hash and the history."""
    make, given, listed = TRAININGS[kind]
    model = make()
    if folder is not None and any(folder.glob("*")):
        utils.set_random_seed(99)  # all comes from the state, whatever was drawn before
        model.set_weights([w + 1 for w in model.get_weights()])
    held = [*listed(), *([callbacks.BackupAndRestore(folder, freq, True)] if folder else []),
            *([] if crash is None else [CrashAt(crash)])]
    given = {"epochs": EPOCHS, "verbose": 0, **given, **more}
    history = model.fit(**given, callbacks=held)
    return sha256(model), history.history, history.epoch
