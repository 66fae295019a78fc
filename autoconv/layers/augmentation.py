"""Layers that change images randomly, in training and in direct calls, so that a network rarely
sees the same image twice. Their arguments are Keras's.

`call` draws numbers for each image with `get_random_transformation`. `transform_images` applies
them.
"""

from typing import Any

import numpy as np

from .. import functional as F
from ..engine.tensor import Tensor, apply
from ..functional.image_functions import random_pairs, random_transform
from ..operators.image import FILL_MODES, INTERPOLATIONS
from ..operators.noise import gaussian_noise
from . import calls, checks
from .checks import Range
from .drawing import RandomLayer
from .layer import Shape
from .preprocessing import ImageLayer, constant_like, smart_resize

FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")


class _Augmentation(ImageLayer, RandomLayer):
    """Base class of the augmentation layers. They return x in inference; a call without `training` is training."""

    keeps_shape = True
    recordable = True
    generator_name = "generator"
    bounding_box_format = checks.KerasDefault(None)
    data_format = checks.DataFormat()

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.data_format = data_format

    def call(self, x: Tensor, training: bool = True) -> Tensor:
        return self.transform_images(x, self.get_random_transformation(x)) if training else x

    def get_random_transformation(self, images: Any) -> Tensor:
        """Draws two random numbers per image, as a tensor (2, N), in the ranges that `ranges` returns."""
        x = calls.tensors(self, images)
        return random_pairs(x, *self.ranges(x.shape), **self._draw(x))

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        """Transforms the images by the numbers `transformation` (2, N)."""
        raise NotImplementedError

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        """Returns the ranges of an image's two random numbers. The second range is None if the numbers are equal."""
        raise NotImplementedError


