"""Regularizers and constraints, noise, what optimizers do beyond their formula, and the gradients of all of it."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import (
    activations,
    constraints,
    layers,
    losses,
    models,
    optimizers,
    regularizers,
    utils,
)
from autoconv import functional as F
from autoconv.engine.gradcheck import gradcheck

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 5)).astype("float32"), RNG.normal(size=(24, 3)).astype("float32")
LABELS = {"CategoricalGeneralizedCrossEntropy", "SparseCategoricalCrossentropy"}


def differentiable(*shape):
    """Numbers that lie apart from each other and from where activations have corners."""
    spread = RNG.permutation(np.arange(np.prod(shape)) * 0.37 - 1.83 - 0.185 * np.prod(shape)).reshape(shape)
    return ac.tensor(spread, requires_grad=True)


@pytest.mark.parametrize("name", [*activations.ACTIVATIONS, "glu"])
def test_the_gradient_of_an_activation(name):
    gradcheck(getattr(activations, name), differentiable(3, 4))


@pytest.mark.parametrize("kind", losses.CLASSES.values(), ids=losses.CLASSES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "none"])
def test_the_gradient_of_a_loss(kind, reduction):
    y = np.array([0, 2, 1, 1]) if kind.__name__ in LABELS else RNG.dirichlet(np.ones(3), 4)
    p = ac.tensor(RNG.dirichlet(np.ones(3), 4) * 0.9 + 0.02, requires_grad=True)
    gradcheck(lambda p: kind(reduction=reduction)(y, p), p)


@pytest.mark.parametrize("make", [
    lambda: layers.LayerNormalization(dtype="float64"), lambda: layers.LayerNormalization([1, 2], dtype="float64"),
    lambda: layers.LayerNormalization(rms_scaling=True, dtype="float64"),
    lambda: layers.GroupNormalization(2, dtype="float64"), lambda: layers.UnitNormalization(dtype="float64"),
    lambda: layers.PReLU("ones", dtype="float64"), lambda: layers.SeparableConv2D(2, 3, dtype="float64"),
    lambda: layers.UpSampling2D(2, interpolation="bilinear", dtype="float64"),
    lambda: layers.Cropping2D(1, dtype="float64"), lambda: layers.Permute((3, 1, 2), dtype="float64"),
    lambda: layers.Conv2DTranspose(2, 3, 2, output_padding=1, dtype="float64"),
])
def test_the_gradient_of_a_layer(make):
    layer, x = make(), differentiable(2, 4, 5, 4)
    layer(x)
    gradcheck(lambda x, *weights: layer(x), x, *layer.trainable_weights)


# Terms of the loss, and what holds for weights


def trained(steps=3, **arguments):
    utils.set_random_seed(3)
    model = models.Sequential([layers.Input((5,)), layers.Dense(4, "tanh", **arguments), layers.Dense(3)])
    model.compile(optimizers.SGD(0.1), "mse")
    return model, [model.train_on_batch(X, Y) for _ in range(steps)]


@pytest.mark.parametrize(("given", "value"), [
    ("l1", lambda w: 0.01 * np.abs(w).sum()), ("l2", lambda w: 0.01 * (w**2).sum()),
    (regularizers.L1L2(0.1, 0.2), lambda w: 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum()),
    (lambda w: 0.3 * (w * w).sum(), lambda w: 0.3 * (w**2).sum()),
])
def test_a_regularizer_adds_to_the_loss_and_to_the_gradient(given, value):
    model, (first, *_) = trained(kernel_regularizer=given)
    plain, (without, *_) = trained()
    utils.set_random_seed(3)
    fresh = trained(0)[0].get_weights()[0]
    assert first - without == pytest.approx(value(fresh), rel=1e-4)
    assert np.abs(model.get_weights()[0] - plain.get_weights()[0]).max() > 1e-3
    terms = [float(np.asarray(term)) for term in model.losses]
    assert sum(terms) == pytest.approx(value(model.get_weights()[0]), rel=1e-4)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(
        np.mean((model.predict(X, verbose=0) - Y) ** 2) + value(model.get_weights()[0]), rel=1e-4)
    assert set(model.recording_report()["train"].values()) == {None} or callable(given)


def test_an_activity_regularizer_counts_the_mean_over_samples():
    _, (first, *_) = trained(activity_regularizer="l2")
    _, (without, *_) = trained()
    net = trained(0)[0]
    hidden = np.asarray(net.layers[0](X))
    assert first - without == pytest.approx(0.01 * (hidden**2).sum() / len(X), rel=1e-4)


@pytest.mark.parametrize(("given", "holds"), [
    ("non_neg", lambda w: (w >= 0).all()),
    (constraints.MaxNorm(0.5), lambda w: (np.linalg.norm(w, axis=0) <= 0.5 + 1e-5).all()),
    ("unit_norm", lambda w: np.allclose(np.linalg.norm(w, axis=0), 1, atol=1e-5)),
    (constraints.MinMaxNorm(0.2, 0.3), lambda w: ((np.linalg.norm(w, axis=0) > 0.19) &
                                                  (np.linalg.norm(w, axis=0) < 0.31)).all()),
    (lambda w: F.clip(w, -0.1, 0.1), lambda w: (np.abs(w) <= 0.1).all()),
])
def test_a_constraint_holds_after_every_step(given, holds):
    model, _ = trained(1, kernel_constraint=given)
    for _ in range(3):
        model.train_on_batch(X, Y)
        assert holds(model.get_weights()[0])
    assert not holds(trained(1)[0].get_weights()[0])


@pytest.mark.parametrize("of", [regularizers, constraints])
def test_names_and_configurations(of):
    for kind in of.CLASSES.values():
        made = kind()
        again = of.deserialize(of.serialize(made))
        assert type(again) is kind
        assert again.get_config() == made.get_config() == of.get(of.serialize(made)).get_config()
        assert type(of.get(kind.__name__)) is kind
    assert of.get(None) is None
    with pytest.raises(ValueError, match="Known names: "):
        of.get("nothing")


# Noise


@pytest.mark.parametrize(("make", "mean", "spread"), [
    (lambda: layers.GaussianNoise(0.5), 2.0, 0.5), (lambda: layers.GaussianDropout(0.2), 2.0, 2 * 0.5),
    (lambda: layers.SpatialDropout2D(0.2), 2.0, 1.0), (lambda: layers.Dropout(0.2), 2.0, 1.0),
])
def test_noise_has_its_mean_and_spread_in_training_alone(make, mean, spread):
    utils.set_random_seed(1)
    layer, x = make(), np.full((64, 8, 8, 32), 2.0, "float32")
    y = np.asarray(layer(x, training=True))
    assert y.mean() == pytest.approx(mean, abs=0.06)  # of 2,048 channels that stay or go: 5 standard errors are 0.055
    assert y.std() == pytest.approx(spread, abs=0.06)
    np.testing.assert_array_equal(np.asarray(layer(x)), x)


def test_alpha_dropout_keeps_mean_and_variance():
    x = RNG.normal(size=(400, 500)).astype("float32")
    y = np.asarray(layers.AlphaDropout(0.2)(x, training=True))
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.std() == pytest.approx(1, abs=0.01)


def test_what_is_dropped_together():
    x = np.ones((4, 5, 6, 32), "float32")
    of_channels = np.asarray(layers.SpatialDropout2D(0.5)(x, training=True))
    assert (of_channels == of_channels[:, :1, :1]).all()
    of_rows = np.asarray(layers.Dropout(0.5, noise_shape=(None, 5, 1, 1))(x, training=True))
    assert (of_rows == of_rows[:, :, :1, :1]).all()
    for y in (of_channels, of_rows):
        assert set(np.unique(y)) == {0, 2}


# Optimizers


def test_averages_of_weights_stand_in_their_place_at_the_end_of_fit():
    model, _ = trained(0)
    model.compile(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), "mse")
    seen = []
    from autoconv.callbacks import LambdaCallback

    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0])))
    average = seen[0]
    for weight in seen[1:]:
        average = 0.9 * average + 0.1 * weight
    found = model.get_weights()[0]
    assert not np.allclose(found, seen[-1], atol=1e-5)
    first = trained(0)[0].get_weights()[0]
    started = first
    for weight in seen:
        started = 0.9 * started + 0.1 * weight
    assert np.allclose(found, average, atol=1e-5) or np.allclose(found, started, atol=1e-5)


def test_accumulated_gradients_are_one_step_of_their_mean():
    one, several = trained(0)[0], trained(0)[0]
    one.compile(optimizers.Adam(0.01), "mse")
    several.compile(optimizers.Adam(0.01, gradient_accumulation_steps=3), "mse")
    one.train_on_batch(X, Y)
    before = several.get_weights()
    for part in range(3):
        for a, b in zip(several.get_weights(), before):
            np.testing.assert_array_equal(a, b)
        several.train_on_batch(X[part * 8 : part * 8 + 8], Y[part * 8 : part * 8 + 8])
    for a, b in zip(one.get_weights(), several.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_what_is_left_out_of_weight_decay_does_not_shrink():
    model, _ = trained(0)
    optimizer = optimizers.AdamW(0.0001, weight_decay=100.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    for layer in model.layers:
        layer.bias.data = np.ones(layer.bias.shape, "float32")
    before = model.get_weights()
    model.compile(optimizer, "mse")
    model.train_on_batch(X, Y)
    after = model.get_weights()
    assert np.abs(after[1] - before[1]).max() < 2e-4
    np.testing.assert_allclose(after[0], before[0] * 0.99, atol=2e-4)
