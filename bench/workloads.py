"""Defines the workloads of all peers independently of any framework: nets, data, weights and the
training recipe.

This module imports only NumPy, so that a peer's process does not load other frameworks.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from . import nets, photo_nets
from .specs import Conv, Dense, Depthwise, Norm, Shape, Spec, chain_shape, walk_layers

SEED = 1


class Workload(NamedTuple):
    """A net and its images. `body` has all layers except the last, which computes the classes' logits:
    a dense layer, or a 1x1 convolution if the body's output is an image and each pixel has a class.
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    body: tuple[Spec, ...]
    batch_sizes: tuple[int, ...]  # the first is the default
    brightest: float = 1.0  # maximum of the pixels; the minimum is 0

    @property
    def layers(self) -> tuple[Spec, ...]:
        is_image = len(chain_shape(self.body, self.input_shape)) == 3
        last = Conv(self.classes, 1, activation=None) if is_image else Dense(self.classes, activation=None)
        return (*self.body, last)

    @property
    def label_shape(self) -> Shape:
        """The shape of the labels of one image: () or (H, W)."""
        return chain_shape(self.body, self.input_shape)[:-1]


WORKLOADS = {
    w.name: w
    for w in (
        Workload("lecture", (28, 28, 1), 10, nets.LECTURE, (64, 1, 256, 1024)),
        Workload("lecture-dropout", (28, 28, 1), 10, nets.LECTURE_DROPOUT, (64, 1)),
        Workload("lecture-bn", (28, 28, 1), 10, nets.LECTURE_BN, (64, 1)),
        Workload("lecture-large", (150, 150, 1), 10, nets.LECTURE_LARGE, (32,)),
        Workload("photos", (180, 180, 3), 5, nets.PHOTOS, (32,), brightest=255.0),
        Workload("cifar", (32, 32, 3), 10, nets.LECTURE, (64,)),
        Workload("lenet5", (28, 28, 1), 10, nets.LENET5, (64, 1)),
        Workload("mlp", (28, 28, 1), 10, nets.MLP, (64, 1)),
        Workload("resnet20", (32, 32, 3), 10, nets.RESNET20, (64, 1)),
        Workload("vgg-bn", (32, 32, 3), 10, nets.VGG_BN, (64, 1)),
        Workload("vgg", (32, 32, 3), 10, nets.VGG, (64, 1)),
        Workload("mobile", (32, 32, 3), 10, nets.MOBILE, (64, 1)),
        Workload("wide", (8, 8, 512), 10, nets.WIDE, (64, 1)),
        *(Workload(name, (128, 128, 3), 1000, net, (16, 32, 1)) for name, net in photo_nets.CLASSIFIERS.items()),
        Workload("unet", (128, 128, 3), 3, photo_nets.UNET, (16, 32, 1)),
    )
}
PHOTO_NETS = (*photo_nets.CLASSIFIERS, "unet")  # too large for the slowest peers
MODES = ("train", "infer", "start", "accuracy")
WORK = {"train": 2e11, "infer": 1e11}  # operations per round: training takes about a second at 200 GFLOP/s
CHECKED = 64  # maximum number of images in the first batch for which each peer's loss is checked
ON_GPU = 200e6  # bytes of images in a GPU's memory: several times the size of its caches


class Recipe(NamedTuple):
    """The recipe by which every peer trains on MNIST to the target accuracy: the lecture net, RMSprop,
    one epoch in random order, no augmentation.

    The learning rate climbs to `peak` over the first steps and then falls to 0 (Smith and Topin,
    "Super-convergence", 2017). The time includes the final classification of the test images.
    """

    batch_size: int = 64
    peak: float = 5e-3
    warmup: float = 0.25  # fraction of the steps in which the rate climbs from a tenth of the peak
    target: float = 0.990

    def learning_rates(self, steps: int) -> np.ndarray:
        """Returns the learning rate of each step."""
        return np.interp(np.arange(steps) / steps, [0, self.warmup, 1], [0.1 * self.peak, self.peak, 0.0])


