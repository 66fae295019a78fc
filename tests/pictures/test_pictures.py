"""What a net's layers see, which pixels moved its answer, how it did: as arrays, figures and pages."""

import io
import re
import subprocess
import sys
import xml.dom.minidom

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import functional as F
from autoconv import layers, losses, models, pictures, tensor, utils
from autoconv.pictures import inspection, mosaics, panels
from autoconv.programs.cli import main


def autoconv_(*args, code=0):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def net():
    """A small net for images of 9 x 8 x 3 in three classes."""
    utils.set_random_seed(3)
    return models.Sequential([
        layers.Input((9, 8, 3)), layers.Conv2D(4, 3, activation="relu", name="first"), layers.MaxPooling2D(name="pool"),
        layers.DepthwiseConv2D(2, depth_multiplier=2, name="second"), layers.Flatten(name="flat"),
        layers.Dense(3, name="answer")])


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((9, 8, 3), np.float32)


@pytest.fixture(scope="module")
def deep_net():
    """Two convolutions, for images of 8 x 7 x 2 in three classes."""
    utils.set_random_seed(5)
    return models.Sequential([
        layers.Input((8, 7, 2)), layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.Conv2D(3, 2, activation="relu", name="last"), layers.Flatten(name="flat"),
        layers.Dense(3, activation="softmax", name="answer")])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((3, 8, 7, 2), np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps on the built-in digits."""
    folder = tmp_path_factory.mktemp("pictures") / "run"
    autoconv_("train", "digits", "--limit", 128, "--epochs", 1, "--seed", 1, "--out", folder, "--quiet")
    return folder


class TestArrays:
    def test_each_layer_gives_what_it_gives_in_the_model(self, net, image):
        found = pictures.activations(net, image)
        assert [a.name for a in found] == ["first", "pool", "second", "flat", "answer"]
        first = net.get_layer("first")
        expected = F.relu(F.conv2d(image[None], first.kernel, first.bias)).numpy()[0]
        np.testing.assert_allclose(found[0].output, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[-1].output, net.predict(image[None], verbose=0)[0], rtol=1e-5, atol=1e-6)
        assert [a.kind for a in pictures.activations(net, image, "second")] == ["DepthwiseConv2D"]

    def test_a_graph_with_branches(self):
        x = layers.Input((6, 6, 1))
        y = layers.Add(name="sum")([layers.Conv2D(2, 3, padding="same")(x), layers.Conv2D(2, 1)(x)])
        found = pictures.activations(models.Model(x, layers.Flatten()(y)), np.ones((6, 6)))
        assert [a.output.shape for a in found] == [(6, 6, 2), (6, 6, 2), (6, 6, 2), (72,)]

    def test_kernels_have_the_shape_of_a_convolution(self, net):
        found = pictures.kernels(net)
        assert {name: k.shape for name, k in found.items()} == {"first": (3, 3, 3, 4), "second": (2, 2, 1, 8)}
        np.testing.assert_array_equal(found["first"], net.get_layer("first").kernel.numpy())

    def test_kernels_of_nested_models_are_found(self, net, image):
        whole = models.Sequential([layers.Input(net.input_shape[1:]), net, layers.Dense(2, activation="softmax")])
        assert list(pictures.kernels(whole)) == ["first", "second"]
        np.testing.assert_array_equal(pictures.kernels(whole, "second")["second"], pictures.kernels(net)["second"])
        shown = inspection.select_filters(whole, None)
        assert [panel.title for panel in shown] == ["first: filters", "second: filters"]

    def test_logits_become_probabilities(self, net, image):
        scores = pictures.class_scores(net, image[None])
        logits = net.predict(image[None], verbose=0)
        np.testing.assert_allclose(scores, F.softmax(logits).numpy(), rtol=1e-5)

    def test_a_layer_that_is_not_there_is_answered_with_the_nearest(self, net, image):
        for call in (lambda: pictures.activations(net, image, "frst"), lambda: pictures.filters(net, "frst")):
            with pytest.raises(ValueError, match=r"Unknown layer: 'frst'\. Did you mean 'first'"):
                call()
        with pytest.raises(ValueError, match=r"'answer' has no filters\. Layers with filters: first, second"):
            pictures.filters(net, "answer")

    def test_an_image_of_another_shape_is_refused(self, net):
        for shape in ((9, 8), (2, 9, 8, 3), (9, 9, 3)):
            with pytest.raises(ValueError, match="shape"):
                pictures.activations(net, np.zeros(shape))


class TestFiles:
    def test_a_file_is_brought_to_the_size_and_the_range_of_the_model(self, net, image, tmp_path):
        pil = pytest.importorskip("PIL.Image")
        pixels = np.rint(255 * image).astype(np.uint8)
        pil.fromarray(pixels).save(tmp_path / "small.png")
        pil.new("RGB", (100, 70), (51, 102, 255)).save(tmp_path / "large.png")
        one_colour = np.full((9, 8, 3), [0.2, 0.4, 1.0])
        for name, given in (("small.png", pixels / 255), ("large.png", one_colour)):
            for path in (tmp_path / name, str(tmp_path / name)):
                for found, expected in zip(pictures.activations(net, path), pictures.activations(net, given)):
                    np.testing.assert_allclose(found.output, expected.output, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(pictures.saliency_map(net, tmp_path / "small.png"),
                                   pictures.saliency_map(net, pixels / 255), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(pictures.occlusion_map(net, tmp_path / "small.png"),
                                   pictures.occlusion_map(net, pixels / 255), atol=1e-5)
        scales = models.Sequential([layers.Input((9, 8, 3)), layers.Rescaling(1 / 255), net])  # takes pixels 0..255
        np.testing.assert_allclose(pictures.activations(scales, tmp_path / "small.png")[-1].output,
                                   net.predict(pixels[None] / 255, verbose=0)[0], rtol=1e-4, atol=1e-5)

    def test_a_digit_is_found_as_predict_finds_it(self, tmp_path):
        pil = pytest.importorskip("PIL.Image")
        paper = np.full((60, 50), 230, np.uint8)
        paper[5:35, 8:14] = 20
        pil.fromarray(paper).save(tmp_path / "one.png")
        net = models.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
        seen = pictures.activations(net, tmp_path / "one.png")[0].output.reshape(28, 28)
        rows = np.flatnonzero(seen.any(1))
        assert (rows[0], rows[-1]) == (4, 23)
        assert seen.max() == pytest.approx(1, abs=0.02)
        net.class_names = tuple("abcdefghij")  # no digits: the whole picture, bright on dark ground
        whole = pictures.activations(net, tmp_path / "one.png")[0].output.reshape(28, 28)
        assert np.flatnonzero((whole > 0.5).any(1))[[0, -1]].tolist() == [2, 16]

    def test_what_is_no_picture_is_named(self, net, tmp_path):
        pytest.importorskip("PIL")
        (tmp_path / "text.png").write_text("no picture")
        for name in ("text.png", "missing.png"):
            with pytest.raises(OSError, match=f"{name} cannot be read as a picture"):
                pictures.feature_maps(net, tmp_path / name)
        np.save(tmp_path / "two.npy", np.zeros((2, 9, 8, 3)))
        with pytest.raises(ValueError, match=r"must contain exactly one picture\. Received: 2 pictures in .*two\.npy"):
            pictures.activations(net, tmp_path / "two.npy")
        with pytest.raises(ValueError, match="the model's input has the shape"):
            pictures.activations(models.Sequential([layers.Input((3,)), layers.Dense(2)]), "x.png")


class TestInfluence:
    def test_hiding_the_pixel_that_counts_lowers_the_answer(self):
        """A net that reads one pixel alone: class 1 where it is bright."""
        net = models.Sequential([layers.Input((5, 5, 1)), layers.Flatten(), layers.Dense(2)])
        weights = np.zeros((25, 2))
        weights[7, 1] = 3
        net.set_weights([weights, np.array([1.0, 0.0])])
        image = np.zeros((5, 5))
        image[1, 2] = 1
        fall = pictures.occlusion_map(net, image, size=1, strides=1)
        expected = 1 / (1 + np.exp(-2)) - 1 / (1 + np.exp(1))
        assert fall[1, 2] == pytest.approx(expected, rel=1e-5)
        assert np.count_nonzero(np.abs(fall) > 1e-6) == 1
        assert pictures.occlusion_map(net, image, 0, size=1, strides=1)[1, 2] == pytest.approx(-expected, rel=1e-5)
        saliency = pictures.saliency_map(net, image)
        assert saliency[1, 2] == 3
        assert np.count_nonzero(saliency) == 1

    def test_patches_cover_every_pixel(self, net, image):
        fall = pictures.occlusion_map(net, image, size=(4, 3), strides=(3, 2), value=0.0)
        assert fall.shape == (9, 8)
        assert np.count_nonzero(fall) == fall.size
        with pytest.raises(ValueError, match="The patch must fit into the image"):
            pictures.occlusion_map(net, image, size=10)
        with pytest.raises(ValueError, match=r"class index must be in 0\.\.2.* Received: 3\."):
            pictures.saliency_map(net, image, 3)

    def test_the_gradient_is_that_of_the_score_before_the_softmax(self, net, image):
        x = tensor(image[None], requires_grad=True)
        net(x)[0, 1].backward()
        expected = np.abs(x.grad[0]).max(-1)
        np.testing.assert_allclose(pictures.saliency_map(net, image, 1), expected, rtol=1e-5)
        ends = models.Model(net.inputs, layers.Softmax()(net.outputs[0]))
        np.testing.assert_allclose(pictures.saliency_map(ends, image, 1), expected, rtol=1e-5)

    def test_the_signed_gradient_speaks_for_and_against_a_class(self):
        """Of a net that is linear in its pixels, it is each pixel's part of the score."""
        net = models.Sequential([layers.Input((2, 2, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
        weights = np.array([[1, 0], [-2, 0], [3, 1], [0, 5]], np.float32)
        net.set_weights([weights, np.zeros(2)])
        image = np.array([[1.0, 2.0], [0.5, 1.0]])
        np.testing.assert_allclose(pictures.saliency_map(net, image, 0, signed=True), [[1, -4], [1.5, 0]])

    def test_looking_changes_no_gradient_and_no_training(self, net, image):
        net.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
        start = net.get_weights()

        def trained(look):
            net.set_weights(start)
            for label in (0, 1, 2):
                if look:
                    pictures.saliency_map(net, image)
                    pictures.activations(net, image)
                net.train_on_batch(image[None], np.array([label]))
            return net.get_weights()

        for a, b in zip(trained(look=False), trained(look=True)):
            np.testing.assert_array_equal(a, b)
        net(tensor(image[None])).sum().backward()
        before = [w.grad.copy() for w in net.weights]
        pictures.saliency_map(net, image)
        for a, w in zip(before, net.weights):
            np.testing.assert_array_equal(a, w.grad)


def conv2d(x, kernel, bias):
    """A convolution without padding and its ReLU, in float64: (N, H, W, C) -> (N, OH, OW, F)."""
    size = kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), size, axis=(1, 2))
    return np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, kernel.astype(np.float64)) + bias, 0)


class TestGradCam:
    """Selvaraju et al., 2017: relu(sum of a[k] * A[..., k]), a[k] the mean gradient of the score."""

    @staticmethod
    def reference(maps, gradients):
        return np.einsum("nhwk,nk->nhw", maps, gradients.mean((1, 2)))

    def test_of_the_last_convolution_it_is_the_formula(self, deep_net, images):
        weights = deep_net.get_weights()
        maps = conv2d(conv2d(images, *weights[:2]), *weights[2:4])
        dense = weights[4].astype(np.float64)
        for classes in (None, 2, [2, 0, 1]):
            chosen = deep_net.predict(images, verbose=0).argmax(1) if classes is None else np.broadcast_to(classes, 3)
            expected = self.reference(maps, dense.T[chosen].reshape(maps.shape))
            found = pictures.grad_cam_map(deep_net, images, classes=classes)
            np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-4, atol=1e-6)
            signed = pictures.grad_cam_map(deep_net, images, "last", classes, relu=False)
            np.testing.assert_allclose(signed, expected, rtol=1e-4, atol=1e-6)
            whole = pictures.grad_cam_map(deep_net, images, "last", classes, relu=False, average=False)
            scores = maps.reshape(3, -1) @ dense  # the biases are 0
            np.testing.assert_allclose(whole.sum((1, 2)), scores[range(3), chosen], rtol=1e-4, atol=1e-6)
        assert expected.min() < 0 < expected.max()

    def test_of_an_earlier_layer_it_is_that_of_finite_differences(self, deep_net, images):
        maps = conv2d(images, *deep_net.get_layer("first").get_weights())
        dense, bias = (each.astype(np.float64) for each in deep_net.get_layer("answer").get_weights())

        def score(values):
            return (conv2d(values, *deep_net.get_layer("last").get_weights()).reshape(3, -1) @ dense + bias)[:, 1]

        gradients = np.zeros_like(maps)
        for place in np.ndindex(maps.shape[1:]):
            step = np.zeros_like(maps)
            step[:, *place] = 1e-6
            gradients[:, *place] = (score(maps + step) - score(maps - step)) / 2e-6
        found = pictures.grad_cam_map(deep_net, images, "first", 1, relu=False)
        np.testing.assert_allclose(found, self.reference(maps, gradients), rtol=1e-4, atol=1e-6)

    def test_a_branch_around_the_layer_and_one_image(self, images):
        x = layers.Input((8, 7, 2))
        y = layers.Conv2D(2, 3, padding="same", name="branch")(x)
        y = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
        net = models.Model(x, layers.Dense(2, name="answer")(y))
        maps = models.Model(x, net.get_layer("branch").output).predict(images[:1], verbose=0)
        weights = net.get_layer("answer").get_weights()[0][:, 1]
        np.testing.assert_allclose(pictures.grad_cam_map(net, images[0], classes=1, relu=False),
                                   maps @ weights / 56, rtol=1e-4, atol=1e-6)

    def test_what_has_no_map_is_refused(self, deep_net, images):
        with pytest.raises(ValueError, match=r"shape \(N, OH, OW, K\).*'flat' with the output shape \(None, 60\)"):
            pictures.grad_cam_map(deep_net, images, "flat")
        with pytest.raises(ValueError, match="one for each of the 3 images"):
            pictures.grad_cam_map(deep_net, images, classes=[0, 1])
        dense = models.Sequential([layers.Input((8, 7, 2)), layers.Flatten(), layers.Dense(2)])
        with pytest.raises(ValueError, match="a model without convolutions"):
            pictures.grad_cam_map(dense, images)
        with pytest.raises(ValueError, match=r"one output of shape \(N, classes\)"):
            pictures.grad_cam_map(models.Model(deep_net.inputs, deep_net.get_layer("last").output), images)


