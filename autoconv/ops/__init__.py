"""Functions of tensors with the names of `keras.ops`, as code of convolutional nets uses them. All
carry gradients where there are some, and take symbolic tensors.

`numpy.py` and `arranging.py` have NumPy's functions, `nn.py` those of nets, `image.py` those of
images.
"""

from . import image, math, nn, numpy
from .core import cast, convert_to_numpy, convert_to_tensor, dtype, is_tensor, shape, stop_gradient
from .math import *  # noqa: F403
from .nn import *  # noqa: F403
from .numpy import *  # noqa: F403

__all__ = ["cast", "convert_to_numpy", "convert_to_tensor", "dtype", "image", "is_tensor", "nn",
           "numpy", "shape", "stop_gradient", *math.__all__, *nn.__all__, *numpy.__all__]
