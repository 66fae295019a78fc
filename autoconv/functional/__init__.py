"""The public functions on tensors. Each function checks its arguments before any kernel runs.

`arrays.py` contains counterparts of NumPy's functions. Images are (N, H, W, C), kernels (KH, KW, C,
F).
"""

from . import activation_functions, arrays, image_functions, layer_functions, loss_functions, norms
from .activation_functions import *  # noqa: F403
from .arrays import *  # noqa: F403
from .image_functions import *  # noqa: F403
from .layer_functions import *  # noqa: F403
from .loss_functions import *  # noqa: F403
from .norms import *  # noqa: F403

__all__ = sorted(name for module in (activation_functions, arrays, image_functions, layer_functions,
                                     loss_functions, norms) for name in module.__all__)
