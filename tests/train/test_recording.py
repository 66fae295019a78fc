"""Steps that are recorded once and replayed: with the bits of steps that are not, and nothing else is ever replayed."""

import copy
import subprocess
import sys
import threading

import numpy as np
import pytest
from autoconv.tensor import Tensor, apply, no_grad
from cases import CASES
from kinds import LAYERS, LOSSES, METRICS, NEEDED, OF_LOSSES, TARGETS_OF, X, net, of_module, targets

from autoconv import callbacks, layers, losses, metrics, models, optimizers, random, utils
from autoconv import functional as F
from autoconv.kernels import device
from autoconv.operators.registry import op

pytestmark = pytest.mark.usefixtures("tiles_for_few_pixels")
CPU = device.get("cpu")
RNG = np.random.default_rng(0)


def images(n=3):
    return RNG.random((n, 12, 12, 2), np.float32)


def labels(n, classes=5):
    return np.eye(classes, dtype=np.float32)[RNG.integers(0, classes, n)]


# The ops: their kernels are all there is to them.


def _wanted(case):
    """The case's arrays, and what computes its result and gradients from them."""
    arrays = [None if a is None else CPU.asarray(a) for a in case.inputs("float32")]

    def run(gradient=None):
        tensors = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
        y = case.call(*tensors, **case.parameters)
        if not y.requires_grad:
            return gradient, [y.data]
        gradient = CPU.asarray(RNG.random(y.shape, np.float32)) if gradient is None else gradient
        y.backward(gradient)
        return gradient, [y.data, *(t.grad for t in tensors if t is not None and t.grad is not None)]

    return arrays, run


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_the_kernels_that_an_op_records_are_all_there_is_to_it(case):
    """Replayed on other numbers they give what the op gives for those; else the section says that it is incomplete."""
    arrays, run = _wanted(case)
    trace = CPU.trace()
    with trace.record("all") as section:
        gradient, found = run()
    for a in (*arrays, gradient):
        if a is not None:
            a[...] = RNG.permutation(a.ravel()).reshape(a.shape)
    assert section.reason is None
    trace.replay("all")
    for a, b in zip(found, run(gradient)[1], strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_an_op_without_gradients_gives_the_same(case, monkeypatch):
    """But for larger tiles of a convolution, which are tested with the others: test_winograd.py."""
    monkeypatch.setenv("AUTOCONV_WINOGRAD", "2")
    _, run = _wanted(case)
    expected = run()[1][0]
    with no_grad():
        assert np.array_equal(run()[1][0], expected)


# What is not ours is not recorded, unless it says so.


@op(kernels="pointwise")
def by_numpy(k, x):
    """A user's op that computes by plain NumPy."""
    y = k.empty(x.shape, x.dtype)
    np.multiply(x, 2, out=y)
    return y, lambda dy, needs: (np.multiply(dy, 2),)


@op(kernels="pointwise")
def gradient_by_numpy(k, x):
    """Its result is kernels alone, its gradient is not."""
    y = k.empty(x.shape, x.dtype)
    k.relu(x.reshape(-1), y.reshape(-1))
    return y, lambda dy, needs: (dy * (y > 0),)


class Of(layers.Layer):
    """A user's layer that computes f(x)."""

    def __init__(self, f, **options):
        super().__init__(**options)
        self.f = f

    def call(self, x):
        return self.f(x)


class Recordable(Of):
    recordable = True

    def call(self, x):
        return self.f(x)


class Bigger(layers.Dense):
    """A layer derived from one of ours that computes something else."""

    def call(self, x):
        return super().call(x) + float(x.detach().numpy().max())


class BiggerActivation(layers.Dense):
    """A layer derived from one of ours that computes the same."""


def plain(x):
    return F.relu(x) if float(x.detach().numpy().sum()) > 0 else x


def said_so(x):
    return F.relu(x) * 0.5


said_so.recordable = True

ODD = {
    "an op": (lambda: Recordable(lambda x: apply(by_numpy, x)), "the op by_numpy recorded nothing"),
    "a gradient": (lambda: Recordable(lambda x: apply(gradient_by_numpy, x)), None),
    "a layer": (lambda: Of(lambda x: x * 3.0, name="mine"), "the layer mine (Of) does not say recordable = True"),
    "a layer within": (lambda: models.Sequential([Of(lambda x: x * 3.0, name="mine")]), "the layer mine (Of)"),
    "a derived layer": (lambda: Bigger(5, name="bigger"), "the layer bigger (Bigger) does not say recordable = True"),
    "an activation": (lambda: layers.Activation(plain, name="act"), "the activation of act is a function"),
    "an activation of a layer": (lambda: layers.Dense(5, plain, name="d"), "the activation of d is a function"),
    "a shape": (lambda: Recordable(lambda x: F.relu(x) + Tensor(np.full(5, len(x), "float32"))), None),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_computed_by_numpy_is_right_from_the_second_batch_on(what):
    """The report says why it is not recorded."""
    make, why = ODD[what]
    utils.set_random_seed(2)
    model = models.Sequential([layers.Input((4,)), layers.Dense(5), make(), layers.Dense(3)])
    x = RNG.normal(size=(5, 6, 4)).astype("float32")
    for one in x:
        found = model.predict_on_batch(one)
        with no_grad():
            t = Tensor(one)
            for layer in model.layers:
                t = layer(t)
        np.testing.assert_allclose(found, t.detach().numpy(), rtol=1e-5, atol=1e-6)
    reason = model.recording_report()["predict"]["forward"]
    assert reason is None if why is None else reason.startswith(why)


def test_a_gradient_by_numpy_trains_as_one_by_kernels():
    weights, reports = [], []
    for op_of in (lambda x: apply(gradient_by_numpy, x), F.relu):
        utils.set_random_seed(2)
        model = models.Sequential([layers.Input((4,)), layers.Dense(5), Recordable(op_of), layers.Dense(3)])
        model.compile(optimizers.SGD(0.1), "mse")
        x = np.random.default_rng(1).normal(size=(5, 6, 4)).astype("float32")
        for one in x:
            model.train_on_batch(one, one[:, :3])
        weights.append(model.get_weights())
        reports.append(model.recording_report()["train"])
    for a, b in zip(*weights):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert reports[0]["backward"] == "the op gradient_by_numpy's gradient recorded nothing"
    assert reports[0]["forward"] is not None
    assert reports[0]["update"] is None
    assert set(reports[1].values()) == {None}


def test_a_kernel_of_plain_numpy_is_noticed(monkeypatch):
    """The recipe for an op allows NumPy in a twin: one that `record_calls` does not wrap makes the step run eagerly."""
    twin = CPU.module("pointwise")
    monkeypatch.setattr(twin, "tripled", lambda x, y: np.multiply(x, 3, out=y), raising=False)

    @op(kernels="pointwise")
    def tripled(k, x):
        y = k.empty(x.shape, x.dtype)
        k.tripled(x, y)
        return y, lambda dy, needs: (dy,)

    model = models.Sequential([layers.Input((4,)), layers.ReLU(), Recordable(lambda x: apply(tripled, x))])
    for _ in range(3):
        x = RNG.random((6, 4), np.float32)
        np.testing.assert_allclose(model.predict_on_batch(x), 3 * x, rtol=1e-6)
    assert model.recording_report()["predict"]["forward"] == "pointwise.tripled recorded nothing"


def test_what_says_recordable_is_recorded():
    model = models.Sequential([layers.Input((4,)), Recordable(F.relu), layers.Dense(3, said_so), BiggerActivation(2)])
    for _ in range(3):
        model.predict_on_batch(RNG.random((6, 4), np.float32))
    assert model.recording_report() == {"predict": {"forward": None}}


def test_later_calls_with_batches_of_this_shape_run_no_python_of_a_layer():
    class Counted(layers.Layer):
        recordable = True

        def call(self, x):
            runs.append(x.shape)
            return x * 2.0

    runs = []
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), Counted()])
    model.compile("sgd", "mse")
    x, y = RNG.random((6, 4), np.float32), RNG.random((6, 3), np.float32)
    for run in (lambda: model.train_on_batch(x, y), lambda: model.test_on_batch(x, y),
                lambda: model.predict_on_batch(x), lambda: model.evaluate(x, y, verbose=0),
                lambda: model.predict(x, verbose=0)):
        run()
        recorded = len(runs)
        run()
        run()
        assert len(runs) == recorded


