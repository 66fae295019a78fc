"""Convolutions of images of one or three channels, and of few filters: against plain sums, in any batch and by any
number of threads.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from autoconv.tensor import apply, tensor

from autoconv import functional as F
from autoconv.arguments import shapes
from autoconv.operators import fused

# Rows, columns and channels of an image, filters, and padding: less than a band of rows, more, an odd number of them;
# few columns and many
LAYERS = [((9, 11, 1), 32, "valid"), ((70, 9, 1), 16, "same"), ((8, 16, 3), 16, "same"), ((37, 10, 3), 64, "valid"),
          ((5, 66, 1), 32, "same"), ((7, 67, 3), 16, "valid")]


def drawn(size, filters, images=3, dtype="float32"):
    """Images, weights and a bias, all of them small whole numbers: sums of their products are exact."""
    rng = np.random.default_rng(0)
    sizes = (images, *size), (3, 3, size[2], filters), (filters,)
    return [rng.integers(-3, 4, s).astype(dtype) for s in sizes]


def windows(x, padding):
    """The nine pixels that each output reads: (N, OH, OW, C, 3, 3)."""
    edge = (1, 1) if padding == "same" else (0, 0)
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), edge, edge, (0, 0))), (3, 3), (1, 2))


def plain(x, w, b, padding):
    return np.einsum("nijcab,abcf->nijf", windows(x, padding), w) + b


def by_windows(y):
    """The four pixels of each 2x2 window: (N, OH // 2, OW // 2, F, 4)."""
    n, h, w, f = y.shape
    whole = y[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, f)
    return whole.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, f, 4)


def pool(x, w, b, padding):
    return apply(fused.conv2d_relu_pool, x, w, b, window=shapes.window(x.shape[1:3], (3, 3), padding=padding))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "filters", "padding"), LAYERS)
def test_results_and_gradients_are_the_plain_sums(size, filters, padding, dtype):
    x, w, b = drawn(size, filters, dtype=dtype)
    weights, bias = tensor(w, True), tensor(b, True)
    y = F.conv2d(tensor(x), weights, bias, padding=padding)
    np.testing.assert_array_equal(y.numpy(), plain(x, w, b, padding))
    dy = np.random.default_rng(1).integers(-3, 4, y.shape).astype(dtype)
    y.backward(dy)
    np.testing.assert_array_equal(weights.grad, np.einsum("nijcab,nijf->abcf", windows(x, padding), dy))
    np.testing.assert_array_equal(bias.grad, dy.sum((0, 1, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "filters", "padding"), LAYERS)
def test_so_are_those_with_pooling(size, filters, padding, dtype):
    x, w, b = drawn(size, filters, dtype=dtype)
    weights, bias = tensor(w, True), tensor(b, True)
    y, four = pool(tensor(x), weights, bias, padding), by_windows(plain(x, w, b, padding))
    np.testing.assert_array_equal(y.numpy(), np.maximum(four.max(-1), 0))
    dy = np.random.default_rng(1).integers(-3, 4, y.shape).astype(dtype)
    y.backward(dy)
    passed = np.where(four.max(-1) > 0, dy, 0)
    won = (four.argmax(-1)[..., None] == np.arange(4)) * passed[..., None]
    read = windows(x, padding)
    read = np.stack([read[:, i : i + 2 * y.shape[1] : 2, j : j + 2 * y.shape[2] : 2][:, : y.shape[1], : y.shape[2]]
                     for i in (0, 1) for j in (0, 1)], axis=3)
    np.testing.assert_array_equal(weights.grad, np.einsum("nijrcab,nijfr->abcf", read, won))
    np.testing.assert_array_equal(bias.grad, passed.sum((0, 1, 2)))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("size", "filters", "padding"), [LAYERS[0], LAYERS[2]])
def test_what_is_not_finite_reaches_the_windows_that_read_it(size, filters, padding, value):
    x, w, b = drawn(size, filters)
    x[1, 4, 5, 0] = value
    with np.errstate(invalid="ignore"):
        exact = plain(x, w, b, padding)
    np.testing.assert_array_equal(F.conv2d(tensor(x), tensor(w), tensor(b), padding=padding).numpy(), exact)
    np.testing.assert_array_equal(pool(tensor(x), tensor(w), tensor(b), padding).numpy(),
                                  np.maximum(by_windows(exact).max(-1), 0))


FEW = [((40, 14, 1), 6), ((14, 15, 2), 4), ((16, 28, 3), 2)]  # fewer filters than half of a vector's lanes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "filters"), FEW)
def test_so_are_those_of_few_filters(size, filters, padding, dtype):
    x, w, b = drawn(size, filters, dtype=dtype)
    y = F.conv2d(tensor(x), tensor(w), tensor(b), padding=padding)
    np.testing.assert_array_equal(y.numpy(), plain(x, w, b, padding))


@pytest.mark.parametrize(("size", "filters", "padding"), [*LAYERS, *((*few, "same") for few in FEW)])
def test_an_image_gives_the_same_bits_in_any_batch(size, filters, padding):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(a.shape, np.float32) for a in drawn(size, filters, images=5))
    for layer in (F.conv2d, pool):
        def run(images, layer=layer):
            return layer(tensor(images), tensor(w), tensor(b), padding=padding).numpy()

        whole = run(x)
        for first, last in ((0, 1), (2, 4)):
            np.testing.assert_array_equal(run(x[first:last]), whole[first:last])


THREADS = """
import hashlib, sys
import numpy as np
sys.path.insert(0, "tests/kernels")
from autoconv import functional as F, tensor
from test_first_layer_kernels import FEW, LAYERS, drawn, pool
rng, digest = np.random.default_rng(0), hashlib.sha256()
for size, filters, padding in (*LAYERS, *((*few, "same") for few in FEW)):
    x, w, b = (rng.standard_normal(a.shape, np.float32) for a in drawn(size, filters))
    for layer in (F.conv2d, pool):
        weights, bias = tensor(w, True), tensor(b, True)
        y = layer(tensor(x), weights, bias, padding=padding)
        y.backward(y.numpy())
        for array in (y.numpy(), weights.grad, bias.grad):
            digest.update(array.tobytes())
for size, kernel, stride in (((7, 14, 14, 6), (5, 5, 6, 16), 1), ((7, 16, 16, 16), (3, 3, 16, 32), 2)):
    x, w = tensor(rng.standard_normal(size, np.float32), True), rng.standard_normal(kernel, np.float32)
    y = F.conv2d(x, w, strides=stride)  # whose input gradient scatters rows of taps
    y.backward(y.numpy())
    digest.update(x.grad.tobytes())
print(digest.hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits():
    def digest(threads):
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True,
                              check=True, cwd=Path(__file__).parents[2]).stdout

    assert len({digest(threads) for threads in (1, 2, 5)}) == 1