class _Geometric(_Augmentation):
    """Base of geometric transforms. Pixels from outside an image are filled as in `functional.affine_transform`."""

    moves = ""  # the kind of transform, a key of KINDS, which each class sets
    fill_mode = checks.choice(FILL_MODES)
    interpolation = checks.choice(INTERPOLATIONS)
    fill_value = checks.Setting(checks.number)

    def __init__(self, fill_mode: str, interpolation: str, seed: int | None, fill_value: float,
                 data_format: str | None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        x = calls.tensors(self, images)
        return random_transform(x, self.moves, transformation, self.interpolation, self.fill_mode, self.fill_value)


class RandomFlip(_Augmentation):
    """Flips images left to right, upside down or both, depending on `mode`, each with probability 1/2.

    An image is flipped upside down if its first number is at most 1/2, and left to right if its
    second number is at most 1/2. In Keras one number decides both.
    """

    mode = checks.choice(FLIPS)

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, data_format: str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = mode

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        return random_transform(calls.tensors(self, images), "flip", transformation, "nearest", "nearest", 0.0)

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        never, evenly = (1.0, 1.0), (0.0, 1.0)
        return (never if self.mode == "horizontal" else evenly), (never if self.mode == "vertical" else evenly)


class RandomRotation(_Geometric):
    """Rotates each image about its centre by a random angle of at most `factor` * 360 degrees
    either way, or between a * 360 and b * 360 degrees for `factor` = (a, b).

    An image's number is the angle in degrees, positive for counterclockwise.
    """

    moves = "rotation"
    factor = checks.factor(-1, 1)

    def __init__(self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear",
                 seed: int | None = None, fill_value: float = 0.0, data_format: str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        return (360 * self.factor[0], 360 * self.factor[1]), None


class RandomTranslation(_Geometric):
    """Shifts each image by random fractions of its height and width. A factor f means the range
    -f..f, a factor (a, b) the range a..b.

    An image's numbers are these fractions. Positive fractions shift down and to the right.
    """

    moves = "translation"
    height_factor = checks.factor(-1, 1)
    width_factor = checks.factor(-1, 1)

    def __init__(self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        return self.height_factor, self.width_factor


class RandomZoom(_Geometric):
    """Zooms each image by a random fraction in -f..f, or in a..b for a factor (a, b). Positive fractions zoom out.

    Without `width_factor`, height and width have the same zoom. An image's numbers are 1 + these fractions.
    """

    moves = "zoom"
    height_factor = checks.Setting(checks.zoom)
    width_factor = checks.Setting(lambda value, name: None if value is None else checks.zoom(value, name))

    def __init__(self, height_factor: Any, width_factor: Any = None, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        high, wide = ((1 + f[0], 1 + f[1]) if f else None for f in (self.height_factor, self.width_factor))
        return high, wide  # type: ignore[return-value]  # only the width may be None


class RandomCrop(_Augmentation):
    """Crops images (N, H, W, C) to (N, height, width, C), each image at its own random position.

    In inference, and for images smaller than the crop, the layer resizes the largest central part with the crop's
    proportions. An image's numbers, rounded down, are the first row and column. Keras uses one position per batch.
    """

    recordable = True
    height, width = checks.Setting(checks.positive), checks.Setting(checks.positive)

    def __init__(self, height: int, width: int, seed: int | None = None, data_format: str | None = None,
                 name: str | None = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, name=name, **kwargs)
        self.height, self.width = height, width

    def call(self, x: Tensor, training: bool = True) -> Tensor:
        if not training or x.shape[1] < self.height or x.shape[2] < self.width:
            return smart_resize(x, self.height, self.width)
        return super().call(x, training)

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        return random_transform(calls.tensors(self, images), "crop", transformation, "nearest", "constant", 0.0,
                                (self.height, self.width))

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        return (0, shape[1] - self.height + 1), (0, shape[2] - self.width + 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.height, self.width, input_shape[3])


class _Colours(_Augmentation):
    """Base of layers that change pixel values and then clip them to `value_range`."""

    value_range = checks.Setting(checks.ascending)

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.factor, self.value_range = factor, value_range


class RandomContrast(_Colours):
    """(x - mean) * number + mean, with the mean of each channel of each image. For `factor` = f the
    random number is in 1 - f..1 + f, for `factor` = (a, b) in 1 - a..1 + b.
    """

    factor = checks.factor(0, 1, around_one=True)

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        x = calls.tensors(self, images)
        mean = x.mean((1, 2), keepdims=True)
        return F.clip((x - mean) * _reshape_numbers(transformation, x) + mean, *self.value_range)

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        return (1 - self.factor[0], 1 + self.factor[1]), None


class RandomBrightness(_Colours):
    """Adds a random fraction of the width of `value_range` to each image. For `factor` = f the
    fraction is in -f..f, for `factor` = (a, b) in a..b.
    """

    factor = checks.factor(-1, 1)

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        x = calls.tensors(self, images)
        return F.clip(x + _reshape_numbers(transformation, x), *self.value_range)

    def ranges(self, shape: Shape) -> tuple[Range, Range | None]:
        width = self.value_range[1] - self.value_range[0]
        return (self.factor[0] * width, self.factor[1] * width), None


class RandomErasing(_Augmentation):
    """Replaces a random rectangle of an image by `fill_value`, or by normal noise if it is None.

    An image has a rectangle with a random probability in `factor`; a number f means 0..f, so the
    default erases half of the images. The rectangle's height and width are the image's, times the
    square roots of two random fractions in `scale`. `fill_value` is a number, or one number per
    channel. The noise has the standard deviation value_range[1]; each call of `transform_images`
    draws new noise. All values are clipped to `value_range`. An image's numbers are the
    rectangle's top, left, bottom and right edge, in pixels (Zhong et al., 2017).
    """

    factor = checks.factor(0, 1)
    scale = checks.factor(0, 1)
    fill_value = checks.Setting(checks.numbers, optional=True)
    value_range = checks.Setting(checks.ascending)

    def __init__(self, factor: float | Range = 1.0, scale: float | Range = (0.02, 0.33),
                 fill_value: float | list[float] | None = None, value_range: Range = (0, 255),
                 seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor
        self.scale = scale
        self.fill_value = fill_value
        self.value_range = value_range

    def get_random_transformation(self, images: Any) -> Tensor:
        """Draws the images' rectangles, as a tensor (4, N). An empty rectangle erases nothing."""
        x = calls.tensors(self, images)
        sides = constant_like([[x.shape[1]], [x.shape[2]]], x)
        probability, draw = F.split(random_pairs(x, self.factor, (0, 1), **self._draw(x)), 2)
        lengths = F.sqrt(random_pairs(x, self.scale, self.scale, **self._draw(x))) * sides
        starts = random_pairs(x, (0, 1), (0, 1), **self._draw(x)) * (sides - lengths)
        return F.concatenate([starts, F.where(draw < probability, starts + lengths, starts)])

    def transform_images(self, images: Any, transformation: Any) -> Tensor:
        x = calls.tensors(self, images)
        edges = F.split(x.operand(transformation), 4)
        top, left, bottom, right = (edge.reshape(-1, 1, 1, 1) for edge in edges)
        rows = constant_like(np.arange(x.shape[1])[:, None, None], x)
        columns = constant_like(np.arange(x.shape[2])[:, None], x)
        is_erased = ((rows >= top) & (rows < bottom)) & ((columns >= left) & (columns < right))
        if self.fill_value is None:
            zeros = constant_like(np.zeros(x.shape), x)
            stddev = self.value_range[1]
            fill = apply(gaussian_noise, zeros, stddev=stddev, rel_stddev=0.0, **self._draw(x))
        else:
            fill = constant_like(np.atleast_1d(self.fill_value), x)
        return F.where(is_erased, F.clip(fill, *self.value_range), x)


def _reshape_numbers(transformation: Any, x: Tensor) -> Tensor:
    """Returns the images' first numbers (N,), reshaped to broadcast over images (N, H, W, C)."""
    return x.operand(transformation)[0].reshape(-1, 1, 1, 1)