def test_who_overrides_what_a_layer_does_must_say_it_again():
    class Says(Bigger):
        recordable = True

    for kind, recorded in ((layers.Dense, True), (BiggerActivation, True), (Bigger, False), (Says, True)):
        model = models.Sequential([layers.Input((4,)), kind(2)])
        model.predict_on_batch(RNG.random((6, 4), np.float32))
        assert (model.recording_report()["predict"]["forward"] is None) == recorded, kind


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return ((y_pred - np.asarray(y_true)) ** 2).mean(axis=-1)


class OwnMean(metrics.Metric):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.sum += float(np.abs(y_pred - y_true).sum())
        self.n += y_true.size

    def result(self):
        return self.sum / self.n

    def reset_state(self):
        self.sum, self.n = 0.0, 0


class OwnSGD(optimizers.Optimizer):
    def update_step(self, k, flat, rate, decay_factor):
        flat.data[...] -= np.float32(self.learning_rate) * flat.gradient


class RecordableSGD(OwnSGD):
    recordable = True

    def update_step(self, k, flat, rate, decay_factor):
        k.sgd(flat.data, flat.gradient, flat.data[:0], rate, 0.0, False, decay_factor)


@pytest.mark.parametrize(("part", "phases"), [
    ("loss", {"loss", "account", "score"}), ("metric", {"score"}), ("optimizer", {"update"}), ("nothing", set()),
    ("recordable optimizer", set()),
])
def test_losses_metrics_and_optimizers_of_a_users(part, phases):
    """They give what ours give, and the phase that they are in is not recorded, while the others are."""
    logs = []
    for own in (True, False):
        utils.set_random_seed(3)
        model = models.Sequential([layers.Input((12, 12, 2)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(5)])
        optimizer = {"optimizer": OwnSGD, "recordable optimizer": RecordableSGD}.get(part, optimizers.SGD) \
            if own else optimizers.SGD
        model.compile(optimizer(optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
                      OwnLoss() if own and part == "loss" else "mse",
                      metrics=[OwnMean("mae") if own and part == "metric" else "mae"])
        x = np.random.default_rng(5).random((20, 12, 12, 2), np.float32)
        history = model.fit(x, x.reshape(20, -1)[:, :5], batch_size=8, epochs=3, validation_split=0.2, verbose=0,
                            shuffle=False, sample_weight=np.linspace(0, 1, 20)).history
        logs.append([np.concatenate([w.ravel() for w in model.get_weights()]), *map(np.array, history.values())])
        report = model.recording_report()["train"]
        assert {name for name, reason in report.items() if reason is not None} == (phases if own else set())
        assert model.optimizer.iterations == 6
    for a, b in zip(*logs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# What is recorded has the bits of what is not.


def eager(kind):
    """A layer class of ours whose steps are not recorded."""
    return type(kind.__name__, (kind,), {"recordable": False})


def full_net(wrap=lambda kind: kind):
    utils.set_random_seed(5)
    x = layers.Input((12, 12, 2))
    y = layers.Conv2D(8, 3, padding="same")(wrap(layers.Rescaling)(2.0, -1.0)(x))
    y = layers.ReLU()(layers.BatchNormalization()(y))
    z = layers.Add()([y, layers.Conv2D(8, 1)(y)])
    z = layers.Dropout(0.3)(layers.MaxPooling2D()(z))
    z = layers.Dropout(0.2, seed=4)(layers.AveragePooling2D(2)(layers.DepthwiseConv2D(3, padding="same")(z)))
    return models.Model(x, layers.Dense(5, "softmax")(layers.Flatten()(z)))


@pytest.mark.parametrize("how", [
    {}, {"sample_weight": np.linspace(0, 2, 20)}, {"validation_split": 0.3}, {"shuffle": True},
    {"class_weight": {i: 0.5 + i for i in range(5)}},
    {"callbacks": callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)},
], ids=lambda how: ",".join(how) or "plain")
@pytest.mark.parametrize("optimizer", [
    lambda: optimizers.Adam(0.01), lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.1),
    lambda: optimizers.RMSprop(optimizers.schedules.CosineDecay(0.01, 9), centered=True, global_clipnorm=0.5),
    lambda: optimizers.AdamW(0.01, clipvalue=0.02),
], ids=["Adam", "SGD clipnorm", "RMSprop schedule", "AdamW clipvalue"])
def test_training_has_the_same_bits_recorded_and_not(how, optimizer):
    x, y = np.random.default_rng(7).random((20, 12, 12, 2), np.float32), np.arange(20) % 5
    found = []
    for wrap in (lambda kind: kind, eager):
        model = full_net(wrap)
        model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=8, epochs=3, verbose=0, **{"shuffle": False, **how}).history
        found.append([*model.get_weights(), *map(np.array, history.values()), model.predict(x, 8, verbose=0),
                      np.array(model.evaluate(x, y, batch_size=8, verbose=0)),
                      np.array(model.train_on_batch(x, y)), *model.get_weights()])
        reasons = [r for phases in model.recording_report().values() for n, r in phases.items() if n == "forward"]
        assert [reason is None for reason in reasons] == [wrap is not eager] * len(reasons)
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b)


