"""What a number in a map depends on, what excites a filter, and the principal components of a layer's outputs."""

import numpy as np
import pytest

from autoconv import functional as F
from autoconv import layers, models, pictures, utils


@pytest.fixture(scope="module")
def branches():
    """A net of branches, with strides, dilation and padding of all kinds, for images of 17 x 15 x 2."""
    utils.set_random_seed(1)
    x = layers.Input((17, 15, 2))
    a = layers.Conv2D(3, 3, strides=(2, 1), padding="same")(x)
    b = layers.Conv2D(3, (3, 5), dilation_rate=(1, 2), padding="same")(x)
    b = layers.AveragePooling2D(2, strides=(2, 1), padding="same")(b)
    both = layers.BatchNormalization(name="both")(layers.Add()([a, b]))
    near = layers.UpSampling2D(2, name="near")(both)
    up = layers.Conv2DTranspose(2, 3, strides=2, name="up")(both)
    same = layers.Conv2DTranspose(2, 4, strides=3, padding="same", name="same")(both * 2.0 + 1.0)
    fewer = layers.Conv2D(2, 3)(up)
    padded = layers.ZeroPadding2D(((4, 1), (0, 3)), name="padded")(fewer)
    cat = layers.Concatenate()([layers.Cropping2D(1)(up), fewer])
    depth = layers.DepthwiseConv2D(2, strides=2, name="depth")(cat)
    two = layers.SeparableConv2D(4, 3, padding="same")(padded)
    mean = layers.AveragePooling2D(3, strides=2, padding="same", name="mean")(two)
    return models.Model(x, [near, up, same, padded, depth, mean])


@pytest.fixture(scope="module")
def edges():
    """Two filters: vertical edges, and a ReLU that returns 0 for nearly all inputs."""
    net = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, (1, 2), activation="relu", name="edges")])
    net.set_weights([np.reshape([[-1, 1], [1, -1]], (1, 2, 1, 2)), np.array([0, -0.9])])
    return net


@pytest.fixture(scope="module")
def flat_net():
    return models.Sequential([layers.Input((3, 3, 1)), layers.Flatten(name="flat"), layers.Dense(2)])


def rectangles(net, layer):
    """For each number of a layer's output, the rectangle around the pixels that change the number."""
    to_layer = models.Model(net.inputs, net.get_layer(layer).output)
    h, w, c = net.input_shape[1:]
    image = np.random.default_rng(0).random((1, h, w, c), np.float32)
    changed = np.repeat(image, h * w, axis=0)
    for each, place in zip(changed, np.ndindex(h, w)):
        each[place] += 100
    moved = np.abs(to_layer.predict(changed, verbose=0) - to_layer.predict(image, verbose=0)).max(-1) > 1e-7
    for row, column in np.ndindex(moved.shape[1:]):
        seen = moved[:, row, column].reshape(h, w)
        rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
        yield row, column, (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if seen.any() else (0, 0, 0, 0)


class TestReceptiveField:
    @pytest.mark.parametrize("layer", ["both", "near", "up", "same", "padded", "depth", "mean"])
    def test_it_is_the_rectangle_of_the_pixels_that_change_the_number(self, branches, layer):
        for row, column, expected in rectangles(branches, layer):
            assert pictures.receptive_field(branches, layer, row, column) == expected

    def test_of_a_layer_after_a_nested_model(self):
        inner = models.Sequential([layers.Input((12, 11, 1)), layers.Conv2D(2, 3), layers.Conv2D(2, 3, strides=2)])
        net = models.Sequential([inner, layers.Conv2D(1, 2, name="after")])
        for row, column, expected in rectangles(net, "after"):
            assert pictures.receptive_field(net, "after", row, column) == expected

    def test_of_a_max_pooling_it_is_the_window(self):
        net = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D(name="pool")])
        assert pictures.receptive_field(net, "pool", 1, 2) == (2, 6, 4, 8)

    def test_a_layer_that_mixes_all_pixels_sees_them_all(self):
        net = models.Sequential([layers.Input((6, 4, 1)), layers.LayerNormalization(axis=[1, 2, 3]),
                                 layers.Conv2D(1, 2, name="last")])
        assert pictures.receptive_field(net, "last", 0, 0) == (0, 6, 0, 4)

    def test_a_rotated_image_is_read_everywhere(self):
        x = layers.Input((6, 4, 1))
        turned = F.affine_transform(x, np.array([0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0]))
        net = models.Model(x, layers.Conv2D(1, 2, name="last")(turned))
        assert pictures.receptive_field(net, "last", 0, 0) == (0, 6, 0, 4)

    def test_what_has_no_position_is_refused(self, branches):
        with pytest.raises(ValueError, match=r"row must be in 0\.\.8, column in 0\.\.14\. Received: row=9"):
            pictures.receptive_field(branches, "both", 9, 0)
        net = models.Sequential([layers.Input((6, 4, 1)), layers.Flatten(name="flat")])
        with pytest.raises(ValueError, match=r"layer with feature maps.*Received: layer 'flat'.*\(None, 24\)"):
            pictures.receptive_field(net, "flat", 0, 0)

    def test_it_is_drawn_on_the_image(self, branches):
        pytest.importorskip("matplotlib")
        figure = pictures.draw_receptive_field(branches, np.zeros((17, 15, 2)), "both", 4, 7)
        top, bottom, left, right = pictures.receptive_field(branches, "both", 4, 7)
        x, y = figure.axes[0].lines[0].get_data()
        assert (min(x), max(x), min(y), max(y)) == (left - 0.5, right - 0.5, top - 0.5, bottom - 0.5)


