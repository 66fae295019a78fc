"""A step on the GPU: what fit, evaluate, predict and the *_on_batch methods give is what the CPU's give, by one graph.

Runs where tests/cuda/test_cuda.py does. In NumPy a graph's launches come in another order than they were recorded in.
"""

import gc
import inspect
import threading
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from fake_ranks import Echo

import autoconv as ac
from autoconv import callbacks, layers, losses, metrics, models
from autoconv import functional as F
from autoconv import optimizers as optim
from autoconv.engine.ranks import ALONE
from autoconv.kernels import device
from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.precision import get_precision, set_precision
from autoconv.programs.bench import throughput
from autoconv.programs.bench.suite import TimedNet
from autoconv.train import progress
from autoconv.train.display import Terminal

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere"),
              pytest.mark.filterwarnings("ignore::RuntimeWarning", "error:No CUDA graph")]  # the last one wins

RNG = np.random.default_rng(0)
N, CLASSES = 11, 3
ROWS = RNG.normal(size=(N, 4))
LABELS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES)[LABELS]
NUMBERS = RNG.normal(size=(N, CLASSES))
WEIGHTS = RNG.random(N)


def net(loss="sparse_categorical_crossentropy", optimizer="rmsprop", scores=("accuracy",), last="softmax", extra=()):
    """A small net in float64, in which the devices differ by rounding alone."""
    ac.utils.set_random_seed(3)
    model = models.Sequential([
        layers.Input((4,)), layers.Dense(5, activation="relu", dtype="float64"), *extra,
        layers.Dense(CLASSES, activation=last, dtype="float64"),
    ])
    model.compile(optimizer, loss, metrics=list(scores))
    return model


def two_headed():
    """Two inputs, two outputs with a loss each."""
    ac.utils.set_random_seed(3)
    wide, narrow = layers.Input((4,), name="wide"), layers.Input((2,), name="narrow")
    both = layers.Concatenate(dtype="float64")([layers.Dense(3, "tanh", dtype="float64")(wide), narrow])
    kind = layers.Dense(CLASSES, "softmax", dtype="float64", name="kind")(both)
    size = layers.Dense(1, dtype="float64", name="size")(both)
    model = models.Model([wide, narrow], [kind, size])
    model.compile("adam", {"kind": "sparse_categorical_crossentropy", "size": "mse"},
                  loss_weights={"kind": 1.0, "size": 0.5}, metrics={"kind": ["accuracy"], "size": ["mae"]})
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


def flat(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def fitted(model, x=ROWS, y=LABELS, **options):
    options = {"batch_size": 4, "epochs": 3, "verbose": 0, **options}
    history = model.fit(x, y, **options).history
    return {**history, "weights": flat(model)}


def equal(there, here, rounding=1e-9):
    assert there.keys() == here.keys()
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=rounding, atol=rounding, err_msg=name)


def odd(model):
    """The phases that were not recorded, with their reasons."""
    report = model.recording_report()
    assert report
    return {(kind, phase): reason for kind, phases in report.items() for phase, reason in phases.items() if reason}


def recorded(train):
    """`train`, with a look at what was recorded: all of it."""
    def checked(model):
        result = train(model)
        assert odd(model) == {}
        return result

    return checked


@pytest.fixture
def asked(monkeypatch):
    """What the GPU was asked for: graphs captured and launched, launches outside of graphs, copies from ("sent") and to
    ("fetched") the host.
    """
    seen, inside = Counter(), []
    runtime, kernels = (device.get("cuda").module(name) for name in ("runtime", "kernels"))
    capture, launch = runtime.Gpu.capture, kernels.Launch.__call__

    def within(function, *given):
        inside.append(True)
        try:
            return function(*given)
        finally:
            inside.pop()

    def counted_capture(gpu, *given):
        seen["captured"] += 1
        graph = within(capture, gpu, *given)

        def run():
            seen["graphs"] += 1
            within(graph)

        return run

    def counted_launch(self, *handle):
        seen["launches"] += not inside
        launch(self, *handle)

    def counted_copy(copy, what):
        def counted(gpu, *given):
            seen[what] += not inside
            copy(gpu, *given)

        return counted

    monkeypatch.setattr(runtime.Gpu, "capture", counted_capture)
    monkeypatch.setattr(kernels.Launch, "__call__", counted_launch)
    for name, what in (("copy_in", "sent"), ("copy_out", "fetched")):
        monkeypatch.setattr(runtime.Gpu, name, counted_copy(getattr(runtime.Gpu, name), what))
    return seen


class Watch(callbacks.Callback):
    """Keeps what was asked for until each batch of each epoch began."""

    def __init__(self, asked):
        self.asked, self.seen = asked, []

    def on_train_batch_begin(self, batch, logs):
        self.seen.append(Counter(self.asked))


# One graph a step.


def test_a_step_is_one_graph_and_nothing_else(asked):
    """Three steps an epoch: 4, 4 and 3 samples. Each shape is recorded, then launched one by one, then captured."""
    watch = Watch(asked)
    model = net(optimizer=optim.Adam(optim.schedules.CosineDecay(0.1, 20)), extra=[
        layers.Dropout(0.5, dtype="float64"), layers.BatchNormalization(dtype="float64")]).to("cuda")
    fitted(model, callbacks=[watch], epochs=5)
    assert odd(model) == {}
    for epoch in (3, 4):
        begun = watch.seen[3 * epoch : 3 * epoch + 3]
        for before, after in pairwise(begun):
            assert after - before == Counter(graphs=1)
    assert watch.seen[12]["graphs"] - watch.seen[9]["graphs"] == 3
    assert asked["captured"] == 2


