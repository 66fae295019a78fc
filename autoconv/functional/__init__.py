"""The ops under their public names, on tensors. Arguments are checked here, before any kernel runs.

`nn.py` has what nets are made of, `activations.py` activation functions, `losses.py` losses,
`image.py` what moves images, `arrays.py` what is NumPy's elsewhere. Images are
(N, H, W, C), kernels (KH, KW, C, F).
"""

from . import activations, arrays, image, losses, nn, norms
from .activations import *  # noqa: F403
from .arrays import *  # noqa: F403
from .image import *  # noqa: F403
from .losses import *  # noqa: F403
from .nn import *  # noqa: F403
from .norms import *  # noqa: F403

__all__ = sorted(name for module in (activations, arrays, image, losses, nn, norms) for name in module.__all__)
