"""Fused layers compute what the layers compute."""

import numpy as np
import pytest

from autoconv import Variable, layers, models, utils
from autoconv import functional as F
from autoconv.engine.graph import fusion, patterns
from autoconv.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D


def lecture_net():
    return models.Sequential([
        Input((28, 28, 1)), Conv2D(8, 3, activation="relu"), MaxPooling2D(), Conv2D(16, 3, activation="relu"),
        MaxPooling2D(), Conv2D(16, 3, activation="relu"), Flatten(), Dense(16, activation="relu"), Dense(10, "softmax"),
    ])


def steps(model):
    """What the plan of a model runs: for fused layers the words of their pattern, else the layer's class."""
    return [" ".join(operation.pattern) if isinstance(operation, patterns.Fusion) else type(operation).__name__
            for operation in fusion.fuse(model.graph).operations]


def kinds(*stack, shape=(28, 28, 2)):
    return steps(models.Sequential([Input(shape), *stack]))


def normalizing_net():
    return models.Sequential([
        Input((12, 12, 1)), Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), MaxPooling2D(), Conv2D(8, 3),
        layers.BatchNormalization(momentum=0.5), layers.Activation("relu"), Flatten(), Dense(10, "softmax"),
    ])


SIX_STEPS = ["conv relu pool", "conv relu pool", "conv relu", "Flatten", "dense relu", "Dense"]


def test_the_lecture_net_runs_as_six_steps():
    assert kinds(*lecture_net().layers, shape=(28, 28, 1)) == SIX_STEPS


@pytest.mark.parametrize("stack", [
    (Conv2D(4, 3), MaxPooling2D()),
    (Conv2D(4, 3, activation="tanh"), MaxPooling2D()),
    (Dense(4, "softmax"),),
    (Dropout(0.5),),
    (layers.BatchNormalization(), layers.Activation("tanh")),
    (layers.ReLU(), layers.BatchNormalization()),
])
def test_what_fits_no_pattern_stays_as_it_is(stack):
    assert kinds(*stack) == [type(layer).__name__ for layer in stack]


@pytest.mark.parametrize("pool", [
    MaxPooling2D(3), MaxPooling2D(2, strides=1), MaxPooling2D(padding="same"), layers.AveragePooling2D(2),
])
def test_other_poolings_are_not_fused(pool):
    assert kinds(Conv2D(4, 3, activation="relu"), pool) == ["conv relu", type(pool).__name__]


def test_groups_are_not_fused_with_the_pooling():
    assert kinds(Conv2D(4, 3, activation="relu", groups=2), MaxPooling2D()) == ["grouped relu", "MaxPooling2D"]


def test_a_class_of_the_users_is_left_alone():
    class Mine(Conv2D):
        def call(self, x):
            return super().call(x) * 2

    assert kinds(Mine(4, 3, activation="relu"), MaxPooling2D()) == ["Mine", "MaxPooling2D"]


@pytest.mark.parametrize(("net", "fused"), [
    (lecture_net, SIX_STEPS),
    (normalizing_net, ["conv norm relu pool", "conv norm relu", "Flatten", "Dense"]),
])
def test_training_is_the_same_with_and_without_fusion(net, fused, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(96, *net().input_shape[1:])).astype("float32"), rng.integers(0, 10, 96)
    every_layer = [type(layer).__name__ for layer in net().layers]
    weights = []
    for switch, expected in (("1", fused), ("0", every_layer)):
        monkeypatch.setenv("AUTOCONV_FUSION", switch)
        utils.set_random_seed(3)
        model = net()
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=40, epochs=2, verbose=0)
        assert steps(model) == expected
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-5)


def inverted_residual_net(activation, filters=72):
    """Convolutions of every kind of loop, each with the activation; a dense layer; an addition without one."""
    images = x = Input((14, 14, 3))
    x = layers.Activation(activation)(layers.BatchNormalization()(Conv2D(20, 3, 2, "same")(x)))
    for kernel in (3, 5):
        y = layers.Activation(activation)(layers.BatchNormalization()(Conv2D(filters, 1, use_bias=False)(x)))
        y = layers.DepthwiseConv2D(kernel, padding="same")(y)
        y = layers.Activation(activation)(layers.BatchNormalization()(y))
        x = layers.Add()([x, layers.BatchNormalization()(Conv2D(20, 1)(y))])
    x = Conv2D(32, 3, activation=activation)(x)
    x = layers.BatchNormalization()(Conv2D(32, 3, padding="same")(x))
    x = layers.Activation(activation)(layers.BatchNormalization()(x))
    return models.Model(images, Dense(5)(Dense(70, activation=activation)(Flatten()(x))))