def many_steps(model, **options):
    """Twenty-one batches of four and one of three."""
    rows = np.tile(ROWS, (8, 1))[:87]
    return fitted(model, rows, np.tile(LABELS, 8)[:87], **options)


def net_that_draws():
    return net(optimizer=optim.Adam(optim.schedules.CosineDecay(0.1, 60), weight_decay=0.01), extra=[
        layers.Dropout(0.5, dtype="float64"), layers.BatchNormalization(dtype="float64")])


def test_steps_that_nobody_looks_between_are_graphs_of_eight(asked):
    model, seen = net_that_draws().to("cuda"), []
    look = callbacks.LambdaCallback(on_epoch_end=lambda *given: seen.append(Counter(asked)))
    many_steps(model, epochs=4, callbacks=[look])
    assert odd(model) == {}
    last = seen[3] - seen[2]
    assert last["graphs"] == 2 + 5 + 1  # 8 + 8 steps, 5 of the same size, the smaller one
    assert (last["captured"], last["launches"]) == (0, 3)  # the sums are cleared, an order is made of random numbers


def test_graphs_are_reported():
    """Of the largest how many kernels: eight steps."""
    model = net_that_draws().to("cuda")
    many_steps(model, epochs=1)
    assert {key: value for key, value in model.graph_report()["train"].items() if key != "nodes"} == {
        "captured": True, "graphs": 2, "reason": None}
    assert model.graph_report()["train"]["nodes"] % 8 == 0
    for _ in range(3):
        model.predict_on_batch(ROWS)
    assert model.graph_report()["predict"] == {"captured": True, "graphs": 1, "nodes": 5, "reason": None}
    alone = net().to("cpu")
    fitted(alone)
    assert alone.graph_report() == {}


def test_the_json_of_a_benchmark_says_whether_graphs_were_captured(monkeypatch):
    monkeypatch.setattr(throughput, "DATA", 0)  # bytes of images: the least
    tiny = TimedNet(lambda shape, classes: models.Sequential([
        layers.Input(shape), layers.Flatten(), layers.Dense(classes, "softmax")]), (2, 2, 1), CLASSES, 4)
    for name, there in (("cuda", True), ("cpu", False)):
        found = throughput.measure(tiny, 4, device.get(name), 2, 0, lambda text: None)
        for mode in ("train", "infer"):
            assert ("graph" in found[mode]) == there
            assert not there or found[mode]["graph"]["captured"]


def test_a_graph_that_cannot_be_captured_is_told_and_changes_no_result(monkeypatch):
    def capture(*given):
        raise device.DeviceError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED.")

    whole = many_steps(net_that_draws().to("cuda"))
    monkeypatch.setattr(device.get("cuda").module("runtime").Gpu, "capture", capture)
    model = net_that_draws().to("cuda")
    with pytest.warns(RuntimeWarning, match="No CUDA graph could be made of a step: CUDA_ERROR.*one by one"):
        equal(many_steps(model), whole, 0)
    assert model.graph_report()["train"] == {"captured": False, "graphs": 0, "nodes": 0,
                                             "reason": "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED."}
    with pytest.raises(RuntimeWarning, match="No CUDA graph"):  # an error, wherever warnings are none
        many_steps(net().to("cuda"))


def test_steps_are_the_same_with_and_without_a_look_between_them():
    looks = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    equal(*both(net_that_draws, many_steps))
    alone, watched = (many_steps(net_that_draws().to("cuda"), callbacks=hooks) for hooks in ([], [looks]))
    equal(alone, watched, rounding=0)


def test_predictions_and_means_of_many_batches():
    def run(model):
        rows, labels = np.tile(ROWS, (8, 1))[:87], np.tile(LABELS, 8)[:87]
        loss, accuracy = model.evaluate(rows, labels, batch_size=4, verbose=0)
        return {"loss": loss, "accuracy": accuracy, "outputs": model.predict(rows, batch_size=4, verbose=0)}

    equal(*both(net, run))


def test_an_interrupted_series_of_steps_counts_none(monkeypatch):
    """Its random numbers are drawn again, and no step is counted."""
    model = net_that_draws().to("cuda")
    many_steps(model, epochs=1)
    steps, streams = int(model.optimizer.iterations), ac.random.state()
    replay = device.get("cuda").module("trace").CudaTrace.replay_series

    def interrupted(trace, names, moves):
        for i, _ in enumerate(moves):
            if i == 3:
                raise KeyboardInterrupt
        replay(trace, names, moves)

    monkeypatch.setattr(device.get("cuda").module("trace").CudaTrace, "replay_series", interrupted)
    with pytest.raises(KeyboardInterrupt):
        many_steps(model, epochs=1)
    assert model.optimizer.iterations - steps <= 1  # the first one, recorded with the new data set
    assert ac.random.state()["streams"] - streams["streams"] <= 2


