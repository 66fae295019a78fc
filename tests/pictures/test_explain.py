"""`pictures.explain` and `autoconv explain`: how a net computed one number, back to the pixels and on to the answer."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import layers, models, nets, pictures, utils
from autoconv.programs.bench import timed_nets
from autoconv.programs.cli import main

L = layers


def autoconv_(*args, code=0):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def randomize(model):
    """Gives every weight a random value, so that no bias, mean or variance has its initial value."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.3, 1, w.shape) if "variance" in v.name else random.normal(0, 0.4, w.shape)
                           for v, w in zip(layer.weights, layer.get_weights())])
    return model


def every_layer():
    """A net with all layers that are taken apart, for images of 12 x 11 x 4."""
    images = L.Input((12, 11, 4))
    x = L.Rescaling([0.5, 1.0, 2.0, 3.0], offset=-0.2)(images)
    x = L.Conv2D(6, (3, 2), strides=2, padding="same", groups=2, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.DepthwiseConv2D(3, padding=1, dilation_rate=2, depth_multiplier=2, activation="silu")(L.ZeroPadding2D()(x))
    a = L.MaxPooling2D(2, padding="same")(L.ReLU(max_value=6)(x))
    b = L.AveragePooling2D(2, padding="same")(L.LeakyReLU()(x))
    x = L.Dropout(0.5)(L.Concatenate()([L.Add()([a, b]), b]))
    x = L.Conv2DTranspose(4, (3, 2), strides=2, padding="same", activation="relu")(L.UpSampling2D()(x))
    x = L.Resizing(5, 9)(L.Resizing(9, 12, "bicubic")(L.Conv2DTranspose(6, 3, dilation_rate=(2, 1))(x)))
    x = L.SeparableConv2D(5, 2, activation="hard_silu")(x)
    x = L.Multiply()([x, L.Activation("sigmoid")(L.Conv2D(5, 1)(x))])
    flat = L.Flatten()(L.Permute((2, 1, 3))(x))
    x = L.Concatenate()([flat, L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
    return randomize(models.Model(images, L.Dense(7, activation="softmax")(L.Dense(15, "tanh")(x))))


@pytest.fixture(scope="module")
def net():
    utils.set_random_seed(2)
    return every_layer()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(size=(12, 11, 4)).astype(np.float32)


def numbers_of(model, image):
    """The names and values of a random number in 16 layers or more, and the layer's largest absolute value."""
    random = np.random.default_rng(3)
    found = pictures.activations(model, image)
    for layer in found[:: max(1, len(found) // 16)]:
        place = tuple(int(random.integers(n)) for n in layer.output.shape)
        yield f"{layer.name}:{','.join(map(str, place))}", float(layer.output[place]), float(np.abs(layer.output).max())


@pytest.mark.parametrize("build", [
    lambda: (every_layer(), (12, 11, 4)), lambda: (randomize(timed_nets.resnet20((32, 32, 3), 10)), (32, 32, 3)),
    lambda: (nets.build("lecture", (28, 28, 1), 10), (28, 28, 1))], ids=["every layer", "ResNet-20", "lecture"])
def test_the_shown_sum_is_the_nets_number(build):
    model, shape = build()
    image = np.random.default_rng(0).random(shape, np.float32)
    for at, value, scale in numbers_of(model, image):
        found = pictures.explain(model, image, at)
        assert found.value == pytest.approx(value, abs=1e-5 * scale)
        for step in found.steps:
            size = float(np.abs(step.result.array).max())
            assert step.exact == pytest.approx(step.number.value, abs=1e-5 * size), step.describe()
        if found.steps[-1].is_sum:
            assert found.products.sum() + (found.bias or 0) == pytest.approx(found.steps[-1].exact)


def test_a_convolution_lists_its_window_and_weights(image):
    layer = L.Conv2D(6, 3, strides=2, padding="same", groups=2, name="conv")
    model = randomize(models.Sequential([L.Input((12, 11, 4)), layer, L.Flatten(), L.Dense(2)]))
    found = pictures.explain(model, image, "conv:0,2,4")
    np.testing.assert_array_equal(found.inputs, image[0:3, 3:6, 2:4].reshape(-1))
    np.testing.assert_array_equal(found.weights, layer.get_weights()[0][..., 4].reshape(-1))
    assert found.bias == layer.get_weights()[1][4]
    found = pictures.explain(model, image, "conv:5,5,0")  # in the corner at the bottom right
    np.testing.assert_array_equal(found.inputs, image[10:, 9:, :2].reshape(-1))
    assert "10 numbers of the window are padding and count as 0" in str(found)


def test_a_transposed_convolution_lists_the_numbers_whose_window_contains_it():
    layer = L.Conv2DTranspose(3, 3, strides=2, name="up")
    model = randomize(models.Sequential([L.Input((4, 5, 2)), layer, L.Flatten(), L.Dense(2)]))
    image = np.random.default_rng(0).random((4, 5, 2), np.float32)
    kernel, bias = layer.get_weights()
    found = pictures.explain(model, image, "up:4,5,1")  # in the windows of rows 1 and 2, and of column 2
    np.testing.assert_array_equal(found.inputs, np.concatenate([image[2, 2], image[1, 2]]))
    np.testing.assert_array_equal(found.weights, np.concatenate([kernel[0, 1, 1], kernel[2, 1, 1]]))
    assert found.bias == bias[1]
    assert found.receptive_field == (1, 3, 2, 3)
    assert "padding" not in str(found)
    assert "2 numbers of the window are padding" in str(pictures.explain(model, image, "up:0,5,1"))
    assert "up:4,5,1" in found.html()


@pytest.mark.parametrize(("interpolation", "shares"), [
    ("nearest", [1]), ("bilinear", [0.1875, 0.5625, 0.0625, 0.1875])])
def test_a_resize_lists_the_pixels_around_the_position(interpolation, shares):
    model = models.Sequential([L.Input((4, 4, 1)), L.UpSampling2D(2, interpolation=interpolation, name="up"),
                               L.Flatten(), L.Dense(2)])
    image = np.random.default_rng(0).random((4, 4, 1), np.float32)
    found = pictures.explain(model, image, "up:3,4,0")  # between rows 1 and 2, and between columns 1 and 2
    np.testing.assert_allclose(found.weights, shares)
    assert found.value == pytest.approx(image[1, 2, 0] if interpolation == "nearest" else float(found.products.sum()))
    assert pictures.explain(model, image, "up:0,7,0").inputs.tolist() == [image[0, 3, 0]]


def test_rounding_in_a_resize_adds_no_pixels():
    """A third of a pixel is not exact in float32: most positions in the middle of a pixel miss it by 1e-8."""
    model = models.Sequential([L.Input((9, 9, 1)), L.UpSampling2D(3, interpolation="bilinear", name="up"),
                               L.Flatten(), L.Dense(2)])
    image = np.random.default_rng(0).random((9, 9, 1), np.float32)
    for row in range(1, 27, 3):
        found = pictures.explain(model, image, f"up:{row},{row},0")
        assert found.inputs.tolist() == [image[row // 3, row // 3, 0]]
        assert found.receptive_field == (row // 3, row // 3 + 1) * 2


def test_without_a_place_the_answer_is_explained(net, image):
    found = pictures.explain(net, image)
    scores = net.predict(image[None], verbose=0)[0]
    assert found.name == f"{net.layers[-1].name}:{scores.argmax()}"
    assert found.value == pytest.approx(scores.max(), rel=1e-5)
    assert "This is the net's answer" in str(found)


def test_only_the_receptive_field_matters(image):
    images = L.Input((12, 11, 4))
    x = L.Conv2D(3, 3, strides=2, padding="same", activation="tanh")(L.ZeroPadding2D()(images[:, ::-1]))
    x = L.AveragePooling2D(2)(x)
    x = L.DepthwiseConv2D(2, name="last")(x)
    x = L.Dense(12, name="whole")(L.Flatten()(x))
    model = randomize(models.Model(images, x))
    assert pictures.explain(model, image, "whole:0").receptive_field == (0, 12, 0, 11)
    found = pictures.explain(model, image, "last:1,0,2")
    top, bottom, left, right = found.receptive_field
    for row in range(12):
        for column in range(11):
            changed = image.copy()
            changed[row, column] += 1
            same = pictures.activations(model, changed, "last")[0].output[1, 0, 2] == np.float32(found.value)
            assert same != (top <= row < bottom and left <= column < right)


def test_the_gradient_is_the_change_of_the_score(image):
    body = models.Sequential([L.Input((12, 11, 4)), L.Conv2D(3, 3, name="conv"), L.MaxPooling2D(3, name="pool")])
    head = models.Sequential([L.Input((3, 3, 3)), L.Flatten(), L.Dense(4, "tanh"), L.Dense(5, name="answer")])
    whole = models.Model(body.inputs, L.Softmax()(randomize(head)(randomize(body).output)))
    winner = int(pictures.explain(whole, image, "pool:1,2,0").inputs.argmax())
    place = pictures.explain(whole, image, "pool:1,2,0").steps[-1].numbers()[winner].place
    found = pictures.explain(whole, image, f"conv:{','.join(map(str, place[1:]))}")
    pooled = body.predict(image[None], verbose=0).astype(np.float64)
    scores = []
    for change in (-1e-2, 1e-2):
        moved = pooled.copy()
        moved[0, 1, 2, 0] += change
        scores.append(head.predict(moved, verbose=0)[0, whole.predict(image[None], verbose=0).argmax()])
    assert found.gradient == pytest.approx((scores[1] - scores[0]) / 2e-2, rel=1e-2)
    assert all(weight.grad is None for weight in whole.weights)


def test_a_layer_that_is_called_twice_and_a_nested_model(image):
    shared = L.Conv2D(4, 3, padding="same", name="shared")
    inner = models.Sequential([L.Input((12, 11, 4)), shared, L.ReLU(name="inside")], name="inner")
    x = images = L.Input((12, 11, 4))
    for _ in range(2):
        x = inner(x)
    model = randomize(models.Model(images, L.GlobalAveragePooling2D(name="mean")(x)))
    first, second = (pictures.explain(model, image, f"shared{call}:3,4,1") for call in ("", "#2"))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert second.steps[-1].numbers()[0].label == "inside:2,3,0"
    assert second.receptive_field == (1, 6, 2, 7)


def test_a_layer_that_is_not_taken_apart_is_named_with_its_inputs(image):
    model = models.Sequential([L.Input((12, 11, 4)), L.Conv2D(3, 3, name="conv"),
                               L.Activation("log_softmax", name="logs"), L.Flatten(), L.Dense(2)])
    found = pictures.explain(model, image, "logs:1,2,0")
    assert found.exact is None
    assert re.search(r"logs:1,2,0 = .*\n    Activation: the op \w+ is not taken apart. It reads \w+", str(found))
    assert "no number" not in found.html()


@pytest.mark.parametrize(("at", "message"), [
    ("conv2:0,0,0", r"Unknown layer: 'conv2'\. Did you mean 'conv2d'\? Known names: .*dense"),
    ("conv2d:6,0,0", r"output of conv2d, whose shape is \(6, 6, 6\): row 0\.\.5, column 0\.\.5, channel 0\.\.5\. "
                     r"Received: 'conv2d:6,0,0'"),
    ("conv2d:1", r"row 0\.\.5, column 0\.\.5, channel 0\.\.5"), ("dense_1:7", r"number 0\.\.6"),
    ("conv2d", r"LAYER:ROW,COLUMN,CHANNEL.* Received: 'conv2d'\. Layers: rescaling, conv2d"),
    ("conv2d:-1,0,0", "LAYER:ROW,COLUMN,CHANNEL")])
def test_a_wrong_place_is_answered_with_the_valid_ones(image, at, message):
    x = images = L.Input((12, 11, 4))
    x = L.Conv2D(6, 3, strides=2, padding="same", name="conv2d")(L.Rescaling(2, name="rescaling")(x))
    model = models.Model(images, L.Dense(7, name="dense_1")(L.Flatten(name="flatten")(x)))
    with pytest.raises(ValueError, match=message):
        pictures.explain(model, image, at)


def test_the_page_links_to_the_numbers_back_to_the_pixels(net, image):
    found = pictures.explain(net, image)
    html = found.html("Title <1>", {"picture": "a.png"}, all_products=True)
    ids = set(re.findall(r'<section class="number[^"]*" id="([^"]*)"', html))
    links = set(re.findall(r'href="#(n[^"]*)"', html))
    assert links == ids
    assert len(ids) > 60
    assert html.count('class="number start"') == 1
    assert "Title &lt;1&gt;" in html
    assert "<h2>rescaling" in html  # the path reaches the first layer
    assert not re.search(r"<script|https?://", html)
    assert "numbers, in order" in html
    assert len(html) < 1e6


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "image.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def classifier():
    """A net for pixels 0..1 with a residual connection, 16 x 16 x 3."""
    x = images = L.Input((16, 16, 3))
    x = L.Conv2D(8, 3, 2, padding="same", name="conv")(x)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    x = L.Add(name="sum")([x, L.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(x)])
    x = L.GlobalAveragePooling2D(name="mean")(L.MaxPooling2D(name="pool")(x))
    return randomize(models.Model(images, L.Dense(4, activation="softmax", name="answer")(x)))


class TestCommand:
    @pytest.mark.parametrize("suffix", ["keras", "onnx"])
    def test_a_model_file(self, classifier, picture, tmp_path, suffix):
        if suffix == "onnx":
            pytest.importorskip("onnx")
        path = tmp_path / f"net.{suffix}"
        classifier.save(path) if suffix == "keras" else classifier.export(path)
        page = tmp_path / "page.html"
        out = autoconv_("explain", path, picture, "--preprocessing", "unit", "--out", page)
        scores = classifier.predict(np.load(picture)[None] / np.float32(255), verbose=0)[0]
        assert f"image.npy: {scores.argmax()} ({scores.max():.4f})" in out
        assert re.search(rf"^\S+:{scores.argmax()} = {scores.max():.4f}"[:-2], out, re.MULTILINE)
        assert f"How net.{suffix} computed" in page.read_text()

    def test_one_number_with_all_products(self, classifier, picture, tmp_path):
        path = tmp_path / "net.keras"
        classifier.save(path)
        short = autoconv_("explain", path, picture, "--at", "relu:2,3,5")
        long = autoconv_("explain", path, picture, "--at", "relu:2,3,5", "--all-products")
        assert [len(re.findall(r"\n +rescaling\w*:.* x ", text)) for text in (short, long)] == [12, 27]
        assert "the other 15 products" in short
        expected = pictures.activations(classifier, np.load(picture) / np.float32(255), "relu")[0].output[2, 3, 5]
        assert f"relu:2,3,5 = {expected:.4g}" in short
        assert "gamma (x - mean) / sqrt(variance + epsilon) + beta" in short
        assert "Receptive field: rows 4..6 and columns 6..8 of the picture" in short

    def test_mistakes(self, classifier, picture, tmp_path):
        path = tmp_path / "net.keras"
        classifier.save(path)
        assert "Invalid value for --at: Unknown layer: 'rlu'. Did you mean 'relu'?" in autoconv_(
            "explain", path, picture, "--at", "rlu:1,1,1", code=2)
        assert "must end in one of .html, .htm" in autoconv_("explain", path, picture, "--out", "page.png", code=2)
        two = tmp_path / "two.npy"
        np.save(two, np.zeros((2, 16, 16, 3), np.uint8))
        assert "exactly one picture. Received: 2 pictures" in autoconv_("explain", path, two, code=1)
