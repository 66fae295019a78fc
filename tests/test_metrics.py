"""Metrics count over all batches, and "accuracy" finds out which one is meant, as in Keras."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import losses, metrics

OUTPUTS = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.35, 0.25]])
LABELS = np.array([1, 1, 2, 2])  # right, second, right, third
ONE_HOT = np.eye(3)[LABELS]


@pytest.mark.parametrize(("metric", "y", "expected"), [
    (metrics.SparseCategoricalAccuracy(), LABELS, 0.5),
    (metrics.SparseCategoricalAccuracy(), LABELS[:, None].astype("uint8"), 0.5),
    (metrics.CategoricalAccuracy(), ONE_HOT, 0.5),
    (metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, 0.75),
    (metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, 0.75),
    (metrics.SparseTopKCategoricalAccuracy(k=1), LABELS, 0.5),
    (metrics.SparseTopKCategoricalAccuracy(k=3), LABELS, 1.0),
    (metrics.MeanSquaredError(), ONE_HOT, ((ONE_HOT - OUTPUTS) ** 2).mean()),
    (metrics.MeanAbsoluteError(), ONE_HOT, np.abs(ONE_HOT - OUTPUTS).mean()),
])
def test_value_over_batches_is_the_value_over_all(metric, y, expected):
    for rows in (slice(0, 1), slice(1, 4)):
        metric.update_state(y[rows], ac.tensor(OUTPUTS[rows]))
    assert metric.result() == pytest.approx(expected)


def test_reset_forgets():
    metric = metrics.SparseCategoricalAccuracy()
    metric(LABELS, OUTPUTS)
    metric.reset_state()
    assert metric.result() == 0.0
    assert metric(LABELS[:1], OUTPUTS[:1]) == 1.0


def test_weights():
    assert metrics.SparseCategoricalAccuracy()(LABELS, OUTPUTS, [3, 1, 2, 4]) == pytest.approx(0.5)
    assert metrics.SparseCategoricalAccuracy()(LABELS, OUTPUTS, [3, 1, 0, 0]) == pytest.approx(0.75)


def test_binary_accuracy_takes_targets_with_and_without_the_last_axis():
    outputs = np.array([[0.9], [0.4], [0.5], [0.6]])
    for y in (np.array([1, 0, 1, 0]), np.array([[1], [0], [1], [0]])):
        assert metrics.BinaryAccuracy()(y, outputs) == 0.5  # 0.5 is not above the threshold
        assert metrics.BinaryAccuracy(threshold=0.45)(y, outputs) == 0.75


def test_mean():
    mean = metrics.Mean("seconds")
    mean.update_state([1.0, 2.0])
    mean.update_state(6.0)
    assert (mean.name, mean.result()) == ("seconds", 3.0)


@pytest.mark.parametrize(("name", "y", "outputs", "kind"), [
    ("accuracy", (8,), (8, 10), metrics.SparseCategoricalAccuracy),
    ("acc", (8, 1), (8, 10), metrics.SparseCategoricalAccuracy),
    ("accuracy", (8, 10), (8, 10), metrics.CategoricalAccuracy),
    ("accuracy", (8,), (8, 1), metrics.BinaryAccuracy),
    ("accuracy", (8, 1), (8, 1), metrics.BinaryAccuracy),
    ("mae", (8, 1), (8, 1), metrics.MeanAbsoluteError),
    (metrics.BinaryAccuracy, (8, 10), (8, 10), metrics.BinaryAccuracy),
])
def test_names(name, y, outputs, kind):
    metric = metrics.find_metric(name, y, outputs)
    assert type(metric) is kind
    assert metric.name == (name if isinstance(name, str) else "binary_accuracy")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'accuracy'"):
        metrics.check("acuracy")


def test_functions_get_arrays():
    def largest(y_true, y_pred):
        assert type(y_true) is type(y_pred) is np.ndarray
        return y_pred.max(-1)

    metric = metrics.find_metric(largest, (4,), (4, 3))
    assert metric(LABELS, ac.tensor(OUTPUTS)) == pytest.approx(OUTPUTS.max(-1).mean())
    assert metric.name == "largest"


def test_losses_are_metrics_too():
    metric = metrics.find_metric("sparse_categorical_crossentropy", (4,), (4, 3))
    expected = losses.SparseCategoricalCrossentropy()(LABELS, ac.tensor(OUTPUTS)).item()
    assert metric(LABELS, OUTPUTS) == pytest.approx(expected)


def test_ignored_labels_have_no_weight():
    t, w = np.array([0, 1, 1, 2]), np.array([1.0, 2.0, 0.0, 3.0])
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=1)
    assert metric(t, p, sample_weight=w) == pytest.approx(-(np.log(0.7) + 3 * np.log(0.4)) / 4)
    metric.reset_state()
    assert metric(t, p) == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 4)  # as in Keras: of all four
    images = metrics.SparseCategoricalCrossentropy(ignore_class=1)
    assert images(t.reshape(2, 2), p.reshape(2, 2, 3), w[:2]) == pytest.approx(-(np.log(0.7) + 2 * np.log(0.4)) / 3)


def test_sums_are_added_in_order():
    """NumPy's own sums have another order in each version."""
    values = np.random.default_rng(0).normal(size=150_000)
    total = metrics.Sum()
    total.update_state(values[:100_000].reshape(10, -1))
    total.update_state(values[100_000:], sample_weight=2.0)
    assert float(total.total.numpy()) == np.cumsum(values[:100_000])[-1] + np.cumsum(2 * values[100_000:])[-1]


def test_the_score_of_no_batch_is_not_a_number():
    assert np.isnan(metrics.R2Score().result())
