"""The ops under their public names, on tensors. Arguments are checked here, before any kernel.

`arrays.py` has what is NumPy's elsewhere. Images are (N, H, W, C), kernels (KH, KW, C, F).
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
