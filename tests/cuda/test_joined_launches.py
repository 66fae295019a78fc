"""One launch in the place of several: which launches of a step it is, and that no bit of a training changes by it.

Runs where tests/cuda/test_cuda.py does.
"""

import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, losses, metrics, models
from autoconv.kernels import device

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere"),
              pytest.mark.filterwarnings("ignore::RuntimeWarning", "error:No CUDA graph")]  # the last one wins

RNG = np.random.default_rng(0)
N, CLASSES = 11, 3
ROWS = RNG.normal(size=(N, 4))
LABELS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES)[LABELS]
WEIGHTS = RNG.random(N)
WHOLE, WITH_SUMS = ["joint._classifier"], ["joint._classifier", "joint._sums"]


def net(loss="sparse_categorical_crossentropy", scores=("accuracy",), last="softmax", dtype="float64", **options):
    ac.utils.set_random_seed(3)
    model = models.Sequential([layers.Input((4,)), layers.Dense(CLASSES, activation=last, dtype=dtype, **options)])
    model.compile("sgd", loss, metrics=list(scores))
    return model


def of_pixels():
    ac.utils.set_random_seed(3)
    model = models.Sequential([layers.Input((2, 2, 4)), layers.Conv2D(CLASSES, 1, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def of_two():
    ac.utils.set_random_seed(3)
    x = layers.Input((4,))
    outputs = [layers.Dense(CLASSES, "softmax", dtype="float64", name=name)(x) for name in ("one", "other")]
    model = models.Model(x, outputs)
    model.compile("sgd", "categorical_crossentropy", loss_weights=[1.0, 0.5], metrics=[["accuracy"], ["accuracy"]])
    return model


@pytest.fixture
def graphs(monkeypatch):
    """The names of what ends a step, of each graph that is captured."""
    runtime, joining = (device.get("cuda").module(name) for name in ("runtime", "joining"))
    members = (*joining.ROWS, *joining.HITS, *joining.SUMS_OF_ROWS, *joining.SUMS)
    ends = {kernel.name for kernel in (*(member.kernel for member in members), *joining.JOINT, *joining.JOINT.values())}
    seen, capture = [], runtime.Gpu.capture

    def captured(gpu, launches, *given):
        seen.append([launch.kernel.name for launch in launches if launch.kernel.name in ends])
        return capture(gpu, launches, *given)

    monkeypatch.setattr(runtime.Gpu, "capture", captured)
    return seen


def one_by_one(monkeypatch):
    monkeypatch.setattr(device.get("cuda").module("joining"), "join_launches", list)


def trained(model, x, y, **options):
    """Four steps: the first is recorded, the third captured."""
    model.to("cuda")
    history = model.fit(x, y, batch_size=len(x), epochs=4, verbose=0, **options).history
    return {**history, "weights": np.concatenate([w.ravel() for w in model.get_weights()])}


def equal(there, here):
    assert there.keys() == here.keys()
    for name in here:
        np.testing.assert_array_equal(there[name], here[name], err_msg=name)


PIXELS = RNG.normal(size=(5, 2, 2, 4)), RNG.integers(0, CLASSES, (5, 2, 2))
MANY = RNG.normal(size=(300, 4)), RNG.integers(0, CLASSES, 300)  # more than a block has threads
CASES = {
    "labels": (net, ROWS, LABELS, {}, WHOLE),
    "labels, float32": (lambda: net(dtype="float32"), ROWS, LABELS, {}, WHOLE),
    "one-hot": (lambda: net("categorical_crossentropy"), ROWS, ONE_HOT, {}, WHOLE),
    "no metric": (lambda: net("categorical_crossentropy", ()), ROWS, ONE_HOT, {}, WHOLE),
    "logits": (lambda: net(losses.SparseCategoricalCrossentropy(from_logits=True), last=None), ROWS, LABELS, {}, WHOLE),
    "smoothing": (lambda: net(losses.CategoricalCrossentropy(label_smoothing=0.1)), ROWS, ONE_HOT, {}, WHOLE),
    "weights": (net, ROWS, LABELS, {"sample_weight": WEIGHTS}, WHOLE),
    "weights of classes": (net, ROWS, LABELS, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}, WHOLE),
    "mean by weights": (lambda: net(losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")), ROWS,
                        LABELS, {"sample_weight": WEIGHTS}, WHOLE),
    "pixels": (of_pixels, *PIXELS, {}, WHOLE),
    # A sum that needs more than the losses, or more samples than a block has threads: a launch of its own.
    "a class ignored": (lambda: net(losses.SparseCategoricalCrossentropy(ignore_class=1)), ROWS, LABELS, {}, WITH_SUMS),
    "a penalty": (lambda: net(kernel_regularizer="l2"), ROWS, LABELS, {}, WITH_SUMS),
    "another metric": (lambda: net(scores=("accuracy", metrics.SparseTopKCategoricalAccuracy(2))), ROWS, LABELS, {},
                       ["joint._classifier", "joint._sums"]),
    "many samples": (net, *MANY, {}, WITH_SUMS),
    # No classifier: the sums alone.
    "errors": (lambda: net("mse", ("mae",)), ROWS, ONE_HOT, {}, ["pointwise._softmax", "joint._sums"]),
}


@pytest.mark.parametrize(("make", "x", "y", "options", "launches"), CASES.values(), ids=CASES)
def test_the_end_of_a_step(graphs, monkeypatch, make, x, y, options, launches):
    joint = trained(make(), x, y, **options)
    assert graphs == [launches]
    one_by_one(monkeypatch)
    equal(joint, trained(make(), x, y, **options))
    assert len(graphs[1]) > len(launches)


def test_two_outputs(graphs, monkeypatch):
    joint = trained(of_two(), ROWS, [ONE_HOT, ONE_HOT[::-1]])
    assert graphs[0].count("joint._classifier") == 2
    one_by_one(monkeypatch)
    equal(joint, trained(of_two(), ROWS, [ONE_HOT, ONE_HOT[::-1]]))


def test_an_evaluation(graphs, monkeypatch):
    def means(model):
        return model.to("cuda").evaluate(*MANY, batch_size=60, verbose=0)

    joint = means(net())
    assert graphs == [WHOLE]
    one_by_one(monkeypatch)
    assert joint == means(net())


def replayed(launch, *written):
    """What a recording of `launch(loss, step, arith)` launches when it is replayed, by its kernels. Before that these
    arrays are filled with what they cannot hold afterwards.
    """
    gpu, names = device.get("cuda"), []
    trace, run = gpu.trace(), gpu.module("kernels").Launch.__call__
    with trace.record("all"):
        launch(*(gpu.kernels(name) for name in ("loss", "step", "arith")))
    for array in written:
        array[...] = 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu.module("kernels").Launch, "__call__", lambda self, *given: (
            names.append(self.kernel.name), run(self, *given)))
        trace.replay("all")
    return names


def arrays(*given):
    return [device.get("cuda").array(np.asarray(array)) for array in given]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_is_written_as_by_separate_launches(dtype):
    """Also of a class that is ruled out, of logits as large as they get, and of a label that names no class."""
    logits, labels = ROWS[:, :CLASSES].astype(dtype), LABELS.copy()
    logits[0, 0], logits[1], labels[2] = -np.inf, 1e30, CLASSES
    labels_there, x, weights, totals = arrays(labels, logits, WEIGHTS.astype(dtype), np.zeros(5))
    t, y, dx, values, hits = arrays(*np.zeros((3, N, CLASSES), dtype), *np.zeros((2, N), dtype))
    pointwise, written = device.get("cuda").kernels("pointwise"), [t, y, dx, values, hits, totals]

    def launch(loss, step, arith):
        pointwise.softmax(x, -1, y)
        loss.one_hot(labels_there, t)
        loss.categorical_logits(t, x, values)
        loss.categorical_logits_grad(t, x, weights, dx)
        step.clear(totals)
        step.accumulate(values, weights, 0.5, totals, 0)
        step.sparse_categorical_accuracy(labels_there, y, hits)
        step.accumulate(hits, weights, 1.0, totals, 3)
        step.close_step(totals)
        if not separately:
            separately.extend(array.numpy() for array in written)

    separately = []
    launch(*(device.get("cuda").kernels(name) for name in ("loss", "step", "arith")))
    assert replayed(launch, *written) == ["step._clear", "joint._classifier"]
    for array, before in zip(written, separately):
        np.testing.assert_array_equal(array.numpy(), before)
    assert np.isnan(separately[3]).tolist() == (labels == CLASSES).tolist()
    assert separately[-1][1:3].tolist() == [1, 1]  # a step, after which the loss is no number


def test_a_gradient_that_waits_for_the_loss_is_not_joined_with_it():
    t, x, dx = arrays(ONE_HOT, ROWS[:, :CLASSES], np.zeros((N, CLASSES)))
    values, dy = arrays(np.zeros(N), np.zeros(N))

    def launch(loss, step, arith):
        loss.categorical_logits(t, x, values)
        arith.multiply(values, 2.0, dy)
        loss.categorical_logits_grad(t, x, dy, dx)

    assert len(replayed(launch)) == 3
    shares = np.exp(ROWS[:, :CLASSES]) / np.exp(ROWS[:, :CLASSES]).sum(1, keepdims=True)
    np.testing.assert_allclose(dx.numpy(), (shares - ONE_HOT) * -2 * np.log(shares[ONE_HOT == 1])[:, None], rtol=1e-9)


def test_memory_that_is_used_twice_is_not_written_at_once():
    """The one-hot rows are overwritten with what else is computed of a sample: by another thread, in one launch."""
    labels, x, t, values = arrays(LABELS, ROWS[:, :CLASSES], np.zeros((N, CLASSES)), np.zeros(N))
    hits = t.reshape(-1)[:N]

    def launch(loss, step, arith):
        loss.one_hot(labels, t)
        loss.categorical_logits(t, x, values)
        step.sparse_categorical_accuracy(labels, x, hits)

    assert replayed(launch) == ["joint._classifier", "step._label_hits"]
    np.testing.assert_array_equal(hits.numpy(), ROWS[:, :CLASSES].argmax(1) == LABELS)


def test_sums_are_added_in_the_order_in_which_they_were_recorded():
    """All to one number, of which the rounding tells the order."""
    labels, x, t, values = arrays(LABELS, ROWS[:, :CLASSES], np.zeros((N, CLASSES)), np.zeros(N))
    hits, ones, totals = arrays(np.zeros(N), np.ones(N), np.zeros(3))

    def launch(loss, step, arith):
        step.clear(totals)
        loss.one_hot(labels, t)
        loss.categorical_logits(t, x, values)
        step.sparse_categorical_accuracy(labels, x, hits)
        step.accumulate(ones, ones, 2.0**60, totals, 0)
        step.accumulate(hits, ones, -(2.0**60) * N / right, totals, 0)
        step.accumulate(values, ones, 1.0, totals, 0)
        step.close_step(totals)
        if not separately:
            separately.append(totals.numpy())

    right, separately = (ROWS[:, :CLASSES].argmax(1) == LABELS).sum(), []
    launch(*(device.get("cuda").kernels(name) for name in ("loss", "step", "arith")))
    names = replayed(launch)
    assert "joint._classifier" in names
    assert len(names) < 8
    np.testing.assert_array_equal(totals.numpy(), separately[0])


def test_what_was_there_before_is_read_before_it_is_written_anew():
    """The hits are those of the probabilities that the last run left."""
    x, t, y, values, hits = arrays(-ROWS[:, :CLASSES], ONE_HOT, ROWS[:, :CLASSES], np.zeros(N), np.zeros(N))
    pointwise = device.get("cuda").kernels("pointwise")

    def launch(loss, step, arith):
        step.categorical_accuracy(t, y, hits)
        pointwise.softmax(x, -1, y)
        loss.categorical_logits(t, x, values)
        arith.copy(x, y)  # negative
        arith.multiply(y, -1.0, y)

    assert set(replayed(launch)) > {"joint._classifier", "step._class_hits"}
    np.testing.assert_array_equal(hits.numpy(), ROWS[:, :CLASSES].argmax(1) == LABELS)
