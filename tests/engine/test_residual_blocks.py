"""Residual blocks: an addition runs with the normalization before it and the ReLU behind it, and computes the same."""

import numba
import numpy as np
import pytest

from autoconv import functional as F
from autoconv import layers, models, optimizers, tensor
from autoconv.engine.graph import fusion, patterns
from autoconv.layers import Activation, Add, BatchNormalization, Conv2D, Dense, Flatten, Input, ReLU

RNG = np.random.default_rng(0)


def steps(model):
    """What the plan of a model runs: for fused layers the words of their pattern, else the layer's class."""
    return [" ".join(operation.pattern) if isinstance(operation, patterns.Fusion) else type(operation).__name__
            for operation in fusion.fuse(model.graph).operations]


def settled(model):
    """The model with numbers as after training in the place of zeros and ones."""
    for layer in model.layers:
        for name, low, high in (("gamma", -1.5, 1.5), ("beta", -1, 1), ("moving_mean", -1, 1),
                                ("moving_variance", 0.2, 3)):
            weight = getattr(layer, name, None)
            if weight is not None:
                weight.assign(RNG.uniform(low, high, weight.shape))
    return model


def normalized(x, filters, strides=1, kernel=3):
    like = {"dtype": x.dtype}
    return BatchNormalization(**like)(Conv2D(filters, kernel, strides, padding="same", use_bias=False, **like)(x))


def residual(swapped=False, dtype=None):
    """Two blocks, the second with a projection, and a third addition without a normalization before it."""
    pair = (lambda a, b: [b, a]) if swapped else (lambda a, b: [a, b])
    image = Input((8, 9, 3), dtype=dtype)
    x = ReLU()(normalized(image, 17))
    x = ReLU()(Add(name="first")(pair(normalized(ReLU()(normalized(x, 17)), 17), x)))
    body = normalized(ReLU()(normalized(x, 24, 2)), 24)
    x = Activation("relu")(Add(name="second")(pair(body, normalized(x, 24, 2, 1))))
    x = ReLU()(Add(name="third")(pair(Conv2D(24, 3, padding="same", dtype=dtype)(x), x)))
    return settled(models.Model(image, Dense(5, dtype=dtype)(Flatten()(x))))


RESIDUAL = ["conv norm relu", "conv norm relu", "conv norm add relu", "conv norm relu", "conv norm",
            "conv norm add relu", "Conv2D", "add relu", "Flatten", "Dense"]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_plan_of_residual_blocks(swapped):
    assert sorted(steps(residual(swapped))) == sorted(RESIDUAL)


