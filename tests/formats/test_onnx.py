"""ONNX both ways: exports run by onnxruntime, PyTorch's exports run by autoconv, damaged files refused."""

import io
from pathlib import Path

import numpy as np
import pytest

from autoconv import activations, formats, layers, models, nets, utils
from autoconv import functional as F

onnx = pytest.importorskip("onnx")


def images(count, shape, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def with_random_weights(model):
    """Other weights than zeros and ones; variances stay positive."""
    draw = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(np.abs(draw.normal(size=weight.shape)) * 0.3 + 0.1 if "variance" in weight.name
                      else draw.normal(size=weight.shape) * 0.3)
    return model


def run_by_onnxruntime(proto, x):
    runtime = pytest.importorskip("onnxruntime")
    onnx.checker.check_model(proto, full_check=True)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    given = x if isinstance(x, list) else [x]
    return session.run(None, {port.name: each for port, each in zip(session.get_inputs(), given)})


def check_export(model, shape, opset, back=True):
    """That onnxruntime, and autoconv after it read the file again, compute what the model does."""
    proto = formats.to_onnx(model, opset=opset)
    again = formats.from_onnx(proto.SerializeToString()) if back else None
    for count in (1, 3):
        x = images(count, shape)
        wanted = model.predict(x, verbose=0)
        (found,) = run_by_onnxruntime(proto, x)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        if again is not None:
            np.testing.assert_allclose(again.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-5)


IMAGE = (8, 9, 4)
LAYERS = {
    "conv": lambda: layers.Conv2D(6, 3, activation="relu"),
    "conv same, strides": lambda: layers.Conv2D(6, (3, 2), strides=(2, 3), padding="same"),
    "conv, padding by numbers": lambda: layers.Conv2D(6, 3, padding=((1, 2), (0, 3)), use_bias=False),
    "conv dilated, groups": lambda: layers.Conv2D(6, 3, dilation_rate=2, groups=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh"),
    "separable": lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, strides=2, padding="same"),
    "transpose": lambda: layers.Conv2DTranspose(5, 3, strides=2),
    "transpose same": lambda: layers.Conv2DTranspose(5, 4, strides=(2, 3), padding="same"),
    "transpose, long strides": lambda: layers.Conv2DTranspose(5, 2, strides=3, use_bias=False),
    "transpose, output padding": lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1),
    "max pooling": lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    "max pooling valid": lambda: layers.MaxPooling2D(),
    "average pooling": lambda: layers.AveragePooling2D(3, strides=2, padding="same"),
    "global average": lambda: layers.GlobalAveragePooling2D(),
    "global maximum": lambda: layers.GlobalMaxPooling2D(keepdims=True),
    "batch norm": lambda: layers.BatchNormalization(),
    "batch norm, no scale": lambda: layers.BatchNormalization(scale=False, center=False),
    "layer norm": lambda: layers.LayerNormalization(),
    "layer norm, axes": lambda: layers.LayerNormalization(axis=[1, 3]),
    "layer norm, rms": lambda: layers.LayerNormalization(rms_scaling=True),
    "group norm": lambda: layers.GroupNormalization(2),
    "batch norm, axis": lambda: layers.BatchNormalization(axis=1),
    "group norm, axis": lambda: layers.GroupNormalization(4, axis=1),
    "rms norm": lambda: layers.RMSNormalization(axis=[1, 3]),
    "normalization": lambda: layers.Normalization((2, 3)),
    "normalization inverted": lambda: layers.Normalization(mean=[1, 2, 3, 4], variance=[4, 3, 0, 1], invert=True),
    "unit norm": lambda: layers.UnitNormalization(),
    "dense": lambda: layers.Dense(7, "sigmoid"),
    "flatten": lambda: layers.Flatten(),
    "reshape": lambda: layers.Reshape((6, -1)),
    "permute": lambda: layers.Permute((3, 1, 2)),
    "zero padding": lambda: layers.ZeroPadding2D(((1, 2), (3, 0))),
    "cropping": lambda: layers.Cropping2D(((1, 2), (3, 0))),
    "upsampling": lambda: layers.UpSampling2D((2, 3)),
    "upsampling bilinear": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "resizing": lambda: layers.Resizing(5, 14),
    "resizing nearest": lambda: layers.Resizing(5, 14, "nearest"),
    "resizing, cropped": lambda: layers.Resizing(4, 10, crop_to_aspect_ratio=True),
    "resizing, bicubic": lambda: layers.Resizing(4, 10, "bicubic", crop_to_aspect_ratio=True),
    "resizing, lanczos3": lambda: layers.Resizing(4, 10, "lanczos3", pad_to_aspect_ratio=True),
    "resizing, area": lambda: layers.Resizing(4, 3, "area"),
    "resizing, padded": lambda: layers.Resizing(4, 10, pad_to_aspect_ratio=True, fill_value=0.5),
    "center crop": lambda: layers.CenterCrop(5, 6),
    "center crop of small": lambda: layers.CenterCrop(12, 6),
    "random crop": lambda: layers.RandomCrop(5, 6),
    "rescaling": lambda: layers.Rescaling([0.5, 1.0, 2.0, -1.0], offset=0.25),
    "relu": lambda: layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
    "leaky relu": lambda: layers.LeakyReLU(0.1),
    "prelu": lambda: layers.PReLU(),
    "prelu, shared": lambda: layers.PReLU(shared_axes=[1, 2]),
    "elu": lambda: layers.ELU(0.5),
    "softmax": lambda: layers.Softmax(),
    "softmax, axes": lambda: layers.Softmax(axis=[1, 2]),
    **{f"activation {name}": lambda name=name: layers.Activation(name) for name in activations.ACTIVATIONS},
    **{kind.__name__: lambda kind=kind: kind(0.5) for kind in (
        layers.AlphaDropout, layers.Dropout, layers.GaussianDropout, layers.GaussianNoise, layers.SpatialDropout2D,
        layers.RandomBrightness, layers.RandomContrast, layers.RandomErasing, layers.RandomRotation,
        layers.RandomZoom)},
    "random flip": lambda: layers.RandomFlip(), "random translation": lambda: layers.RandomTranslation(0.1, 0.1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_is_exported(name):
    """Behind a convolution, whose result lies with channels first in the file, and as the first layer."""
    for front in ([layers.Conv2D(4, 1)], []):
        utils.set_random_seed(0)
        model = with_random_weights(models.Sequential([layers.Input(IMAGE), *front, LAYERS[name]()]))
        check_export(model, IMAGE, 17 if front else 21)


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("name", nets.NETS)
def test_the_lectures_nets_are_exported(name, opset):
    shape = {"lecture-large": (64, 60, 1), "photos": (32, 40, 3)}.get(name, (28, 28, 1))
    check_export(with_random_weights(nets.build(name, shape, 10)), shape, opset)


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_a_graph_with_several_paths_is_exported(opset, tmp_path):
    x = layers.Input(IMAGE, name="pixels")
    y = layers.Conv2D(4, 3, padding="same")(x)
    z = layers.BatchNormalization()(y)
    shared = layers.Conv2D(4, 3, padding="same")
    w = layers.GlobalAveragePooling2D()(shared(z))
    merged = [kind()([y, z]) for kind in (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum,
                                          layers.Minimum)]
    inner = models.Sequential([layers.Input(IMAGE), layers.Conv2D(4, 1), layers.ReLU()], name="inner")
    y = layers.Concatenate()([*merged, x, shared(y), inner(y), y * 0.5 - x, abs(z[:, :, :, ::-1]) ** 0.5])
    y = layers.Add()([layers.Conv2D(4, 1)(y), w])
    outputs = [layers.Dense(3, "softmax")(layers.Flatten()(y)), layers.RepeatVector(2)(w), y.mean((1, 2)), x]
    model = with_random_weights(models.Model(x, outputs))
    proto = formats.to_onnx(model, tmp_path / "net.onnx", opset)
    assert (tmp_path / "net.onnx").read_bytes() == proto.SerializeToString(deterministic=True)
    again = formats.from_onnx(tmp_path / "net.onnx")
    for count in (1, 3):
        given = images(count, IMAGE)
        wanted = model.predict(given, verbose=0)
        for found in (run_by_onnxruntime(proto, given), again.predict(given, verbose=0)):
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_images_of_any_size_are_exported():
    model = with_random_weights(models.Sequential([
        layers.Input((None, None, 3)), layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.MaxPooling2D(padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(2)]))
    proto = formats.to_onnx(model)
    for shape in ((9, 12, 3), (16, 7, 3)):
        x = images(2, shape)
        np.testing.assert_allclose(run_by_onnxruntime(proto, x)[0], model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_few_transposes_are_added():
    proto = formats.to_onnx(nets.build("best", (28, 28, 1), 10))
    assert sum(node.op_type == "Transpose" for node in proto.graph.node) == 2  # in, and before Flatten


class Gated(layers.Layer):
    """A user's layer: a weight of its own, and layers within."""

    def build(self, input_shape):
        self.inner = layers.Dense(input_shape[-1], activation="gelu")
        self.inner.build(input_shape)
        self.gain = self.add_weight((input_shape[-1],), "ones", name="gain")

    def call(self, x, training=True):
        y = self.inner(x) * self.gain
        return F.where(y > 0, y, x) + (1.0 if training else 0.0)


class OfValues(layers.Layer):
    """Computes from values, which a graph has not."""

    def call(self, x):
        return x * float(x.detach().numpy().max())

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_user_s_layers_and_functions_are_exported():
    x = layers.Input(IMAGE)
    gated = Gated(name="gated")
    y = gated(layers.Activation("sparsemax")(gated(x)))
    y = layers.Lambda(lambda t: t * 2.0)(layers.Activation(lambda t: F.mish(t) - 1)(y))
    model = with_random_weights(models.Model(x, y))
    calls = len(gated.inner._nodes)
    check_export(model, IMAGE, 17)
    assert len(gated.inner._nodes) == calls


def test_what_cannot_be_exported_is_named():
    for layer in (OfValues(name="mine"), layers.Activation(OfValues().call, name="mine")):
        with pytest.raises(ValueError, match=r"name=mine, .*cannot be traced: .*symbolic"):
            formats.to_onnx(models.Sequential([layers.Input((3,)), layer]))
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="opset must be one of 17, 18"):
        formats.to_onnx(model, opset=9)
    with pytest.raises(ValueError, match="Only a built Sequential model or graph of layers"):
        formats.to_onnx(models.Sequential([layers.Dense(2)]))


# Import.


def test_an_imported_model_is_trained_and_saved(tmp_path):
    source = nets.build("lecture", (28, 28, 1), 10)
    proto = formats.to_onnx(source)
    model = formats.from_onnx(proto.SerializeToString())
    assert model.count_params() == source.count_params()
    texts = []
    model.summary(print_fn=texts.append)
    assert "Total params" in texts[0]
    x, y = images(20, (28, 28, 1)), np.arange(20) % 10
    model.compile("adam", "sparse_categorical_crossentropy")
    losses = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] * 0.9
    assert set(model.recording_report()["train"].values()) == {None}
    model.save_weights(tmp_path / "w.weights.safetensors")
    other = formats.from_onnx(proto.SerializeToString())
    other.load_weights(tmp_path / "w.weights.safetensors")
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ValueError, match="ONNX"):
        model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="that the ONNX file specifies"):
        model.predict(images(2, (27, 28, 1)), verbose=0)


