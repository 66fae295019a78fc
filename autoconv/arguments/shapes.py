"""Windows over images: output sizes, padding for "same", and checks of arguments."""

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any, NamedTuple

Padding = str | int | Sequence[int] | Sequence[Sequence[int]]
Pair = int | Sequence[int]

LARGEST = 2**31 - 1  # upper limit for each field of a Window and for the sides of a padded image


class Window(NamedTuple):
    """A window that slides over an (H, W) image: kernel size, strides, dilation and the padding of the four sides.

    The window reads rows `oh*sh + kh*dh - top`, so its height in pixels is `span_h = (kh - 1)*dh + 1`.

    Ops call `output_size`, `pooled_size` and `convolved_shape` for the shapes of their results. These raise
    ValueError if a kernel would index outside its arrays. Code below the ops does not check windows again.
    """

    kh: int
    kw: int
    sh: int = 1
    sw: int = 1
    dh: int = 1
    dw: int = 1
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def span_h(self) -> int:
        return (self.kh - 1) * self.dh + 1

    @property
    def span_w(self) -> int:
        return (self.kw - 1) * self.dw + 1

    @property
    def gradient_window(self) -> "Window":
        """The window with which a convolution of the output gradients computes input gradients, for strides of
        1. The kernel is rotated. A padding is negative if this window's padding is at least its span.
        """
        h, w = self.span_h - 1, self.span_w - 1
        return self._replace(top=h - self.top, bottom=h - self.bottom, left=w - self.left, right=w - self.right)

    def output_size(self, h: int, w: int) -> tuple[int, int]:
        """Returns (OH, OW) for an (H, W) image: `floor((n + padding - span) / stride) + 1` on each axis.

        Raises ValueError if the window does not fit into the padded image, or if a field is out of range.
        """
        height, width = h + self.top + self.bottom, w + self.left + self.right
        if min(self[:6]) < 1 or min(h, w, *self[6:]) < 0 or max(height, width, *self) > LARGEST:
            raise ValueError("A window's sizes, strides and dilation rates must be between 1 and "
                             f"{LARGEST}. Its padding and the sides of the padded image must be "
                             f"between 0 and {LARGEST}. Received: {self} over an image of {h}x{w}.")
        if height < self.span_h or width < self.span_w:
            raise ValueError("The window must fit into the padded image. Received: a window that "
                             f"spans {self.span_h}x{self.span_w} pixels, and an image of {h}x{w}, "
                             f"padded to {height}x{width}.")
        return (height - self.span_h) // self.sh + 1, (width - self.span_w) // self.sw + 1

    def pooled_size(self, h: int, w: int) -> tuple[int, int]:
        """Returns `output_size` for a pooling, in which each window must contain a pixel of the image.

        Raises ValueError if a padding is not smaller than the window, and for dilation and empty images.
        """
        size = self.output_size(h, w)
        if max(self.top, self.bottom) >= self.kh or max(self.left, self.right) >= self.kw:
            raise ValueError(
                "padding must be smaller than pool_size on each side, so that each window contains a pixel of the "
                f"image. Received: padding={((self.top, self.bottom), (self.left, self.right))}, "
                f"pool_size={(self.kh, self.kw)}. Use padding='same', or apply zero_padding2d before the pooling."
            )
        if (self.dh, self.dw) != (1, 1) or min(h, w) < 1 or self.kh * self.kw > LARGEST:
            raise ValueError(f"Pooling needs images of at least one pixel, windows of at most {LARGEST} pixels, and "
                             f"no dilation. Received: {self} over an image of {h}x{w}.")
        return size

    def convolved_shape(
        self, x: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...] | None, filters: int, groups: int = 1
    ) -> tuple[int, int, int, int]:
        """Returns the output shape (N, OH, OW, filters) of a convolution. x, kernel, bias: the
        shapes (N, H, W, C), (KH, KW, C // groups, ...) and (filters,) or None. Raises ValueError if
        the shapes do not match.
        """
        size = self.output_size(x[1], x[2])
        fits = groups >= 1 and kernel[:2] == (self.kh, self.kw) and kernel[2] * groups == x[3]
        if not fits or filters % groups or bias not in (None, (filters,)):
            raise ValueError(
                f"A convolution of images (N, H, W, C) with {self.kh}x{self.kw} windows in {groups} groups needs a "
                f"kernel of shape ({self.kh}, {self.kw}, C // groups, ...) and a bias of shape (filters,) or None. C "
                f"and filters must be multiples of groups. Received: x of shape {tuple(x)}, kernel of shape "
                f"{tuple(kernel)}, bias of shape {bias}, filters={filters}."
            )
        return x[0], *size, filters


