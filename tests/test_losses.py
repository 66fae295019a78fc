"""Losses are Keras's: checked against the formulas, written out in NumPy."""

from itertools import repeat

import numpy as np
import pytest

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, losses, models, ops, optimizers

EPS = 1e-7
rng = np.random.default_rng(0)
PROBABILITIES = rng.dirichlet(np.ones(4), 6)
LABELS = np.array([0, 3, 1, 1, 2, 0])
ONE_HOT = np.eye(4)[LABELS]
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def crossentropy(t, p):
    p = np.clip(p / p.sum(-1, keepdims=True), EPS, 1 - EPS)
    return -(t * np.log(p)).sum(-1)


def binary(t, p):
    p = np.clip(p, EPS, 1 - EPS)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(-1)


CASES = {
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, PROBABILITIES, crossentropy(ONE_HOT, PROBABILITIES)),
    "logits": (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, 5 * PROBABILITIES,
               crossentropy(ONE_HOT, softmax(5 * PROBABILITIES))),
    "smoothed": (losses.CategoricalCrossentropy(label_smoothing=0.2), ONE_HOT, PROBABILITIES,
                 crossentropy(ONE_HOT * 0.8 + 0.05, PROBABILITIES)),
    "sparse": (losses.SparseCategoricalCrossentropy(), LABELS, PROBABILITIES, crossentropy(ONE_HOT, PROBABILITIES)),
    "sparse column": (losses.SparseCategoricalCrossentropy(), LABELS[:, None], PROBABILITIES,
                      crossentropy(ONE_HOT, PROBABILITIES)),
    "sparse logits": (losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, 5 * PROBABILITIES,
                      crossentropy(ONE_HOT, softmax(5 * PROBABILITIES))),
    "binary": (losses.BinaryCrossentropy(), ONE_HOT, PROBABILITIES, binary(ONE_HOT, PROBABILITIES)),
    "binary smoothed": (losses.BinaryCrossentropy(label_smoothing=0.1), ONE_HOT, PROBABILITIES,
                        binary(ONE_HOT * 0.9 + 0.05, PROBABILITIES)),
    "binary logits": (losses.BinaryCrossentropy(from_logits=True), ONE_HOT, PROBABILITIES,
                      binary(ONE_HOT, 1 / (1 + np.exp(-PROBABILITIES)))),
    "squared": (losses.MeanSquaredError(), ONE_HOT, PROBABILITIES, ((ONE_HOT - PROBABILITIES) ** 2).mean(-1)),
    "absolute": (losses.MeanAbsoluteError(), ONE_HOT, PROBABILITIES, np.abs(ONE_HOT - PROBABILITIES).mean(-1)),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_is_the_mean_of_the_samples_losses(name):
    loss, t, p, expected = CASES[name]
    np.testing.assert_allclose(loss.call(t, ac.tensor(p)).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(loss(t, ac.tensor(p)).item(), expected.mean(), rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_weights_multiply_the_samples_but_not_their_number(name):
    loss, t, p, expected = CASES[name]
    np.testing.assert_allclose(loss(t, ac.tensor(p), WEIGHTS).item(), (WEIGHTS * expected).sum() / 6, rtol=1e-10)


def test_reductions():
    each = np.abs(ONE_HOT - PROBABILITIES).mean(-1)
    total = losses.MeanAbsoluteError(reduction="sum")(ONE_HOT, ac.tensor(PROBABILITIES))
    np.testing.assert_allclose(total.item(), each.sum())
    separate = losses.MeanAbsoluteError(reduction="none")(ONE_HOT, ac.tensor(PROBABILITIES), WEIGHTS)
    np.testing.assert_allclose(separate.numpy(), each * WEIGHTS)
    with pytest.raises(ValueError, match="Did you mean 'sum'"):
        losses.MeanSquaredError(reduction="sums")


def test_loss_has_a_gradient():
    p = ac.tensor(PROBABILITIES, requires_grad=True)
    losses.MeanSquaredError()(ONE_HOT, p).backward()
    np.testing.assert_allclose(p.grad, 2 * (PROBABILITIES - ONE_HOT) / 24)


def test_weights_of_images_spread_over_their_pixels():
    t, p = rng.random((3, 2, 2, 1)), rng.random((3, 2, 2, 1))
    w = np.array([1.0, 2.0, 0.0])
    expected = (((t - p) ** 2).mean(-1) * w[:, None, None]).sum() / 12
    np.testing.assert_allclose(losses.MeanSquaredError()(t, ac.tensor(p), w).item(), expected)
    with pytest.raises(ValueError, match="one number per sample"):
        losses.MeanSquaredError()(t, ac.tensor(p), w[:2])


@pytest.mark.parametrize(("name", "kind"), [
    ("mse", losses.MeanSquaredError), ("mean_squared_error", losses.MeanSquaredError),
    ("mae", losses.MeanAbsoluteError), ("binary_crossentropy", losses.BinaryCrossentropy),
    ("categorical_crossentropy", losses.CategoricalCrossentropy),
    ("sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
    ("SparseCategoricalCrossentropy", losses.SparseCategoricalCrossentropy),
    (losses.categorical_crossentropy, losses.CategoricalCrossentropy),
    (losses.MeanSquaredError, losses.MeanSquaredError),
])
def test_losses_have_names(name, kind):
    assert type(losses.find_loss(name)) is kind


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'categorical_crossentropy'"):
        losses.get("categorical_crossentropie")


def test_your_own_function_and_class():
    def cubic(y_true, y_pred):
        return ((y_pred - y_true) ** 3).sum(1)

    class Cubic(losses.Loss):
        def call(self, y_true, y_pred):
            return cubic(ac.tensor(y_true), y_pred)

    expected = ((PROBABILITIES - ONE_HOT) ** 3).sum(1).mean()
    for loss in (losses.find_loss(cubic), losses.find_loss(Cubic())):
        np.testing.assert_allclose(loss(ONE_HOT, ac.tensor(PROBABILITIES)).item(), expected)
    assert (losses.find_loss(cubic).name, Cubic().name) == ("cubic", "cubic")


@pytest.mark.parametrize(("loss", "y", "message"), [
    (losses.SparseCategoricalCrossentropy(), np.array([0, 4]), r"0\.\.3 .* from 0 to 4"),
    (losses.SparseCategoricalCrossentropy(), np.array([0, -1]), "from -1 to 0"),
    (losses.SparseCategoricalCrossentropy(), ONE_HOT, "use CategoricalCrossentropy"),
    (losses.CategoricalCrossentropy(), LABELS, "use SparseCategoricalCrossentropy"),
    (losses.CategoricalCrossentropy(), np.eye(5), r"\(N, 4\).*\(5, 5\)"),
    (losses.MeanSquaredError(), np.ones((3, 2)), r"\(N, 4\)"),
])
def test_targets_that_cannot_go_with_the_outputs(loss, y, message):
    with pytest.raises(ValueError, match=message):
        loss.check_targets(y, (None, 4))


def test_outputs_of_any_size_take_targets_of_any_size():
    losses.MeanSquaredError().check_targets(np.zeros((2, 5, 6, 1)), (None, None, None, 1))
    losses.SparseCategoricalCrossentropy().check_targets(np.zeros((2, 5, 6), int), (None, None, None, 4))
    with pytest.raises(ValueError, match="Received y of shape"):
        losses.MeanSquaredError().check_targets(np.zeros((2, 5, 6, 2)), (None, None, None, 1))


def test_targets_without_the_last_axis_of_one():
    losses.BinaryCrossentropy().check_targets(np.zeros(7), (None, 1))
    value = losses.BinaryCrossentropy()(np.array([0, 1]), ac.tensor([[0.25], [0.5]]))
    np.testing.assert_allclose(value.item(), -(np.log(0.75) + np.log(0.5)) / 2, rtol=1e-6)


def test_label_smoothing_beyond_one_mixes_as_the_formula_says():
    """As in Keras, which sets no limits."""
    targets = ONE_HOT * (1 - 1.5) + 1.5 / ONE_HOT.shape[-1]
    np.testing.assert_allclose(float(losses.CategoricalCrossentropy(label_smoothing=1.5)(ONE_HOT, PROBABILITIES)),
                               float(losses.CategoricalCrossentropy()(targets, PROBABILITIES)), rtol=1e-5)


# In a model: the loss is that of the predictions, and what weights do to it.

IMAGES = rng.normal(size=(5, 4, 3, 2)).astype("float32")
PIXELS = rng.integers(0, 3, (5, 4, 3))
PIXEL_WEIGHTS = rng.uniform(0, 2, (5, 4, 3)).astype("float32")


def linear(x, units, layer, *arguments, activation=None):
    """A model of one layer whose weights lie at equal distances in -1..1."""
    model = models.Sequential([layers.Input(x.shape[1:]), layer(*arguments, activation=activation)])
    shape = model.layers[0].kernel.shape
    model.set_weights([np.linspace(-1, 1, np.prod(shape)).reshape(shape), np.zeros(units)])
    return model


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(("units", "activation", "loss"), [
    (2, "softmax", "binary_crossentropy"),
    (10, "sigmoid", "categorical_crossentropy"),
    (10, "sigmoid", "sparse_categorical_crossentropy"), (10, "softmax", "categorical_crossentropy"),
    (10, "softmax", "sparse_categorical_crossentropy"), (3, "sigmoid", "binary_crossentropy")])
@pytest.mark.filterwarnings("ignore:.* needs :UserWarning")
def test_the_loss_is_that_of_the_predictions(units, activation, loss, eager):
    """Whichever activation the model ends in: its own crossentropy is that of its logits, which is the same number."""
    x, labels = rng.normal(size=(64, 6)).astype("float32"), rng.integers(0, max(units, 2), 64)
    one_hot = np.eye(units)[labels] if units > 1 else labels[:, None]
    y = labels if loss.startswith("sparse") else one_hot
    model = linear(x, units, layers.Dense, units, activation=activation)
    model.compile(optimizers.SGD(1e-30), loss, metrics=[loss], run_eagerly=eager)
    expected = (binary if loss.startswith("binary") else crossentropy)(one_hot, model.predict(x, verbose=0)).mean()
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-4)
    np.testing.assert_allclose(model.train_on_batch(x, y), expected, rtol=1e-4)
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["loss"] + history[loss], expected, rtol=1e-4)


def test_logits_are_those_of_the_axis_of_the_classes():
    z = rng.normal(size=(2, 3, 4))
    y = losses.categorical_crossentropy(np.full((2, 3, 4), 1 / 3), F.softmax(z), axis=1)
    np.testing.assert_allclose(y, crossentropy(np.full((2, 4, 3), 1 / 3), np.moveaxis(softmax(z), 1, 2)), rtol=1e-6)


class OneNumber(losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.square(y_true - y_pred))


@pytest.mark.parametrize(("loss", "evaluated", "trained"), [
    (lambda t, p: ops.mean(ops.square(t - p)), 2.39227, [2.25408, 1.34258, 0.89764]),
    (lambda t, p: ops.reshape(ops.mean(ops.square(t - p)), (1,)), 2.39227, [2.25408, 1.34258, 0.89764]),
    (OneNumber(), 2.39227, [2.25408, 1.34258, 0.89764]),
    (OneNumber(reduction="sum"), 8.11767, [7.43163, 2.03367, 1.4499]),
    (OneNumber(reduction="mean_with_sample_weight"), 2.2675, [2.18996, 1.42454, 1.00458])])
def test_a_loss_that_is_one_number_counts_with_the_weights_of_the_samples(loss, evaluated, trained):
    """The numbers of Keras 3.15.1 on PyTorch."""
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=(6, n)).astype("float32") for n in (4, 2))
    given = {"sample_weight": np.array([1, 2, 0, 0.5, 3, 1]), "batch_size": 4, "verbose": 0}
    model = linear(x, 2, layers.Dense, 2)
    model.compile(optimizers.SGD(0.1), loss)
    np.testing.assert_allclose(model.evaluate(x, y, **given), evaluated, rtol=1e-5)
    np.testing.assert_allclose(model.fit(x, y, epochs=3, shuffle=False, **given).history["loss"], trained, rtol=1e-5)
    classes = np.array([0, 1, 1, 0, 2, 1])
    by_class, by_sample = ({"class_weight": {1: 3.0}}, {"sample_weight": np.where(classes == 1, 3.0, 1.0)})
    first = [linear(x, 3, layers.Dense, 3) for _ in range(2)]
    for each, weights in zip(first, (by_class, by_sample)):
        each.compile("sgd", lambda t, p: ops.mean(losses.sparse_categorical_crossentropy(t, ops.softmax(p))))
        each.fit(x, classes, shuffle=False, verbose=0, **weights)
    np.testing.assert_array_equal(first[0].get_weights()[0], first[1].get_weights()[0])