# All that is ours is recorded.


@pytest.mark.parametrize("kind", sorted({*LAYERS} - {layers.Lambda}, key=lambda kind: kind.__name__),
                         ids=lambda kind: kind.__name__)
def test_every_layer_is_recorded(kind):
    model, _ = net(kind)
    x = RNG.normal(size=(6, 6, 6, 4)).astype("float32")
    for _ in range(2):
        model.train_on_batch(x, targets(model))
        model.test_on_batch(x, targets(model))
        model.predict_on_batch(x)
        model.fit(x, targets(model), verbose=0)
    report = model.recording_report()
    assert set(report) == {"train", "test", "predict"}
    assert {reason for phases in report.values() for reason in phases.values()} == {None}


def test_a_function_of_the_user_s_in_a_layer_runs_through_python():
    model, _ = net(layers.Lambda)
    model.train_on_batch(X, targets(model))
    assert "(Lambda) does not say recordable = True" in model.recording_report()["train"]["forward"]


SCHEDULES = {
    "CosineDecay": (0.1, 5), "CosineDecayRestarts": (0.1, 5), "ExponentialDecay": (0.1, 5, 0.5),
    "InverseTimeDecay": (0.1, 5, 0.5), "OneCycle": (0.1, 5), "PiecewiseConstantDecay": ([2, 4], [0.1, 0.2, 0.3]),
    "PolynomialDecay": (0.1, 5), "WarmUp": (0.1, 0.2, 5),
}
OPTIMIZERS = {
    **{kind.__name__: kind for kind in of_module(optimizers, optimizers.Optimizer)},
    **{f"{kind.__name__} with all": lambda kind=kind: kind(
        0.01, use_ema=True, global_clipnorm=1.0, weight_decay=0.01)
       for kind in of_module(optimizers, optimizers.Optimizer)},
    **{name: lambda name=name: optimizers.SGD(getattr(optimizers.schedules, name)(*SCHEDULES[name]))
       for name in SCHEDULES}}


