"""Layers with so many weights that few rows read them in parts, while many rows pack them first."""

import numpy as np
import pytest
from autoconv.tensor import tensor

from autoconv import functional as F
from autoconv import layers, models

rng = np.random.default_rng(0)
IMAGES = rng.standard_normal((70, 3, 3, 720), np.float32)
COUNTS = 1, 3, 20  # rows of every layer for which weights are read in parts


@pytest.fixture(scope="module")
def net():
    """A net whose outputs are normalized convolutions with kernels of 1x1 and 3x3, and a dense layer."""
    x = layers.Input((3, 3, 720))
    pixels = layers.BatchNormalization(name="pixels")(layers.Conv2D(730, 1)(x))
    windows = layers.BatchNormalization(name="windows")(layers.Conv2D(150, 3, strides=2, padding="same")(x))
    rows = layers.Dense(550, activation="relu")(layers.Flatten()(x))
    net = models.Model(x, [layers.ReLU()(pixels), layers.ReLU()(windows), rows])
    for name in ("pixels", "windows"):
        norm = net.get_layer(name)
        norm.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in norm.weights])
    return net


@pytest.mark.parametrize("count", COUNTS)
def test_an_image_has_the_same_bits_in_any_batch(net, count):
    whole = net.predict(IMAGES, batch_size=len(IMAGES), verbose=0)
    for part, every in zip(net.predict(IMAGES[:count], verbose=0), whole):
        np.testing.assert_array_equal(part, every[:count])


def test_outputs_are_sums_over_channels_and_taps(net):
    x = IMAGES[:3].astype(np.float64)
    weights = {layer.name: [w.numpy().astype(np.float64) for w in layer.weights] for layer in net.layers}
    one, three, dense = (weights[layer.name] for layer in net.layers if isinstance(layer, layers.Conv2D | layers.Dense))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    sums = x @ one[0][0, 0] + one[1], np.einsum("nyxcij,ijcf->nyxf", windows, three[0]) + three[1]
    found = net.predict(IMAGES[:3], verbose=0)
    for y, total, name in zip(found, sums, ("pixels", "windows")):
        gamma, beta, mean, variance = weights[name]
        expected = gamma * (total - mean) / np.sqrt(variance + net.get_layer(name).epsilon) + beta
        np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=0, atol=2e-5)
    np.testing.assert_allclose(found[2], np.maximum(x.reshape(3, -1) @ dense[0] + dense[1], 0), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kernel", [(1, 1, 720, 730), (2, 3, 580, 151)])
def test_gradients_are_those_of_a_matrix_product(kernel):
    """Kernels as large as the image make the convolution one product."""
    x, w = IMAGES[:3, :kernel[0], :kernel[1], :kernel[2]].copy(), rng.standard_normal(kernel, np.float32)
    a, b = tensor(x, True), tensor(w, True)
    y = F.conv2d(a, b)
    dy = rng.standard_normal(y.shape, np.float32)
    y.backward(dy)
    rows, matrix, grads = x.reshape(3, -1), w.reshape(-1, kernel[3]), dy.reshape(3, -1)
    np.testing.assert_allclose(y.numpy().reshape(3, -1), rows @ matrix, rtol=0, atol=1e-3)
    np.testing.assert_allclose(a.grad.reshape(3, -1), grads @ matrix.T, rtol=0, atol=1e-3)
    np.testing.assert_allclose(b.grad.reshape(-1, kernel[3]), rows.T @ grads, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(1300, 100), (2100, 130), (2100, 600)])
def test_a_dense_layer_is_a_matrix_product_in_any_batch(inputs, outputs):
    net = models.Sequential([layers.Input((inputs,)), layers.Dense(outputs, activation="relu")])
    x = IMAGES.reshape(70, -1)[:, :inputs]
    w, b = rng.standard_normal((inputs, outputs), np.float32), rng.standard_normal(outputs, np.float32)
    net.set_weights([w, b])
    whole = net.predict(x, batch_size=70, verbose=0)
    np.testing.assert_allclose(whole, np.maximum(x.astype(np.float64) @ w + b, 0), rtol=0, atol=1e-3)
    for count in (1, 7, 40):
        np.testing.assert_array_equal(net.predict(x[:count], batch_size=70, verbose=0), whole[:count])