def test_fusion_can_be_turned_off(monkeypatch):
    model = residual()
    monkeypatch.setenv("AUTOCONV_FUSION", "0")
    assert {"Add", "BatchNormalization", "ReLU"} <= set(steps(model))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_training_is_that_of_the_layers_one_by_one(swapped, frozen, monkeypatch):
    x, y = RNG.standard_normal((12, 8, 9, 3)).astype("float32"), RNG.standard_normal((12, 5)).astype("float32")
    start, found = residual(swapped).get_weights(), []
    for switch in ("1", "0"):
        monkeypatch.setenv("AUTOCONV_FUSION", switch)
        model = residual(swapped)
        model.set_weights(start)
        for layer in model.layers if frozen else ():
            layer.trainable = not isinstance(layer, BatchNormalization)
        model.compile(optimizers.SGD(0.01), "mse")
        losses = [model.train_on_batch(x, y) for _ in range(3)]
        found.append([np.asarray(losses), *model.get_weights(), model.predict(x, verbose=0)])
    for fused, alone in zip(*found):
        np.testing.assert_allclose(fused, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_the_layers_one_by_one(training, monkeypatch):
    x, found = RNG.standard_normal((3, 8, 9, 3)), []
    start = residual(dtype="float64").get_weights()
    for switch in ("1", "0"):
        monkeypatch.setenv("AUTOCONV_FUSION", switch)
        model = residual(dtype="float64")
        model.set_weights(start)
        image = tensor(x, requires_grad=True)
        y = model(image, training=training)
        (y * y).sum().backward()
        found.append([y.numpy(), image.grad, *(w.grad for w in model.trainable_weights)])
    for fused, alone in zip(*found, strict=True):
        np.testing.assert_allclose(fused, alone, rtol=1e-9, atol=1e-9)


def test_what_a_model_gives_out_stays():
    """The normalization's result and the sum are outputs, so no step may leave them out."""
    image = Input((6, 6, 4))
    for wanted in ("norm", "sum", "both"):
        norm = normalized(image, 4)
        total = Add()([norm, image])
        outputs = {"norm": [norm], "sum": [total], "both": [norm, total]}[wanted]
        model = settled(models.Model(image, [ReLU()(total), *outputs]))
        assert not any(step.endswith("add relu") and len(step) > 8 for step in steps(model))
        x = RNG.standard_normal((2, 6, 6, 4)).astype("float32")
        y = model.predict(x, verbose=0)
        if wanted != "norm":
            np.testing.assert_array_equal(y[0], np.maximum(y[-1], 0))
        if wanted != "sum":
            np.testing.assert_allclose(y[0], np.maximum(y[1] + x, 0), rtol=1e-6)


def chosen(merge, shape=(6, 6, 4)):
    """A normalization whose result x, with the image, goes to `merge`, and a ReLU."""
    image = Input(shape)
    norm = BatchNormalization()(image)
    return settled(models.Model(image, ReLU()(merge(norm, image))))


@pytest.mark.parametrize("merge", [
    lambda x, other: Add()([x, x]), lambda x, other: Add()([x, other, other]),
    lambda x, other: Add()([x, layers.GlobalAveragePooling2D(keepdims=True)(other)]),
    lambda x, other: layers.Subtract()([x, other]), lambda x, other: layers.Concatenate()([x, other]),
    lambda x, other: Add()([x]), lambda x, other: x + other, lambda x, other: Add()([Add()([other, x]), x]),
], ids=["twice", "three", "broadcast", "Subtract", "Concatenate", "one", "+", "two additions"])
@pytest.mark.parametrize("training", [False, True])
def test_other_additions_are_those_of_the_layers(merge, training, monkeypatch):
    model = chosen(merge)
    x = RNG.standard_normal((2, 6, 6, 4)).astype("float32")
    model.layers[1].momentum = 1.0
    found = model(x, training=training).numpy()
    monkeypatch.setenv("AUTOCONV_FUSION", "0")
    alone = models.Model(model.inputs, model.outputs)
    np.testing.assert_allclose(found, alone(x, training=training).numpy(), rtol=1e-6, atol=1e-6)


def test_a_normalization_that_is_told_whether_it_trains_is_asked_by_itself():
    image = Input((6, 6, 4))
    model = models.Model(image, ReLU()(Add()([BatchNormalization()(image, training=True), image])))
    assert steps(model) == ["BatchNormalization", "add relu"]


def test_sums_of_vectors_and_of_several_dtypes():
    a, b = Input((4,)), Input((4,))
    model = models.Model([a, b], Activation("relu")(Add()([a, b])))
    assert steps(model) == ["add relu"]
    x, y = RNG.standard_normal((3, 4)).astype("float32"), RNG.standard_normal((3, 4))
    np.testing.assert_allclose(model([tensor(x), tensor(y)]).numpy(), np.maximum(x + y, 0), rtol=1e-6)
    with pytest.raises(ValueError, match=r"merge|broadcast|batch|shape"):
        model([x, y[:2]])


@pytest.mark.parametrize("change", [
    lambda norm, add, relu: setattr(add, "call", lambda inputs: inputs[0] * 2 + inputs[1]),
    lambda norm, add, relu: setattr(add, "merge", lambda inputs: inputs[0] * 2 + inputs[1]),
    lambda norm, add, relu: setattr(relu, "call", lambda x: x * 2),
    lambda norm, add, relu: setattr(norm, "call", lambda x, training=False: x * 2),
    lambda norm, add, relu: setattr(norm, "trainable", False),
    lambda norm, add, relu: setattr(norm, "gamma", None),
])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_changed_layer_is_asked_at_each_pass(change, swapped, training):
    model = chosen(lambda x, other: Add()([other, x] if swapped else [x, other]))
    x = RNG.standard_normal((3, 6, 6, 4)).astype("float32")
    _, norm, add, relu = model.layers
    norm.momentum = 1.0
    before = model(x, training=training).numpy()
    change(norm, add, relu)
    n = norm(x, training=training)
    expected = relu(add([x, n] if swapped else [n, x])).numpy()
    found = model(x, training=training).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (found != before).any() or (not training and not norm.trainable)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("width", "filters"), [(32, 16), (16, 32), (9, 17)])
