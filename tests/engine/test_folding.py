"""In inference a normalization is part of the layer before it: with the results of the layers one by one."""

import numpy as np
import pytest
from autoconv.tensor import no_grad

from autoconv import Variable, models, optimizers, tensor
from autoconv.engine.graph import fusion, patterns
from autoconv.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    ReLU,
)

RNG = np.random.default_rng(0)


def settled(model):
    """The model with weights and moving averages as after training: no zeros, no ones, some negative gammas."""
    for layer in model.layers:
        for name, low, high in (("bias", -1, 1), ("gamma", -1.5, 1.5), ("beta", -1, 1), ("moving_mean", -2, 2),
                                ("moving_variance", 0.2, 3)):
            weight = getattr(layer, name, None)
            if weight is not None:
                weight.assign(RNG.uniform(low, high, weight.shape))
    return model


def net(*stack, shape=(13, 12, 6)):
    return settled(models.Sequential([Input(shape), *stack]))


def one_by_one(model, x):
    """What the layers give, each by itself."""
    with no_grad():
        for layer in model.layers:
            x = layer(x, training=False)
    return x.numpy()


def images(model, count=3):
    return RNG.standard_normal((count, *model.input_shape[1:])).astype(model.dtype)


def plan(model):
    return [operation.pattern if isinstance(operation, patterns.Fusion) else type(operation).__name__
            for operation in fusion.fuse(model.graph).operations]


def separable():
    return DepthwiseConv2D(3, padding="same", depth_multiplier=2), BatchNormalization(), ReLU(), Conv2D(
        20, 1, use_bias=False), BatchNormalization(), ReLU()


STACKS = {
    "conv": (Conv2D(9, 3), BatchNormalization()),
    "no bias": (Conv2D(9, 3, use_bias=False), BatchNormalization()),
    "relu": (Conv2D(33, 3, padding="same"), BatchNormalization(), ReLU()),
    "activation": (Conv2D(70, 3), BatchNormalization(epsilon=0.1), Activation("relu")),
    "tanh": (Conv2D(9, 3), BatchNormalization(), Activation("tanh")),
    "pooling": (Conv2D(40, 3, use_bias=False), BatchNormalization(), ReLU(), MaxPooling2D()),
    "pooling without relu": (Conv2D(9, 3), BatchNormalization(), MaxPooling2D()),
    "other pooling": (Conv2D(9, 3), BatchNormalization(), ReLU(), MaxPooling2D(3)),
    "strides": (Conv2D(9, (3, 2), strides=(2, 1), padding="same"), BatchNormalization(), ReLU()),
    "dilation": (Conv2D(9, 3, dilation_rate=2), BatchNormalization(), ReLU()),
    "groups": (Conv2D(12, 3, groups=3), BatchNormalization(), ReLU(), MaxPooling2D()),
    "relu before": (Conv2D(9, 3, activation="relu"), BatchNormalization(), ReLU()),
    "no center": (Conv2D(9, 3), BatchNormalization(center=False), ReLU()),
    "no scale": (Conv2D(9, 3), BatchNormalization(scale=False), ReLU()),
    "neither": (Conv2D(9, 3, use_bias=False), BatchNormalization(center=False, scale=False), ReLU()),
    "depthwise": separable(),
    "dense": (Flatten(), Dense(20), BatchNormalization(), ReLU(), Dense(10, use_bias=False), BatchNormalization()),
    "dense on rows": (Dense(20), BatchNormalization(), ReLU()),
    "two": (Conv2D(9, 3), BatchNormalization(), BatchNormalization(), ReLU()),
    "normalization first": (BatchNormalization(), ReLU(), MaxPooling2D()),
    "by tiles": (Conv2D(64, 3, padding="same"), Conv2D(64, 3, padding="same"), BatchNormalization(), ReLU()),
    "by tiles, pooling": (Conv2D(64, 3, padding="same"), Conv2D(80, 3, use_bias=False), BatchNormalization(), ReLU(),
                          MaxPooling2D()),
    "by tiles, no scale": (Conv2D(64, 3), Conv2D(64, 3), BatchNormalization(scale=False)),
    "one pixel": (Conv2D(165, 1), BatchNormalization(), ReLU(), Conv2D(64, 1, use_bias=False), BatchNormalization()),
    "one pixel, averaged": (Conv2D(45, 1), BatchNormalization(), ReLU(), GlobalAveragePooling2D(), Dense(9, "tanh")),
    "before one pixel": (BatchNormalization(), ReLU(), Conv2D(165, 1), BatchNormalization(), ReLU(),
                         Conv2D(7, 1)),
    "before a window": (BatchNormalization(scale=False), Activation("silu"), Conv2D(9, 3),
                        BatchNormalization()),
    "dropout between": (Conv2D(9, 3), Dropout(0.5), BatchNormalization(), ReLU()),
}


