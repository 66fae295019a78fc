"""Translates, rotates, scales and crops images, and draws random transforms for augmentation."""

from collections.abc import Callable
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from ..arguments import names, shapes
from ..engine.tensor import Tensor, apply, record_nodes, refuse_gradient
from ..kernels.formulas import load_elementary
from ..operators import image as ops
from . import arrays
from .layer_functions import TensorLike, _floats, _move_constant, _tensor

__all__ = ["affine_transform", "resize"]

KINDS = {"flip": 0, "rotation": 1, "translation": 2, "zoom": 3, "crop": 4}  # transform kinds and their codes in kernels


def affine_transform(images: TensorLike, transform: TensorLike, interpolation: str = "bilinear",
                     fill_mode: str = "constant", fill_value: float = 0.0,
                     size: tuple[int, int] | None = None) -> Tensor:
    """Transforms each image: pixel (i, j) of the result is the image's pixel at column (t0 j + t1 i
    + t2) / s and row (t3 j + t4 i + t5) / s, with s = t6 j + t7 i + 1. images (N, H, W, C) or one
    image (H, W, C), transform (8,) or (N, 8).

    interpolation: "bilinear" or "nearest". fill_mode sets pixels outside an image: "constant"
    (fill_value), "nearest" (a a|a b c|c c), "reflect" (b a|a b c|c b) or "wrap" (b c|a b c|a b).
    size: (H, W) of the results. Argument names and results agree with
    `keras.ops.image.affine_transform` on TensorFlow.
    """
    x = _floats(images)
    if x.ndim == 3:  # a single image
        return affine_transform(arrays.expand_dims(x, 0), transform, interpolation, fill_mode, fill_value, size)[0]
    count, h, w, _ = shapes.check_image(x.shape)
    names.lookup("interpolation", interpolation, ops.INTERPOLATIONS)
    names.lookup("fill_mode", fill_mode, ops.FILL_MODES)
    if isinstance(fill_value, bool) or not isinstance(fill_value, Real):
        raise ValueError(f"fill_value must be a number. Received: {fill_value!r}.")
    refuse_gradient("affine_transform", transform=transform)
    t = _move_constant(transform, x, x.dtype) if isinstance(transform, Tensor) else x.device.constant(
        np.ascontiguousarray(transform, x.dtype))
    if t.shape not in ((8,), (1, 8), (count, 8)):
        raise ValueError("The transform must have shape (8,), or (N, 8) for N images. Received: a "
                         f"transform of shape {t.shape}, images of shape {x.shape}.")
    return apply(ops.affine_transform, x, transform=t.reshape(-1, 8), size=(h, w) if size is None else _size(size),
                 fill_mode=fill_mode, fill_value=float(fill_value), interpolation=interpolation)