class TestPanels:
    def test_frames_lie_around_the_pixels_of_the_largest_numbers(self):
        net = models.Sequential([layers.Input((224, 224, 1)), layers.Conv2D(1, 9, name="first"),
                                 layers.Conv2D(1, 9, strides=4, name="second"),
                                 layers.Flatten(name="flat")])
        net.set_weights([np.ones((9, 9, 1, 1)), np.zeros(1)] * 2)
        image = np.zeros((224, 224), np.float32)
        image[100, 60] = 1
        (panel,) = panels.receptive_panels(net, image)
        boxes = []
        for name in ("blue", "orange"):
            layer, row, column, size = re.search(rf"{name}: (\w+):(\d+),(\d+),0 \((\d+) x \4\)", panel.note).groups()
            rows, columns = np.nonzero((panel.pixels == mosaics.INKS[name]).all(-1))
            boxes.append((rows.min(), rows.max() + 1, columns.min(), columns.max() + 1))
            assert boxes[-1] == pictures.receptive_field(net, layer, int(row), int(column))
            assert rows.max() + 1 - rows.min() == int(size)
            assert boxes[-1][0] <= 100 < boxes[-1][1]
        assert [bottom - top for top, bottom, _, _ in boxes] == [9, 17]
        assert panels.receptive_panels(net, image, "flat") == []

    def test_only_inputs_that_excite_a_filter_are_shown(self):
        net = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(3, 1, activation="relu", name="maps")])
        net.set_weights([np.reshape([1.0, -1.0, 2.0], (1, 1, 1, 3)), np.zeros(3)])
        (panel,) = panels.exciting_panels(net)
        assert panel.note.endswith(": 0, 2; none was found for 1")
        assert panel.pixels.shape == (108, 210, 3)  # two tiles of 96 pixels, and gaps of 6
        assert (panel.pixels[6:-6, 6:102] == 255).all()
        assert panels.exciting_panels(models.Sequential([layers.Input((3,)), layers.Dense(2)])) == []

    @pytest.mark.parametrize("channels", [1, 3])
    def test_images_lie_at_their_points_in_the_colours_of_their_classes(self, channels):
        images = np.zeros((3, 8, 8, channels), np.uint8)
        images[:, 3:5, 3:5] = 255  # a gray image has the colour of its class, another a frame of one pixel
        drawn = mosaics.scatter(np.array([[2.0, 1.0], [6.0, 1.0], [2.0, 3.0]]), images, np.array([0, 1, 2]))
        edge, side = (3, 2) if channels == 1 else (0, 8)
        corners = {"blue": (472, 0), "orange": (472, 632), "green": (0, 0)}  # the second component points upwards
        for name, (top, left) in corners.items():
            rows, columns = np.nonzero((drawn == mosaics.INKS[name]).all(-1))
            assert (rows.min() - edge, columns.min() - edge) == (top, left)
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)

    def test_similar_images_are_those_of_the_last_layer_but_one(self):
        net = models.Sequential([layers.Input((8, 8, 1)), layers.GlobalAveragePooling2D(name="mean"), layers.Dense(3)])
        images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1)).astype(np.uint8)
        labels = np.arange(200) % 3
        (panel,) = panels.embedding_panels(net, images, labels, ["a", "b", "c"])
        assert panel.title == "mean: test images"
        assert panel.note.startswith("150 test images at the first two principal components of the outputs of mean")
        assert panel.note.endswith("; blue: a, orange: b, green: c")
        assert panels.embedding_panels(net, images[:2], labels[:2], ["a", "b", "c"]) == []