def test_a_rate_that_is_set_before_each_step_is_no_change(asked):
    def run(model):
        rates = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: setattr(
            model.optimizer, "learning_rate", 0.1 / (1 + batch)))
        return fitted(model, callbacks=[rates], epochs=4)

    equal(*both(lambda: net(optimizer="sgd"), run))
    assert asked["captured"] == 2


def test_a_batch_that_is_sent_costs_its_copies_and_one_graph(asked, monkeypatch):
    monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)
    watch, model = Watch(asked), net().to("cuda")
    fitted(model, callbacks=[watch], epochs=4)
    assert odd(model) == {}
    assert watch.seen[11] - watch.seen[10] == Counter(graphs=1, sent=2)  # rows and labels, of the batch that follows


def test_an_answer_is_one_graph(asked):
    model = net().to("cuda")
    for _ in range(2):
        model.predict_on_batch(ROWS)
    before = Counter(asked)
    model.predict_on_batch(ROWS)
    assert asked - before == Counter(captured=1, sent=1, graphs=1, fetched=1)


def test_an_answer_s_graph_outlives_a_training(asked):
    """What `fit` notes on the model, its history, is nothing that an answer depends on."""
    model = net().to("cuda")
    fitted(model)
    first = [model.predict_on_batch(ROWS) for _ in range(3)][-1]
    fitted(model, epochs=1)
    before = Counter(asked)
    second = model.predict_on_batch(ROWS)
    assert asked["graphs"] - before["graphs"] == 1
    assert asked["launches"] == before["launches"]
    assert np.abs(second - first).max() > 1e-4  # of the weights of now


def test_a_step_that_is_the_user_s_in_part_has_graphs_around_it(asked):
    watch = Watch(asked)

    def mine(y_true, y_pred):
        return F.mean_squared_error(y_true, y_pred)

    model = net(mine, last=None, scores=()).to("cuda")
    fitted(model, y=ONE_HOT, callbacks=[watch], epochs=4)
    assert set(odd(model)) == {("train", "loss"), ("train", "account")}
    assert (watch.seen[10] - watch.seen[9])["graphs"] == 3  # before the loss, behind it, and the update


def test_rematerialization():
    def deep():
        hidden = [layer for _ in range(6) for layer in (layers.Dense(5, "tanh", dtype="float64"),
                                                        layers.Dropout(0.2, dtype="float64"))]
        model = net(extra=hidden)
        model.compile("rmsprop", "sparse_categorical_crossentropy", remat=True)
        return model

    equal(*both(deep, recorded(fitted)))


def test_gradients_that_are_reduced_in_parts(asked):
    """As several ranks share a step: a graph, then what sums the part, for each part."""
    def run(model):
        sizes, watch = [], Watch(asked)

        model.distribute(Echo(lambda part: sizes.append(part.size)))
        result = fitted(model, callbacks=[watch], epochs=4)
        if model.device.name == "cuda":
            assert watch.seen[10] - watch.seen[9] == Counter(graphs=3, sent=4, fetched=4)  # what Echo adds up
        return {**result, "sizes": sizes}

    equal(*both(lambda: net(optimizer="sgd"), run))


@pytest.mark.parametrize(("dtype", "shared"), [("float32", False), ("float64", False), ("float32", True)])
def test_a_dry_run_finds_what_a_step_launches(monkeypatch, dtype, shared):
    kernels, wanted, launched = device.get("cuda").module("kernels"), set(), set()
    launch = kernels.Launch.__call__
    monkeypatch.setattr(kernels, "prepare", lambda found, report: wanted.update(found))
    model = models.Sequential([
        layers.Input((6, 6, 1)), layers.Conv2D(3, 3, activation="relu", dtype=dtype), layers.MaxPooling2D(dtype=dtype),
        layers.BatchNormalization(dtype=dtype, synchronized=shared), layers.ReLU(dtype=dtype),
        layers.MaxPooling2D(dtype=dtype), layers.Dropout(0.5, dtype=dtype), layers.Flatten(dtype=dtype),
        layers.Dense(CLASSES, "softmax", dtype=dtype)]).to("cuda")
    model.distribute(Echo() if shared else ALONE)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = RNG.normal(size=(N, 6, 6, 1)).astype(dtype)
    model.predict(x[:1], verbose=0)  # makes the weights

    def launching(self, *handle):
        launched.add((self.kernel, self.dtype))
        launch(self, *handle)

    begun = []
    start = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: begun or begun.append(
        monkeypatch.setattr(kernels.Launch, "__call__", launching)))
    model.fit(x, LABELS, batch_size=N, epochs=2, verbose=0, callbacks=[start])
    assert begun
    missing = {(kernel.name, str(kind)) for kernel, kind in launched - wanted}
    assert {name for name, _ in missing} <= {"step._clear"}  # between epochs
    assert len(launched) > 10


# What it computes.


@pytest.mark.parametrize("options", [
    {"shuffle": False}, {"sample_weight": RNG.random(N)}, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    {"validation_split": 0.3}, {"validation_data": (ROWS[:5], LABELS[:5], RNG.random(5))},
], ids=lambda options: next(iter(options)))
def test_what_fit_takes(options):
    equal(*both(net, recorded(lambda model: fitted(model, **options))))


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


