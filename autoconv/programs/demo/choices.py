"""Defines what a user can choose on the page: nets, data sets, optimizers and their settings."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ... import datasets, nets
from ... import optimizers as optim
from ...arguments import names
from ...files.json_text import JsonObject
from ...layers import Conv2D, Dense, Flatten, Input, Layer, MaxPooling2D, Rescaling
from ...models import Sequential
from ...pictures.image_kernels import KERNELS

SIDE = 28  # all sets on the page have images of 28 x 28 gray pixels
CLASSES = 10
BATCH_SIZES = (16, 32, 64, 128)
RATES = (1e-6, 10.0)  # smallest and largest learning rate
MOST_EPOCHS = 1000


class DemoData(NamedTuple):
    """Training and test images (N, 28, 28, 1) of bytes, labels (N,), and class names."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]


def _tiny() -> list[Layer]:
    return [
        Conv2D(6, 5, activation="relu"),
        MaxPooling2D(),
        Conv2D(12, 3, activation="relu"),
        MaxPooling2D(),
        Flatten(),
        Dense(CLASSES, activation="softmax"),
    ]


NETS: dict[str, tuple[str, Callable[[], list[Layer]]]] = {
    "lecture": ("lecture net", lambda: nets.NETS["lecture"].layers(CLASSES)),
    "tiny": ("tiny net", _tiny),
}
SETS = ("mnist", "digits", "fashion_mnist")
OPTIMIZERS = {"rmsprop": 0.001, "adam": 0.001, "sgd": 0.05}  # default learning rates by optimizer


class SettingError(ValueError):
    """An invalid value for a setting."""

    def __init__(self, setting: str, valid: str, value: Any) -> None:
        super().__init__(f"{setting} must be {valid}. Received: {reprlib.repr(value)}.")
        self.setting = setting


@dataclass(frozen=True)
class Settings:
    """The settings of a net and its training. Raises ValueError for an invalid choice."""

    net: str = "lecture"
    data: str = "digits"
    optimizer: str = "rmsprop"
    learning_rate: float = 0.001
    batch_size: int = 64
    epochs: int = 5

    def __post_init__(self) -> None:
        names.lookup("net", self.net, NETS)
        names.lookup("data set", self.data, dict.fromkeys(sets_here()))
        names.lookup("optimizer", self.optimizer, OPTIMIZERS)
        object.__setattr__(self, "learning_rate", check_rate(self.learning_rate))
        if type(self.batch_size) is not int or self.batch_size not in BATCH_SIZES:
            raise SettingError("batch_size", f"one of {BATCH_SIZES}", self.batch_size)
        if type(self.epochs) is not int or not 1 <= self.epochs <= MOST_EPOCHS:
            raise SettingError("epochs", f"a whole number from 1 to {MOST_EPOCHS}", self.epochs)


def check_rate(value: Any) -> float:
    """Returns `value` as a learning rate. Raises ValueError if it is invalid."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not RATES[0] <= value <= RATES[1]:  # false for NaN as well
        raise SettingError("learning_rate", f"a number from {RATES[0]} to {RATES[1]}", value)
    return float(value)


def parse_settings(values: JsonObject) -> Settings:
    """Returns the settings that the page sent, with defaults for missing ones."""
    unknown = [name for name in values if name not in Settings.__dataclass_fields__]
    if unknown:
        raise ValueError(f"There is no setting {unknown[0]!r}. Valid settings: "
                         f"{', '.join(Settings.__dataclass_fields__)}.")
    return Settings(**{"data": sets_here()[0], **values})


@cache
def sets_here() -> tuple[str, ...]:
    """Returns the names of the data sets on this computer. The demo downloads none."""
    return tuple(name for name in SETS if datasets.locate(name) is not None)


@cache
def load(name: str) -> DemoData:
    """Loads the named data set. Raises DatasetNotFound or DatasetCorrupt."""
    (x_train, y_train), (x_test, y_test) = datasets.load(name)
    return DemoData(x_train[..., None], y_train, x_test[..., None], y_test, datasets.info(name).classes)


def build(settings: Settings) -> Sequential:
    """Builds and compiles the net, which maps pixels 0..255 to class probabilities."""
    model = Sequential([Input((SIDE, SIDE, 1)), Rescaling(1 / 255), *NETS[settings.net][1]()], name=settings.net)
    compile_net(model, settings.optimizer, settings.learning_rate)
    return model


def compile_net(model: Sequential, optimizer: str, learning_rate: float) -> None:
    """Compiles the net with a new optimizer. The weights are unchanged."""
    model.compile(optim.BY_NAME[optimizer](learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


def options() -> JsonObject:
    """Returns everything that a user can choose, for the lists on the page."""
    return {"nets": {name: title for name, (title, _) in NETS.items()},
            "data": {name: datasets.info(name).title for name in sets_here()},
            "optimizers": OPTIMIZERS, "batch_sizes": BATCH_SIZES, "rates": RATES,
            "most_epochs": MOST_EPOCHS, "kernels": KERNELS}
