"""1x1 convolutions, which are ordinary matrix products: batches, numbers that are not finite, and strides."""

import numpy as np
import pytest
from autoconv.tensor import tensor

from autoconv import functional as F
from autoconv import layers, models


def drawn(images, channels, filters):
    """Images of 23x30 pixels, of which three make enough rows for packed weights, and a kernel; float32."""
    rng = np.random.default_rng(0)
    shapes = (images, 23, 30, channels), (1, 1, channels, filters)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("filters", [64, 70, 128])
def test_an_image_has_the_same_bits_in_any_batch(filters):
    x, w = drawn(4, 65, filters)
    whole = F.conv2d(x, w).numpy()
    for count in (1, 2, 3):
        np.testing.assert_array_equal(F.conv2d(x[:count], w).numpy(), whole[:count])
    np.testing.assert_allclose(whole, x @ w[0, 0], rtol=0, atol=1e-4)


def test_gradients_are_those_of_a_matrix_product():
    x, w = drawn(4, 65, 128)
    a, b = tensor(x, True), tensor(w, True)
    y = F.conv2d(a, b)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    np.testing.assert_allclose(a.grad, dy @ w[0, 0].T, rtol=0, atol=2e-4)
    rows, grads = x.reshape(-1, 65).astype(np.float64), dy.reshape(-1, 128)
    np.testing.assert_allclose(b.grad[0, 0], rows.T @ grads, rtol=0, atol=2e-3)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_with_its_pixel(value):
    x, w = drawn(4, 65, 70)
    x[1, 2, 3, 4] = value
    found = np.isfinite(F.conv2d(x, w).numpy())
    assert not found[1, 2, 3].any()
    assert found.sum() == found.size - 70


@pytest.mark.parametrize("kernel", [(3, 3, 3, 4), (1, 1, 3, 64), (3, 3, 3, 64)])
def test_a_batch_of_no_images(kernel):
    x = tensor(np.zeros((0, 8, 8, 3), np.float32), requires_grad=True)
    w = tensor(np.ones(kernel, np.float32), requires_grad=True)
    y = F.conv2d(x, w)
    assert y.shape == (0, 9 - kernel[0], 9 - kernel[1], kernel[3])
    F.max_pool2d(F.relu(y), 2).sum().backward()
    assert x.grad.shape == x.shape
    np.testing.assert_array_equal(w.grad, 0)


def test_a_net_answers_no_images():
    net = models.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
                             layers.Dense(600)])
    assert net(np.zeros((2, 28, 28, 1), np.float32)).shape == (2, 600)
    assert net(np.zeros((0, 28, 28, 1), np.float32)).shape == (0, 600)
