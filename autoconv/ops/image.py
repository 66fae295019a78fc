"""Images (N, H, W, C) moved and resized, as `keras.ops.image` has it."""

from ..functional import affine_transform, resize

__all__ = ["affine_transform", "resize"]
