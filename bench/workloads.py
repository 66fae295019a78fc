"""What every peer is timed on: nets, data, weights and the training recipe, in words that belong to no framework.

Nothing here imports more than NumPy, so a peer's process pays for that peer alone.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

SEED = 1


class Conv(NamedTuple):
    """A convolution with a square kernel, a bias and, where nothing stands between them, a ReLU."""

    filters: int
    kernel: int = 3
    padding: str = "valid"
    relu: bool = True


class Norm(NamedTuple):
    """Batch normalization of each channel, and a ReLU."""


class Pool(NamedTuple):
    """2x2 max pooling."""


class Flatten(NamedTuple):
    """Images (N, H, W, C) as rows (N, H*W*C)."""


class Dense(NamedTuple):
    """A dense layer with a bias; `relu` is False for the last one, whose outputs are the logits."""

    units: int
    relu: bool = True


class Dropout(NamedTuple):
    """Dropout, in training only."""

    rate: float


class Scale(NamedTuple):
    """A multiplication by a constant: pixels 0..255 to 0..1."""

    factor: float


Spec = Conv | Norm | Pool | Flatten | Dense | Dropout | Scale

LECTURE = (Conv(32), Pool(), Conv(64), Pool(), Conv(64), Flatten(), Dense(64))
LECTURE_DROPOUT = (
    Conv(32), Pool(), Dropout(0.25), Conv(64), Pool(), Dropout(0.25), Conv(64), Flatten(), Dense(64), Dropout(0.5),
)
LECTURE_BN = (
    Conv(32, relu=False), Norm(), Pool(), Conv(64, relu=False), Norm(), Pool(), Conv(64, relu=False), Norm(),
    Flatten(), Dense(64),
)
LECTURE_LARGE = (
    Conv(32), Pool(), Conv(32), Pool(), Conv(64), Conv(64), Pool(), Dropout(0.25), Flatten(), Dense(512), Dropout(0.5),
)
PHOTOS = (
    Scale(1 / 255), Conv(16, 3, "same"), Pool(), Conv(32, 3, "same"), Pool(), Conv(64, 3, "same"), Pool(), Flatten(),
    Dense(128),
)


class Workload(NamedTuple):
    """A net with the images it takes. `net` is all but the last layer, which is Dense(classes) and a softmax."""

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    body: tuple[Spec, ...]
    batch_sizes: tuple[int, ...]  # the first one is the usual one
    brightest: float = 1.0  # pixels lie between 0 and this

    @property
    def layers(self) -> tuple[Spec, ...]:
        return (*self.body, Dense(self.classes, relu=False))


WORKLOADS = {
    w.name: w
    for w in (
        Workload("lecture", (28, 28, 1), 10, LECTURE, (64, 1, 256, 1024)),
        Workload("lecture-dropout", (28, 28, 1), 10, LECTURE_DROPOUT, (64, 1)),
        Workload("lecture-bn", (28, 28, 1), 10, LECTURE_BN, (64, 1)),
        Workload("lecture-large", (150, 150, 1), 10, LECTURE_LARGE, (32,)),
        Workload("photos", (180, 180, 3), 5, PHOTOS, (32,), brightest=255.0),
        Workload("cifar", (32, 32, 3), 10, LECTURE, (64,)),
    )
}
MODES = ("train", "infer", "start", "accuracy")
WORK = {"train": 2e11, "infer": 1e11}  # operations in one round: about a second at 200 GFLOP/s
CHECKED = 64  # images of the first batch at most, of which every peer's loss is checked
ON_GPU = 200e6  # bytes of images in a GPU's memory: several times what its caches hold


class Recipe(NamedTuple):
    """How every peer learns MNIST to the target accuracy: the lecture net, RMSprop, one epoch in a random order, no
    augmentation. The learning rate climbs to `peak` over the first steps and falls to 0 (Smith and Topin, "Super-
    convergence", 2017). Then the test images are classified, which counts as well.
    """

    batch_size: int = 64
    peak: float = 5e-3
    warmup: float = 0.25  # the share of the steps in which it climbs, from a tenth of the peak
    target: float = 0.990

    def learning_rates(self, steps: int) -> np.ndarray:
        """The learning rate of each step."""
        return np.interp(np.arange(steps) / steps, [0, self.warmup, 1], [0.1 * self.peak, self.peak, 0.0])


RECIPE = Recipe()
RHO, EPSILON = 0.9, 1e-7  # of RMSprop, in every peer
NORM_MOMENTUM, NORM_EPSILON = 0.99, 1e-3  # of batch normalization: the share of its averages that a step keeps


def shapes(workload: Workload) -> Iterator[tuple[Spec, tuple[int, ...], tuple[int, ...]]]:
    """Each layer with the shape of one sample before and after it."""
    shape: tuple[int, ...] = workload.input_shape
    for layer in workload.layers:
        before = shape
        if isinstance(layer, Conv):
            lost = layer.kernel - 1 if layer.padding == "valid" else 0
            shape = (before[0] - lost, before[1] - lost, layer.filters)
        elif isinstance(layer, Pool):
            shape = (before[0] // 2, before[1] // 2, before[2])
        elif isinstance(layer, Flatten):
            shape = (prod(before),)
        elif isinstance(layer, Dense):
            shape = (layer.units,)
        yield layer, before, shape


def weights(workload: Workload, seed: int = SEED) -> list[np.ndarray]:
    """The weights every peer starts from, in Keras's order and layout: kernel (KH, KW, C, F) or (C, F), bias (F,); of a
    normalization gamma, beta, moving mean and moving variance (C,).
    """
    random, result = np.random.default_rng(seed), []
    for layer, before, after in shapes(workload):
        if isinstance(layer, Conv | Dense):
            window = (layer.kernel, layer.kernel) if isinstance(layer, Conv) else ()
            fan_in, fan_out = prod(window) * before[-1], prod(window) * after[-1]
            limit = (6 / (fan_in + fan_out)) ** 0.5
            result.append(random.uniform(-limit, limit, (*window, before[-1], after[-1])).astype(np.float32))
            result.append(random.uniform(-0.05, 0.05, after[-1]).astype(np.float32))  # not zero, so that it is checked
        elif isinstance(layer, Norm):
            for low, high in ((0.8, 1.2), (-0.05, 0.05), (-0.05, 0.05), (0.8, 1.2)):
                result.append(random.uniform(low, high, after[-1]).astype(np.float32))
    return result


def data(workload: Workload, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) float32 and labels (N,) int64, random but always the same, whatever the count."""
    images = np.random.default_rng(SEED + 1).random((count, *workload.input_shape), np.float32)
    images *= np.float32(workload.brightest)
    return images, np.random.default_rng(SEED + 2).integers(0, workload.classes, count)


def flops(workload: Workload, mode: str) -> float:
    """Multiplications and additions of one image: forward, or a training step with both gradients of every layer but
    the first, of which nobody wants the gradient of the images.
    """
    each = []
    for layer, before, after in shapes(workload):
        if isinstance(layer, Conv):
            each.append(2 * prod(after) * layer.kernel**2 * before[-1])
        elif isinstance(layer, Dense):
            each.append(2 * before[-1] * after[-1])
    return float(sum(each) if mode == "infer" else 3 * sum(each) - each[0])


def steps(workload: Workload, batch_size: int, mode: str, effort: float = 1.0) -> int:
    """How many batches one round takes: as many as make the same work for every net and batch size, 2 to 2000."""
    return int(np.clip(effort * WORK[mode] / (flops(workload, mode) * batch_size), 2, 2000))


def batches_on_gpu(workload: Workload, batch_size: int) -> int:
    """How many batches a pass through the data takes that lie in a GPU's memory, 16 to 1000."""
    return int(np.clip(ON_GPU / (4 * prod(workload.input_shape) * batch_size), 16, 1000))