def from_torch(net, x, **options):
    """The model of a net of PyTorch's, exported by it."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    net.eval()
    torch.onnx.export(net, (torch.from_numpy(x),), file, dynamo=False, input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "batch"}}, **options)
    return formats.from_onnx(file.getvalue()), lambda given: net(torch.from_numpy(given)).detach().numpy()


ONNX_FILES = sorted((Path(__file__).parents[1] / "data" / "onnx").glob("*.onnx"))


@pytest.mark.parametrize("file", ONNX_FILES, ids=lambda file: file.stem)
def test_keras_s_exports_are_read(file):
    """Written by onnx_of_keras.py: Keras on TensorFlow, by tf2onnx, and on PyTorch."""
    model = formats.from_onnx(file)
    with np.load(file.with_suffix(".npz")) as kept:
        for count in (len(kept["x"]), 1):
            np.testing.assert_allclose(model.predict(kept["x"][:count], verbose=0), kept["y"][:count], atol=1e-5)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 20])
@pytest.mark.filterwarnings("ignore")
def test_pytorchs_exports_are_read(opset):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.front = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
                nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1), nn.Hardtanh(), nn.Conv2d(8, 6, 1), nn.PReLU(6))
            self.up = nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2)
            self.head = nn.Sequential(nn.AvgPool2d(2, padding=1), nn.Dropout(), nn.Flatten(), nn.LazyLinear(5),
                                      nn.Softmax(1))

        def forward(self, x):
            y = self.front(x)
            y = torch.cat([self.up(y), nn.functional.interpolate(y, scale_factor=2)], 1)
            z = y.view(y.size(0), y.size(1) // 2, 2, *y.shape[2:]).transpose(1, 2).reshape(y.shape)
            return self.head(nn.functional.gelu(y + z[:, :, 1:-1].mean((2, 3), keepdim=True)) * 2)

    net = Net().eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, 18, 20))
        net.front[1].running_mean.normal_()
        net.front[1].running_var.uniform_(0.5, 2)
    model, wanted = from_torch(net, images(2, (3, 18, 20)), opset_version=opset)
    for count in (1, 5):
        x = images(count, (3, 18, 20))
        np.testing.assert_allclose(model.predict(x, verbose=0), wanted(x), rtol=1e-5, atol=1e-5)
    assert model.predict(images(2, (3, 18, 20))[:, :, :], verbose=0).shape == (2, 5)


@pytest.mark.filterwarnings("ignore")
def test_gradients_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    from autoconv import tensor

    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3),
                        nn.LogSoftmax(1))
    x = images(4, (2, 8, 8))
    model, _ = from_torch(net, x)
    net(torch.from_numpy(x)).pow(2).sum().backward()
    (model(tensor(x)) ** 2).sum().backward()
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(model.parameters[name].grad, parameter.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_pytorchs_other_exporter_is_read():
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.Upsample(
        scale_factor=2), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    x = images(2, (3, 8, 10))
    program = torch.onnx.export(net, (torch.from_numpy(x),), dynamo=True, verbose=False,
                                dynamic_shapes=({0: torch.export.Dim("batch")},))
    model = formats.from_onnx(program.model_proto.SerializeToString())
    for count in (2, 3):
        x = images(count, (3, 8, 10))
        np.testing.assert_allclose(model.predict(x, verbose=0), net(torch.from_numpy(x)).detach().numpy(), rtol=1e-5,
                                   atol=1e-5)


# Bad files.


def test_hostile_files_are_refused():
    import hostile_onnx

    formats.from_onnx(hostile_onnx.sound())
    for name, data in hostile_onnx.harmful():
        with pytest.raises(ValueError, match=r".{20}"):
            pytest.fail(f"{name} was read: {formats.from_onnx(data)}")


def test_errors_say_what_is_wrong():
    import hostile_onnx

    for name, wanted in {
            "unknown op": "The op 'Mystery' of node 'Mystery_0' is not supported. Supported ops: Abs, Add",
            "weights elsewhere": "must contain its weights",
            "wrong size": "byte count must match its shape and dtype",
            "a cycle": "uses 'y', which is not defined", "channels": r"Node 'Conv_0' \(Conv\) cannot run: .*channels",
            "If": "If", "an old opset": "must have one opset version in 7", "empty": "not an ONNX file"}.items():
        model = hostile_onnx.refused()[name]
        with pytest.raises(ValueError, match=wanted):
            formats.from_onnx(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(FileNotFoundError, match="There is no ONNX file"):
        formats.from_onnx("nowhere.onnx")


def test_what_no_output_needs_is_neither_computed_nor_known():
    """3,000 nodes of 2^20 numbers each would be more than may be known beforehand; Mystery is no op."""
    import hostile_onnx

    unused = onnx.helper.make_node("Mystery", ["w"], ["z"])
    leftover = hostile_onnx.graph_of([unused, onnx.helper.make_node("Relu", ["x"], ["y"])],
                                     {"w": np.ones((2, 2), np.float32)}).SerializeToString()
    x = images(2, (2, 4, 4))[:1]
    for data in (hostile_onnx.unused_tiles(), leftover):
        model = formats.from_onnx(data)
        np.testing.assert_array_equal(model.predict(x, verbose=0), np.maximum(x, 0))
        assert not model.weights


@pytest.mark.parametrize(("bomb", "wanted"), [
    ("10 MB of empty nodes", "more than 10,000 messages in a field 'node'"),
    ("10 MB of empty metadata", "than 400,000 fields"),
    ("Mul of constants", r"at most 4,194,304 elements. Received shape: \(20000, 20000\)"),
    ("Mul of weights", r"at most 268,435,456 elements. Received shape: \(20000, 20000\)"),
    ("3 large constants", "Node 'ConstantOfShape_2' .* at most 0 elements"),
    ("a long Resize", r"elements\. Received shape"),
    ("40 MB of packed numbers, field 7", "more than 4,194,304 packed integers")])
def test_a_bomb_is_refused_before_it_takes_memory(bomb, wanted):
    import tracemalloc

    import hostile_onnx

    data = next(data for name, data in hostile_onnx.bombs() if name == bomb)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=wanted):
            formats.from_onnx(data)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 2**27
    finally:
        tracemalloc.stop()


def test_numbers_are_read_in_every_form_that_protobuf_has():
    """Packed or one by one, in one piece or several, of one to ten bytes."""
    import hostile_onnx

    values = np.array([0, 1, -1, 127, 128, 2**31, -(2**40), 2**63 - 1, -(2**63)])
    tensor = onnx.helper.make_tensor("c", onnx.TensorProto.INT64, [9], values)
    for first in (values[:0], values[:4]):
        single = b"".join(b"\x38" + _varint(int(n)) for n in first)
        packed = hostile_onnx._field(7, b"".join(_varint(int(n)) for n in values[len(first) :]))
        rest = onnx.TensorProto(name="c", dims=[9], data_type=tensor.data_type).SerializeToString()
        graph = hostile_onnx.graph_of([onnx.helper.make_node("Identity", ["c"], ["y"])]).graph.SerializeToString()
        data = b"\x08\x08\x42\x02\x10\x11" + hostile_onnx._field(
            7, graph + hostile_onnx._field(5, rest + single + packed))
        np.testing.assert_array_equal(formats.from_onnx(data)(images(1, (2, 4, 4))).numpy(), values)


def _varint(number):
    number, content = number % 2**64, b""
    while number > 127:
        number, content = number >> 7, content + bytes([number & 127 | 128])
    return content + bytes([number])


def test_without_onnx_the_extra_is_named_for_writing_alone(monkeypatch):
    import sys

    data = formats.to_onnx(models.Sequential([layers.Input((2,)), layers.ReLU()])).SerializeToString()
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert formats.from_onnx(data).predict(np.ones((1, 2)), verbose=0).tolist() == [[1, 1]]
    with pytest.raises(ImportError, match=r"autoconv\[onnx\]"):
        formats.to_onnx(models.Sequential([layers.Input((2,))]))
