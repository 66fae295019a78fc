"""Trains small nets and resizes a picture, and compares the SHA-256 of all results with a table,
which has the same hashes for every processor.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import Tensor, losses, nets, optimizers, random
from .. import functional as F
from .. import layers as L
from ..arguments.extras import ExtraError
from ..kernels import device as devices
from ..kernels import trace
from ..models import Model, Sequential
from ..optimizers import schedules
from ..utils import clear_session, set_random_seed
from ..utils.images import FILTERS
from ..utils.pixels import Decoding, pillow

TABLE = Path(__file__).with_suffix(".json")
BATCH_SIZE = 32
STEPS = 8
CLASSES = 10
SEED = 0


class SmallNet(NamedTuple):
    """A net to train, with the name of its loss, and its optimizer or the optimizer's name. Its
    output is (N, CLASSES) or an image.
    """

    model: Model
    loss: str
    optimizer: str | optimizers.Optimizer


def lecture() -> SmallNet:
    """Convolutions, pooling and dense layers."""
    return SmallNet(nets.build("lecture", (28, 28, 1), CLASSES), "categorical_crossentropy", "rmsprop")


def separable() -> SmallNet:
    """Depthwise and 1x1 convolutions with strides, normalizations, and sums over images."""
    return SmallNet(Sequential([
        L.Input((32, 32, 3)),
        L.Conv2D(16, 3, 2, "same", use_bias=False),
        L.BatchNormalization(), L.Activation("hard_silu"),
        L.DepthwiseConv2D(3, 2, "same", use_bias=False), L.BatchNormalization(), L.ReLU(6),
        L.Conv2D(40, 1, use_bias=False), L.BatchNormalization(), L.Activation("silu"),
        L.GlobalAveragePooling2D(), L.Dropout(0.2), L.Dense(CLASSES, activation="softmax"),
    ]), "categorical_crossentropy", "sgd")


def residual() -> SmallNet:
    """Winograd's algorithm, forward and backward, along a shortcut."""
    images = L.Input((16, 16, 3))
    x = L.Conv2D(64, 3, padding="same", activation="relu")(images)
    y = L.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    y = L.Conv2D(64, 3, padding="same")(y)
    x = L.ReLU()(L.Add()([x, y]))
    x = L.Dense(CLASSES)(L.Flatten()(L.AveragePooling2D(4)(x)))
    return SmallNet(Model(images, L.Softmax()(x)), "categorical_crossentropy", "adam")


def mask() -> SmallNet:
    """A net whose output is an image: transposed convolution, concatenation, tanh and sigmoid."""
    images = L.Input((24, 24, 3))
    x = L.Conv2D(16, 3, padding="same", activation="tanh")(images)
    y = L.Conv2D(24, 3, padding="same", activation="relu")(L.MaxPooling2D()(x))
    y = L.Conv2DTranspose(16, 3, 2, "same", activation="relu")(y)
    x = L.Concatenate()([x, y])
    return SmallNet(Model(images, L.Conv2D(1, 1, activation="sigmoid")(x)), "binary_crossentropy", "adamw")


def attention() -> SmallNet:
    """Products of tensors, layer normalizations, waves, orthogonal weights and a falling rate."""
    images = L.Input((12, 12, 3))
    x = L.Dense(24, kernel_initializer="orthogonal")(L.Reshape((144, 3))(images))
    x = L.LayerNormalization()(x)
    x = x + F.sin(3.0 * F.cos(x)) + F.abs(x) ** 1.7 - F.relu(x) ** 3
    shares = F.softmax(x @ x.transpose(0, 2, 1) / 5.0)
    x = L.LayerNormalization()(x + shares @ x)
    model = Model(images, L.Dense(CLASSES, activation="softmax")(x.mean(1)))
    rate = schedules.CosineDecay(0.01, 2 * STEPS)
    return SmallNet(model, "categorical_crossentropy", optimizers.Adam(rate, global_clipnorm=1.0))