@pytest.mark.parametrize("what", STACKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_those_of_the_layers_one_by_one(what, dtype):
    copies = [type(layer).from_config({**layer.get_config(), "dtype": dtype}) for layer in STACKS[what]]
    model = settled(models.Sequential([Input((13, 12, 6), dtype=dtype), *copies]))
    x = images(model)
    expected, tolerance = one_by_one(model, x), 2e-5 if dtype == "float32" else 1e-12
    for _ in range(2):  # recorded, replayed
        np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=tolerance, atol=tolerance)
    with no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("what", "expected"), [
    ("pooling", [("conv", "norm", "relu", "pool")]), ("relu", [("conv", "norm", "relu")]),
    ("groups", [("grouped", "norm", "relu"), "MaxPooling2D"]), ("conv", [("conv", "norm")]),
    ("relu before", [("conv", "relu"), ("norm", "relu")]), ("tanh", [("conv", "norm"), "Activation"]),
    ("pooling without relu", [("conv", "norm"), "MaxPooling2D"]),
    ("depthwise", [("depthwise", "norm", "relu"), ("conv", "norm", "relu")]),
    ("normalization first", [("norm", "relu", "pool")]),
    ("before one pixel", [("norm", "relu", "conv", "norm", "relu"), "Conv2D"]),
    ("before a window", [("norm", "silu", "conv", "norm")]),
    ("dense", ["Flatten", ("dense", "norm", "relu"), ("dense", "norm")]),
])
def test_the_longest_pattern_is_taken(what, expected):
    copies = [type(layer).from_config(layer.get_config()) for layer in STACKS[what]]
    assert plan(net(*copies)) == expected


def normalizing():
    model = net(Conv2D(9, 3), BatchNormalization(), ReLU(), MaxPooling2D(), Conv2D(8, 3), BatchNormalization(), ReLU(),
                Flatten(), Dense(5))
    model.compile(optimizers.SGD(0.05), "mse")
    return model


def by_tiles():
    """The convolution before the normalization multiplies its filters itself: winograd.py."""
    return net(Conv2D(16, 1), ReLU(), Conv2D(32, 1), ReLU(),
               Conv2D(128, 3), BatchNormalization(), ReLU(), MaxPooling2D(), Flatten(), Dense(5))


@pytest.mark.parametrize("make", [normalizing, by_tiles])
@pytest.mark.parametrize("change", [
    lambda conv, norm: conv.kernel.data.__setitem__(0, 0.5), lambda conv, norm: conv.bias.assign(conv.bias.numpy() + 1),
    lambda conv, norm: norm.gamma.data.__setitem__(0, -2), lambda conv, norm: norm.beta.assign(norm.beta.numpy() + 1),
    lambda conv, norm: norm.moving_mean.assign(norm.moving_mean.numpy() - 1),
    lambda conv, norm: norm.moving_variance.data.__setitem__(..., 7),
    lambda conv, norm: setattr(norm.moving_mean, "data", norm.moving_mean.numpy() + 2),
    lambda conv, norm: setattr(conv, "kernel", Variable(conv.kernel.numpy() * 2)),
    lambda conv, norm: setattr(conv, "bias", None), lambda conv, norm: setattr(norm, "beta", None),
    lambda conv, norm: setattr(norm, "gamma", None), lambda conv, norm: setattr(norm, "epsilon", 0.5),
    lambda conv, norm: setattr(conv, "activation", np.tanh), lambda conv, norm: setattr(norm, "trainable", False),
    lambda conv, norm: setattr(norm, "call", lambda x, training=False: x * 2),
])
def test_predictions_follow_every_change(change, make):
    model = make()
    x = images(model)
    for _ in range(3):
        model.predict_on_batch(x)
        model.predict_on_batch(x[:1])
    change(*model.layers[4:6])
    expected = one_by_one(model, x)
    for _ in range(2):
        np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(model.predict_on_batch(x[:1]), expected[:1], rtol=2e-5, atol=2e-5)


