"""The worked examples of the lectures, exact. Where a printed result is a slip, the row says so and holds the truth."""

import numpy as np
import pytest
import reference

from autoconv import functional as F

pytestmark = pytest.mark.slow


def grid(text):
    """`1 2 / 3 4` as an array."""
    return np.array([[float(v) for v in line.split()] for line in text.split("/")])


def filtered(image, kernel, **parameters):
    """One map under one kernel."""
    return F.conv2d(grid(image)[None, :, :, None], grid(kernel)[:, :, None, None], **parameters).numpy()[0, :, :, 0]


def pooled(pool, image, **parameters):
    return pool(grid(image)[None, :, :, None], **parameters).numpy()[0, :, :, 0]


SHARPEN, LAPLACE = "0 -1 0 / -1 5 -1 / 0 -1 0", "0 1 0 / 1 -4 1 / 0 1 0"
PHOTO = "105 102 100 97 96 / 103 99 103 101 102 / 101 98 104 102 100 / 99 101 106 104 99 / 104 104 104 100 98"
DEMO = "3 3 2 1 0 / 0 0 1 3 1 / 3 1 2 2 3 / 2 0 0 2 2 / 2 0 0 0 1"
NUMBERS = "60 113 56 139 85 / 73 121 54 84 128 / 131 99 70 129 127 / 80 57 115 69 134 / 104 126 123 95 130"
BINARY = "0 1 0 1 1 / 0 0 1 1 0 / 1 1 0 1 0 / 0 1 0 0 1 / 0 0 1 1 0"
SEVEN = "2 3 7 4 6 2 9 / 6 6 9 8 7 4 3 / 3 4 8 3 8 9 7 / 7 8 3 6 6 3 4 / 4 2 1 8 3 4 6 / 3 2 4 1 9 8 3 / 0 1 3 9 2 1 4"
STRIPES = "0.3 0.5 0.9 1.0 / 1 1 1 1 / 0.9 0.9 0.5 0.3 / 0.2 0 0 0"

CONVOLUTIONS = [  # image, kernel, parameters, result (only its first row, where the lecture prints no more)
    pytest.param(PHOTO, SHARPEN, {"padding": "same"}, "320 206 198 188 281", id="sharpening, same: 320"),
    pytest.param(DEMO, "0 1 2 / 2 2 0 / 0 1 2", {}, "12 12 17 / 10 17 19 / 9 6 14", id="the sliding window"),
    pytest.param(NUMBERS, SHARPEN, {"padding": "same"}, "114 328 -26 470 158", id="sharpening, same: 114"),
    pytest.param(BINARY, LAPLACE, {}, "3 -3 -1 / -2 3 -3 / -3 2 3", id="slip: printed with a 4 in the corner"),
    pytest.param(BINARY, LAPLACE, {"strides": 2}, "3 -1 / -3 3", id="stride 2"),
    pytest.param(SEVEN, "3 4 4 / 1 0 2 / -1 0 3", {"strides": 2}, "91 100 88 / 69 91 117 / 44 72 74",
                 id="slip: 7x7, stride 2, printed with 83 and 127"),
    pytest.param("180 187 186 / 125 108 121 / 126 98 123", "1 2 1 / 0 0 0 / -1 -2 -1", {}, "295", id="top Sobel"),
    pytest.param("190 185 187 / 186 185 185 / 121 143 155", SHARPEN, {}, "226", id="sharpening of one patch"),
    pytest.param("0 0 0 / 0 156 155 / 0 153 154", "-1 -1 1 / 0 1 -1 / 0 1 1", {}, "308", id="padded corner"),
    pytest.param(STRIPES, "-1 -1 -1 / 1 1 1 / 0 0 0", {}, "1.3 0.6 / -0.7 -1.3", id="line filter on stripes"),
    # Rate 2 by hand: the kernel reads pixels (i, j), (i, j+2), (i+2, j), (i+2, j+2). First: 3 + 2*2 + 3*3 + 4*2 = 24.
    pytest.param(DEMO, "1 2 / 3 4", {"dilation_rate": 2}, "24 16 20 / 8 14 11 / 13 5 12", id="dilated, rate 2"),
]