def test_dropout_draws_new_masks_in_every_step():
    extra = [layers.Dropout(0.5, dtype="float64"), layers.Dropout(0.2, seed=7, dtype="float64"),
             layers.BatchNormalization(dtype="float64")]
    equal(*both(lambda: net(extra=extra_again(extra)), recorded(fitted)))


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 1001])
def test_the_order_of_an_epoch_is_the_host_s(n):
    gpu = device.get("cuda")
    for key in ((0, 1), (2**64 - 1, 2**61 + 7)):
        order = gpu.fresh((n,), np.int64)
        assert gpu.permute(*key, order)
        np.testing.assert_array_equal(gpu.numpy(order), ac.random.permutation(n, key))


def test_equal_keys_keep_their_order():
    gpu, keys = device.get("cuda"), np.random.default_rng(0).integers(0, 9, 600).astype(np.uint64)
    order = gpu.fresh((600,), np.int64)
    gpu.module("permutation").place(gpu.module("array").put(gpu.module("runtime").gpu(0), keys), order)
    np.testing.assert_array_equal(gpu.numpy(order), np.argsort(keys, kind="stable"))


def test_an_epoch_s_order_is_not_sent(asked, monkeypatch):
    """Nor is it made on the host, unless there are too many samples for the GPU to compare all with all."""
    def sent():
        model, begun = net().to("cuda"), []
        look = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: begun.append(asked["sent"]))
        result = fitted(model, batch_size=11, epochs=5, callbacks=[look])
        return begun[-1] - begun[-2], result

    there, one = sent()
    monkeypatch.setattr(device.get("cuda").module("permutation"), "MOST", 10)
    here, other = sent()
    assert (there, here) == (0, 1)
    equal(one, other, 0)


def test_a_number_per_channel_is_sent_once():
    extra = [layers.Rescaling([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 0.0, 0.0, 0.0, 1.0], dtype="float64")]
    equal(*both(lambda: net(extra=extra_again(extra)), recorded(fitted)))


def extra_again(given):
    """New layers like these."""
    return [type(layer).from_config(layer.get_config()) for layer in given]


def recordable(module, base):
    """The classes of a module whose objects are recorded."""
    kinds = (getattr(module, name) for name in module.__all__)
    return [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, base) and kind is not base]


OF_TARGETS = {
    **dict.fromkeys(("CategoricalGeneralizedCrossEntropy", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
                     "SparseTopKCategoricalAccuracy"), (LABELS, "softmax")),
    **dict.fromkeys(("CategoricalAccuracy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
                     "CategoricalHinge", "KLDivergence", "TopKCategoricalAccuracy"), (ONE_HOT, "softmax")),
    **dict.fromkeys(("BinaryCrossentropy", "BinaryFocalCrossentropy", "Dice", "Tversky"), (ONE_HOT, "sigmoid")),
}
EVERY_LOSS = [
    (lambda: "sparse_categorical_crossentropy", LABELS[:, None], "softmax"),
    (lambda: losses.SparseCategoricalCrossentropy(from_logits=True), LABELS.astype("float32"), None),
    (lambda: "categorical_crossentropy", ONE_HOT, "softmax"),
    (lambda: losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT.astype("uint8"), "softmax"),
    (lambda: losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, None),
    (lambda: "binary_crossentropy", ONE_HOT, "sigmoid"),
    (lambda: losses.BinaryCrossentropy(label_smoothing=0.1, from_logits=True), ONE_HOT.astype(int), None),
    (lambda: "categorical_crossentropy", ONE_HOT, "sigmoid"), (lambda: "binary_crossentropy", ONE_HOT, "softmax"),
    (lambda: "sparse_categorical_crossentropy", LABELS, "sigmoid"),
    (lambda: "mse", NUMBERS, None), (lambda: losses.MeanSquaredError(reduction="sum"), NUMBERS, None),
    (lambda: "mae", NUMBERS, "tanh"), (lambda: losses.MeanAbsoluteError(reduction="sum"), NUMBERS, None),
    *((kind, *OF_TARGETS.get(kind.__name__, (NUMBERS, "sigmoid"))) for kind in recordable(losses, losses.LossFunction)),
]
EVERY_METRIC = [
    (lambda: "accuracy", LABELS, "softmax"), (lambda: "accuracy", ONE_HOT, "softmax"),
    (metrics.SparseCategoricalAccuracy, LABELS[:, None], "softmax"),
    (lambda: metrics.SparseTopKCategoricalAccuracy(2), LABELS, "softmax"),
    (lambda: "sparse_categorical_crossentropy", LABELS, "softmax"),
    (metrics.CategoricalAccuracy, ONE_HOT, "softmax"), (lambda: metrics.TopKCategoricalAccuracy(2), ONE_HOT, "softmax"),
    (lambda: "categorical_crossentropy", ONE_HOT, "softmax"),
    (lambda: metrics.BinaryAccuracy(threshold=0.4), ONE_HOT, "sigmoid"),
    (lambda: "binary_crossentropy", ONE_HOT, "sigmoid"),
    *((kind, *OF_TARGETS.get(kind.__name__, (ONE_HOT, "sigmoid")))
      for kind in recordable(metrics, metrics.MeanMetricWrapper)),
]
EVERY_OPTIMIZER = [
    lambda: optim.SGD(optim.schedules.CosineDecay(0.1, 9), momentum=0.9),
    lambda: optim.SGD(0.1, momentum=0.5, nesterov=True),
    lambda: optim.SGD(0.1, clipvalue=0.01), lambda: optim.RMSprop(0.01, centered=True, weight_decay=0.1, clipnorm=0.5),
    lambda: optim.RMSprop(optim.schedules.ExponentialDecay(0.01, 4, 0.5), momentum=0.3),
    lambda: optim.Adam(global_clipnorm=0.1),
    lambda: optim.AdamW(optim.schedules.PiecewiseConstantDecay([4], [0.1, 0.01])),
    lambda: optim.Adam(amsgrad=True), lambda: optim.SGD(use_ema=True, ema_overwrite_frequency=2),
    *recordable(optim, optim.Optimizer),
]