def recorded(model, x, make_targets):
    for _ in range(2):
        model.fit(x, make_targets(), batch_size=4, verbose=0)
        model.evaluate(x, make_targets(), verbose=0)
    report = model.recording_report()
    return report, {reason for phases in report.values() for reason in phases.values()} - {None}


@pytest.mark.parametrize("kind", [*LOSSES, *METRICS], ids=lambda kind: f"{kind.__module__[9:]}.{kind.__name__}")
def test_every_loss_and_metric_is_recorded(kind):
    activation, make_targets = TARGETS_OF.get(kind, OF_LOSSES["numbers"])
    model = models.Sequential([layers.Input((4,)), layers.Dense(3, activation)])
    own = "sparse_categorical_crossentropy" if make_targets().ndim == 1 else "mse"
    made = kind(**NEEDED.get(kind, {}))
    model.compile("sgd", own if kind in METRICS else made, metrics=[made] if kind in METRICS else [])
    report, reasons = recorded(model, RNG.random((6, 4), np.float32), make_targets)
    by_numpy = kind in METRICS and not made.recordable
    assert ("score" in report["train"]) == by_numpy
    assert all(reason.endswith("is computed by NumPy") for reason in reasons)
    assert bool(reasons) == by_numpy


def test_no_schedule_is_forgotten():
    schedules = optimizers.schedules
    assert {kind.__name__ for kind in of_module(schedules, schedules.LearningRateSchedule)} == set(SCHEDULES)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_and_schedule_is_recorded(make):
    model = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.compile(make(), "mse")
    assert not recorded(model, RNG.random((6, 4), np.float32), OF_LOSSES["numbers"][1])[1]


