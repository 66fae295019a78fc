"""Measures the gain of each idea in the net `cifar10`: `python -m bench.cifar10_ideas --data-dir FOLDER`.

It starts with the lectures' net, and adds one idea per row. Each row trains a new net on the first
45,000 training images of CIFAR-10, and tests it on the other 5,000 training images. The test images
are not used. docs/lectures/cifar10.md has the results.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoconv import utils
from autoconv.datasets import cifar10
from autoconv.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    GlobalMaxPooling2D,
    Input,
    Layer,
    MaxPooling2D,
    RandomFlip,
    RandomTranslation,
    Rescaling,
)
from autoconv.losses import CategoricalCrossentropy
from autoconv.models import Sequential
from autoconv.optimizers import Adam, Muon
from autoconv.optimizers.schedules import CosineDecay
from autoconv.programs.cli.train import CIFAR10, MUON

TRAINING = 45_000  # number of training images; the others are for the test
IDEAS = ("pairs", "cosine", "augmentation", "smoothing", "whitening", "muon", "silu")  # in the order of the rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m bench.cifar10_ideas", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10; default: AUTOCONV_DATA")
    parser.add_argument("--epochs", type=int, default=4, help="epochs per row; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of all rows; default: %(default)s")
    parser.add_argument("--limit", type=int, default=TRAINING, help="number of training images; default: %(default)s")
    options = parser.parse_args(argv)
    (images, labels), _ = cifar10.load_data(options.data_dir)
    labels = utils.to_categorical(labels, 10)
    first = slice(min(options.limit, TRAINING))
    train, test = (images[first], labels[first]), (images[TRAINING:], labels[TRAINING:])
    print(f"{'idea':<14} accuracy  with mirror images  seconds")
    for count in range(len(IDEAS) + 1):
        utils.set_random_seed(options.seed)
        ideas, begun = IDEAS[:count], time.perf_counter()
        model = train_net(ideas, *train, options.epochs)
        seconds = time.perf_counter() - begun
        scores = [model.predict(x, verbose=0) for x in (test[0], test[0][:, :, ::-1])]
        plain, both = (np.mean(s.argmax(1) == test[1].argmax(1)) for s in (scores[0], sum(scores)))
        print(f"{(ideas or ('lecture',))[-1]:<14} {plain:8.4f}  {both:18.4f}  {seconds:7.0f}", flush=True)


def train_net(ideas: Sequence[str], images: np.ndarray, labels: np.ndarray, epochs: int) -> Sequential:
    """Builds a net with these ideas, and trains it."""
    model = Sequential([Input((32, 32, 3)), *build_layers(ideas)])
    if "whitening" in ideas:
        model.get_layer("whitening").kernel.assign(utils.whitening_filters(images[:1000] / 255 * 4 - 2))
    batch_size = CIFAR10["best"]["batch_size"] if "muon" in ideas else 250
    steps = epochs * -(-len(images) // batch_size)
    rate = MUON["learning_rate"] if "muon" in ideas else 0.003
    if "cosine" in ideas:
        rate = CosineDecay(rate, steps)
    optimizer = Muon(exclude_layers=["scores"], **{**MUON, "learning_rate": rate}) if "muon" in ideas else Adam(rate)
    smoothing = CIFAR10["best"]["label_smoothing"] if "smoothing" in ideas else 0.0
    model.compile(optimizer, CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing))
    model.fit(images, labels, batch_size, epochs, verbose=0)
    return model


def build_layers(ideas: Sequence[str]) -> list[Layer]:
    activation = "silu" if "silu" in ideas else "relu"
    augmentation = [RandomFlip("horizontal"), RandomTranslation(2 / 32, 2 / 32, interpolation="nearest")]
    first = [*(augmentation if "augmentation" in ideas else []), Rescaling(4 / 255, -2)]
    if "whitening" in ideas:
        first += [Conv2D(24, 2, activation=activation, trainable=False, name="whitening")]
    if "pairs" not in ideas:
        return [*first, Conv2D(32, 3, activation="relu"), MaxPooling2D(), Conv2D(64, 3, activation="relu"),
                MaxPooling2D(), Conv2D(64, 3, activation="relu"), Flatten(), Dense(64, activation="relu"), Dense(10)]
    pairs = [layer for filters in (64, 256, 256) for layer in (
        Conv2D(filters, 3, padding="same", use_bias=False), MaxPooling2D(),
        BatchNormalization(momentum=0.9, scale=False), Activation(activation),
        Conv2D(filters, 3, padding="same", use_bias=False),
        BatchNormalization(momentum=0.9, scale=False), Activation(activation))]
    return [*first, *pairs, GlobalMaxPooling2D(), Rescaling(1 / 9), Dense(10, use_bias=False, name="scores")]


if __name__ == "__main__":
    main()