def and_evaluated(y):
    """Fitted, then evaluated on the same data."""
    def train(model):
        result = fitted(model, y=y)
        return {**result, "scores": model.evaluate(ROWS, y, batch_size=4, verbose=0)}

    return train


@pytest.mark.filterwarnings("ignore:.*needs (an independent probability|probabilities that sum)")
@pytest.mark.parametrize(("loss", "y", "last"), EVERY_LOSS)
def test_every_loss_is_recorded(loss, y, last):
    equal(*both(lambda: net(loss(), scores=(), last=last), recorded(and_evaluated(y))))


def test_a_loss_that_is_one_number_counts_with_the_weights():
    equal(*both(lambda: net(losses.Dice(), scores=(), last="softmax"),
                recorded(lambda model: fitted(model, y=ONE_HOT, sample_weight=np.arange(N) / N))))


@pytest.mark.parametrize(("metric", "y", "last"), EVERY_METRIC)
def test_every_metric_is_recorded(metric, y, last):
    loss = {LABELS.ndim: "sparse_categorical_crossentropy"}.get(y.ndim, "mse") if y.shape[1:] != (1,) else \
        "sparse_categorical_crossentropy"
    equal(*both(lambda: net(loss, scores=[metric()], last=last), recorded(and_evaluated(y))))


@pytest.mark.parametrize("optimizer", EVERY_OPTIMIZER)
def test_every_optimizer_is_recorded(optimizer):
    equal(*both(lambda: net(optimizer=optimizer()), recorded(fitted)))


def test_the_tables_have_all_there_is():
    for module, base, made in (
        (losses, losses.Loss, [losses.find_loss(make()) for make, *_ in EVERY_LOSS]),
        (metrics, metrics.Metric, [metrics.find_metric(make(), y.shape, (N, CLASSES)) for make, y, _ in EVERY_METRIC]),
        (optim, optim.Optimizer, [make() for make in EVERY_OPTIMIZER]),
    ):
        ours = {thing for thing in vars(module).values() if isinstance(thing, type) and issubclass(thing, base)
                and thing.recordable and not thing.__name__.startswith("_")}
        assert ours - {metrics.MeanMetricWrapper, losses.LossFunction} <= {type(thing) for thing in made}


# What is the user's runs through Python, with the same results.


class Doubles(layers.Layer):
    """A layer of the user's."""

    def call(self, x):
        return x * 2


class Visits(layers.Layer):
    """Says that it can be recorded, and copies to the host in each step: a graph would not do that again."""

    recordable = True

    def call(self, x):
        return x * (1.0 if np.isfinite(x.detach().numpy()).all() else 0.0)


class Plain(optim.Optimizer):
    """An optimizer of the user's, on NumPy arrays."""

    def apply(self, gradients, parameters=None):
        for parameter, gradient in zip(self.flat.parameters, gradients):
            parameter.data[...] = parameter.numpy() - self.learning_rate * np.asarray(gradient)
        self.iterations += 1


class Looks(optim.SGD):
    """Says that it can be recorded, and copies to the host."""

    recordable = True

    def update_step(self, k, flat, rate, decay_factor):
        assert np.isfinite(flat.device.numpy(flat.gradient)).all()
        super().update_step(k, flat, rate, decay_factor)


def largest(y_true, y_pred):
    assert isinstance(y_true, np.ndarray)
    return y_pred.max(-1) * y_true


def squares(y_true, y_pred):
    return F.mean_squared_error(y_true, y_pred)


@pytest.mark.parametrize(("make", "y", "phases", "reason"), [
    (lambda: net(extra=[Doubles(dtype="float64")]), LABELS, {"forward", "loss", "backward", "account"},
     "(Doubles) does not say recordable"),
    (lambda: net(extra=[Visits(dtype="float64")]), LABELS, {"forward", "loss", "backward", "account"},
     "a copy from or to the host's memory"),
    (lambda: net(scores=[largest, "accuracy"]), LABELS, {"score"}, "the metric largest is computed by NumPy"),
    (lambda: net(squares, last=None, scores=()), ONE_HOT, {"loss", "account"}, "the loss squares does not say"),
    (lambda: net(optimizer=Plain(0.1)), LABELS, {"update"}, "the optimizer"),
    (lambda: net(optimizer=Looks(0.1)), LABELS, {"update"}, "a copy from or to the host's memory"),
], ids=["layer", "layer that copies", "metric", "loss", "optimizer", "optimizer that copies"])
def test_what_is_the_user_s(make, y, phases, reason):
    def train(model):
        result = and_evaluated(y)(model)
        if model.device.name == "cuda":
            found = {phase: why for (kind, phase), why in odd(model).items() if kind == "train"}
            assert set(found) == phases
            assert any(reason in why for why in found.values())
        x = ac.tensor(ROWS, device=model.device.name)
        return {**result, "y": model.predict(ROWS, batch_size=4, verbose=0), "one": model.predict_on_batch(ROWS),
                "iterations": int(model.optimizer.iterations), "batch": model.train_on_batch(x, y)}

    equal(*both(make, train))


