"""Steps that a GPU does by itself (resident.py): what fit, evaluate and predict give is what the CPU's give.

Runs where tests/test_cuda.py does. In NumPy a graph's launches come in another order than they were noted in.
"""

import gc
import threading

import numpy as np
import pytest

import autoconv as ac
from autoconv import callbacks, layers, losses, metrics, models
from autoconv import functional as F
from autoconv import optimizers as optim
from autoconv.backend import device, device_cuda
from autoconv.backend.precision import get_precision, set_precision
from autoconv.train import progress, resident

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere"),
              pytest.mark.filterwarnings("ignore::RuntimeWarning")]

RNG = np.random.default_rng(0)
N, CLASSES = 11, 3
ROWS = RNG.normal(size=(N, 4))
LABELS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES)[LABELS]


def net(loss="sparse_categorical_crossentropy", optimizer="rmsprop", scores=("accuracy",), last="softmax", extra=()):
    """A small net in float64, in which the devices differ by rounding alone."""
    ac.utils.set_random_seed(3)
    model = models.Sequential([
        layers.Input((4,)), layers.Dense(5, activation="relu", dtype="float64"), *extra,
        layers.Dense(CLASSES, activation=last, dtype="float64"),
    ])
    model.compile(optimizer, loss, metrics=list(scores))
    return model


def both(make, train):
    """What `train(model)` gives for a model on the GPU and for its twin on the CPU, with the random numbers of one
    seed."""
    results = []
    for where in ("cuda", "cpu"):
        model = make()
        model.to(where)
        results.append(train(model))
    return results


def fitted(model, x=ROWS, y=LABELS, **options):
    options = {"batch_size": 4, "epochs": 3, "verbose": 0, **options}
    history = model.fit(x, y, **options).history
    return {**history, "weights": np.concatenate([w.ravel() for w in model.get_weights()])}


def equal(there, here, rounding=1e-9):
    assert there.keys() == here.keys()
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=rounding, atol=rounding, err_msg=name)


@pytest.fixture
def runs(monkeypatch):
    """The steps that were done by the device: (noted, run again)."""
    seen = {"noted": 0, "again": 0, "refused": 0}
    run = resident._ByItself.run

    def counted(self, i):
        before = len(self._noted)
        done = run(self, i)
        seen["refused" if not done else "noted" if len(self._noted) > before else "again"] += 1
        return done

    monkeypatch.setattr(resident._ByItself, "run", counted)
    return seen


def test_a_step_is_noted_once_a_batch_size_and_then_run_again(runs):
    equal(*both(net, fitted))
    assert runs == {"noted": 2, "again": 7, "refused": 0}  # 4, 4 and 3 samples an epoch


@pytest.mark.parametrize("options", [
    {"shuffle": False}, {"sample_weight": RNG.random(N)}, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    {"validation_split": 0.3}, {"validation_data": (ROWS[:5], LABELS[:5], RNG.random(5))},
], ids=lambda options: next(iter(options)))
def test_what_fit_takes(options, runs):
    equal(*both(net, lambda model: fitted(model, **options)))
    assert runs["again"] > 0 == runs["refused"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", ">i2", "uint64", "float16", "float32", ">f4", ">f8",
                                   "longdouble"])
def test_inputs_of_any_type(dtype):
    x = (ROWS * 50 + 100).astype(dtype)
    equal(*both(net, lambda model: fitted(model, x, epochs=1)), rounding=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "float16", ">i4", ">f8"])
def test_labels_of_any_type(dtype):
    labels = (LABELS > 0).astype(dtype)
    equal(*both(net, lambda model: fitted(model, y=labels)))


def test_labels_that_are_no_number():
    labels = LABELS.astype(float)
    labels[3] = np.nan
    with pytest.raises(ValueError, match="Labels must be integers"):
        fitted(net().to("cuda"), y=labels)


@pytest.mark.parametrize("optimizer", [
    lambda: optim.SGD(optim.schedules.CosineDecay(0.1, 9), momentum=0.9), lambda: optim.AdamW(0.01),
    lambda: optim.RMSprop(0.01, centered=True, weight_decay=0.1, clipnorm=0.5), lambda: optim.Adam(global_clipnorm=0.1),
], ids=["schedule", "adamw", "decay", "adam"])
def test_numbers_of_the_optimizer_that_change(optimizer, runs):
    equal(*both(lambda: net(optimizer=optimizer()), fitted))
    assert runs["refused"] == 0