def test_metrics_and_activations_by_name_are_recorded():
    from autoconv.activations import ACTIVATIONS

    for name in ACTIVATIONS:
        model = models.Sequential([layers.Input((4,)), layers.Dense(3, name), layers.Activation(name)])
        model.predict_on_batch(RNG.random((6, 4), np.float32))
        assert model.recording_report()["predict"] == {"forward": None}, name
    names = ["accuracy", "mse", "mae", "categorical_crossentropy", "top_k_categorical_accuracy"]
    model = models.Sequential([layers.Input((4,)), layers.Dense(5, "softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=names)
    model.fit(RNG.random((6, 4), np.float32), labels(6), verbose=0)
    assert set(model.recording_report()["train"].values()) == {None}


# What stays, and what does not.


@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_predictions_are_the_layers(n):
    model, x = full_net(), images(n)
    model.predict_on_batch(x[::-1] * 2)
    found = model.predict_on_batch(x)
    np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert np.array_equal(found, model.predict_on_batch(x.astype(np.float64)))
    assert np.array_equal(found, model.predict(x, n, verbose=0))


def test_predictions_are_not_overwritten():
    model = full_net()
    found = [model.predict_on_batch(images()) for _ in range(4)] + [model.predict(images(7), 3, verbose=0)]
    then = [np.array(a) for a in found]
    model.compile("sgd", "mse")
    for _ in range(3):
        model.predict_on_batch(images())
        model.predict(images(7), 3, verbose=0)
        model.train_on_batch(images(), labels(3))
    for a, b in zip(found, then):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("recordable", [True, False])
def test_what_a_layer_keeps_is_not_overwritten(recordable):
    class Keeps(layers.Layer):
        def __init__(self):
            super().__init__()
            self.kept = []

        def call(self, x):
            y = F.relu(x)
            self.kept += [(x.data, np.array(x.data)), (y.data, np.array(y.data))]
            return y

    layer = Keeps()
    model = models.Sequential([layers.Input((12, 12, 2)), layers.Conv2D(3, 3), layer, layers.Flatten(),
                               layers.Dense(5)])
    model.compile("sgd", "mse")
    layer.kept.clear()
    model.fit(images(20), labels(20), batch_size=8, epochs=2, verbose=0)
    model.predict(images(20), 8, verbose=0)
    assert len(layer.kept) == 2 * (6 + 3)
    for held, then in layer.kept:
        assert np.array_equal(held, then)


def test_few_steps_are_kept():
    """A model that gets a batch of another size each time keeps the arrays of a few of them."""
    import gc

    class Big(layers.Layer):
        recordable = True

        def call(self, x):
            made.append(x.data)
            return F.relu(x)

    import weakref

    made = []
    model = models.Sequential([layers.Input((12, 12, 2)), Big()])
    made.clear()
    alive = []
    for n in range(1, 12):
        model.predict_on_batch(images(n))
        alive += [weakref.ref(a) for a in made if len(a) == n]
        made.clear()
    gc.collect()
    assert 0 < len({ref().shape for ref in alive if ref() is not None}) <= 4


def test_a_copied_model_answers_and_trains_by_itself():
    model, x, y = full_net(), images(), labels(3)
    model.compile(optimizers.Adam(0.01), "categorical_crossentropy")
    for _ in range(2):
        model.train_on_batch(x, y)
    before, weights = model.predict_on_batch(x), model.get_weights()
    other = copy.deepcopy(model)
    assert np.array_equal(other.predict_on_batch(x), before)
    began = random.state()
    for _ in range(3):
        other.train_on_batch(x, y)
    assert not np.array_equal(other.predict_on_batch(x), before)
    assert np.array_equal(model.predict_on_batch(x), before)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights()))
    assert other.optimizer.iterations == 5
    assert model.optimizer.iterations == 2
    random.set_state(began)
    for _ in range(3):
        model.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), model.get_weights()))


