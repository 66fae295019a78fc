"""Every layer with NaN, with empty batches, with numbers of other types, and with more bytes and items than 2^31."""

import os

import numpy as np
import pytest
from autoconv.tensor import Tensor, no_grad, tensor
from kinds import LAYERS

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, models

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

each_layer = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
MERGES = type(layers.Add()).__mro__[1]


def called(layer, x, training=False):
    """The layer of x; of x twice where it merges."""
    return layer([x, x] if isinstance(layer, MERGES) else x, training=training)


def inputs(kind, count, dtype="float32"):
    shape = (count, 144) if kind in (layers.Dense, layers.RepeatVector) else (count, 6, 6, 4)
    return np.random.default_rng(0).uniform(0, 3, shape).astype(dtype)


@each_layer
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_a_nan_stays_with_its_sample(kind, training):
    """All but a normalization in training give every other sample what they give without it, and none loses it."""
    x, found = inputs(kind, 3), []
    odd = x.copy()
    odd[1] = np.nan
    for one in (x, odd):
        ac.utils.set_random_seed(1)
        found.append(called(LAYERS[kind](), one, training).numpy())
    y, z = found
    assert np.isnan(z[1]).any()
    if not (kind is layers.BatchNormalization and training):
        np.testing.assert_array_equal(z[[0, 2]], y[[0, 2]])


@each_layer
def test_an_empty_batch_is_a_batch(kind):
    """In inference, and in training but for a normalization, which has no mean of nothing."""
    for training in (False, True) if kind is not layers.BatchNormalization else (False,):
        layer = LAYERS[kind]()
        full, y = called(layer, inputs(kind, 2), training), called(layer, tensor(inputs(kind, 0), True), training)
        assert y.shape == (0, *full.shape[1:])
        y.backward(np.zeros(y.shape, "float32"))
        for weight in layer.trainable_weights:
            np.testing.assert_array_equal(weight.grad, np.zeros(weight.shape))
        assert all(np.isfinite(weight.numpy()).all() for weight in layer.weights)


def test_an_empty_batch_goes_through_a_model():
    model = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(),
                               layers.GlobalMaxPooling2D(), layers.Dense(3, "softmax")])
    assert model(np.zeros((0, 8, 8, 1))).shape == (0, 3)
    with pytest.raises(ValueError, match="no samples"):
        model.predict(np.zeros((0, 8, 8, 1)))


@each_layer
@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint8", "uint16", "bool"])
def test_arrays_of_any_number_type_are_converted_to_the_layers(kind, dtype):
    """As in Keras: what comes out is float32, but for integers in a layer that only moves or merges them."""
    layer, x = LAYERS[kind](), inputs(kind, 2, dtype)
    y = called(layer, x)
    stays = np.dtype(dtype).kind in layer.kept_kinds
    assert y.dtype == (dtype if stays else np.float32)
    np.testing.assert_array_equal(y.numpy(), called(layer, x.astype("float32")).numpy())


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@pytest.mark.parametrize("loss", [F.mean_squared_error, F.mean_absolute_error, F.binary_crossentropy,
                                  F.categorical_crossentropy])
def test_the_loss_of_a_tensor_of_integers_is_a_float(loss, dtype):
    y_true, y_pred = np.eye(3)[[0, 2]], np.array([[1, 0, 0], [1, 1, 0]], dtype)
    y = loss(y_true, tensor(y_pred))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), loss(y_true, y_pred.astype("float32")).numpy())


def test_the_maximum_of_an_empty_batch():
    for f in (lambda x: x.max((1, 2)), lambda x: F.argmax(x, 1), F.global_max_pool2d):
        assert f(tensor(np.zeros((0, 3, 4, 2)))).shape[0] == 0
    with pytest.raises(ValueError, match="maximum of zero elements"):
        tensor(np.zeros((0, 3))).max()


def test_a_class_that_is_ruled_out_costs_nothing():
    """As in PyTorch for labels: a logit of -inf is a probability of 0, and 0 log 0 = 0."""
    for y_true, loss in (([0], F.sparse_categorical_crossentropy), ([[1.0, 0.0, 0.0]], F.categorical_crossentropy)):
        x = tensor([[1.0, -np.inf, 0.0]], requires_grad=True)
        y = loss(y_true, x, from_logits=True)
        np.testing.assert_allclose(y.numpy(), [np.log(1 + np.exp(-1))], rtol=1e-6)
        y.sum().backward()
        np.testing.assert_allclose(x.grad, [[-0.26894143, 0, 0.26894143]], rtol=1e-6)
        assert loss(np.roll(y_true, 1, -1) if len(np.shape(y_true)) > 1 else [1], x, from_logits=True).item() == np.inf


@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_extreme_logits_have_finite_gradients(size):
    """Confidently right costs 0, confidently wrong the difference of the logits, or infinity where that overflows."""
    for loss, y_true, logits in (
            (F.sparse_categorical_crossentropy, [0, 1], [[size, -size], [size, -size]]),
            (F.categorical_crossentropy, [[1.0, 0], [0, 1]], [[size, -size], [size, -size]]),
            (F.binary_crossentropy, [[1.0], [0.0]], [[size], [size]])):
        x = tensor(np.array(logits, "float32"), requires_grad=True)
        y = loss(y_true, x, from_logits=True)
        right, wrong = y.numpy()
        assert right == 0
        assert wrong >= size * 0.99
        y.sum().backward()
        assert np.isfinite(x.grad).all()
        assert abs(x.grad).max() == 1


