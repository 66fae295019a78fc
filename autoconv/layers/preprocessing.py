"""Layers that prepare images, with the same results in training and inference."""

from typing import Any

import numpy as np

from .. import functional as F
from ..arguments.batches import each_once
from ..engine.tensor import Tensor
from ..functional.image_functions import RESIZE_INTERPOLATIONS
from ..functional.loss_functions import EPSILON
from ..kernels.device import detach
from . import checks
from .calls import NOTHING
from .layer import Layer, Shape


class Rescaling(Layer):
    """x * scale + offset, such as `Rescaling(1/255)` for pixels 0..255. Each may be a list, one number per channel."""

    keeps_shape = True
    supports_masking = True
    one_input = True
    recordable = True
    accepts_arrays = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("offset", offset)):
            if np.asarray(value).dtype.kind not in "iuf":
                raise ValueError(f"{name} must be a number or a list of numbers. Received: {value!r}.")
        self.scale, self.offset = scale, offset

    def call(self, x: Tensor) -> Tensor:
        y = x * constant_like(self.scale, x)
        return y + constant_like(self.offset, x) if np.any(self.offset) else y


def constant_like(value: Any, x: Tensor) -> Any:
    """Returns a single number unchanged, and several numbers as a tensor of x's device and dtype."""
    if np.ndim(value) == 0:
        return value
    return Tensor(x.device.constant(np.asarray(value, x.dtype)), device=x.device)