RECIPE = Recipe()
RHO, EPSILON = 0.9, 1e-7  # RMSprop's settings in every peer
# settings of batch normalization; a step keeps the fraction NORM_MOMENTUM of the running averages
NORM_MOMENTUM, NORM_EPSILON = 0.99, 1e-3


def shapes(workload: Workload) -> Iterator[tuple[Spec, Shape, Shape]]:
    """Yields each layer with the shapes of one sample before and after the layer. For a residual
    block, yields the layers inside the block.
    """
    return walk_layers(workload.layers, workload.input_shape)


def weights(workload: Workload, seed: int = SEED) -> list[np.ndarray]:
    """Returns the initial weights of every peer, in the order of `shapes` and in Keras's layout. The
    kernel of a convolution has the shape (KH, KW, C, F), of a depthwise convolution (KH, KW, C, 1),
    of a dense layer (C, F). A bias (F,) may follow. A normalization has gamma, beta, and the averages
    of mean and variance, each (C,).
    """
    random, result = np.random.default_rng(seed), []

    def draw(low: float, high: float, *shape: int) -> None:
        result.append(random.uniform(low, high, shape).astype(np.float32))

    for layer, before, after in shapes(workload):
        if isinstance(layer, Conv | Dense):
            window = (layer.kernel, layer.kernel) if isinstance(layer, Conv) else ()
            fan_in, fan_out = prod(window) * before[-1], prod(window) * after[-1]
            limit = (6 / (fan_in + fan_out)) ** 0.5
            draw(-limit, limit, *window, before[-1], after[-1])
            if isinstance(layer, Dense) or layer.bias:
                draw(-0.05, 0.05, after[-1])  # not zero, so that the bias is checked
        elif isinstance(layer, Depthwise):
            limit = 3**0.5 / layer.kernel
            draw(-limit, limit, layer.kernel, layer.kernel, before[-1], 1)
        elif isinstance(layer, Norm):
            for low, high in ((0.8, 1.2), (-0.05, 0.05), (-0.05, 0.05), (0.8, 1.2)):
                draw(low, high, after[-1])
    return result


def data(workload: Workload, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images (N, H, W, C) float32 and labels (N, *label_shape) int64. The first images
    and labels are the same in every call, for any count.
    """
    images = np.random.default_rng(SEED + 1).random((count, *workload.input_shape), np.float32)
    images *= np.float32(workload.brightest)
    return images, np.random.default_rng(SEED + 2).integers(0, workload.classes, (count, *workload.label_shape))


def flops(workload: Workload, mode: str) -> float:
    """Returns the number of multiplications and additions per image in the forward pass or in a
    training step. A step also computes two gradients per layer, but no input gradient of the first layer.
    """
    work = []
    for layer, before, after in shapes(workload):
        if isinstance(layer, Conv):
            work.append(2 * prod(after) * layer.kernel**2 * before[-1])
        elif isinstance(layer, Depthwise):
            work.append(2 * prod(after) * layer.kernel**2)
        elif isinstance(layer, Dense):
            work.append(2 * before[-1] * after[-1])
    return float(sum(work) if mode == "infer" else 3 * sum(work) - work[0])


def steps(workload: Workload, batch_size: int, mode: str, effort: float = 1.0) -> int:
    """Returns the number of batches per round, at most 2000. It is chosen so that all nets and batch
    sizes have about the same work. Training has at least 16 batches, so that the fixed cost of a `fit`
    call hardly counts, as in real epochs with hundreds of batches.
    """
    least = 16 if mode == "train" else 2
    return int(np.clip(effort * WORK[mode] / (flops(workload, mode) * batch_size), least, 2000))


def batches_on_gpu(workload: Workload, batch_size: int) -> int:
    """Returns the number of batches, 16 to 1000, in a pass through data in a GPU's memory."""
    return int(np.clip(ON_GPU / (4 * prod(workload.input_shape) * batch_size), 16, 1000))
