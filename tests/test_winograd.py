"""3x3 convolutions by Winograd's products, of squares and along rows, against direct ones: errors, infinities, batches,
threads, and the switch.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from autoconv import functional as F
from autoconv.arguments import shapes
from autoconv.operators import fused
from autoconv.tensor import apply, tensor

CHANNELS, FILTERS = 64, 64
ROWS = ((2, 12, 32), 16, 16)  # images, channels and filters of a convolution that is computed along rows


@pytest.fixture
def directly(monkeypatch):
    """Calls a function with Winograd's products switched off."""

    def call(function, *args):
        with monkeypatch.context() as patch:
            patch.setenv("AUTOCONV_WINOGRAD", "0")
            return function(*args)

    return call


def drawn(distribution, seed=0, size=(2, 12, 12), channels=CHANNELS, filters=FILTERS):
    """An image, a kernel and an output's gradient, in float32."""
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.standard_normal, "uniform": rng.random, "pixels": lambda shape: rng.integers(0, 256, shape),
            "sparse": lambda shape: rng.standard_normal(shape) * (rng.random(shape) < 0.1)}[distribution]
    kernel = rng.standard_normal((3, 3, channels, filters)) / np.sqrt(9 * channels)
    gradient = rng.standard_normal((*size, filters))
    return [a.astype(np.float32) for a in (draw((*size, channels)), kernel, gradient)]


def results(x, w, dy):
    """The convolution and its gradients."""
    x, w = tensor(x, True), tensor(w, True)
    y = F.conv2d(x, w, padding="same")
    y.backward(dy)
    return y.numpy(), x.grad, w.grad


def inferred(x, w):
    """The convolution and 2x2 pooling of it where no gradient is taken: by tiles of 4x4 outputs."""
    x, w = tensor(x), tensor(w)
    return F.conv2d(x, w, padding="same").numpy(), _pool(x, w).numpy()


def _pool(x, w):
    return apply(fused.conv2d_relu_pool, x, w, None, window=shapes.window(x.shape[1:3], (3, 3), padding="same"))


def pooled(x, w):
    """2x2 pooling of the convolution, with its gradients."""
    x, w = tensor(x, True), tensor(w, True)
    y = _pool(x, w)
    y.backward(np.ones(y.shape, np.float32))
    return y.numpy(), x.grad, w.grad


def kinds(array):
    """0 where an item is finite, else 1, 2 or 3 for infinity, minus infinity, NaN."""
    return np.isposinf(array) + 2 * np.isneginf(array) + 3 * np.isnan(array)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "pixels", "sparse"])
@pytest.mark.parametrize(("size", "channels", "filters"),
                         [((2, 12, 12), 64, 64), ((2, 12, 12), 32, 32), ((2, 12, 12), 128, 32), ((2, 12, 12), 64, 256),
                          ROWS, ((2, 9, 31), 24, 16)])
def test_errors_are_no_larger_than_those_of_direct_sums(directly, distribution, size, channels, filters):
    """Where nine of ten pixels are 0, a direct sum has few terms, and the transforms' sums have more."""
    allowed = 2.2 if distribution == "sparse" else 1.2
    arrays = drawn(distribution, 0, size, channels, filters)
    exact = directly(results, *(a.astype(np.float64) for a in arrays))
    for by_tiles, direct, true in zip(results(*arrays), directly(results, *arrays), exact):
        if channels >= 64:  # along rows is for one or two vectors of filters: that depends on the processor
            assert not np.array_equal(by_tiles, direct)  # they are two ways of computing it
        ours, theirs = (np.sqrt(np.mean((a - true) ** 2)) for a in (by_tiles, direct))
        assert ours <= allowed * theirs


@pytest.mark.parametrize(("distribution", "allowed"), [("normal", 3), ("uniform", 2), ("pixels", 2), ("sparse", 8)])
@pytest.mark.parametrize(("size", "channels", "filters"), [((2, 16, 16), 32, 96), ((1, 8, 8), 64, 64),
                                                           ((1, 15, 16), 144, 64)])
def test_errors_of_larger_tiles_are_a_few_times_those_of_direct_sums(directly, distribution, allowed, size, channels,
                                                                     filters):
    x, w, _ = drawn(distribution, size=size, channels=channels, filters=filters)
    direct, exact = directly(inferred, x, w), directly(inferred, x.astype(np.float64), w.astype(np.float64))
    for by_tiles, theirs, true in zip(inferred(x, w), direct, exact):
        error, usual = (np.sqrt(np.mean((a - true) ** 2)) for a in (by_tiles, theirs))
        assert 0 < error <= allowed * usual
    for by_tiles, true in zip(inferred(x.astype(np.float64), w.astype(np.float64)), exact):
        np.testing.assert_allclose(by_tiles, true, rtol=1e-11, atol=1e-11 * np.abs(true).max())