def resize(images: TensorLike, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Resizes images (N, H, W, C), or one image (H, W, C), to `size` = (height, width), with
    half-pixel centres.

    interpolation: "nearest", "bilinear", "bicubic" (Keys, a = -0.5), "lanczos3", "lanczos5" or
    "area", the mean of the area that a new pixel covers. The results of "area" agree with Keras on
    TensorFlow, all others with Keras on JAX. There is no antialiasing: when images shrink, all
    interpolations except "area" skip pixels.
    """
    x = _tensor(images)
    if x.ndim == 3:
        return resize(x.reshape(1, *x.shape), size, interpolation)[0]
    _, *old, _ = shapes.check_image(x.shape)
    if names.lookup("interpolation", interpolation, dict.fromkeys(RESIZE_INTERPOLATIONS, True)) and (
            interpolation not in ops.INTERPOLATIONS):
        return _resample(x, *(resize_weights(interpolation, *pair) for pair in zip(old, _size(size))))
    nearest = interpolation == "nearest"  # "nearest" uses the later of two equally near pixels
    (down, first_row), (right, first_column) = (  # for each axis: sampling step, first sampling position
        (before / after, 0.5 * before / after - 0.5 + (0.125 / after if nearest else 0.0))
        for before, after in zip(old, _size(size)))
    transform = np.array([right, 0, first_column, 0, down, first_row, 0, 0])
    return affine_transform(x, transform, interpolation, "nearest", size=size)


def _resample(x: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Resizes images with weight matrices for their rows (OH, H) and for their columns (OW, W)."""
    n, h, w, c = x.shape
    rows, columns = (x.device.constant(np.ascontiguousarray(weights, x.dtype)) for weights in (rows, columns))
    y = Tensor(rows, device=x.device) @ x.reshape(n, h, w * c)
    y = Tensor(columns, device=x.device) @ y.reshape(n * len(rows), w, c)
    return y.reshape(n, len(rows), len(columns), c)


@lru_cache(2)  # for the rows and the columns of images of one size
def resize_weights(interpolation: str, old: int, new: int) -> np.ndarray:
    """Returns the weights (new, old) of an axis's old pixels in each new pixel; rows sum to 1."""
    scale = old / new
    pixels = np.arange(old)
    samples = np.arange(new)[:, None]
    if interpolation == "area":  # each weight is the overlap of an old and a new pixel
        end = np.minimum(pixels + 1, (samples + 1) * scale)
        begin = np.maximum(pixels, samples * scale)
        weights = np.maximum(end - begin, 0.0)
    else:
        weights = _KERNELS[interpolation](np.abs((samples + 0.5) * scale - 0.5 - pixels))
    return weights / np.cumsum(weights, 1)[:, -1:]  # the order of np.sum depends on NumPy's version


def _keys(d: np.ndarray) -> np.ndarray:
    """Keys: "Cubic convolution interpolation for digital image processing", 1981. d: distances."""
    near = ((1.5 * d - 2.5) * d) * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def _lanczos(lobes: int) -> Callable[[np.ndarray], np.ndarray]:
    """Duchon: "Lanczos filtering in one and two dimensions", 1979: sinc(d) sinc(d / lobes)."""
    def weigh(d: np.ndarray) -> np.ndarray:
        sin = load_elementary().sin
        weights = np.where(d == 0, 1.0, 0.0)
        near = (d > 0) & (d < lobes)
        angles = np.pi * d[near]
        weights[near] = [lobes * sin(a) * sin(a / lobes) / (a * a) for a in angles.tolist()]
        return weights

    return weigh


_KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bicubic": _keys,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5)}
RESIZE_INTERPOLATIONS = (*ops.INTERPOLATIONS, *_KERNELS, "area")


def _size(size: Any) -> tuple[int, int]:
    h, w = size if isinstance(size, (tuple, list)) and len(size) == 2 else (0, 0)
    if not all(hasattr(n, "__index__") and n > 0 for n in (h, w)):
        raise ValueError(f"size must be two positive integers, (height, width). Received: {size!r}.")
    return int(h), int(w)


# Functions for augmentation layers.


def random_pairs(images: Tensor, first_range: tuple[float, float], second_range: tuple[float, float] | None,
                 key: Any, first: Any) -> Tensor:
    """Draws two numbers per image, (2, N): one in `first_range` and one in `second_range`. If
    `second_range` is None, both numbers are the same. An image's numbers depend on `key` and the
    image's index, counted from `first`.
    """
    d = images.device.empty((2, images.shape[0]), images.dtype)
    ranges = [float(end) for end in (*first_range, *(first_range if second_range is None else second_range))]
    place = [np.uint64(part) if isinstance(part, int) else part for part in (*key, first)]
    images.device.kernels("image").draws(*ranges, int(second_range is not None), *place, d)
    return Tensor(d, device=images.device)


def random_transform(images: Tensor, kind: str, pairs: TensorLike, interpolation: str,
                     fill_mode: str, fill_value: float,
                     size: tuple[int, int] | None = None) -> Tensor:
    """Transforms each image by its two numbers in `pairs` (2, N). `kind` is a key of KINDS."""
    refuse_gradient(f"The random {kind}", transformation=pairs)
    d = _move_constant(pairs, images, images.dtype)
    count, h, w, _ = shapes.check_image(images.shape)
    if d.shape != (2, count):
        raise ValueError("The transformation must have shape (2, N) for N images. Received: shape "
                         f"{d.shape} for {count} images.")
    t = images.device.empty((count, 8), images.dtype)
    images.device.kernels("image").transforms(d, KINDS[kind], h, w, t)
    return affine_transform(images, Tensor(t, device=images.device), interpolation, fill_mode, fill_value, size)


record_nodes(globals(), __all__)