def pair(value: Pair, name: str, least: int = 1) -> tuple[int, int]:
    """Converts an int or two ints to (vertical, horizontal). Raises ValueError if one is less than `least`."""
    items: Any = (value, value) if _is_int(value) else value
    if not isinstance(items, Sequence) or isinstance(items, str) or len(items) != 2 or not all(map(_is_int, items)):
        remedy = f" Pass an activation by its name: activation={value!r}." if isinstance(value, str) else ""
        raise ValueError(f"The `{name}` argument must be a tuple of 2 integers, or one integer. Received: "
                         f"{value!r}.{remedy}")
    if min(items) < least:
        raise ValueError(f"The `{name}` argument must be a tuple of 2 integers of at least "
                         f"{least}, or one such integer. Received: {value!r}.")
    return int(items[0]), int(items[1])


def _is_int(value: object) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__")


def check_count(name: str, value: Any, least: int, alternatives: str = "") -> None:
    """Raises ValueError unless `value` is an integer of at least `least`. alternatives: other valid values, as text."""
    if not _is_int(value) or value < least:
        raise ValueError(f"{name} must be {alternatives}an integer of at least {least}. Received: {value!r}.")


def same_padding(n: int, span: int, stride: int) -> tuple[int, int]:
    """Returns the padding (before, after) of one axis for `ceil(n / stride)` windows. An odd pixel goes after."""
    total = max((-(-n // stride) - 1) * stride + span - n, 0)
    return total // 2, total - total // 2


def window(
    size: tuple[int, int], kernel: Pair, strides: Pair = 1, padding: Padding = "valid", dilation_rate: Pair = 1,
    kernel_name: str = "kernel_size",
) -> Window:
    """Returns the checked `Window` of a kernel over an image of `size` (H, W).

    padding: "valid", "same", p, (ph, pw) or ((top, bottom), (left, right)). Raises ValueError if an
    argument is invalid, or if the kernel does not fit into the padded image.
    """
    (h, w), (kh, kw) = size, pair(kernel, kernel_name)
    (sh, sw), (dh, dw) = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    base = Window(kh, kw, sh, sw, dh, dw)
    if isinstance(padding, str) and padding == "same":
        vertical = same_padding(h, base.span_h, sh)
        horizontal = same_padding(w, base.span_w, sw)
    else:
        vertical, horizontal = explicit_padding(padding)
    result = base._replace(top=vertical[0], bottom=vertical[1], left=horizontal[0], right=horizontal[1])
    sides = (h + sum(vertical), w + sum(horizontal))
    if sides[0] < result.span_h or sides[1] < result.span_w:
        raise ValueError(
            "Computed output size would be zero or negative. The window must fit into the padded "
            f"image. Received: {kernel_name}={(kh, kw)} with dilation_rate={(dh, dw)}, which "
            f"spans {result.span_h}x{result.span_w} pixels, and an image of {h}x{w}, padded to "
            f"{sides[0]}x{sides[1]}. Use padding='same' or a smaller {kernel_name}."
        )
    result.output_size(h, w)
    return result


def pool_window(size: tuple[int, int], pool_size: Pair, strides: Pair | None, padding: Padding = "valid") -> Window:
    """Returns the checked `Window` of a pooling over an image of `size` (H, W); strides default to the pool
    size. Raises ValueError as `window` does, and if a padding is not smaller than the pool size.
    """
    result = window(size, pool_size, pool_size if strides is None else strides, padding, kernel_name="pool_size")
    result.pooled_size(*size)
    return result


def explicit_padding(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Converts "valid", p, (ph, pw) or four numbers to ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        if padding != "valid":
            raise ValueError(
                "padding must be 'valid', 'same', an integer, (ph, pw) or ((top, bottom), (left, "
                f"right)). Received: {padding!r}."
            )
        return (0, 0), (0, 0)
    if not _is_int(padding) and isinstance(padding, Sequence) and any(not _is_int(p) for p in padding):
        if len(padding) != 2:
            raise ValueError(f"padding must be ((top, bottom), (left, right)). Received: {padding!r}.")
        return pair(padding[0], "padding (top, bottom)", 0), pair(padding[1], "padding (left, right)", 0)  # type: ignore[arg-type]
    ph, pw = pair(padding, "padding", 0)  # type: ignore[arg-type]
    return (ph, ph), (pw, pw)


def transpose_window(
    size: tuple[int, int], kernel: Pair, strides: Pair = 1, padding: str = "valid", dilation_rate: Pair = 1,
    output_padding: Pair | None = None,
) -> tuple[Window, tuple[int, int]]:
    """Returns the window of the convolution whose transpose maps (H, W) to (OH, OW), and (OH, OW), as in Keras.

    Without output_padding, an output size is `(n - 1)*s + max(span, s)` for "valid" and `n*s` for "same". With
    an output_padding p, it is `(n - 1)*s + span + p` for "valid" and `(n - 1)*s + span % 2 + p` for "same".
    """
    if padding not in ("valid", "same"):
        raise ValueError(f"The padding of a transposed convolution must be 'valid' or 'same'. Received: {padding!r}.")
    (sh, sw), (kh, kw) = pair(strides, "strides"), pair(kernel, "kernel_size")
    dh, dw = pair(dilation_rate, "dilation_rate")
    base = Window(kh, kw, sh, sw, dh, dw)
    if output_padding is not None:
        axes = zip(size, (base.span_h, base.span_w), (sh, sw), pair(output_padding, "output_padding", 0))
        out, sides = zip(*(_transpose_axis(*axis, crops=padding == "same") for axis in axes))
        return window(out, (kh, kw), (sh, sw), sides, (dh, dw)), out
    if padding == "same":
        out = size[0] * sh, size[1] * sw
    else:
        out = size[0] * sh + max(base.span_h - sh, 0), size[1] * sw + max(base.span_w - sw, 0)
    return window(out, (kh, kw), (sh, sw), padding, (dh, dw)), out


def _transpose_axis(n: int, span: int, stride: int, output_padding: int, crops: bool) -> tuple[int, tuple[int, int]]:
    """Returns an axis's size after a transposed convolution with this output padding, and the
    original convolution's padding (before, after) of that axis.
    """
    if output_padding >= stride:
        raise ValueError("`output_padding` must be strictly less than `strides` for all dimensions. Received: "
                         f"output_padding={output_padding} and strides={stride} for one dimension.")
    if not crops:
        return (n - 1) * stride + span + output_padding, (0, 0)
    total = span - span % 2 - output_padding  # pixels cropped from the whole (n - 1)*s + span
    before = max(total // 2, 0)
    return (n - 1) * stride + span - total, (before, max(total - before, 0))


def check_image(shape: tuple[int, ...], name: str = "x") -> tuple[int, int, int, int]:
    """Returns the four sizes of a batch of images (N, H, W, C). Raises ValueError for other ranks."""
    if len(shape) != 4:
        raise ValueError(
            f"{name} must be a batch of images with shape (N, H, W, C). Received shape {tuple(shape)} with "
            f"{len(shape)} dimension{'s' if len(shape) != 1 else ''}. {image_axes_remedy(len(shape))}"
        )
    return shape[0], shape[1], shape[2], shape[3]


def image_axes_remedy(rank: int) -> str:
    """Returns advice for an array whose rank is not that of images (N, H, W, C)."""
    if rank == 3:
        return "Add an axis with x[..., None] for images of one channel, or with x[None] for a single image."
    return "Reshape it, e.g. to (-1, 28, 28, 1) for MNIST."


def input_remedy(shape: tuple[int | None, ...], target: tuple[int | None, ...]) -> str:
    """Returns advice for arrays of this shape, for a model whose inputs have the shape `target`, batch first."""
    if len(shape) == len(target) - 1 and all(w is None or n == w for n, w in zip(shape, target[1:])):
        one = " One sample needs an axis for the batch: x[None], or X[:1] in the place of X[0]."
        return one if len(target) < 5 else (
            f"{one} A batch needs a model whose Input excludes the batch axis: Input({target[2:]}).")
    if target[-1] == 1 and shape == target[1:-1]:
        return " One image needs axes for the batch and the channels: x[None, ..., None]."
    convert = f" Convert the data, or create the model with Input({shape[1:]})."
    return axes_remedy(shape, target) or (convert if len(shape) == len(target) else "")


def axes_remedy(shape: Sequence[int | None], target: Sequence[int | None]) -> str:
    """Returns advice to convert arrays of this shape to the shape `target`, both batch first, by a transpose,
    or by a reshape that keeps neighbouring pixels together. Returns "" if neither is possible.
    """
    shape, target = tuple(shape[1:]), tuple(target[1:])
    for order in permutations(range(len(shape))) if len(shape) == len(target) <= 4 else ():
        if all(w in (None, shape[i]) for i, w in zip(order, target)):
            return f" Transpose it: x.transpose{(0, *(1 + i for i in order))}."
    if None in (*shape, *target) or prod(shape) != prod(target):  # type: ignore[arg-type]
        return ""
    lengths = [[size for size in sizes if size != 1] for sizes in (shape, target)]
    if lengths[0] != lengths[1] and min(map(len, lengths)) > 1:  # a reshape would break up the image's rows
        return ""
    advice = f" Reshape it: x.reshape{(-1, *target)}"
    if len(target) == 3 and len(shape) == 1 and target[2] != 1:
        h, w, c = target
        advice += f", or x.reshape{(-1, c, h, w)}.transpose(0, 2, 3, 1) if a row has one channel after the other"
    return advice + "."