class TestResults:
    def test_confusion_counts_rows_that_were_taken_for_columns(self):
        matrix = pictures.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0])
        assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
        one_hot = pictures.confusion_matrix(np.eye(3)[[0, 0, 1, 2, 2, 2]], np.eye(3)[[0, 1, 1, 2, 2, 0]])
        np.testing.assert_array_equal(matrix, one_hot)
        precision, recall = pictures.precision_recall(matrix)
        np.testing.assert_allclose(precision, [1 / 2, 1 / 2, 1])
        np.testing.assert_allclose(recall, [1 / 2, 1, 2 / 3])
        precision, recall = pictures.precision_recall(np.array([[1, 0], [0, 0]]))
        assert np.isnan(precision[1])
        assert np.isnan(recall[1])

    @pytest.mark.parametrize(("true", "guessed", "said"), [
        ([0, 1], [0], "the same number of samples"), ([], [], "at least one"), ([0.5], [0], "labels"),
        ([0, -1], [0, 0], "from 0 to 0"),
    ])
    def test_what_does_not_fit_is_refused(self, true, guessed, said):
        with pytest.raises(ValueError, match=said):
            pictures.confusion_matrix(true, guessed)

    def test_the_surest_mistake_comes_first(self):
        scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
        assert pictures.worst_mistakes([0, 0, 0, 1], scores).tolist() == [1, 2]
        assert pictures.worst_mistakes([0, 0, 0, 1], scores, 1).tolist() == [1]
        assert pictures.worst_mistakes([1, 0], np.uint8([[200, 55], [0, 255]])).tolist() == [1, 0]

    @pytest.mark.parametrize(("true", "scores"), [
        (np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 0]), ([0, 1, 2, 0], [0, 1, 2, 0]), ([0, 1], np.eye(3)),
        ([0, 1, 1], np.array([[0.2], [0.7], [0.9]])),
    ])
    def test_scores_that_are_no_row_of_each_label_are_refused(self, true, scores):
        with pytest.raises(ValueError, match=r"shape \(N, classes\).*Pass the labels first"):
            pictures.worst_mistakes(true, scores)