class Normalization(Layer):
    """(x - mean) / sqrt(variance), with a mean and variance per index along `axis`, by default per
    channel. axis=None: one mean and variance for all elements.

    Pass mean and variance, or call `adapt(data)` to compute them from arrays or batches.
    invert=True: computes x sqrt(variance) + mean.
    """

    keeps_shape = True
    supports_masking = True
    one_input = True
    recordable = True

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("When setting values directly, both `mean` and `variance` must be "
                             f"set. Received: mean={mean} and variance={variance}.")
        axes = () if axis is None else (axis,) if hasattr(axis, "__index__") else tuple(axis)
        if 0 in axes:
            raise ValueError(f"`axis` must not include 0, which is the batch axis. Received: axis={axis}.")
        self.axis, self.invert, self._fixed_mean, self._fixed_variance = axis, bool(invert), mean, variance
        self._axes = axes

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank < axis < rank for axis in self._axes):
            raise ValueError(f"All `axis` values must be in the range [-{rank - 1}, {rank - 1}] "
                             f"for inputs of shape {input_shape}. Received: axis={self.axis}.")
        self._own_axes = sorted(axis % rank for axis in self._axes)
        sizes = tuple(input_shape[i] for i in self._own_axes)
        if None in sizes:
            raise ValueError("The inputs must have a known size along each axis in `axis`. "
                             f"Received: axis={self.axis} for inputs of shape {input_shape}.")
        self._open: tuple[int, ...] = tuple(
            input_shape[i] if i in self._own_axes else 1 for i in range(rank))  # type: ignore[misc]
        if self._fixed_mean is None:
            self.mean_weight = self.add_weight(sizes, "zeros", trainable=False, name="mean")
            self.variance_weight = self.add_weight(sizes, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", trainable=False, name="count")

    @property
    def mean(self) -> Any:
        """The subtracted mean, an array with the inputs' number of dimensions."""
        return self._statistic(self._fixed_mean, "mean_weight")

    @property
    def variance(self) -> Any:
        """The variance, by whose square root the inputs are divided."""
        return self._statistic(self._fixed_variance, "variance_weight")

    def _statistic(self, preset: Any, weight: str) -> np.ndarray:
        if not self.built:
            raise ValueError(f"Layer {self.name!r} must be built before its mean and variance can "
                             "be read. Call build(input_shape) first.")
        value = getattr(self, weight).numpy() if preset is None else np.asarray(preset, self.dtype)
        return np.broadcast_to(value.reshape(self._open) if value.size == np.prod(self._open) else value, self._open)

    def adapt(self, data: Any) -> None:
        """Computes mean and variance in float64, from an array (N, ...) or from batches x or (x,
        ...). Batches are a list, an iterable or a sequence such as a PyDataset, and are read once.
        """
        if self._fixed_mean is not None:
            raise ValueError("Cannot `adapt` a Normalization layer that is initialized with static `mean` and "
                             "`variance`. To use adapt(), create the layer without these arguments.")
        arrays = [data] if hasattr(data, "shape") or (isinstance(data, list) and not self._holds_batches(data)) else (
            batch[0] if isinstance(batch, tuple) or self._holds_batches(batch) else batch for batch in each_once(data))
        count = 0
        total: Any = 0.0
        squares: Any = 0.0
        for part in arrays:
            array = np.asarray(detach(part), np.float64)
            if not self.built:
                self.build((None, *array.shape[1:]))
            reduced = tuple(i for i in range(array.ndim) if i not in self._own_axes)
            count += array.size // max(1, int(np.prod([array.shape[i] for i in self._own_axes])))
            values = Tensor(array)  # its sums have the same order on every machine, unlike NumPy's
            total += values.sum(reduced).numpy()
            squares += (values * values).sum(reduced).numpy()
        if not count:
            raise ValueError("adapt() needs data with at least one sample. Received no samples.")
        mean = total / count
        self.mean_weight.assign(np.asarray(mean))
        self.variance_weight.assign(np.asarray(np.maximum(squares / count - mean * mean, 0.0)))
        self.count.assign(np.asarray(count))

    def _holds_batches(self, data: Any) -> bool:
        """Whether `data` is a list of batches, and not a list of samples or of rows of numbers."""
        first = data[0] if isinstance(data, list) and data else None
        if isinstance(first, tuple | list):
            first = first[0] if first else None
        rank = len(getattr(first, "shape", ()))
        return rank > 1 and (not self.built or rank == len(self._open))

    def call(self, x: Tensor) -> Tensor:
        if self._fixed_mean is not None:
            mean, variance = (Tensor(x.device.constant(np.ascontiguousarray(value, x.dtype)), device=x.device)
                              for value in (self.mean, self.variance))
        else:
            mean = self.mean_weight.reshape(*self._open)
            variance = self.variance_weight.reshape(*self._open)
        deviation = F.maximum(F.sqrt(variance), EPSILON)
        return x * deviation + mean if self.invert else (x - mean) / deviation


class ImageLayer(Layer):
    """Base of layers for images (N, H, W, C) that also accept a single image (H, W, C)."""

    one_input = True

    def __call__(self, x: Any = NOTHING, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer like `Layer.__call__`. A single image is processed as a batch of one and
        returned as an image.
        """
        if x is NOTHING and len(kwargs) == 1:
            x = kwargs.pop("inputs", NOTHING)
        if args or kwargs or x is NOTHING or len(getattr(x, "shape", None) or np.shape(x)) != 3:
            return super().__call__(x, *args, training=training, **kwargs)
        return super().__call__(F.expand_dims(x, 0), training=training)[0]

    def check_input(self, shape: Shape) -> None:
        super().check_input(shape)
        if len(shape) != 4:
            raise ValueError(f"Layer {self.name!r} needs images of shape (N, H, W, C), or one "
                             f"image of shape (H, W, C). Received shape {tuple(shape)}.")


class _TargetSize(ImageLayer):
    """Base of layers whose results have a given `height` and `width`."""

    bounding_box_format = checks.KerasDefault(None)
    data_format = checks.DataFormat()
    height, width = checks.Setting(checks.positive), checks.Setting(checks.positive)

    def _set_up(self, height: int, width: int, data_format: str | None) -> None:
        self.data_format = data_format
        self.height, self.width = height, width

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-3], self.height, self.width, input_shape[-1])


class Resizing(_TargetSize):
    """Resizes images (N, H, W, C) to (N, height, width, C), without antialiasing. interpolation:
    "nearest", "bilinear", "bicubic", "lanczos3", "lanczos5" or "area", as in `functional.resize`.

    The aspect ratio is kept if `crop_to_aspect_ratio` crops the image around its centre, or
    `pad_to_aspect_ratio` pads both sides with `fill_value`.
    """

    recordable = True
    interpolation = checks.choice(RESIZE_INTERPOLATIONS)
    fill_mode = checks.KerasDefault("constant")
    antialias = checks.KerasDefault(False)

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: str | None = None, **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_up(height, width, data_format)
        self.fill_mode = fill_mode
        self.antialias = antialias
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True.")
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
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


class CenterCrop(_TargetSize):
    """Crops images (N, H, W, C) to their centre (N, height, width, C). If images are smaller, the
    layer enlarges their largest central part with the result's proportions.
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
    """Resizes the largest central part of each image with the result's proportions to the result's size."""
    h, w = x.shape[1:3]
    part_h, part_w = max(min(h, w * height // width), 1), max(min(w, h * width // height), 1)
    top, left = (h - part_h) // 2, (w - part_w) // 2
    return F.resize(x[:, top : top + part_h, left : left + part_w], (height, width), interpolation)
