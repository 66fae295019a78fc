"""What depthwise convolution, average pooling, sigmoid and tanh promise beyond the case table."""

import numpy as np
import pytest
from autoconv.tensor import Tensor

from autoconv import functional as F

STENCILS = {
    "depthwise": lambda x, w: F.depthwise_conv2d(x, w, padding="same"),
    "strided": lambda x, w: F.depthwise_conv2d(x, w, strides=2),
    "pool": lambda x, w: F.avg_pool2d(x, 3, 2, padding="same"),
    "pool 2x2": lambda x, w: F.avg_pool2d(x, 2),
}


@pytest.fixture(params=STENCILS)
def stencil(request):
    weights = np.random.default_rng(1).normal(size=(3, 3, 19, 1)).astype("float32")
    return lambda x: STENCILS[request.param](x, weights)


def images(n):
    return np.random.default_rng(0).normal(size=(n, 9, 13, 19)).astype("float32")


def results(stencil, x):
    """The result for x and its gradient."""
    x = Tensor(x, requires_grad=True)
    y = stencil(x)
    y.backward(np.cos(y.numpy()))
    return y.numpy(), x.grad


def test_an_image_gives_the_same_bits_in_any_batch(stencil):
    x = images(11)
    for together, alone in zip(results(stencil, x), results(stencil, x[7:8])):
        np.testing.assert_array_equal(together[7:8], alone)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_the_windows_that_read_them_and_no_others(stencil, value):
    x = images(2)
    expected = stencil(x).numpy()
    x[1, 4, 6, 3] = value
    y = stencil(x).numpy()
    struck = ~np.isfinite(y)
    assert not struck[0].any()
    assert not np.delete(struck[1], 3, axis=-1).any()
    assert struck[1, ..., 3].any()
    np.testing.assert_array_equal(y[~struck], expected[~struck])


@pytest.mark.parametrize("multiplier", [1, 3])
def test_the_weight_gradient_of_more_samples_than_parts(multiplier):
    """Against the derivative in each weight, which is linear: what an image of that tap alone adds up."""
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(21, 5, 6, 2)), rng.normal(size=(2, 3, 2, multiplier))
    weights = Tensor(w, requires_grad=True)
    y = F.depthwise_conv2d(x, weights, strides=(1, 2), padding="same")
    dy = rng.normal(size=y.shape)
    y.backward(dy)
    for place in np.ndindex(w.shape):
        alone = np.zeros_like(w)
        alone[place] = 1
        share = (F.depthwise_conv2d(x, alone, strides=(1, 2), padding="same").numpy() * dy).sum()
        np.testing.assert_allclose(weights.grad[place], share, rtol=1e-12)


def every_magnitude():
    """Float32 numbers of every exponent and both signs, some 130,000 of them; those below the normal ones as well."""
    bits = np.arange(0, 2**32, 32749, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return bits[np.isfinite(bits)]


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


@pytest.mark.parametrize(("call", "exact"), [(F.tanh, np.tanh), (F.sigmoid, sigmoid)], ids=["tanh", "sigmoid"])
def test_sigmoid_and_tanh_are_within_2_5_units_in_the_last_place(call, exact):
    x = np.concatenate([every_magnitude(), np.linspace(-20, 20, 200_001, dtype="float32")])
    expected = exact(x.astype("float64"))
    unit = np.maximum(np.abs(np.spacing(expected.astype("float32"))), np.float32(2.0**-149)).astype("float64")
    assert (np.abs(call(x).numpy() - expected) / unit).max() < 2.5


def test_sigmoid_and_tanh_at_the_ends():
    x = np.array([-np.inf, np.inf, np.nan, 0, 1e-45, -3e38, 3e38], "float32")
    np.testing.assert_array_equal(F.tanh(x).numpy(), np.array([-1, 1, np.nan, 0, 1e-45, -1, 1], "float32"))
    np.testing.assert_array_equal(F.sigmoid(x).numpy(), np.array([0, 1, np.nan, 0.5, 0.5, 0, 1], "float32"))