class TestFigures:
    def test_each_is_a_figure_that_can_be_saved(self, net, image, tmp_path):
        pytest.importorskip("matplotlib")
        drawn = {
            "filters": (pictures.filters(net), 2), "maps": (pictures.feature_maps(net, image), 5),
            "one": (pictures.feature_maps(net, image, "first"), 1),
            "confusion": (pictures.confusion([0, 1, 1], [0, 1, 0], ["cat", "dog"]), 1),
            "curves": (pictures.curves({"loss": [2, 1], "val_loss": [2, 2], "accuracy": [0, 1]}), 2),
            "occlusion": (pictures.occlusion(net, image), 2), "saliency": (pictures.saliency(net, image), 2),
            "grad_cam": (pictures.grad_cam(net, np.stack([image] * 2)), 4),
        }
        for name, (figure, axes) in drawn.items():
            assert len(figure.axes) == axes
            figure.savefig(tmp_path / f"{name}.png", dpi=20)
            assert (tmp_path / f"{name}.png").stat().st_size > 300
        texts = [text.get_text() for text in drawn["maps"][0].texts]
        assert texts[0] == "first (Conv2D): feature maps"
        assert texts[1].startswith("7 x 6 x 4, min 0, max")

    def test_a_deep_layer_shows_its_eight_strongest_filters_and_maps(self):
        pytest.importorskip("matplotlib")
        net = models.Sequential([layers.Input((8, 8, 12)), layers.Conv2D(20, 3, name="deep")])
        kernel = np.random.default_rng(0).normal(size=(3, 3, 12, 20))
        strong = [0, 3, 4, 9, 11, 12, 15, 19]
        kernel[..., strong] *= 100
        net.set_weights([kernel, np.zeros(20)])
        drawn = pictures.filters(net)
        note = " ".join(text.get_text() for text in drawn.texts)
        assert "20 filters of 3 x 3 x 12" in note
        assert "the 8 strongest filters: 0, 3, 4, 9, 11, 12, 15, 19; one column per filter" in note
        assert drawn.axes[0].images[0].get_size() == (402, 402)  # 8 x 8 tiles of 48 pixels, and gaps of 2
        maps = pictures.feature_maps(net, np.random.default_rng(1).random((8, 8, 12)))
        assert "the 8 strongest maps: 0, 3, 4, 9, 11, 12, 15, 19" in " ".join(text.get_text() for text in maps.texts)
        assert pictures.feature_maps(net, np.ones((8, 8, 12)), "deep").axes[0].images[0].get_size() == (152, 402)

    def test_filters_over_the_colours_of_the_image_are_drawn_in_colour(self):
        pytest.importorskip("matplotlib")
        net = models.Sequential([layers.Input((8, 8, 3)), *(layers.Conv2D(filters, 1) for filters in (1, 3, 2))])
        net.layers[0].set_weights([np.reshape([1.0, 0.0, -0.5], (1, 1, 3, 1)), np.zeros(1)])
        first, *others = pictures.filters(net).axes
        assert first.images[0].get_array()[20, 20].tolist() == [255, 128, 64]
        assert len(others) == 2
        assert others[1].images[0].get_size() == (152, 102)  # a deeper layer: a column for each filter

    def test_a_notebook_shows_what_a_cell_returns(self, net):
        pytest.importorskip("matplotlib")
        assert pictures.filters(net)._repr_png_().startswith(b"\x89PNG")

    def test_a_net_that_diverged_can_be_looked_at(self, image):
        pytest.importorskip("matplotlib")
        net = models.Sequential([layers.Input((9, 8, 3)), layers.Conv2D(2, 3, name="first"), layers.Flatten()])
        net.set_weights([np.full((3, 3, 3, 2), [np.inf, np.nan]), np.zeros(2)])
        for figure in (pictures.filters(net), pictures.feature_maps(net, image)):
            assert "nan" in figure.texts[1].get_text()
        pictures.grad_cam(net, image).savefig(io.BytesIO(), format="png")
        assert panels.exciting_panels(net) == []
        assert len(panels.embedding_panels(net, np.stack([image] * 3), np.zeros(3, int), ["a"])) == 1
        assert len(panels.receptive_panels(net, image)) == 1

    def test_the_most_frequent_mistake_is_seen_beside_the_diagonal(self):
        pytest.importorskip("matplotlib")
        true, guessed = np.array([(0, 0)] * 90 + [(0, 1)] * 8 + [(1, 1)] * 97 + [(1, 0)] * 1).T
        red, _, blue = np.moveaxis(pictures.confusion(true, guessed).axes[0].images[0].get_array().astype(int), 2, 0)
        assert (np.diag(blue - red) > 100).all()
        assert red[0, 1] - blue[0, 1] > 100 > red[1, 0] - blue[1, 0] > 0

    def test_curves_of_one_epoch_say_their_values(self):
        pytest.importorskip("matplotlib")
        axes = pictures.curves({"loss": [1.4664], "val_loss": [1.1]}).axes[0]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training 1.4664", "validation 1.1"]
        assert axes.get_xticks().tolist() == [1]

    def test_pyplot_is_left_alone(self):
        pytest.importorskip("matplotlib")
        code = ("import sys; from autoconv import pictures; assert 'matplotlib' not in sys.modules;"
                "pictures.curves({'loss': [1]}); assert 'matplotlib.pyplot' not in sys.modules")
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_an_empty_history_and_a_missing_library_are_said(self, monkeypatch):
        with pytest.raises(ValueError, match="no epochs"):
            pictures.curves({})
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match=r"pip install 'autoconv\[plots\]'"):
            pictures.curves({"loss": [1.0]})