# Data and answers, wherever they are.


def test_batches_by_hand():
    def run(model):
        found = {}
        for i in range(4):
            found[f"train {i}"] = model.train_on_batch(ROWS[i : i + 4], LABELS[i : i + 4])
            found[f"test {i}"] = model.test_on_batch(ROWS[i : i + 4], LABELS[i : i + 4], WEIGHTS[:4])
            found[f"y {i}"] = model.predict_on_batch(ROWS[i : i + 3])
        return found

    equal(*both(lambda: net(extra=[layers.Dropout(0.5, dtype="float64")]), recorded(run)))


@pytest.mark.parametrize("fits", [True, False])
def test_several_inputs_and_outputs(monkeypatch, fits):
    x = {"wide": ROWS, "narrow": NUMBERS[:, :2]}
    y = {"kind": LABELS, "size": NUMBERS[:, :1]}

    def train(model):
        if not fits:
            monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)
        history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, sample_weight=WEIGHTS).history
        kind, size = model.predict(x, batch_size=4, verbose=0)
        one, other = model.predict_on_batch(x)
        return {**history, "weights": flat(model), "kind": kind, "size": size, "one": one, "other": other,
                "scores": model.evaluate(x, y, batch_size=4, verbose=0)}

    equal(*both(two_headed, recorded(train) if fits else train))


def test_two_threads_ask_one_model():
    """Each gets the answers to its own rows, though they share steps."""
    model, found = net().to("cuda"), {}
    questions = {i: ROWS[: 9 + i] + i for i in range(2)}
    expected = {i: net().predict(rows, batch_size=3, verbose=0) for i, rows in questions.items()}

    def ask(i):
        found[i] = [model.predict(questions[i], batch_size=3, verbose=0) for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(i,)) for i in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal({i: found[i][-1] for i in found}, expected)
    equal({i: found[i][0] for i in found}, expected)


def test_a_step_that_is_kept_takes_other_data():
    """Between the epochs of a training, too; and the same array with other values."""
    rows, other = ROWS.copy(), np.concatenate([2 * ROWS, ROWS[:5]])

    def train(model):
        rows[...] = ROWS
        found = {}

        def look(epoch, logs=None):
            found[f"y {epoch}"] = model.predict(other, batch_size=4, verbose=0)
            found[f"scores {epoch}"] = model.evaluate(other[:7], LABELS[:7], batch_size=4, verbose=0)
            found[f"short {epoch}"] = model.predict(rows, batch_size=4, verbose=0)
            rows[...] += 1
            found[f"again {epoch}"] = model.predict(rows, batch_size=4, verbose=0)

        result = fitted(model, callbacks=[callbacks.LambdaCallback(on_epoch_end=look)],
                        validation_data=(other[:8], LABELS[:8]))
        look("end")
        assert not np.allclose(found["short 1"], found["again 1"])
        return {**result, **found, "weights again": fitted(model, rows, epochs=2)["weights"]}

    equal(*both(net, recorded(train)))


def test_a_data_set_that_does_not_fit_is_sent_batch_by_batch(monkeypatch):
    monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)
    equal(*both(net, recorded(
        lambda model: fitted(model, (ROWS * 50 + 100).astype("uint8"), sample_weight=np.arange(N) / N))))


def test_inputs_that_are_on_the_gpu_already(monkeypatch):
    x = ac.tensor(ROWS, device="cuda")
    arrays = device.get("cuda").module("array")
    sent, put = [], arrays.put
    monkeypatch.setattr(arrays, "put", lambda gpu, host: sent.append(host.shape) or put(gpu, host))

    def run(model):
        rows = x if model.device is x.device else ROWS
        return {**fitted(model, rows, validation_split=0.3), "y": model.predict(rows, batch_size=4, verbose=0),
                "scores": model.evaluate(rows, LABELS, verbose=0)}

    equal(*both(net, run))
    assert not any(shape[1:] == ROWS.shape[1:] for shape in sent)


def test_changes_between_steps_are_seen():
    class Changes(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 1:
                self.model.optimizer.learning_rate = 0.05
                self.model.layers[0].activation = F.tanh

        def on_epoch_begin(self, epoch, logs):
            self.model.optimizer.momentum = 0.1 * epoch

    equal(*both(lambda: net(optimizer=optim.SGD(0.1, momentum=0.5)), lambda m: fitted(m, callbacks=[Changes()])))


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


def test_another_precision_is_seen():
    change = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: set_precision("highest" if epoch else "tf32"))
    before = get_precision()
    try:
        fitted(net().to("cuda"), callbacks=[change])
    finally:
        set_precision(before)


