"""Functions of tensors with the names of `keras.ops`, as code of convolutional nets uses them. All carry gradients
where there are some, and take symbolic tensors too.

`numpy.py` has NumPy's functions, `nn.py` those of nets, `image.py` those of images. The functions themselves, with
gradients checked, are those of `autoconv.functional`.
"""

from . import image, nn, numpy
from .core import cast, convert_to_numpy, convert_to_tensor, dtype, is_tensor, shape, stop_gradient
from .nn import *  # noqa: F403
from .numpy import *  # noqa: F403

__all__ = [
    "cast", "convert_to_numpy", "convert_to_tensor", "dtype", "image", "is_tensor", "nn", "numpy", "shape",
    "stop_gradient", *nn.__all__, *numpy.__all__,
]
