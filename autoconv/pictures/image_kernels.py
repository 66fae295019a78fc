"""Convolves pictures with small matrices (image kernels), with the same code as nets."""

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .. import functional as F
from ..arguments import names
from ..arguments.shapes import Padding, Pair
from ..utils.pixels import read_whole
from .reading import ImageLike

Kernel = str | Sequence[Sequence[float]] | np.ndarray

KERNELS: dict[str, str] = {  # kernels by name; " / " separates rows
    "sharpen": "0 -1 0 / -1 5 -1 / 0 -1 0",
    "blur": " / ".join(["0.1111111111111111 0.1111111111111111 0.1111111111111111"] * 3),
    "gaussian": "0.0625 0.125 0.0625 / 0.125 0.25 0.125 / 0.0625 0.125 0.0625",
    "edge": "0 1 0 / 1 -4 1 / 0 1 0",
    "outline": "-1 -1 -1 / -1 8 -1 / -1 -1 -1",
    "emboss": "-2 -1 0 / -1 1 1 / 0 1 2",
    "sobel-top": "1 2 1 / 0 0 0 / -1 -2 -1",
    "sobel-bottom": "-1 -2 -1 / 0 0 0 / 1 2 1",
    "sobel-left": "1 0 -1 / 2 0 -2 / 1 0 -1",
    "sobel-right": "-1 0 1 / -2 0 2 / -1 0 1",
    "line-h": "-1 -1 -1 / 1 1 1 / 0 0 0",
    "line-v": "-1 1 0 / -1 1 0 / -1 1 0",
    "identity": "0 0 0 / 0 1 0 / 0 0 0",
}


def matrix(kernel: Kernel) -> np.ndarray:
    """Returns a kernel as an array (KH, KW). `kernel` is a name in KERNELS, a string such as
    "0 -1 0 / -1 5 -1 / 0 -1 0", or rows of numbers. In a string, 1/9 is a fraction, and " / " with
    blanks separates rows. Raises ValueError for an unknown name or an invalid matrix.
    """
    if isinstance(kernel, str) and not any(map(str.isdigit, kernel)):
        return matrix(KERNELS[names.lookup("kernel", kernel.strip(), {name: name for name in KERNELS})])
    try:
        rows: Any = _rows(kernel) if isinstance(kernel, str) else kernel
        values: np.ndarray = np.array([list(row) for row in rows], np.float32)
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        why = f" {error}." if isinstance(kernel, str) and str(error) else ""
        raise ValueError("A kernel must be a matrix, with rows of equal length, such as '0 -1 0 / -1 5 -1 / 0 -1 0', "
                         f"or one of the names {', '.join(KERNELS)}.{why} Received: {kernel!r}.") from None
    return values


def _rows(text: str) -> list[list[float]]:
    """Parses a string into rows of numbers. Raises ValueError with the number of an invalid row."""
    text = text.replace(",", " ")
    rows = [row.split() for row in re.split(r"(?<=\s)/|/(?=\s)", text)]
    if len(rows) == 1:  # "1 0/0 1" has two rows, but "1/3 1/3 1/3" is one row
        tight = [row.split() for row in text.split("/")]
        rows = tight if len({len(row) for row in tight}) == 1 else rows
    numbers: list[list[float]] = []
    for count, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(f"Row 1 has {len(rows[0])} numbers, but row {count} has {len(row)}")
        try:
            numbers.append([float(Fraction(number)) if "/" in number else float(number) for number in row])
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"Row {count} is {' '.join(row)!r}, which is not a list of numbers") from None
    return numbers


def convolve(image: ImageLike, kernel: Kernel, padding: Padding = "valid", strides: Pair = 1,
             dilation_rate: Pair = 1) -> np.ndarray:
    """Convolves each channel of a picture with a kernel. Returns unrounded float32 (OH, OW, C).

    image: a file name, or numbers (H, W) or (H, W, C). kernel: see `matrix`. The other arguments
    are the same as in `F.conv2d`.
    """
    x = _image(image)
    w = matrix(kernel)
    each = np.repeat(w[:, :, None, None], x.shape[2], axis=2)
    return F.depthwise_conv2d(x[None], each, None, strides, padding, dilation_rate).numpy()[0]


def filter(image: ImageLike, kernel: Kernel = "sharpen", padding: Padding = "valid",
           strides: Pair = 1, dilation_rate: Pair = 1, absolute: bool = False,
           scale: bool = False) -> np.ndarray:
    """Convolves a picture with a kernel. Returns bytes (OH, OW, C), or (OH, OW) for input (H, W).

    image: a file name, or pixels 0..255. kernel: see `matrix`. Values are rounded and clipped to
    0..255. `absolute` drops the signs. `scale` stretches the values to 0..255. `convolve` does
    not round. Raises ValueError for an invalid kernel or array, OSError for an unreadable file.
    """
    pixels = to_pixels(convolve(image, kernel, padding, strides, dilation_rate), absolute, scale)
    return pixels[..., 0] if not isinstance(image, (str, os.PathLike)) and np.ndim(image) == 2 else pixels


def to_pixels(values: np.ndarray, absolute: bool = False, scale: bool = False) -> np.ndarray:
    """Converts values to bytes 0..255 by clipping, or by stretching with `scale`."""
    values = np.abs(values) if absolute else values
    if scale:
        low = float(values.min())
        high = float(values.max())
        values = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def side_by_side(pictures: Sequence[np.ndarray], gap: int = 8) -> np.ndarray:
    """Joins pictures (H, W, C) with the same C in a row, top-aligned, with white gaps."""
    height = max(picture.shape[0] for picture in pictures)
    columns: list[np.ndarray] = []
    for picture in pictures:
        h, w, c = picture.shape
        column = np.full((height, w + (gap if columns else 0), c), 255, np.uint8)
        column[:h, column.shape[1] - w :] = picture
        columns.append(column)
    return np.concatenate(columns, 1)


def _image(image: ImageLike) -> np.ndarray:
    """Returns a picture, from a file or an array, as float32 (H, W, C)."""
    values = read_whole(Path(image)) if isinstance(image, (str, os.PathLike)) else np.asarray(image)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not values.size or values.dtype.kind not in "buif":
        raise ValueError("A picture must be a file name, or an array of numbers of shape (H, W) or (H, W, C). "
                         f"Received: {type(image).__name__} with dtype {values.dtype} and shape {values.shape}.")
    return values.astype(np.float32)
