"""3x3 convolutions by Winograd's products, of squares and along rows, against direct ones: errors, ranges of values,
infinities, batches, threads, and the switch. With `pytest -m soak` it tries 10,000 weight gradients.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from autoconv.tensor import apply, tensor

from autoconv import functional as F
from autoconv.arguments import shapes
from autoconv.kernels.cpu import ways
from autoconv.layers import Conv2D, Input
from autoconv.models import Sequential
from autoconv.operators import fused
from autoconv.optimizers import SGD

pytestmark = pytest.mark.usefixtures("tiles_for_few_pixels")

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
        # Along rows is for one or two vectors of filters: that depends on the processor. Weight gradients of few pixels
        # above 0 are direct sums.
        if channels >= 64 and distribution != "sparse":
            assert not np.array_equal(by_tiles, direct)  # they are two ways of computing it
        ours, theirs = (np.sqrt(np.mean((a - true) ** 2)) for a in (by_tiles, direct))
        assert ours <= allowed * theirs


def taps(x, dy, padding):
    """The weight gradient (9, C, F) by its definition, in the dtype of x and dy."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if padding == "same" else x
    (_, oh, ow, filters), c = dy.shape, x.shape[3]
    return np.stack([np.dot(x[:, i : i + oh, j : j + ow].reshape(-1, c).T, dy.reshape(-1, filters))
                     for i in range(3) for j in range(3)])


def weight_gradient(x, dy, padding):
    w = tensor(np.zeros((3, 3, x.shape[3], dy.shape[3]), x.dtype), True)
    F.conv2d(tensor(x), w, padding=padding).backward(dy)
    return w.grad.reshape(9, *w.shape[2:])


def assert_errors_of_a_direct_sum(directly, x, dy, padding="same"):
    """No element's error, relative to the sum of its absolute terms, is larger than the direct kernel's largest one, or
    than 16 times the rounding of a single number.
    """
    exact = np.longdouble if x.dtype == np.float64 else np.float64
    true, size = (taps(a.astype(exact), b.astype(exact), padding) for a, b in ((x, dy), (abs(x), abs(dy))))
    here, direct = weight_gradient(x, dy, padding), directly(weight_gradient, x, dy, padding)
    rounding = np.finfo(x.dtype).eps / 2
    ours, theirs = (np.max(np.where(size > 0, abs(a - true) / np.where(size > 0, size, 1), a != 0)) / rounding
                    for a in (here, direct))
    assert ours <= max(16, theirs)


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def _outliers(rng, shape):
    """A few values up to 10^6 times as large as the others."""
    few = rng.random(shape) < 10 ** rng.uniform(-3.5, -1)
    return rng.standard_normal(shape) * np.where(few, 10 ** rng.uniform(0, 6), 1)


def _spot(rng, shape):
    """A bright spot in an image that fades by many orders of magnitude."""
    (_, h, w, _), (i, j) = shape, rng.integers(8, size=2)
    fading = np.exp(-rng.uniform(0.1, 1) * ((np.arange(h)[:, None] - i) ** 2 + (np.arange(w) - j) ** 2))
    return rng.standard_normal(shape) * fading[..., None]


WIDE = {  # draw an array of shape (N, H, W, C)
    "six decades": lambda rng, shape: 10 ** rng.uniform(-3, 3, shape) * signs(rng, shape),
    "one sign": lambda rng, shape: 10 ** rng.uniform(-3, 3, shape),
    "log-normal": lambda rng, shape: np.exp(rng.uniform(1, 4.6) * rng.standard_normal(shape)) * signs(rng, shape),
    "outliers": _outliers,
    "spot": _spot,
    "images": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, (shape[0], 1, 1, 1)),
    "rows": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, (1, shape[1], 1, 1)),
    "channels": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, (1, 1, 1, shape[3])),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 10 ** rng.uniform(-2.5, 0)),
    "ReLU": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0) * 10 ** rng.uniform(-3, 3),
}


FEW = 6889, 7615, 10102, 10987, 16707  # seeds with an element whose own terms are few, unlike its filter's mean


@pytest.mark.parametrize("seeds", [
    pytest.param((*FEW, *range(40)), id="40"),
    pytest.param(range(10_000), marks=[pytest.mark.soak, pytest.mark.timeout(7200)], id="10000")])
def test_weight_gradients_of_any_range_have_the_errors_of_direct_sums(directly, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        n, height, width = [(1, 8, 8), (2, 12, 16), (4, 9, 32), (3, 16, 16), (1, 12, 32), (6, 8, 8)][rng.integers(6)]
        channels, filters = [(16, 16), (32, 32), (64, 32), (32, 48)][rng.integers(4)]
        padding = ["same", "valid"][rng.integers(2)]
        edge = 2 if padding == "valid" else 0
        of_x, of_dy = (list(WIDE.values())[i] for i in rng.integers(len(WIDE), size=2))
        x, dy = of_x(rng, (n, height + edge, width + edge, channels)), of_dy(rng, (n, height, width, filters))
        assert_errors_of_a_direct_sum(directly, x.astype(np.float32), dy.astype(np.float32), padding)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [30, 1e3, 1e4, 1e5])
@pytest.mark.parametrize(("size", "channels", "filters"), [((1, 16, 16), 32, 32), ((2, 8, 8), 64, 64), ROWS])
def test_one_large_activation_and_one_large_gradient(directly, size, channels, filters, value, dtype):
    x, _, dy = (a.astype(dtype) for a in drawn("normal", 1, size, channels, filters))
    x[0, 4, 4] *= value
    dy[0, 4, 5] *= value
    assert_errors_of_a_direct_sum(directly, x, dy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [3.1, 3.6, 4.1, 4.6])