def test_in_inference_a_block_ends_with_its_convolution(width, filters, swapped, monkeypatch):
    image = Input((6, width, filters))
    body = normalized(ReLU()(normalized(image, filters)), filters)
    model = settled(models.Model(image, ReLU()(Add()([image, body] if swapped else [body, image]))))
    x = RNG.standard_normal((5, 6, width, filters)).astype("float32")
    found = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(x[2:3], verbose=0), found[2:3])
    monkeypatch.setenv("AUTOCONV_FUSION", "0")
    alone = models.Model(image, model.outputs)
    np.testing.assert_allclose(found, alone.predict(x, verbose=0), rtol=1e-4, atol=1e-4)


def test_infinite_and_missing_numbers_go_where_they_go_alone():
    x, other = RNG.standard_normal((2, 64, 20)).astype("float32")
    other[3, 4], other[5, 6], other[7, 8], x[9, 10] = np.nan, np.inf, -np.inf, np.nan
    given = []
    for apart in (False, True):
        a, b, gamma = tensor(x, True), tensor(other, True), tensor(np.ones(20, "float32"), True)
        moving = np.zeros(20, "float32"), np.ones(20, "float32")
        if apart:
            y = F.relu(F.batch_norm(a, gamma, None, *moving, True) + b)
        else:
            y = F.batch_norm(a, gamma, None, *moving, True,
                             activation="relu", other=b)
        (y * 3 + y).backward(np.ones(y.shape, "float32"))
        given.append((y.numpy(), a.grad, b.grad, gamma.grad))
    for one, two in zip(*given):
        np.testing.assert_array_equal(one, two)
    y, _, passed, _ = given[0]
    assert np.isnan(y[3, 4])
    assert y[5, 6] == np.inf
    assert (y[7, 8], passed[7, 8]) == (0, 0)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_sums_of_several_parts_have_the_same_bits_for_any_number_of_threads():
    x, other = RNG.standard_normal((2, 3001, 40)).astype("float32")
    given = []
    for threads in (numba.config.NUMBA_NUM_THREADS, 1):
        numba.set_num_threads(threads)
        try:
            a, b, gamma, beta = (tensor(v, True) for v in (x, other, x[0], other[0]))
            y = F.batch_norm(a, gamma, beta, np.zeros(40, "float32"), np.ones(40, "float32"), True,
                             activation="relu", other=b)
            (y * y + y).sum().backward()
            given.append((y.numpy(), a.grad, b.grad, gamma.grad, beta.grad))
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for many, one in zip(*given):
        np.testing.assert_array_equal(many, one)


def test_gradients_of_any_number_of_readers_are_added_in_order():
    x = RNG.standard_normal((4, 5)).astype("float32")
    for count in range(1, 6):
        given = []
        for apart in (False, True):
            a = tensor(x, requires_grad=True)
            y = F.relu(a)
            read = y * 1 if apart else y  # an op that takes one gradient stands between
            sum((read * factor for factor in (0.1, 0.7, 1.3, 3.1, 7.7)[1:count]), read * 0.1).sum().backward()
            given.append(a.grad)
        np.testing.assert_array_equal(*given)


@pytest.mark.parametrize("given", [
    {"training": False}, {"activation": "linear"}, {"pool": True}, {"other": np.zeros((1, 4, 4, 3))},
    {"other": np.zeros((2, 4, 4, 1))},
])
def test_batch_norm_refuses_what_it_cannot_add(given):
    x = np.ones((2, 4, 4, 3))
    arguments = {"training": True, "activation": "relu", "other": x, **given}
    with pytest.raises(ValueError, match=r"`other` only in training, .*`other` must have the shape of x"):
        F.batch_norm(x, None, None, np.zeros(3), np.ones(3), **arguments)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_an_image_has_the_same_bits_in_a_batch_of_any_size(batch):
    model = residual()
    x = RNG.standard_normal((5, 8, 9, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict_on_batch(x[:batch]), model.predict_on_batch(x)[:batch])
