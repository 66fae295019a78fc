"""Losses are Keras's: checked against the formulas, written out in NumPy."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import losses

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
    with pytest.raises(ValueError, match="one number a sample"):
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
    assert type(losses.as_loss(name)) is kind


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
    for loss in (losses.as_loss(cubic), losses.as_loss(Cubic())):
        np.testing.assert_allclose(loss(ONE_HOT, ac.tensor(PROBABILITIES)).item(), expected)
    assert (losses.as_loss(cubic).name, Cubic().name) == ("cubic", "cubic")


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