def test_dropout_draws_new_masks_in_every_step(runs):
    extra = [layers.Dropout(0.5, dtype="float64"), layers.Dropout(0.2, seed=7, dtype="float64"),
             layers.BatchNormalization(dtype="float64")]
    equal(*both(lambda: net(extra=extra_again(extra)), fitted))
    assert runs == {"noted": 2, "again": 7, "refused": 0}


def test_a_number_per_channel_is_sent_once(runs):
    extra = [layers.Rescaling([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 0.0, 0.0, 0.0, 1.0], dtype="float64")]
    equal(*both(lambda: net(extra=extra_again(extra)), fitted))
    assert runs["refused"] == 0


def extra_again(given):
    """New layers like these."""
    return [type(layer).from_config(layer.get_config()) for layer in given]


@pytest.mark.parametrize(("loss", "y", "scores", "last"), [
    ("sparse_categorical_crossentropy", LABELS[:, None], ["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
     "softmax"),
    (losses.SparseCategoricalCrossentropy(from_logits=True), LABELS.astype("float32"), ["accuracy"], None),
    ("categorical_crossentropy", ONE_HOT, ["accuracy", metrics.TopKCategoricalAccuracy(2)], "softmax"),
    (losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT.astype("uint8"), ["accuracy"], "softmax"),
    (losses.BinaryCrossentropy(label_smoothing=0.1), ONE_HOT.astype(int),
     [metrics.BinaryAccuracy(threshold=0.4), "mse"], "sigmoid"),
    ("mse", RNG.normal(size=(N, CLASSES)), ["mae", "mse"], None),
    (losses.MeanAbsoluteError(reduction="sum"), RNG.normal(size=(N, CLASSES)), [], None),
], ids=["sparse", "logits", "one-hot", "smooth", "binary", "mse", "sum"])
def test_losses_and_metrics(loss, y, scores, last, runs):
    def run(model):
        result = fitted(model, y=y)
        return {**result, "scores": model.evaluate(ROWS, y, batch_size=4, verbose=0)}

    equal(*both(lambda: net(loss, scores=scores, last=last), run))
    assert runs["refused"] == 0


def test_what_may_do_anything_runs_as_python_has_it(runs):
    calls = []

    class Mine(layers.Layer):
        def call(self, x):
            calls.append(1)
            return x * 2

    def largest(y_true, y_pred):
        return y_pred.max(-1)

    equal(*both(lambda: net(extra=[Mine(dtype="float64")]), fitted))
    assert len(calls) >= 18
    equal(*both(lambda: net(scores=[largest]), fitted))
    equal(*both(lambda: net(lambda t, x: F.mean_squared_error(t, x), last=None), lambda m: fitted(m, y=ONE_HOT)))
    assert runs == {"noted": 0, "again": 0, "refused": 0}


def visits(x):
    """An op that copies to the host in each step: noted launches would not do that again."""
    x.detach().numpy()
    return F.relu(x)


visits.__module__ = F.relu.__module__


def test_a_step_that_cannot_be_noted_is_done_all_the_same(runs):
    equal(*both(lambda: net(extra=[layers.Activation(visits, dtype="float64")]), fitted))
    assert runs == {"noted": 1, "again": 0, "refused": 8}


def test_predictions_that_cannot_be_noted_are_all_there(runs):
    equal(*both(lambda: net(extra=[layers.Activation(visits, dtype="float64")]),
                lambda model: {"y": model.predict(ROWS, batch_size=4, verbose=0)}))
    assert runs == {"noted": 1, "again": 0, "refused": 2}


def test_a_data_set_that_does_not_fit_is_sent_batch_by_batch(monkeypatch, runs):
    monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)
    equal(*both(net, lambda model: fitted(model, (ROWS * 50 + 100).astype("uint8"), sample_weight=np.arange(N) / N)))
    assert runs["again"] == 7


def test_inputs_that_are_on_the_gpu_already(monkeypatch, runs):
    x = ac.tensor(ROWS, device="cuda")
    arrays = device.get("cuda").kernels("array")
    sent, put = [], arrays.put
    monkeypatch.setattr(arrays, "put", lambda gpu, host: sent.append(host.shape) or put(gpu, host))

    def run(model):
        rows = x if model.device is x.device else ROWS
        return {**fitted(model, rows, validation_split=0.3), "y": model.predict(rows, batch_size=4, verbose=0),
                "scores": model.evaluate(rows, LABELS, verbose=0)}

    equal(*both(net, run))
    assert runs["refused"] == 0
    assert not any(shape[1:] == ROWS.shape[1:] for shape in sent)
    monkeypatch.setattr(resident, "answers", lambda model, batches: None)
    monkeypatch.setattr(resident, "steps", lambda *given: None)
    equal(*both(net, run))  # step by step, too