class TestExcitingInputs:
    def test_each_excites_its_filter_more_than_any_noise(self, edges):
        found = pictures.exciting_inputs(edges, "edges", [0, 1])
        assert found.shape == (2, 6, 6, 1)
        assert (found.min(), found.max()) == (0, 1)
        means = edges.predict(found, verbose=0).mean((1, 2))
        noise = edges.predict(np.random.default_rng(0).random((500, 6, 6, 1)), verbose=0).mean((1, 2)).max(0)
        assert means[0, 0] > 1.2 * noise[0]
        assert means[1, 1] > noise[1]

    def test_the_seed_decides_and_the_other_filters_do_not(self, edges):
        both = pictures.exciting_inputs(edges, "edges", [0, 1], seed=3)
        np.testing.assert_allclose(pictures.exciting_inputs(edges, "edges", 1, seed=3)[0], both[1], atol=1e-6)
        assert np.abs(pictures.exciting_inputs(edges, "edges", 1, seed=4)[0] - both[1]).max() > 0.1

    def test_pixels_have_the_range_of_the_model(self):
        net = models.Sequential([layers.Input((5, 5, 1)), layers.Rescaling(1 / 255), layers.Flatten(),
                                 layers.Dense(2, name="units")])
        found = pictures.exciting_inputs(net, "units", 1)
        weights = net.get_layer("units").get_weights()[0][:, 1]
        np.testing.assert_array_equal(found.ravel()[np.abs(weights) > 0.1], 255 * (weights[np.abs(weights) > 0.1] > 0))

    def test_a_filter_that_is_not_there_is_refused(self, edges):
        with pytest.raises(ValueError, match=r"must be in 0\.\.1\. Received: 2"):
            pictures.exciting_inputs(edges, "edges", 2)

    def test_it_is_drawn_with_its_mean(self, edges):
        pytest.importorskip("matplotlib")
        axes = pictures.feature_visualisation(edges, "edges", [0, 1]).axes
        assert [each.get_title().partition("\n")[0] for each in axes] == ["filter 0", "filter 1"]


class TestEmbedding:
    def test_components_are_those_of_the_covariance(self, flat_net):
        images = np.random.default_rng(0).random((20, 3, 3, 1), np.float32)
        centred = images.reshape(20, 9) - images.reshape(20, 9).mean(0, dtype=np.float64)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        expected = centred @ vectors[:, :-4:-1]
        found = pictures.principal_components(flat_net, images, "flat", count=3)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-9)
        assert (found.max(0) >= -found.min(0)).all()

    def test_each_image_is_drawn_at_its_point(self, flat_net):
        pytest.importorskip("matplotlib")
        images = np.random.default_rng(0).random((5, 3, 3, 1), np.float32)
        axes = pictures.embedding(flat_net, images, "flat", [0, 1, 1, 0, 1]).axes[0]
        drawn = [artist.xy for artist in axes.artists]
        np.testing.assert_allclose(drawn, pictures.principal_components(flat_net, images, "flat"))
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "1"]

    def test_what_does_not_fit_is_refused(self, flat_net):
        images = np.zeros((5, 3, 3, 1))
        with pytest.raises(ValueError, match="one class index per image"):
            pictures.embedding(flat_net, images, "flat", [0, 1])
        with pytest.raises(ValueError, match=r"at least 3 images\. Received: 2 images"):
            pictures.principal_components(flat_net, images[:2], "flat")
