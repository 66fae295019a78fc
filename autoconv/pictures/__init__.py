"""Pictures: image kernels, what a net's layers see, and pictures as nets take them."""

from .kernels import KERNELS, convolve, filter

__all__ = ["KERNELS", "convolve", "filter"]