def test_another_optimizer_and_another_loss_are_refused_while_fit_runs():
    def change(epoch, logs):
        if epoch == 1:
            changes.model.loss = losses.CategoricalCrossentropy(label_smoothing=0.3)
            changes.model.optimizer = optim.Adam(0.1)

    changes = callbacks.LambdaCallback(on_epoch_begin=change)
    with pytest.raises(RuntimeError, match="Make such changes only between two calls of fit"):
        fitted(net("categorical_crossentropy").to("cuda"), y=ONE_HOT, callbacks=[changes])


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
    monkeypatch.setattr(progress, "open_display", lambda stream, live: Terminal(stream))
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
            self.seen.append((int(self.model.optimizer.iterations), logs["loss"], logs["accuracy"]))

    def run(model):
        logs = Logs()
        fitted(model, callbacks=[logs])
        return {"logs": logs.seen, "iterations": int(model.optimizer.iterations)}

    equal(*both(net, run))


def test_another_precision_is_not_what_was_recorded():
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


def test_predictions_of_many_batches():
    there, here = both(net, lambda model: {"y": model.predict(ROWS, batch_size=4, verbose=0)})
    equal(there, here)


def test_predictions_that_do_not_fit_come_some_batches_at_a_time(monkeypatch):
    monkeypatch.setattr(device_cuda.CudaDevice, "memory_left", lambda self: 0)

    def answers(model):
        found = [model.predict(rows, batch_size=4, verbose=0) for rows in (ROWS, ROWS[:6], ROWS)]
        if model.device.name == "cuda":
            assert odd(model) == {}
        return dict(enumerate(found))

    equal(*both(net, answers))


def in_use():
    arena = device.get("cuda").module("runtime").gpu(0).arena
    return arena.allocated_bytes - arena.count_unused()


@pytest.mark.parametrize("captures", [True, False])
def test_memory_is_taken_in_the_first_epoch_and_given_back_in_the_end(monkeypatch, captures):
    """Without a cycle of references, which would keep it until Python looks for such."""
    if not captures:
        monkeypatch.setattr(device.get("cuda").module("runtime").Gpu, "capture", lambda *given: None)
    model, seen = net(optimizer="adam").to("cuda"), []
    count = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(
        (in_use(), device.get("cuda").module("runtime").gpu(0).arena.allocations)))

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


def test_data_sets_leave_the_gpu_after_each_call():
    """Though steps are kept, with the arrays that batches are written into."""
    rows, labels = np.repeat(ROWS[:4], 500, 0), np.repeat(LABELS[:4], 500)
    model = net().to("cuda")

    def held(n):
        model.predict(rows[:n], batch_size=100, verbose=0)
        model.evaluate(rows[:n], labels[:n], batch_size=100, verbose=0)
        gc.collect()
        return in_use()

    held(2000)  # the first evaluation makes the sums, and forgets what was recorded
    held(2000)
    assert held(200) == held(2000)


def test_a_second_call_records_and_captures_nothing(asked):
    """Other rows, less of them. It is the CPU's result all the same."""
    rows, labels, weights, seen = np.tile(ROWS, (8, 1)), np.tile(LABELS, 8), np.tile(WEIGHTS, 8), []

    def answers(model):
        found = {}
        model.evaluate(rows[:4], labels[:4], verbose=0)  # makes the sums
        for i, n in enumerate((80, 80, 52)):
            before = Counter(asked)
            found[f"y {i}"] = model.predict(rows[-n:], batch_size=4, verbose=0)
            found[f"means {i}"] = model.evaluate(rows[-n:], labels[-n:], 4, 0, weights[-n:])
            seen.append((Counter(asked) - before, model.graph_report()))
        found["y"] = model.predict(rows[:82], batch_size=4, verbose=0)  # and a smaller batch
        return found

    equal(*both(net, answers))
    (first, report), *later = seen[:3]
    assert first["captured"] == 4  # of each kind one step, and eight
    for counts, again in later:
        assert (counts["captured"], counts["launches"]) == (0, 1)  # the sums are cleared
        assert again == report


def test_evaluations_outlive_trainings(asked):
    """In fit, after it and in the next one."""
    def train(model):
        found, seen = {}, []
        for i in range(3):
            found[f"fit {i}"] = np.array(list(fitted(model, validation_data=(ROWS[:8], LABELS[:8]))["val_loss"]))
            seen.append(model.graph_report().get("test", {}).get("graphs"))
            found[f"means {i}"] = model.evaluate(ROWS[:8], LABELS[:8], 4, 0)
            seen.append(model.graph_report().get("test", {}).get("graphs"))
        if model.device.name == "cuda":
            assert seen == [1] * 6
        return found

    equal(*both(net, train))


def test_a_metric_of_the_user_s_sees_the_targets_of_each_batch():
    def largest(y_true, y_pred):
        return np.asarray(y_true, np.float64) + np.asarray(y_pred).max(-1)

    def evaluate(model):
        many = np.tile(ROWS, (3, 1)), np.tile(LABELS, 3)
        return {str(i): model.evaluate(*(a[i:] for a in many), batch_size=4, verbose=0) for i in range(3)}

    equal(*both(lambda: net(scores=[largest]), evaluate))


def test_a_model_that_moves_away_leaves_no_memory_behind():
    """What the first one brings for the whole process stays."""

    def used():
        model = net(optimizer="adam").to("cuda")
        fitted(model)
        model.evaluate(ROWS, LABELS, verbose=0)
        model.predict_on_batch(ROWS)
        model.to("cpu")
        fitted(model, epochs=1)  # the optimizer, too
        gc.collect()
        return in_use()

    first = used()
    assert used() == first