def test_threads_that_ask_one_model():
    model, errors = full_net(), []
    batches = [images(n) for n in (1, 2, 3, 3)]
    wanted = [model(x).numpy() for x in batches]

    def ask():
        for _ in range(40):
            for x, y in zip(batches, wanted):
                if not np.allclose(model.predict_on_batch(x), y, rtol=1e-5, atol=1e-6):
                    errors.append(len(x))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_metric_that_is_no_longer_recorded_counts_once():
    model = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    metric = metrics.MeanAbsoluteError()
    model.compile("sgd", "mae", metrics=[metric])
    x, y = RNG.random((6, 4), np.float32), RNG.random((6, 3), np.float32)
    model.test_on_batch(x, y)
    metric.recordable = False
    loss, found = model.test_on_batch(x, y)
    assert found == pytest.approx(loss, rel=1e-5)
    assert model.recording_report()["test"]["score"] == "the metric mean_absolute_error is computed by NumPy"


# Kernels are compiled together, before they are needed.


AHEAD = """
import os, pathlib, sys, time
import numpy as np
from autoconv import functional as F, layers, models
from autoconv.tensor import tensor

def compiled():
    return {path.name.partition("-")[0] for path in pathlib.Path(os.environ["AUTOCONV_CACHE_DIR"]).rglob("*.kernel")}

if sys.argv[1] == "function":
    x = tensor(np.ones((2, 4, 4, 3), "float32"), requires_grad=True)
    y, begun = F.max_pool2d(x, 2), time.monotonic()
    while len([name for name in compiled() if name.startswith("pool.")]) < 2 and time.monotonic() < begun + 300:
        time.sleep(0.05)  # processes compile the other one meanwhile
    before = compiled()
    y.sum().backward()
    print(len([name for name in before if name.startswith("pool.")]) > 1,
          {name for name in compiled() if name.startswith("pool.")} <= before)
else:
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    seen = []

    class Watch(layers.Layer):
        recordable = True
        def call(self, x):
            seen.append(compiled())
            return x

    model.add(Watch())
    seen.clear()
    model.train_on_batch(np.ones((4, 3), "float32"), np.ones((4, 2), "float32"))
    print("update.sgd" in seen[-1] - seen[0], seen[-1] == compiled())
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["function", "train_on_batch"])
def test_kernels_are_compiled_before_they_are_needed(what, tmp_path):
    """Those of an op's gradient when the op first runs, those of a step before its first run."""
    import os

    done = subprocess.run([sys.executable, "-c", AHEAD, what], env={**os.environ, "AUTOCONV_CACHE_DIR": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stdout + done.stderr


def test_the_methods_for_one_batch_say_nothing(capsys):
    model = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    x, y = RNG.random((6, 4), np.float32), RNG.random((6, 3), np.float32)
    model.train_on_batch(x, y)
    model.test_on_batch(x, y)
    model.predict_on_batch(x)
    assert capsys.readouterr() == ("", "")
