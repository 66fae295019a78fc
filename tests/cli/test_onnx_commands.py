"""`autoconv predict` and `autoconv summary` on ONNX files, as PyTorch, Keras and others export them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import datasets, layers, models
from autoconv.programs.cli import main

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")

CLASSES = ("ant", "bee", "cat", "dog")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
MODES = {  # as in Keras's imagenet_utils.preprocess_input
    "torch": lambda x: (x / 255 - MEAN) / DEVIATION, "tf": lambda x: x / 127.5 - 1, "unit": lambda x: x / 255,
    "none": lambda x: x, "caffe": lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68])}
WEIGHTS = np.random.default_rng(0).normal(scale=0.05, size=(3, 4)).astype(np.float32)
POOL = [("GlobalAveragePool", ["x"], "pooled", {}), ("Reshape", ["pooled", "shape"], "flat", {}),
        ("MatMul", ["flat", "weights"], "logits", {})]


def write(path, nodes=POOL, shape=(1, 3, 8, 6), metadata=None, opset=17, **constants):
    """A net for images: the mean of each channel times WEIGHTS."""
    constants = {"weights": WEIGHTS, "shape": np.array([1, 3]), **constants}
    proto = helper.make_model(helper.make_graph(
        [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes], "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1][2], onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(proto, metadata or {})
    path.write_bytes(proto.SerializeToString())
    return path


def autoconv(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments):
    return autoconv(*arguments, code=1).stderr


def predict(*arguments):
    """The classes of each image with their probabilities."""
    answers = json.loads(autoconv("predict", *arguments, "--json", "-").stdout)
    return [{choice["class"]: choice["probability"] for choice in answer["top"]} for answer in answers]


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def check(found, wanted, classes="0123"):
    """That the three likeliest classes have the wanted probabilities (N, classes)."""
    for top, row in zip(found, wanted, strict=True):
        assert list(top) == [classes[i] for i in np.argsort(-row)[:3]]
        np.testing.assert_allclose(list(top.values()), np.sort(row)[:0:-1], atol=1e-6)


@pytest.fixture
def images(tmp_path):
    x = np.random.default_rng(1).integers(0, 256, (2, 8, 6, 3), np.uint8)
    np.save(tmp_path / "images.npy", x)
    return x


@pytest.mark.parametrize("mode", MODES)
def test_a_net_of_pytorchs_for_one_image_with_channels_first(mode, images, tmp_path):
    net = write(tmp_path / "net.onnx")  # its Reshape needs a batch of one image
    wanted = softmax(MODES[mode](images.astype(float)).mean((1, 2)) @ WEIGHTS)
    check(predict(net, tmp_path / "images.npy", "--preprocessing", mode), wanted)


def test_a_net_of_kerass_with_channels_last_scales_pixels_and_ends_in_a_softmax(images, tmp_path):
    nodes = [("Cast", ["x"], "cast", {"to": 1}), ("Mul", ["cast", "scale"], "scaled", {}),
             ("Add", ["scaled", "offset"], "added", {}), ("Transpose", ["added"], "first", {"perm": [0, 3, 1, 2]}),
             ("GlobalAveragePool", ["first"], "pooled", {}), ("Flatten", ["pooled"], "flat", {}),
             ("MatMul", ["flat", "weights"], "logits", {}), ("Softmax", ["logits"], "scores", {}),
             ("Identity", ["scores"], "y", {})]
    net = write(tmp_path / "net.onnx", nodes, ("batch", 8, 6, 3), scale=np.float32(1 / 127.5), offset=np.float32(-1))
    check(predict(net, tmp_path / "images.npy"), softmax(MODES["tf"](images.astype(float)).mean((1, 2)) @ WEIGHTS))


def test_probabilities_with_axes_of_length_one_stay_as_they_are(images, tmp_path):
    nodes = [("Conv", ["x", "kernel"], "maps", {}), ("GlobalAveragePool", ["maps"], "pooled", {}),
             ("Softmax", ["pooled"], "y", {"axis": 1})]
    net = write(tmp_path / "net.onnx", nodes, kernel=WEIGHTS.T[..., None, None])
    wanted = softmax(MODES["unit"](images.astype(float)).mean((1, 2)) @ WEIGHTS)
    check(predict(net, tmp_path / "images.npy", "--preprocessing", "unit"), wanted)


def test_a_photo_is_scaled_to_the_nets_size(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "photo.jpg", quality=100)
    net = write(tmp_path / "net.onnx")
    wanted = softmax(MODES["torch"](np.array([[200.0, 100, 50]])) @ WEIGHTS)
    (found,) = predict(net, tmp_path / "photo.jpg", "--preprocessing", "torch")
    assert next(iter(found.values())) == pytest.approx(wanted.max(), abs=1e-3)


def test_the_file_must_say_how_pixels_are_converted(images, tmp_path):
    printed = error("predict", write(tmp_path / "net.onnx"), tmp_path / "images.npy")
    assert all(mode in printed for mode in ("--preprocessing", *MODES))


@pytest.mark.parametrize(("metadata", "mode"), [
    ({"Image.NominalPixelRange": "NominalRange_0_255"}, "none"),
    ({"Image.NominalPixelRange": "Normalized_0_1"}, "unit"),
    ({"image.nominalpixelrange": "normalized_1_1"}, "tf"),
    ({"author": "Ultralytics", "task": "classify"}, "unit")])
def test_the_metadata_state_the_range_of_pixels(metadata, mode, images, tmp_path):
    net = write(tmp_path / "net.onnx", metadata=metadata)
    check(predict(net, tmp_path / "images.npy"), softmax(MODES[mode](images.astype(float)).mean((1, 2)) @ WEIGHTS))


def test_the_metadata_state_the_order_of_colours(images, tmp_path):
    net = write(tmp_path / "net.onnx", metadata={"Image.NominalPixelRange": "Normalized_0_1",
                                                 "Image.BitmapPixelFormat": "Bgr8"})
    check(predict(net, tmp_path / "images.npy"), softmax(images[..., ::-1].mean((1, 2)) / 255 @ WEIGHTS))


@pytest.mark.parametrize("text", ["{0: 'ant', 1: \"bee's\", 2: 'caf\u00e9', 3: 'd\\'g'}",
                                  '["ant", "bee\'s", "caf\\u00e9", "d\'g"]'])
def test_classes_are_named_by_the_metadata(text, images, tmp_path):
    net = write(tmp_path / "net.onnx", metadata={"names": text})
    found = predict(net, tmp_path / "images.npy", "--preprocessing", "unit")
    check(found, softmax(images.mean((1, 2)) / 255 @ WEIGHTS), ("ant", "bee's", "café", "d'g"))


def test_classes_are_named_by_a_file_of_labels(images, tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffant\r\nbee\r\ncat\r\ndog\r\n\r\n".encode())
    net = write(tmp_path / "net.onnx", metadata={"names": "['a', 'b', 'c', 'd']"})
    options = (tmp_path / "images.npy", "--preprocessing", "unit", "--labels", tmp_path / "labels.txt")
    check(predict(net, *options), softmax(images.mean((1, 2)) / 255 @ WEIGHTS), CLASSES)
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    assert "There must be 4 class names" in error("predict", net, *options)
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    assert "not text in UTF-8" in error("predict", net, *options)


def test_a_net_for_any_size_needs_a_size(images, tmp_path):
    nodes = [("Resize", ["x", "", "", "size"], "resized", {}), *[
        (op, ["resized" if name == "x" else name for name in inputs], *rest) for op, inputs, *rest in POOL]]
    size = np.array([1, 3, 8, 6])
    options = (tmp_path / "images.npy", "--preprocessing", "unit")
    net = write(tmp_path / "net.onnx", nodes, (1, 3, "height", "width"), size=size)
    assert "--image-size" in error("predict", net, *options)
    assert "--image-size" in error("summary", net, "--no-time")
    wanted = softmax(images.mean((1, 2)) / 255 @ WEIGHTS)
    check(predict(net, *options, "--image-size", "8x6"), wanted)
    assert "3x8x6" in autoconv("summary", net, "--no-time", "--image-size", "16x12").output
    net = write(tmp_path / "net.onnx", nodes, (1, 3, "height", "width"), {"imgsz": "[8, 6]"}, size=size)
    check(predict(net, *options), wanted)
    fixed = write(tmp_path / "net.onnx")
    assert "Leave out --image-size" in error("predict", fixed, *options, "--image-size", "9x9")


def test_what_does_not_classify_photos_is_refused(images, tmp_path):
    options = (tmp_path / "images.npy", "--preprocessing", "unit")
    assert "(1, 4, 8, 6)" in error("predict", write(tmp_path / "net.onnx", [
        ("Conv", ["x", "kernel"], "y", {})], kernel=WEIGHTS.T[..., None, None]), *options)
    assert "3 channels" in error("predict", write(tmp_path / "net.onnx", [("Flatten", ["x"], "y", {})], (1, 1, 2, 2)),
                                 *options[:2], "torch")
    batch = write(tmp_path / "net.onnx", [*POOL[:1], ("Reshape", ["pooled", "target"], "y", {})], (4, 3, 8, 6),
                  target=np.array([4, 3]))
    assert "Export the net for a batch of one image" in error("predict", batch, *options)


def test_an_exported_run_predicts_as_the_run(tmp_path):
    autoconv("train", "digits", "--epochs", 1, "--limit", 100, "--quiet", "--out", tmp_path / "run")
    autoconv("export", tmp_path / "run", "--to", "onnx", "--out", tmp_path / "net.onnx")
    np.save(tmp_path / "digits.npy", datasets.digits.load_data()[1][0][:3])
    assert (autoconv("predict", tmp_path / "net.onnx", tmp_path / "digits.npy").output
            == autoconv("predict", tmp_path / "run", tmp_path / "digits.npy").output)
    assert "Leave out" in autoconv("predict", tmp_path / "run", tmp_path / "digits.npy", "--preprocessing", "unit",
                                   code=2).stderr


def test_an_exported_net_keeps_its_class_names(images, tmp_path):
    net = models.Sequential([layers.Input((8, 6, 3)), layers.GlobalAveragePooling2D(), layers.Dense(4, use_bias=False)])
    net.layers[-1].set_weights([WEIGHTS])
    net.class_names = ["dog's", 'a "b"', "back\\slash", "caf\u00e9"]
    net.export(tmp_path / "net.onnx")
    found = predict(tmp_path / "net.onnx", tmp_path / "images.npy", "--preprocessing", "unit")
    check(found, softmax(images.mean((1, 2)) / 255 @ WEIGHTS), net.class_names)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_other_model_files_have_the_same_options(suffix, images, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    net = models.Sequential([layers.Input((8, 6, 3)), layers.GlobalAveragePooling2D(), layers.Dense(4, use_bias=False)])
    net.layers[-1].set_weights([WEIGHTS])
    net.save(tmp_path / f"net{suffix}")
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    options = (tmp_path / f"net{suffix}", tmp_path / "images.npy")
    found = predict(*options, "--preprocessing", "caffe", "--labels", tmp_path / "labels.txt")
    check(found, softmax(MODES["caffe"](images.astype(float)).mean((1, 2)) @ WEIGHTS), CLASSES)
    plain = autoconv("predict", *options, "--json", "-")
    assert "pixels 0..1" in plain.stderr
    assert json.loads(plain.stdout)[0]["top"] == json.loads(
        autoconv("predict", *options, "--preprocessing", "unit", "--json", "-").stdout)[0]["top"]


def test_summary_lists_the_nodes_with_their_costs(tmp_path):
    net = models.Sequential([
        layers.Input((12, 10, 3)), layers.Conv2D(8, 3, strides=2, activation="relu"), layers.DepthwiseConv2D(3),
        layers.Conv2DTranspose(4, 2, strides=2), layers.Flatten(), layers.Dense(5, activation="softmax")])
    net.export(tmp_path / "net.onnx")
    options = ("summary", tmp_path / "net.onnx", "--batch-size", 2, "--json", "-")
    profile = json.loads(autoconv(*options, "--no-time").stdout)
    wanted = net.profile(2, measure=False)
    assert (profile["params"], profile["multiply_adds"]) == (net.count_params(), wanted.multiply_adds)
    assert sum(row["params"] for row in profile["rows"]) == net.count_params()
    rows = {row["kind"]: row for row in profile["rows"]}
    assert rows["Conv"]["output_shape"] == [8, 3, 2]  # the last convolution, in ONNX's order of axes
    assert rows["Relu"]["train_bytes"] == 2 * 8 * 5 * 4 * 4
    assert (rows["Flatten"]["train_bytes"], rows["Flatten"]["multiply_adds"]) == (0, 0)
    timed = json.loads(autoconv(*options).stdout)
    assert all(row["seconds"] > 0 for row in timed["rows"])
    assert timed["seconds"] == pytest.approx(sum(row["seconds"] for row in timed["rows"]))