def test_changes_between_steps_are_seen(runs):
    class Changes(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 1:
                self.model.optimizer.learning_rate = 0.05
                self.model.layers[0].activation = F.tanh

        def on_epoch_begin(self, epoch, logs):
            self.model.optimizer.momentum = 0.1 * epoch

    equal(*both(lambda: net(optimizer=optim.SGD(0.1, momentum=0.5)), lambda m: fitted(m, callbacks=[Changes()])))
    assert runs["noted"] > 2


@pytest.mark.parametrize("change", [
    lambda model: setattr(model.layers[1], "rate", 0.1), lambda model: setattr(model.layers[2], "momentum", 0.5),
    lambda model: setattr(model.layers[2], "epsilon", 0.5), lambda model: setattr(model.layers[2], "trainable", False),
    lambda model: setattr(model.loss, "label_smoothing", 0.3),
], ids=["rate", "momentum", "epsilon", "trainable", "smoothing"])
def test_changes_between_epochs_are_seen(change):
    extra = [layers.Dropout(0.5, dtype="float64"),
             layers.BatchNormalization(momentum=0.9, center=False, scale=False, dtype="float64")]
    changes = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch == 1 and change(changes.model))
    equal(*both(lambda: net("categorical_crossentropy", extra=extra_again(extra)),
                lambda model: fitted(model, y=ONE_HOT, callbacks=[changes])))


def test_another_precision_is_seen(runs):
    change = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: set_precision("highest" if epoch else "tf32"))
    before = get_precision()
    try:
        fitted(net().to("cuda"), callbacks=[change])
    finally:
        set_precision(before)
    assert runs == {"noted": 4, "again": 5, "refused": 0}


def test_another_optimizer_and_another_loss_are_taken():
    def change(epoch, logs):
        if epoch == 1:
            changes.model.loss = losses.CategoricalCrossentropy(label_smoothing=0.3)
            changes.model.optimizer = optim.Adam(0.1)
            changes.model.optimizer.build(changes.model.trainable_weights)

    changes = callbacks.LambdaCallback(on_epoch_begin=change)
    equal(*both(lambda: net("categorical_crossentropy"),
                lambda model: fitted(model, y=ONE_HOT, callbacks=[changes])))


def test_weights_that_another_model_trains_in_between():
    def train(model):
        other = models.Sequential([layers.Input((4,)), model.layers[0], layers.Dense(CLASSES, dtype="float64")])
        other.to(model.device.name)
        other.compile("sgd", "mse")
        between = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: other.fit(ROWS, ONE_HOT, 4, verbose=0))
        return {**fitted(model, callbacks=[between]), "of the other": np.concatenate(
            [w.ravel() for w in other.get_weights()])}

    equal(*both(lambda: net(optimizer="adam"), train))


def test_a_model_that_moves_between_two_trainings():
    """Its optimizer goes with it."""
    def train(places):
        model = net(optimizer="adam")
        return {i: fitted(model.to(place))["weights"] for i, place in enumerate(places)}

    equal(train(["cpu", "cuda", "cpu", "cuda"]), train(["cpu"] * 4))


def test_sums_that_are_read_after_every_step(monkeypatch):
    """As a line on a terminal reads them, ten times a second."""
    monkeypatch.setattr(progress, "INTERVAL", 0)
    monkeypatch.setattr(progress, "updates_in_place", lambda stream: True)
    equal(*both(net, lambda model: {**fitted(model, verbose=1, validation_data=(ROWS, LABELS, np.arange(N))),
                                    "scores": model.evaluate(ROWS, LABELS, batch_size=4)}))
    x = ROWS.copy()
    x[9] = np.nan
    with pytest.warns(RuntimeWarning, match=r"became nan in epoch 1, step 3\."):
        net().to("cuda").fit(x, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=1)


def test_losses_that_are_no_number_are_reported_with_their_step():
    x = ROWS.copy()
    x[6] = np.nan
    model = net().to("cuda")
    with pytest.warns(RuntimeWarning, match=r"became nan in epoch 1, step 2\."):
        model.fit(x, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0)