class TestInspect:
    def test_the_page_has_every_layer_and_nothing_from_outside(self, run, tmp_path):
        printed = autoconv_("inspect", run, "--out", tmp_path / "page.html")
        assert "digits, test image 0" in printed
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        kinds = re.findall(r"<h3>\w+ \((\w+)\): ", page)
        assert kinds == ["Rescaling", *["Conv2D", "MaxPooling2D"] * 2, "Conv2D", "Flatten", "Dense", "Dense"]
        assert "26 x 26 x 32, min 0, max" in page
        assert "32 filters of 3 x 3 x 1" in page
        assert "class scores" in page
        assert re.findall(r"\w+: conv2d\w*:\d+,\d+,\d+ \((\d+ x \d+)\)", page)[:3] == ["3 x 3", "8 x 8", "18 x 18"]
        assert re.search(r"conv2d_2\w*: what its filters look for|inputs that excite the strongest filters", page)
        assert re.search(r"<h2>Similar images</h2>.*128 test images.* of dense\w*: .*blue: 0, orange: 1, ", page)
        assert re.findall(r"evidence for \d: ([^<]+)</h3>", page) == ["hidden patches", "gradient", "Grad-CAM"]
        assert not re.search(r"""(src|href)=["'](?!data:)""", page)
        assert all("alt=" in tag and 'alt=""' not in tag for tag in re.findall("<img[^>]*>", page))
        xml.dom.minidom.parseString(re.search("<svg.*?</svg>", page)[0])

    def test_one_layer_of_a_picture_as_a_figure(self, run, tmp_path):
        pytest.importorskip("matplotlib")
        np.save(tmp_path / "digit.npy", np.eye(28) * 255)
        net = models.load_model(run / "model.safetensors")
        name = next(layer.name for layer in net.layers if isinstance(layer, layers.Conv2D))
        printed = autoconv_("inspect", run, tmp_path / "digit.npy", "--layer", name, "--out", tmp_path / "a.svg")
        assert re.search(r"wrote \d+ pictures to ", printed)
        assert "digit.npy" in printed
        for text in ("Grad-CAM", "receptive fields", "what its filters look for"):
            assert text in (tmp_path / "a.svg").read_text(encoding="utf-8")
        xml.dom.minidom.parse(str(tmp_path / "a.svg"))

    def test_a_figure_fits_on_a_screen_and_goes_on_in_further_files(self, run, tmp_path):
        pytest.importorskip("matplotlib")
        image = pytest.importorskip("PIL.Image")
        printed = autoconv_("inspect", run, "--out", tmp_path / "a.png")
        files = [tmp_path / f"a{number}.png" for number in ("", "-2", "-3")]
        assert printed.endswith(f"to {', '.join(map(str, files))}\n")
        for path in tmp_path.iterdir():
            with image.open(path) as picture:
                assert picture.width <= 1366
                assert picture.height <= 900

    def test_a_picture_that_cannot_be_read_is_named_beside_the_others(self, run, tmp_path):
        np.save(tmp_path / "seven.npy", np.eye(28, dtype=np.uint8) * 255)
        (tmp_path / "bad.png").write_text("no picture")
        out = tmp_path / "inside.html"
        said = autoconv_("inspect", run, tmp_path / "bad.png", tmp_path / "seven.npy", "--out", out, code=1)
        assert "bad.png cannot be read" in said
        assert "seven.npy" in out.read_text(encoding="utf-8")
        assert "bad.png cannot be read" in autoconv_("inspect", run, tmp_path / "bad.png", "--out", out, code=1)

    def test_a_model_file_is_no_run(self, run):
        for command in (("inspect", "--out", "x.html"), ("report", "--out", "x.html"), ("evaluate",)):
            said = autoconv_(command[0], run / "model.safetensors", *command[1:], code=1)
            assert "model.safetensors is a file, but a run must be a folder" in said

    def test_what_is_not_there_is_refused_before_the_work(self, run, tmp_path):
        printed = autoconv_("inspect", run, "--layer", "conv2", "--out", tmp_path / "a.html", code=2)
        assert "Did you mean 'conv2d" in printed
        assert "must end in" in autoconv_("inspect", run, "--out", tmp_path / "a.gif", code=2)
        assert "is not a run" in autoconv_("inspect", tmp_path, "--out", tmp_path / "a.html", code=1)
        assert not (tmp_path / "a.html").exists()


@pytest.mark.gpu
def test_a_net_on_a_gpu_is_seen_as_on_the_processor(gpu_somewhere):
    net = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3, activation="relu", name="maps"),
                             layers.Flatten(), layers.Dense(3)])
    image = np.random.default_rng(0).random((6, 6), np.float32)

    def seen():
        return [*(each.output for each in pictures.activations(net, image)), pictures.saliency_map(net, image),
                pictures.occlusion_map(net, image, size=3), pictures.grad_cam_map(net, image, relu=False),
                pictures.principal_components(net, [image, 1 - image, image**2], "maps")]

    expected = seen()
    net.to("cuda")
    for a, b in zip(expected, seen(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2)  # products of ten bits
    assert net.profile(2).seconds is None
