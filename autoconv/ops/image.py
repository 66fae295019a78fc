"""Functions of `keras.ops.image`, which transform, resize, crop and pad images (N, H, W, C)."""

from ..engine.tensor import Tensor
from ..functional import affine_transform, pad, resize
from ..functional.layer_functions import TensorLike
from .core import accept_any_tensor, check_channels_last, operand

__all__ = ["affine_transform", "crop_images", "pad_images", "resize", "rgb_to_grayscale"]


def rgb_to_grayscale(images: TensorLike, data_format: str | None = None) -> Tensor:
    """Converts images (..., 3) to grey (..., 1): 0.2989 red + 0.587 green + 0.114 blue."""
    check_channels_last(data_format)
    images = operand(images)
    if images.shape[-1] != 3:
        raise ValueError(f"images must have three channels, red, green and blue. Received shape: {images.shape}.")
    red, green, blue = (images[..., i : i + 1] for i in range(3))
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def pad_images(images: TensorLike, top_padding: int | None = None, left_padding: int | None = None,
               bottom_padding: int | None = None, right_padding: int | None = None,
               target_height: int | None = None, target_width: int | None = None,
               data_format: str | None = None) -> Tensor:
    """Pads images (N, H, W, C) or (H, W, C) with zeros. Pass two of top_padding, bottom_padding and
    target_height, and two of left_padding, right_padding and target_width.
    """
    check_channels_last(data_format)
    images = operand(images)
    height, width = images.shape[-3:-1]
    rows = _sides("top_padding", top_padding, "bottom_padding", bottom_padding, "target_height", target_height, height)
    columns = _sides("left_padding", left_padding, "right_padding", right_padding, "target_width", target_width, width)
    return pad(images, (*((0, 0),) * (len(images.shape) - 3), rows, columns, (0, 0)))


def crop_images(images: TensorLike, top_cropping: int | None = None,
                left_cropping: int | None = None, bottom_cropping: int | None = None,
                right_cropping: int | None = None, target_height: int | None = None,
                target_width: int | None = None, data_format: str | None = None) -> Tensor:
    """Crops images (N, H, W, C) or (H, W, C). Pass two of top_cropping, bottom_cropping and
    target_height, and two of left_cropping, right_cropping and target_width.
    """
    check_channels_last(data_format)
    images = operand(images)
    height, width = images.shape[-3:-1]
    top, bottom = _sides("top_cropping", top_cropping, "bottom_cropping", bottom_cropping,
                         "target_height", target_height, height, -1)
    left, right = _sides("left_cropping", left_cropping, "right_cropping", right_cropping,
                         "target_width", target_width, width, -1)
    return images[..., top : height - bottom, left : width - right, :]


def _sides(first_name: str, first: int | None, last_name: str, last: int | None, whole_name: str,
           whole: int | None, size: int, sign: int = 1) -> tuple[int, int]:
    """Returns the padding before and after an axis, from two of three numbers; if `sign` is -1, the cropping."""
    if [first, last, whole].count(None) != 1:
        raise ValueError(f"Must specify exactly two of {first_name}, {last_name}, {whole_name}. Received: "
                         f"{first_name}={first}, {last_name}={last}, {whole_name}={whole}.")
    change = 0 if whole is None else sign * (whole - size)
    start = change - (last or 0) if first is None else first
    end = change - start if last is None else last
    if start < 0 or end < 0:
        raise ValueError(f"{first_name} and {last_name} must be at least 0, also if computed from "
                         f"{whole_name}. Received: {first_name}={first}, {last_name}={last}, "
                         f"{whole_name}={whole} for an image size of {size}.")
    return start, end


accept_any_tensor(globals(), __all__)