def test_predictions_follow_training():
    model = normalizing()
    x, y = images(model, 8), RNG.standard_normal((8, 5)).astype("float32")
    before = model.predict_on_batch(x)
    for _ in range(3):
        model.train_on_batch(x, y)
        found = model.predict_on_batch(x)
        np.testing.assert_allclose(found, one_by_one(model, x), rtol=2e-5, atol=2e-5)
    assert not np.allclose(found, before, atol=1e-3)


@pytest.mark.parametrize("frozen", [(), (1,), (0, 1), (0, 1, 4, 5, 8)], ids=str)
@pytest.mark.filterwarnings("ignore:The model has no trainable weights")
def test_training_is_that_of_the_layers_one_by_one(frozen, monkeypatch):
    """Also with a frozen normalization, which takes the moving averages, and where no gradients are left to ask for."""
    model = normalizing()
    x, y, start = images(model, 8), RNG.standard_normal((8, 5)).astype("float32"), model.get_weights()
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("AUTOCONV_FUSION", switch)
        again = normalizing()
        again.set_weights(start)
        for place in frozen:
            again.layers[place].trainable = False
        losses = [again.train_on_batch(x, y) for _ in range(3)]
        found.append([np.asarray(losses), *again.get_weights()])
    for fused, alone in zip(*found):
        np.testing.assert_allclose(fused, alone, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_image_through_frozen_and_trainable_layers():
    """The folded weights are constants: for the image's gradient they do, for the weights' own they are not taken."""
    model = normalizing()
    x = images(model, 2)
    found = []
    for trainable in (False, True):
        model.trainable = trainable
        image = tensor(x, requires_grad=True)
        model(image, training=False).sum().backward()
        found.append(image.grad)
        assert (model.layers[0].kernel.grad is not None) == trainable
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_a_convolution_that_others_read_is_not_folded():
    x = Input((9, 9, 3))
    conv = Conv2D(5, 3)(x)
    normal = BatchNormalization()(conv)
    model = settled(models.Model(x, [ReLU()(normal), conv]))
    assert ("conv", "norm", "relu") not in plan(model)
    image = images(model)
    after, before = model.predict_on_batch(image)
    convolved = model.layers[1](image).numpy()
    np.testing.assert_allclose(before, convolved, atol=1e-6)
    np.testing.assert_allclose(after, np.maximum(model.layers[2](convolved).numpy(), 0), atol=1e-6)


def test_a_layer_that_is_told_whether_it_trains_is_asked_by_itself():
    """`training=True` at the call: it takes the batch's mean, in inference too."""
    x = Input((6, 6, 3))
    y = BatchNormalization()(Conv2D(4, 3)(x), training=True)
    model = models.Model(x, y)
    found = model.predict_on_batch(images(model))
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-5)


def test_fusion_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("AUTOCONV_FUSION", "0")
    model = normalizing()
    assert plan(model) == [type(layer).__name__ for layer in model.layers]
    x = images(model)
    np.testing.assert_array_equal(model.predict_on_batch(x), one_by_one(model, x))


@pytest.mark.parametrize("what", ["pooling", "relu", "groups", "depthwise", "dense", "strides", "one pixel",
                                  "one pixel, averaged"])
def test_an_image_has_the_same_bits_in_a_batch_of_any_size(what):
    copies = [type(layer).from_config(layer.get_config()) for layer in STACKS[what]]
    model = net(*copies)
    x = images(model, 65)
    whole = model.predict_on_batch(x)
    for count in (1, 2, 3, 64):
        np.testing.assert_array_equal(model.predict_on_batch(x[:count]), whole[:count])
    np.testing.assert_array_equal(model.predict_on_batch(x[64:]), whole[64:])


@pytest.mark.parametrize("filters", [9, 64])
def test_infinite_and_missing_numbers_go_where_they_go_without_folding(filters):
    model = net(Conv2D(filters, 3), BatchNormalization(), ReLU(), MaxPooling2D(), shape=(13, 12, filters))
    x = images(model)
    x[0, 5, 5, 1], x[1, 2, 3, 0], x[2, 9, 9, 2] = np.nan, np.inf, -np.inf
    found, expected = model.predict_on_batch(x), one_by_one(model, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


def test_what_does_not_fit_is_refused_as_by_the_layer():
    model = normalizing()
    model.layers[5].gamma = Variable(np.ones(3, "float32"))
    with pytest.raises(ValueError, match="batch_norm needs"):
        model.predict_on_batch(images(model))