@pytest.mark.parametrize(("size", "channels", "filters"), [((2, 16, 16), 32, 32), ROWS])
def test_weight_gradients_of_log_normal_values(directly, size, channels, filters, sigma, dtype):
    rng = np.random.default_rng(0)
    x, dy = ((np.exp(sigma * rng.standard_normal(shape)) * signs(rng, shape)).astype(dtype)
             for shape in ((*size, channels), (*size, filters)))
    assert_errors_of_a_direct_sum(directly, x, dy)


@pytest.mark.parametrize("side", [0, 1])
def test_an_infinity_beside_values_that_are_nearly_always_0(directly, side):
    """Zero times infinity is NaN, also in an element whose neighbours are recomputed from nonzero pixels."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 12, 12, 64), np.float32) for _ in range(2)]
    arrays[side][0, 3, 3, 5] = np.inf
    nonzero = arrays[1 - side][1, 8, 8, 7]
    arrays[1 - side][..., 7] = 0
    arrays[1 - side][1, 8, 8, 7] = nonzero
    found, expected = weight_gradient(*arrays, "same"), directly(weight_gradient, *arrays, "same")
    np.testing.assert_array_equal(kinds(found), kinds(expected))


def test_a_replayed_step_sees_the_range_of_its_batch():
    """The step is recorded with ordinary values. A later batch has one large activation."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((2, 16, 16, 32), np.float32) for _ in range(2))
    second[0, 5, 5] *= 1e5
    weights = []
    for eager in (False, True):
        model = Sequential([Input((16, 16, 32)), Conv2D(32, 3, padding="same", use_bias=False)])
        model.set_weights([np.zeros((3, 3, 32, 32), np.float32)])
        model.compile(SGD(1e-3), "mean_squared_error", run_eagerly=eager)
        for x in (first, first, first, second):
            model.train_on_batch(x, np.square(x))
        weights.append(model.get_weights()[0])
    np.testing.assert_array_equal(*weights)


def test_errors_of_outputs_are_bounded_by_their_tiles(directly):
    """By 32 roundings of the largest pixel near an output times the sum of a kernel's weights, over all channels."""
    for kind in WIDE.values():
        for size, channels, filters in (((1, 16, 16), 32, 32), ROWS, ((1, 12, 12), 64, 64)):
            rng = np.random.default_rng(0)
            x, w = (kind(rng, shape).astype(np.float32) for shape in ((*size, channels), (3, 3, channels, filters)))
            near = np.lib.stride_tricks.sliding_window_view(
                np.pad(abs(x), ((0, 0), (5, 5), (5, 5), (0, 0))), (11, 11), (1, 2)).max((-2, -1))
            bound = 32 * 2.0**-24 * (near.astype(np.float64) @ abs(w).astype(np.float64).sum((0, 1)))
            true = directly(inferred, x.astype(np.float64), w.astype(np.float64))[0]
            for y in (F.conv2d(tensor(x), tensor(w, True), padding="same").numpy(), inferred(x, w)[0]):
                assert (abs(y - true) <= bound).all()


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
for shape, filters in (((2, 15, 32, 16), 16), ((3, 16, 16, 32), 32), ((4, 16, 16, 64), 64)):  # along rows, and squares
    x = tensor(rng.standard_normal(shape, np.float32), True)
    w = tensor(rng.standard_normal((3, 3, shape[3], filters), np.float32), True)
    y = F.conv2d(x, w, padding="same")
    y.backward(y.numpy())
    for array in (y.numpy(), x.grad, w.grad):
        digest.update(array.tobytes())
    wide, w = x.numpy().copy(), tensor(w.numpy(), True)
    wide[0, 4, 4] *= 1e5  # some of these weight gradients are direct sums
    F.conv2d(tensor(wide), w, padding="same").backward(y.numpy())
    digest.update(w.grad.tobytes())
print(digest.hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits():
    def digest(threads):
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True,
                              check=True).stdout

    assert len({digest(threads) for threads in (1, 2, 3, 8)}) == 1


def test_weight_gradients_of_few_pixels_are_direct_sums(directly, tiles_for_few_pixels, monkeypatch):
    monkeypatch.setattr(ways, "FEWEST_PIXELS", tiles_for_few_pixels)
    for size, is_direct in (((3, 16, 15), True), ((4, 16, 15), False)):
        arrays = drawn("normal", size=size, channels=64, filters=64)
        (y, _, dw), (exact_y, _, exact_dw) = results(*arrays), directly(results, *arrays)
        assert np.array_equal(dw, exact_dw) == is_direct
        assert not np.array_equal(y, exact_y)


def test_gradients_of_a_pooled_layer_with_outputs_of_5x5_use_the_winners(directly):
    arrays = drawn("normal", size=(2, 5, 5), channels=128, filters=128)[:2]
    for here, direct in zip(pooled(*arrays)[1:], directly(pooled, *arrays)[1:]):
        np.testing.assert_array_equal(here, direct)


def test_a_pooled_layer_s_input_gradient_has_the_same_bits_in_any_batch(tiles_for_few_pixels, monkeypatch):
    monkeypatch.setattr(ways, "FEWEST_PIXELS", tiles_for_few_pixels)
    x, w, _ = drawn("normal", size=(20, 8, 8), channels=128, filters=64)
    np.testing.assert_array_equal(pooled(x, w)[1][:1], pooled(x[:1], w)[1])


def test_narrow_images_and_odd_numbers_of_channels_stay_direct(directly):
    for size, channels, filters in (((2, 12, 3), 64, 64), ((2, 12, 12), 6, 250), ((2, 12, 12), 2, 62)):
        arrays = drawn("normal", size=size, channels=channels, filters=filters)
        for here, direct in zip(results(*arrays), directly(results, *arrays)):
            np.testing.assert_array_equal(here, direct)