@pytest.mark.parametrize("form", ["arrays", "batches"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1), (5, 1, 3), (5, 4)])
@pytest.mark.parametrize("name", ["sparse_categorical_crossentropy", "mean_squared_error"])
def test_weights_of_pixels(name, shape, form):
    """sample_weight (N, H, W), or what broadcasts to it, for outputs (N, H, W, C), also in a metric."""
    weights = PIXEL_WEIGHTS[..., 0] if len(shape) == 2 else PIXEL_WEIGHTS[:, : shape[1]]
    y = PIXELS if name.startswith("sparse") else np.eye(3)[PIXELS]
    model = linear(IMAGES, 3, layers.Conv2D, 3, 1, activation="softmax")
    model.compile(optimizers.SGD(0.1), name, weighted_metrics=[name])
    p, start = model.predict(IMAGES, verbose=0), model.get_weights()[0]
    each = crossentropy(np.eye(3)[PIXELS], p) if name.startswith("sparse") else ((y - p) ** 2).mean(-1)
    full = np.broadcast_to(weights[..., None] if len(shape) == 2 else weights, (5, 4, 3))
    loss, metric = model.evaluate(IMAGES, y, sample_weight=weights.reshape(shape), batch_size=2, verbose=0)
    np.testing.assert_allclose([loss, metric], [(each * full).mean(), (each * full).sum() / full.sum()], rtol=1e-5)
    given = {"x": IMAGES, "y": y, "sample_weight": weights.reshape(shape), "batch_size": 5}
    if form == "batches":
        given = {"x": repeat((IMAGES, y, weights.reshape(shape))), "steps_per_epoch": 1}
    history = model.fit(**given, epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], loss, rtol=1e-5)
    moved = (model.get_weights()[0] - start).copy()
    model.set_weights([start, np.zeros(3)])
    model.compile(optimizers.SGD(0.1), lambda t, p: getattr(losses, name)(t, p) * full.astype("float32"))
    model.fit(IMAGES, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0] - start, moved, rtol=1e-4, atol=1e-6)


def test_weights_of_classes_are_weights_of_pixels():
    model = linear(IMAGES, 3, layers.Conv2D, 3, 1, activation="softmax")
    model.compile(optimizers.SGD(1e-30), "categorical_crossentropy")
    one_hot, weights = np.eye(3)[PIXELS], np.where(PIXELS == 1, 4.0, 1.0)
    expected = (crossentropy(one_hot, model.predict(IMAGES, verbose=0)) * weights).mean()
    history = model.fit(IMAGES, one_hot, class_weight={1: 4.0}, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    model.compile(optimizers.SGD(1e-30), "sparse_categorical_crossentropy")
    history = model.fit(IMAGES, PIXELS[..., None], class_weight={1: 4.0}, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"shape \(5, 4, 3\)\. For one label per pixel, pass y\[\.\.\., None\]"):
        model.fit(IMAGES, PIXELS, class_weight={1: 4.0}, verbose=0)
    with pytest.raises(ValueError, match=r"sample_weight of shape \(5, 3\) for loss values of shape \(5, 4, 3\)"):
        model.fit(IMAGES, PIXELS, sample_weight=np.ones((5, 3)), verbose=0)