def test_larger_tiles_can_be_switched_off(monkeypatch):
    """Then a result without gradients has the bits of one with them."""
    x, w, dy = drawn("normal", size=(1, 16, 16))
    larger = inferred(x, w)
    monkeypatch.setenv("AUTOCONV_WINOGRAD", "2")
    for here, with_gradient, before in zip(inferred(x, w), (results(x, w, dy)[0], pooled(x, w)[0]), larger):
        np.testing.assert_array_equal(here, with_gradient)
        assert not np.array_equal(here, before)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("where", ["x", "w", "dy"])
@pytest.mark.parametrize(("size", "channels", "filters"), [((2, 12, 12), 64, 64), ROWS, ((2, 11, 15), 32, 32)])
def test_what_is_not_finite_is_what_the_direct_sum_gives(directly, value, where, size, channels, filters):
    x, w, dy = drawn("normal", 0, size, channels, filters)
    {"x": x[1, 0, 5], "w": w[2, 1], "dy": dy[0, 7, 3]}[where].flat[3] = value
    for by_tiles, direct in zip((*results(x, w, dy), *pooled(x, w), *inferred(x, w)),
                                (*directly(results, x, w, dy), *directly(pooled, x, w), *directly(inferred, x, w))):
        np.testing.assert_array_equal(kinds(by_tiles), kinds(direct))
        if value != 3e38:  # a huge finite number costs the others of its tile their accuracy: docs/kernels.md
            finite = np.isfinite(direct)
            np.testing.assert_allclose(by_tiles[finite], direct[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "channels", "filters"), [(12, 64, 64), (12, 144, 32), (12, 48, 272), (32, 16, 16),
                                                            (16, 32, 32)])
def test_an_image_gives_the_same_bits_in_any_batch(width, channels, filters):
    """Few tiles transform the weights as they go, many find them transformed."""
    x, w, dy = drawn("normal", 0, (7, 12, width), channels, filters)
    (y, dx, _), smaller = results(x, w, dy), pooled(x, w)[0]
    for first, last in ((0, 1), (3, 5), (2, 7)):
        some = results(x[first:last], w, dy[first:last])
        np.testing.assert_array_equal(some[0], y[first:last])
        np.testing.assert_array_equal(some[1], dx[first:last])
        np.testing.assert_array_equal(pooled(x[first:last], w)[0], smaller[first:last])


@pytest.mark.parametrize(("side", "channels", "filters"), [(16, 80, 144), (8, 64, 64), (36, 32, 32)])
def test_larger_tiles_give_the_same_bits_in_any_batch(side, channels, filters):
    x, w, _ = drawn("normal", size=(5, side, side), channels=channels, filters=filters)
    whole = inferred(x, w)
    for first, last in ((0, 1), (2, 4)):
        for part, of in zip(inferred(x[first:last], w), whole):
            np.testing.assert_array_equal(part, of[first:last])


@pytest.mark.parametrize(("width", "channels", "filters"), [(32, 16, 16), (16, 32, 32), (12, 16, 64), (12, 64, 64)])
def test_an_empty_batch_has_gradients_of_zero(width, channels, filters):
    y, dx, dw = results(*drawn("normal", 0, (0, 12, width), channels, filters))
    assert (y.shape, dx.shape) == ((0, 12, width, filters), (0, 12, width, channels))
    np.testing.assert_array_equal(dw, np.zeros((3, 3, channels, filters)))


THREADS = """
import hashlib
import numpy as np
from autoconv import functional as F, tensor
rng, digest = np.random.default_rng(0), hashlib.sha256()
for shape, filters in (((1, 8, 8, 64), 64), ((1, 9, 9, 32), 272), ((5, 12, 12, 64), 64), ((2, 16, 16, 32), 144)):
    w = rng.standard_normal((3, 3, shape[3], filters), np.float32)
    digest.update(F.conv2d(tensor(rng.standard_normal(shape, np.float32)), tensor(w), padding="same").numpy().tobytes())
for shape, filters in (((1, 15, 32, 16), 16), ((3, 16, 16, 32), 32)):  # along rows
    x = tensor(rng.standard_normal(shape, np.float32), True)
    w = tensor(rng.standard_normal((3, 3, shape[3], filters), np.float32), True)
    y = F.conv2d(x, w, padding="same")
    y.backward(y.numpy())
    for array in (y.numpy(), x.grad, w.grad):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits():
    def digest(threads):
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True,
                              check=True).stdout

    assert len({digest(threads) for threads in (1, 2, 3, 8)}) == 1


def test_narrow_images_and_odd_numbers_of_channels_stay_direct(directly):
    for size, channels, filters in (((2, 12, 7), 64, 64), ((2, 12, 12), 6, 250), ((2, 12, 12), 2, 62)):
        arrays = drawn("normal", size=size, channels=channels, filters=filters)
        for here, direct in zip(results(*arrays), directly(results, *arrays)):
            np.testing.assert_array_equal(here, direct)