def test_iterations_and_batch_logs():
    class Logs(callbacks.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, batch, logs):
            self.seen.append((self.model.optimizer.iterations, logs["loss"], logs["accuracy"]))

    def run(model):
        logs = Logs()
        fitted(model, callbacks=[logs])
        return {"logs": logs.seen, "iterations": model.optimizer.iterations}

    equal(*both(net, run))


def test_another_precision_is_not_what_was_noted():
    ac.utils.set_random_seed(3)
    model = models.Sequential([layers.Input((4,)), layers.Dense(CLASSES)]).to("cuda")
    x = ROWS.astype("float32")
    for run in (model.predict_on_batch, lambda x: model.predict(x, batch_size=4, verbose=0)):
        rounded = [run(x) for _ in range(3)][-1]
        ac.set_precision("highest")
        try:
            exact = [run(x) for _ in range(3)][-1]
        finally:
            ac.set_precision("tf32")
        assert 0 < np.abs(rounded - exact).max() < 1e-2
        np.testing.assert_array_equal(run(x), rounded)


def test_predictions_of_many_batches(runs):
    there, here = both(net, lambda model: {"y": model.predict(ROWS, batch_size=4, verbose=0)})
    equal(there, here)
    assert runs == {"noted": 2, "again": 1, "refused": 0}


def test_predictions_that_do_not_fit_come_batch_by_batch(monkeypatch, runs):
    monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)
    equal(*both(net, lambda model: {"y": model.predict(ROWS, batch_size=4, verbose=0)}))
    assert runs == {"noted": 0, "again": 0, "refused": 0}


def in_use():
    arena = device.get("cuda")._gpu.arena
    return arena.held - arena.unused()


@pytest.mark.parametrize("captures", [True, False])
def test_memory_is_taken_in_the_first_epoch_and_given_back_in_the_end(monkeypatch, captures):
    """Without a cycle of references, which would keep it until Python looks for such."""
    if not captures:
        monkeypatch.setattr(type(device.get("cuda")._gpu), "capture", lambda *given: None)
    model, seen = net(optimizer="adam").to("cuda"), []
    count = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(
        (in_use(), device.get("cuda")._gpu.arena.allocations)))

    def run():
        model.fit(ROWS, LABELS, 4, 3, 0, count, validation_data=(ROWS[:5], LABELS[:5]))
        model.predict(ROWS, 4, 0)

    run()  # compiles, which leaves cycles of Numba's
    gc.collect()
    before = in_use()
    gc.disable()
    try:
        run()
        assert in_use() == before
        run()
        assert in_use() == before
    finally:
        gc.enable()
    assert len(set(seen[3:])) == 1
    assert seen[3][0] > before


def test_memory_that_the_arena_keeps_can_still_be_had():
    gpu = device.get("cuda")
    array = gpu.empty((1 << 17,), np.float64)
    taken = gpu.memory_left()
    del array
    assert gpu.memory_left() - taken == 1 << 20


def test_an_interrupt_leaves_whole_steps():
    class Interrupts(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs):
            if batch == 2:
                raise KeyboardInterrupt

    def run(model):
        with pytest.raises(KeyboardInterrupt):
            fitted(model, callbacks=[Interrupts()])
        return {"weights": np.concatenate([w.ravel() for w in model.get_weights()]),
                "steps": model.optimizer.iterations}

    equal(*both(net, run))


def test_labels_that_name_no_class_make_no_number():
    x = ac.tensor(np.full((2, 3), 1 / 3), device="cuda")
    labels = ac.tensor(np.array([1, 3]), device="cuda")
    np.testing.assert_array_equal(np.isnan(F.sparse_categorical_crossentropy(labels, x).numpy()), [False, True])


def test_a_recording_notes_its_own_thread_alone():
    gpu = device.get("cuda")
    other = threading.Thread(target=lambda: ac.tensor([1.0, 2.0], device="cuda").exp().numpy())
    with gpu.recording() as recording:
        x = gpu.empty((3,), np.float32)
        x[...] = 2
        other.start()
        other.join()
    assert recording.whole
    assert len(recording) == 1


def test_more_numbers_than_a_recording_has_room_for():
    gpu = device.get("cuda")
    with gpu.recording() as recording:
        two = gpu.varying(lambda: (1, 2), np.uint64)
        for _ in range(62):
            gpu.varying(lambda: 1.5)
        with pytest.raises(OverflowError, match="64 numbers"):
            gpu.varying(lambda: 1.0)
    assert recording.whole
    assert [number.numpy().item() for number in two] == [1, 2]