@pytest.mark.parametrize("activation", ["relu6", "hard_sigmoid", "hard_silu", "silu"])
@pytest.mark.parametrize("filters", [24, 72, 136])
def test_activations_are_part_of_the_layers_before_them(activation, filters, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = 3 * rng.standard_normal((6, 14, 14, 3)).astype("float32"), rng.standard_normal((6, 5)).astype("float32")
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("AUTOCONV_FUSION", switch)
        utils.set_random_seed(3)
        model = inverted_residual_net(activation, filters)
        model.compile("sgd", "mse")
        first = model.predict(x, 4, verbose=0)
        model.fit(x, y, batch_size=3, epochs=2, verbose=0)
        found.append((first, model.predict(x, 1, verbose=0), *model.get_weights()))
        if switch == "1":
            block = [f"conv norm {activation}", f"depthwise norm {activation}", "conv norm add"]
            assert steps(model) == [
                f"conv norm {activation}", *block, *block, f"conv {activation}", "conv norm", f"norm {activation}",
                "Flatten", f"dense {activation}", "Dense"]
    for fused, separate in zip(*found):
        np.testing.assert_allclose(fused, separate, atol=2e-5, rtol=1e-4)


def test_a_relu_with_the_limit_six_is_fused():
    assert kinds(Conv2D(4, 3), layers.ReLU(6)) == ["conv relu6"]
    assert kinds(Conv2D(4, 3), layers.ReLU(5)) == ["Conv2D", "ReLU"]


def test_an_image_too_small_for_the_pooling_is_refused_as_without_fusion():
    model = models.Sequential([Conv2D(4, 3, activation="relu"), MaxPooling2D()])
    with pytest.raises(ValueError, match="pool_size"):
        model.build((None, 3, 3, 1))


def test_a_wrong_input_is_refused_by_the_layers_name():
    model = lecture_net()
    with pytest.raises(ValueError, match=r"needs inputs of shape \(None, 28, 28, 1\)"):
        model(np.zeros((2, 784), "float32"))


@pytest.mark.parametrize("change", [
    lambda conv, pool: setattr(pool, "pool_size", (3, 3)), lambda conv, pool: setattr(pool, "strides", (1, 2)),
    lambda conv, pool: setattr(pool, "padding", "same"), lambda conv, pool: setattr(conv, "strides", [2, 1]),
    lambda conv, pool: setattr(conv, "padding", "same"), lambda conv, pool: setattr(conv, "dilation_rate", 2),
    lambda conv, pool: setattr(conv, "activation", F.tanh), lambda conv, pool: setattr(conv, "bias", None),
    lambda conv, pool: setattr(conv, "kernel", Variable(np.ones((5, 5, 2, 4), "float32"))),
    lambda conv, pool: setattr(pool, "call", lambda x: x * 2),
    lambda conv, pool: setattr(conv, "call", lambda x: x * 2),
])
def test_a_changed_layer_is_asked_at_each_pass(change):
    model = models.Sequential([
        Input((9, 9, 2)), Conv2D(4, 3, activation="relu", bias_initializer="ones"), MaxPooling2D(),
    ])
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 2)).astype("float32")
    before = model(x).numpy()
    change(*model.layers)
    expected = model.layers[1](model.layers[0](x)).numpy()
    found = model(x).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape != before.shape or (found != before).any()


@pytest.mark.parametrize("change", [
    lambda conv: setattr(conv, "groups", 2), lambda conv: setattr(conv, "bias", Variable(np.ones(3, "float32"))),
    lambda conv: setattr(conv, "kernel", Variable(np.ones((3, 3, 5, 4), "float32"))),
])
def test_a_change_that_does_not_fit_is_refused_as_by_the_layer(change):
    model = models.Sequential([Input((9, 9, 2)), Conv2D(4, 3, activation="relu"), MaxPooling2D()])
    change(model.layers[0])
    with pytest.raises(ValueError, match=r"groups|bias must have|input channels, as many as x"):
        model(np.ones((1, 9, 9, 2), "float32"))


def test_an_added_layer_is_part_of_the_plan():
    model = models.Sequential([Input((6, 6, 1)), Conv2D(4, 3, activation="relu")])
    before = model(np.ones((1, 6, 6, 1), "float32")).shape
    model.add(MaxPooling2D())
    assert (before, model(np.ones((1, 6, 6, 1), "float32")).shape) == ((1, 4, 4, 4), (1, 2, 2, 4))
    model.pop()
    assert model(np.ones((1, 6, 6, 1), "float32")).shape == (1, 4, 4, 4)


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_nan_in_any_pixel_of_a_pooled_window_is_passed_on(at):
    """Every pixel that sees it, and no other."""
    x = np.random.default_rng(0).random((1, 10, 10, 1), np.float32)
    x[0, 4 + at[0], 4 + at[1]] = np.nan
    model = models.Sequential([Input((10, 10, 1)), Conv2D(5, 1, activation="relu"), MaxPooling2D()])
    found = np.isnan(model.predict(x, verbose=0))
    assert found[0, 2, 2].all()
    assert found.sum() == 5
