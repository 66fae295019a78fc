"""to_categorical and the seed."""

import random as python_random

import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, utils


def test_one_hot_rows():
    np.testing.assert_array_equal(utils.to_categorical([0, 2, 1]), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert utils.to_categorical(np.array([[3], [0]], "uint8"), 10).shape == (2, 10)
    assert utils.to_categorical(np.zeros((2, 3), int), 4).shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"from -1 to 1\. To count negative labels from the end, as Keras does, pass"):
        utils.to_categorical([0, 1, -1], 3)


@pytest.mark.parametrize(("labels", "classes", "message"), [
    ([0, 3], 3, r"from 0 to 2 .* from 0 to 3"), ([-1, 0], None, "from -1 to 0"), ([0.5], None, "integer labels"),
    ([], None, "integer labels"), (["a"], None, "integer labels"),
])
def test_labels_that_have_no_column(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        utils.to_categorical(labels, classes)


def test_a_seed_repeats_all_random_numbers():
    draws = []
    for _ in range(2):
        utils.set_random_seed(42)
        draws.append((python_random.random(), np.random.random(), ac.random.uniform((3,)).tolist()))
    assert draws[0] == draws[1]
    utils.set_random_seed(43)
    assert ac.random.uniform((3,)).tolist() != draws[0][2]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", True])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match=r"2\*\*32 - 1"):
        utils.set_random_seed(seed)


def test_clear_session_names_layers_from_the_start():
    utils.clear_session()
    first, second = layers.Flatten(), layers.Flatten()
    utils.clear_session()
    assert (first.name, second.name, layers.Flatten().name) == ("flatten", "flatten_1", "flatten")


def test_whitening_filters_uncorrelate_patches():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(300, 9, 8, 3)).cumsum(1).cumsum(2).astype("float32")
    images -= images.mean()
    kernel = utils.whitening_filters(images, 2, epsilon=1e-12)
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    layer = layers.Conv2D(24, 2)
    layer.build(images.shape)
    layer.set_weights([kernel, np.zeros(24, np.float32)])
    outputs = layer(images).numpy()[..., :12].reshape(-1, 12).astype("float64")
    np.testing.assert_allclose(outputs.T @ outputs / len(outputs), np.eye(12), atol=2e-3)
    norms = np.sqrt((kernel[..., :12] ** 2).sum((0, 1, 2)))
    assert np.all(np.diff(norms) > 0)  # the component with the largest variance is first
    assert np.linalg.norm(utils.whitening_filters(images, 2, epsilon=1e3)) < np.linalg.norm(kernel)


def test_whitening_filters_of_images_without_variance():
    kernel = utils.whitening_filters(np.full((2, 4, 4, 1), 3.0, np.float32))
    assert np.isfinite(kernel).all()


@pytest.mark.parametrize(("change", "options", "message"), [
    (np.nan, {}, "needs finite images"), (0.0, {"epsilon": 0}, "positive epsilon"),
    (0.0, {"size": 2.0}, "size must be"),
])
def test_whitening_filters_that_would_not_be_numbers(change, options, message):
    images = np.ones((2, 4, 4, 1), np.float32)
    images[0, 0, 0] = change
    with pytest.raises(ValueError, match=message):
        utils.whitening_filters(images, **options)


@pytest.mark.parametrize("shape", [(5, 5, 3), (0, 5, 5, 3), (2, 1, 5, 3), (2, 4, 4, 0)])
def test_images_without_a_patch(shape):
    with pytest.raises(ValueError, match=r"of at least 2 x 2 pixels\. Received: shape"):
        utils.whitening_filters(np.zeros(shape, np.float32))