PICTURES = "pictures"
NETS = {build.__name__: build for build in (lecture, separable, residual, mask, attention)}


def compute() -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the name of each net with the hashes of its results, by their names, in the order in
    which they are computed. Before, compiles the kernels of all nets together. The last name is
    PICTURES; it has no results if Pillow is not installed.
    """
    built = [_build(name) for name in NETS]
    with (dry := trace.DryRun()).record():  # lists the kernels without running them
        for arguments in built:
            run_batch(*arguments)
    devices.get("cpu").prepare(list(dry.kernels), lambda done, total: None)
    for name in NETS:
        yield name, dict(name_results(*_build(name)))
    try:
        yield PICTURES, dict(_name_pictures())
    except ExtraError:
        yield PICTURES, {}


def _build(name: str) -> tuple[SmallNet, np.ndarray, np.ndarray]:
    """Returns the net `name`, and images and targets for STEPS batches."""
    clear_session()  # the results are named after the layers
    set_random_seed(SEED)
    net = NETS[name]()
    count = BATCH_SIZE * STEPS
    x = random.uniform((count, *net.model.input_shape[1:]), seed=1)
    if len(net.model.output_shape) == 2:
        return net, x, np.eye(CLASSES, dtype=np.float32)[random.randint((count,), 0, CLASSES, seed=2)]
    return net, x, (random.uniform((count, *net.model.output_shape[1:]), seed=2) < 0.5).astype(np.float32)


def run_batch(net: SmallNet, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    """Returns the outputs of the layers for the first batch, and the losses. Each weight's grad is
    set.
    """
    layers = [layer for layer in net.model.layers if not isinstance(layer, L.InputLayer)]
    outputs = Model(net.model.inputs, [layer.output for layer in layers])(x[:BATCH_SIZE], training=True)
    function = losses.get(net.loss)
    function.reduction = "none"  # one loss per sample
    loss = function(y[:BATCH_SIZE], outputs[-1])
    loss.mean().backward()
    return {layer.name: output for layer, output in zip(layers, outputs)}, loss


def name_results(net: SmallNet, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, str]]:
    """Yields the name and the hash of each result of a net."""
    yield "the initial weights", net.model.fingerprint()
    outputs, loss = run_batch(net, x, y)
    for name, output in outputs.items():
        yield f"the output of the layer {name}", _hash(output.numpy())
    yield "the losses", _hash(loss.numpy())
    for weight in reversed(net.model.trainable_weights):
        yield f"the gradient of {weight.path}", _hash(weight.grad)
        weight.grad = None
    net.model.compile(net.optimizer, net.loss)
    net.model.fit(x, y, BATCH_SIZE, verbose=0)
    yield f"the weights after {STEPS} steps", net.model.fingerprint()


def _name_pictures() -> Iterator[tuple[str, str]]:
    """Yields the hash of a picture of random pixels, resized by each of Pillow's filters."""
    image = pillow("Image")
    file = io.BytesIO()
    image.fromarray(random.randint((75, 100, 3), 0, 256, seed=3).astype(np.uint8)).save(file, "png")
    for name in FILTERS:
        for height, width in ((32, 32), (150, 220)):
            for color_mode in ("rgb", "grayscale"):
                decoding = Decoding((height, width), color_mode, FILTERS[name])
                result = f"the {color_mode} picture resized to {height} x {width} by {name}"
                yield result, _hash(decoding.read(file))


def _hash(array: np.ndarray) -> str:
    """Returns the first 16 digits of an array's SHA-256, which suffice to recognize a difference.
    """
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def read_table() -> dict[str, dict[str, str]]:
    """Returns the hashes that every processor should compute, by net and by result."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def find_difference(found: dict[str, str], expected: dict[str, str]) -> str | None:
    """Returns the name of the first result whose hash is not the expected one; None if all are
    equal.
    """
    return next((name for name in {**expected, **found} if found.get(name) != expected.get(name)), None)