@pytest.mark.parametrize(("image", "kernel", "parameters", "expected"), CONVOLUTIONS)
def test_convolution(image, kernel, parameters, expected):
    result, expected = filtered(image, kernel, **parameters), grid(expected)
    if parameters.get("padding") == "same":
        assert result.shape == grid(image).shape
        result = result[:1]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_a_slip_that_went_on():
    """The map above as the lecture printed it, with a 4 in the corner, is what the lecture then pools."""
    pool = pooled(F.max_pool2d, "4 -3 -1 / -2 3 -3 / -3 2 3", pool_size=2, strides=1)
    np.testing.assert_array_equal(pool, grid("4 3 / 3 3"))


PATCH = "2 3 4 0 / 1 5 3 2 / 0 4 2 3 / 1 0 6 1"
COUNTS = "0 1 0 0 0 / 0 1 1 1 0 / 1 0 1 2 1 / 1 4 2 1 0 / 0 0 1 2 1"


@pytest.mark.parametrize(("pool", "image", "parameters", "expected"), [
    (F.max_pool2d, COUNTS, {"pool_size": 2, "strides": 2, "padding": "same"}, "1 1 0 / 4 2 1 / 0 2 1"),
    (F.max_pool2d, PATCH, {"pool_size": 2}, "5 4 / 4 6"),
    (F.avg_pool2d, PATCH, {"pool_size": 2}, "2.75 2.25 / 1.25 3"),
])
def test_pooling(pool, image, parameters, expected):
    np.testing.assert_array_equal(pooled(pool, image, **parameters), grid(expected))


@pytest.mark.parametrize("kernel", [
    pytest.param(np.full((3, 3), 1 / 9), id="blur"),
    pytest.param(grid("-1 1 0 / -1 1 0 / -1 1 0"), id="left edges"),
    pytest.param(grid("0 0 0 / 1 1 1 / -1 -1 -1"), id="lower edges"),
    pytest.param(grid("0 1 -1 / 0 1 -1 / 0 1 -1"), id="right edges"),
])
@pytest.mark.parametrize("image", [PHOTO, NUMBERS, SEVEN, STRIPES])
def test_filters_against_plain_loops(kernel, image):
    x, w = grid(image)[None, :, :, None], kernel[:, :, None, None]
    for padding in ("valid", "same"):
        expected = reference.conv2d(x, w, padding=padding)
        np.testing.assert_allclose(F.conv2d(x, w, padding=padding).numpy(), expected, rtol=1e-12, atol=1e-10)


def test_line_filter_with_same_keeps_the_size():
    assert filtered(STRIPES, "-1 -1 -1 / 1 1 1 / 0 0 0", padding="same").shape == (4, 4)


def output_shape(h, w, c, kernel, filters=1, **parameters):
    return F.conv2d(np.ones((1, h, w, c)), np.ones((kernel, kernel, c, filters)), **parameters).shape[1:]


def test_sizes():
    assert output_shape(6, 6, 3, kernel=3) == (4, 4, 1)  # an RGB image under one 3x3x3 filter
    assert output_shape(6, 6, 3, kernel=3, filters=2) == (4, 4, 2)
    assert output_shape(20, 30, 1, kernel=3) == (18, 28, 1)  # W x H becomes (W-2) x (H-2)
    assert output_shape(20, 30, 1, kernel=5) == (16, 26, 1)  # and (W-4) x (H-4)


@pytest.mark.parametrize("n", [5, 6, 7, 28])
@pytest.mark.parametrize("f", [1, 2, 3, 5])
@pytest.mark.parametrize("p", [0, 1, 2])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_size_formula(n, f, p, s):
    """floor((n + 2p - f) / s) + 1."""
    assert output_shape(n, n, 1, kernel=f, padding=p, strides=s)[:2] == ((n + 2 * p - f) // s + 1,) * 2


def test_the_equation():
    """z[i,j,k] = b_k + sum over u, v, k' of x[i*s + u, j*s + v, k'] w[u,v,k',k].

    A slip: the lecture prints the row index as u*s + f - 1. It is the position i that moves in steps of the stride.
    """
    rng = np.random.default_rng(0)
    x, w, b, s = rng.normal(size=(7, 9, 3)), rng.normal(size=(3, 2, 3, 4)), rng.normal(size=4), 2
    z = np.empty((3, 4, 4))
    for i, j, k in np.ndindex(3, 4, 4):
        z[i, j, k] = b[k]
        for u, v, kk in np.ndindex(3, 2, 3):
            z[i, j, k] += x[i * s + u, j * s + v, kk] * w[u, v, kk, k]
    np.testing.assert_allclose(F.conv2d(x[None], w, b, strides=s).numpy()[0], z, rtol=1e-12)