# Arrays with more bytes and more items than an int32 can count. Their memory is zeros that the system hands out when
# they are touched, and the results are small, so that a machine with little memory runs this.

large = pytest.mark.soak


def marked(shape, dtype="float32"):
    """Zeros but for a 3 at the first item and a 5 at the last."""
    x = np.zeros(shape, dtype)
    x.flat[0], x.flat[-1] = 3, 5
    return x


def ends(y):
    return [y.numpy().flat[0], y.numpy().flat[-1]]


@large
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shape", [(1, 46400, 46400, 1), (2, 32800, 1, 32800), (5, 1, 46400, 9300)], ids=str)
def test_more_items_than_an_int32_counts_are_read(shape):
    x, c = Tensor(marked(shape)), shape[3]
    n, h, w, _ = shape
    assert x.size > 2**31
    window = (min(h, 100), min(w, 100))
    taps = np.ones((*window, c, 1), "float32")
    with no_grad():
        assert ends(F.max_pool2d(x, window)) == [3, 5]
        assert ends(F.avg_pool2d(x, window)) == pytest.approx([3 / np.prod(window), 5 / np.prod(window)])
        assert ends(F.conv2d(x, taps, strides=window)) == [3, 5]
        assert ends(F.depthwise_conv2d(x, taps, strides=window)) == [3, 5]
        assert ends(x.reshape(n * h * w, c) @ np.ones(c, "float32")) == [3, 5]
        assert ends(F.dense(x.reshape(n, h * w * c)[:, -5:], np.ones((5, 2), "float32"))) == [5 if n == 1 else 0, 5]
        assert x.sum().item() == 8
        first, last = (8, 8) if n * c == 1 else (3, 5)
        assert ends(x.mean((1, 2))) == pytest.approx([first / (h * w), last / (h * w)])
        assert ends(x[..., -1:, -2:]) == [0 if w > 1 or c > 2 else 3, 5]


@large
@pytest.mark.timeout(600)
def test_a_dense_layer_of_more_weights_than_an_int32_counts():
    x, w = (Tensor(marked(shape)) for shape in ((1, 2**31 + 70), (2**31 + 70, 1)))
    with no_grad():
        assert F.dense(x, w, None).item() == 34


@large
@pytest.mark.timeout(600)
@pytest.mark.parametrize("f", [
    F.relu, F.sigmoid, lambda x: x * 1.0, lambda x: -x, lambda x: F.max_pool2d(x, 2, 1, "same"),
    lambda x: F.avg_pool2d(x, 1), lambda x: F.conv2d(x, np.ones((1, 1, 16, 16), "float32")),
    lambda x: F.conv2d(x, np.ones((3, 3, 16, 16), "float32"), padding="same"),
    lambda x: F.depthwise_conv2d(x, np.ones((3, 3, 16, 1), "float32"), padding="same"), lambda x: F.softmax(x),
    lambda x: F.zero_padding2d(x, 1), lambda x: F.maximum(x, 1.0),
], ids=["relu", "sigmoid", "multiply", "negative", "max_pool2d", "avg_pool2d", "conv2d 1", "conv2d 3", "depthwise",
        "softmax", "pad", "maximum"])
def test_more_bytes_than_an_int32_counts_are_written(f):
    """Values and gradients of the first and the last pixels are those of a small image with the same pixels there."""
    found = []
    for side in (5860, 8):
        x = Tensor(marked((1, side, side, 16)), True)
        y = f(x)
        assert side == 8 or y.data.nbytes > 2**31
        y.backward(marked(y.shape))
        found.append([part.copy() for a in (y.data, x.grad) for part in (a[0, :2, :2], a[0, -2:, -2:])])
        del x, y
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@large
@pytest.mark.timeout(600)
@pytest.mark.parametrize("f", [F.relu, lambda x: F.avg_pool2d(x, 1)], ids=["relu", "avg_pool2d"])
def test_more_items_than_an_int32_counts_are_written(f):
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 12 * 2**30:
        pytest.skip("needs 12 GB of free memory")
    with no_grad():
        y = f(Tensor(marked((3, 16, 6700, 6700))))
    assert y.size > 2**31
    assert ends(y) == [3, 5]
    assert y.sum().item() == 8


@large
@pytest.mark.timeout(600)
def test_a_data_set_on_disk_of_more_items_than_an_int32_counts(tmp_path):
    """A sparse file, of which the batches alone are read."""
    images = np.memmap(tmp_path / "images", "uint8", "w+", shape=(2200, 1000, 1000, 1))
    images[0, 0, 0, 0], images[-1, -1, -1, 0] = 3, 5
    model = models.Sequential([layers.Input((1000, 1000, 1)), layers.MaxPooling2D(500), layers.Flatten()])
    found = model.predict(images, batch_size=20, verbose=0)
    assert images.size > 2**31
    assert found[0].tolist() == [3, 0, 0, 0]
    assert found[-1].tolist() == [0, 0, 0, 5]
    assert not found[1:-1].any()
