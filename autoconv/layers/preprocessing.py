"""What prepares images for a net, in training and afterwards alike."""

from typing import Any

import numpy as np

from .. import functional as F
from ..operators.image import INTERPOLATIONS
from ..tensor import Tensor
from . import checks
from .base import Layer, Shape


class Rescaling(Layer):
    """x * scale + offset, e.g. `Rescaling(1/255)` for pixels 0..255. Both may be lists with a number per channel."""

    one_input = True
    recordable = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("offset", offset)):
            if np.asarray(value).dtype.kind not in "iuf":
                raise ValueError(f"{name} must be a number or a list of numbers. Received: {value!r}.")
        self.scale, self.offset = scale, offset

    def call(self, x: Tensor) -> Tensor:
        y = x * _factor(self.scale, x)
        return y + _factor(self.offset, x) if np.any(self.offset) else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def _factor(value: Any, x: Tensor) -> Any:
    """A number as it is, several as a tensor beside x, in its dtype."""
    if np.ndim(value) == 0:
        return value
    return Tensor(x.device.constant(np.asarray(value, x.dtype)), device=x.device)


class _OfSize(Layer):
    """What layers whose results have a `height` and a `width` share."""

    one_input = True
    rank = 4
    unsupported = {"bounding_box_format": None}  # noqa: RUF012 (as in the base class)
    height, width = checks.Checked(checks.positive), checks.Checked(checks.positive)

    def _set_up(self, height: int, width: int, data_format: str | None) -> None:
        checks.channels_last(self, data_format)
        self.height, self.width = height, width

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.height, self.width, input_shape[3])


class Resizing(_OfSize):
    """Images (N, H, W, C) as (N, height, width, C), by "bilinear" or "nearest" interpolation, without antialiasing.

    Sides keep their ratio where `crop_to_aspect_ratio` cuts off what is too much of an image, around its middle, or
    `pad_to_aspect_ratio` puts `fill_value` on both sides of it.
    """

    recordable = True
    interpolation = checks.one_of(INTERPOLATIONS)

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: str | None = None, **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_up(height, width, data_format)
        self._keras_default("fill_mode", fill_mode, "constant")
        self._keras_default("antialias", antialias, False)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True.")
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.interpolation, self.fill_value = interpolation, fill_value

    def call(self, x: Tensor) -> Tensor:
        if self.crop_to_aspect_ratio:
            return smart_resize(x, self.height, self.width, self.interpolation)
        if self.pad_to_aspect_ratio:
            h, w = x.shape[1:3]
            down = max(w * self.height // self.width - h, 0) // 2
            across = max(h * self.width // self.height - w, 0) // 2
            x = F.pad(x, ((0, 0), (down, down), (across, across), (0, 0)), constant_values=self.fill_value)
        return F.resize(x, (self.height, self.width), self.interpolation)


class CenterCrop(_OfSize):
    """The middle (N, height, width, C) of images (N, H, W, C). Of images that are smaller on a side, the largest part
    with these proportions, enlarged.
    """

    recordable = True

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_up(height, width, data_format)

    def call(self, x: Tensor) -> Tensor:
        top, left = (x.shape[1] - self.height) // 2, (x.shape[2] - self.width) // 2
        if min(top, left) < 0:
            return smart_resize(x, self.height, self.width)
        return x[:, top : top + self.height, left : left + self.width]


def smart_resize(x: Tensor, height: int, width: int, interpolation: str = "bilinear") -> Tensor:
    """The largest middle part of each image that has the proportions of the result, in the result's size."""
    h, w = x.shape[1:3]
    part_h, part_w = max(min(h, w * height // width), 1), max(min(w, h * width // height), 1)
    top, left = (h - part_h) // 2, (w - part_w) // 2
    return F.resize(x[:, top : top + part_h, left : left + part_w], (height, width), interpolation)
