"""Functions on tensors with the names of `keras.ops`, limited to those that convolutional nets use.

They accept symbolic tensors, and differentiable functions pass gradients on. `numpy.py` and `arranging.py` contain
NumPy's functions, `nn.py` the functions of neural nets and `image.py` the functions on images.
"""

from . import image, math, nn, numpy
from .core import cast, convert_to_numpy, convert_to_tensor, dtype, is_tensor, shape, stop_gradient
from .math import *  # noqa: F403
from .nn import *  # noqa: F403
from .numpy import *  # noqa: F403

__all__ = ["cast", "convert_to_numpy", "convert_to_tensor", "dtype", "image", "is_tensor", "nn",
           "numpy", "shape", "stop_gradient", *math.__all__, *nn.__all__, *numpy.__all__]