def test_answers_after_a_training_elsewhere():
    def train(places):
        model, found = net(), {}
        for i, place in enumerate(places):
            model.to(place)
            found[f"y {i}"] = model.predict(ROWS, batch_size=4, verbose=0)
            found[f"scores {i}"] = model.evaluate(ROWS, LABELS, batch_size=4, verbose=0)
            found[f"loss {i}"] = model.train_on_batch(ROWS, LABELS)
            found[f"one {i}"] = model.predict_on_batch(ROWS)
        return found

    equal(train(["cuda", "cpu", "cuda"]), train(["cpu"] * 3))


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
                "steps": int(model.optimizer.iterations)}

    equal(*both(net, run))


def test_labels_that_name_no_class_make_no_number():
    x = ac.tensor(np.full((2, 3), 1 / 3), device="cuda")
    labels = ac.tensor(np.array([1, 3]), device="cuda")
    np.testing.assert_array_equal(np.isnan(F.sparse_categorical_crossentropy(labels, x).numpy()), [False, True])


# A trace, by itself.


def shrink(x, number):
    """x -= number * x; the number is an item on the GPU that replays may change."""
    device.get("cuda").kernels("update").sgd(x, x, x[:0], number, 0.0, False, 1.0)


def test_what_may_change_takes_no_more_room_when_it_is_recorded_again():
    gpu = device.get("cuda")
    trace, x = gpu.trace(), gpu.asarray(np.ones(2))
    values = {"first": 0.5, "second": 0.25}
    for repeat in range(200):
        for name in values:
            with trace.record(name) as section:
                numbers = [gpu.dynamic(lambda name=name: values[name]) for _ in range(1 + repeat % 3)]
                shrink(x, numbers[-1])
            assert section.reason is None
    x[...] = 1
    for _ in range(3):
        trace.replay("first", "second")
    np.testing.assert_allclose(x.numpy(), (0.5 * 0.75) ** 3)
    values["second"] = 0.5
    trace.replay("second")
    np.testing.assert_allclose(x.numpy(), (0.5 * 0.75) ** 3 * 0.5)
    with trace.record("second"):
        shrink(x, 0.5)
    x[...] = 1
    for _ in range(3):
        trace.replay("first", "second")
    np.testing.assert_allclose(x.numpy(), 0.25**3)


def test_a_trace_takes_its_own_thread_s_launches_alone():
    gpu = device.get("cuda")
    trace = gpu.trace()
    other = threading.Thread(target=lambda: ac.tensor([1.0, 2.0], device="cuda").exp().numpy())
    with trace.record("mine") as section:
        x = gpu.empty((3,), np.float32)
        x[...] = 2
        other.start()
        other.join()
    assert section.reason is None
    assert len(section.calls) == 1


def test_more_numbers_than_a_trace_has_room_for(monkeypatch):
    """The step runs through Python, and says why."""
    monkeypatch.setattr(device.get("cuda").module("trace"), "SLOTS", 6)
    extra = [layers.Dropout(0.5, dtype="float64"), layers.Dropout(0.2, seed=7, dtype="float64")]

    def train(model):
        result = fitted(model)
        if model.device.name == "cuda":
            assert odd(model)["train", "forward"] == "more than 6 numbers change from step to step"
        return result

    equal(*both(lambda: net(extra=extra_again(extra)), train))


def test_numbers_of_several_types():
    gpu = device.get("cuda")
    trace, drawn = gpu.trace(), iter(range(1, 9))
    with trace.record("numbers") as section:
        two = gpu.dynamic(lambda: (2**64 - next(drawn), 3), np.uint64, 2)
        place, rate = gpu.dynamic(lambda: -next(drawn), np.int64), gpu.dynamic(lambda: 0.5)
    assert section.reason is None
    for _ in range(2):
        found = [number.numpy().item() for number in (*two, place, rate)]
        trace.replay("numbers")
        assert found != [number.numpy().item() for number in (*two, place, rate)]
    assert [number.numpy().item() for number in (*two, place, rate)] == [2**64 - 5, 3, -6, 0.5]


def test_a_copy_makes_a_section_incomplete():
    gpu = device.get("cuda")
    trace, x = gpu.trace(), gpu.asarray(np.ones(2))
    with trace.record("out") as out:
        x.numpy()
    with trace.record("in") as into:
        x[...] = np.zeros(2)
    assert out.reason == into.reason == "a copy from or to the host's memory"


def test_training_that_crashed_goes_on_bit_for_bit(tmp_path):
    """The state comes to the host and goes back: weights, slots, sums, and the masks' random numbers."""
    def learn(*more):
        model = net(optimizer="adam", extra=[layers.Dropout(0.3, dtype="float64")]).to("cuda")
        history = model.fit(ROWS[:8], LABELS[:8], batch_size=4, epochs=2, verbose=0, callbacks=list(more))
        return history.history, [weights.tobytes() for weights in model.get_weights()]

    def crash(batch, logs):
        if steps.pop():
            raise ConnectionError

    wanted, steps = learn(), [True, *[False] * 3]
    with pytest.raises(ConnectionError):
        learn(callbacks.BackupAndRestore(tmp_path, 1), callbacks.LambdaCallback(on_train_batch_begin=crash))
    assert learn(callbacks.BackupAndRestore(tmp_path, 1)) == wanted
