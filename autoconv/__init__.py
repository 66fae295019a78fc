"""autoconv: convolutional networks you can read, with a small autograd engine, Keras's names and compiled kernels.

    import autoconv as ac
    from autoconv import layers, models, functional as F
"""

import importlib
import sys
import warnings
from typing import Any

__version__ = "0.2.0"

from .programs import starting as _starting  # noqa: F401 (must be imported first)

# isort: split
from . import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    datasets,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    models,
    nets,
    ops,
    parallel,
    random,
    regularizers,
    saving,
    utils,
)
from . import optimizers as optim
from .arguments import modules as _modules
from .engine.gradcheck import gradcheck
from .engine.symbolic import KerasTensor
from .engine.tensor import Tensor, from_dlpack, no_grad, tensor
from .engine.variable import Parameter, Variable
from .initializers import Initializer
from .kernels.device import get_num_threads, set_num_threads
from .kernels.precision import get_precision, set_precision
from .layers import Input, InputSpec, Layer
from .losses import Loss
from .metrics import Metric
from .models import Model, Sequential
from .optimizers import Optimizer
from .regularizers import Regularizer

sys.modules[f"{__name__}.tensor"] = sys.modules[f"{__name__}.engine.tensor"]  # for `from autoconv.tensor import apply`
optimizers = optim  # Keras's name; `import autoconv.optimizers` finds the same module
sys.modules[f"{__name__}.optimizers"] = optim
sys.modules[f"{__name__}.optimizers.schedules"] = sys.modules[f"{__name__}.optim.schedules"] = optim.schedules

__all__ = ["Initializer", "Input", "InputSpec", "KerasTensor", "Layer", "Loss",
           "Metric", "Model", "Optimizer", "Parameter", "Regularizer", "Sequential", "Tensor",
           "Variable", "__version__", "activations", "backend", "callbacks", "config",
           "constraints", "datasets", "from_dlpack", "functional", "get_num_threads",
           "get_precision", "gradcheck", "initializers", "layers", "losses", "metrics", "models",
           "nets", "no_grad", "ops", "optim", "optimizers", "parallel", "random", "regularizers",
           "saving", "set_num_threads", "set_precision", "tensor", "utils"]

_modules.suggest(activations, callbacks, config, constraints, datasets, datasets.cifar10,
                 datasets.digits, datasets.fashion_mnist, datasets.mnist, functional, initializers,
                 layers, losses, metrics, models, nets, ops, ops.image, ops.nn, ops.numpy, optim,
                 optim.schedules, parallel, random, regularizers, saving, utils)

sys.meta_path.append(_modules.MissingModules())
_OLD_NAMES = {"device": "kernels.device", "precision": "kernels.precision", "schedules": "optimizers.schedules",
              "shapes": "arguments.shapes", "names": "arguments.names"}  # old names of version 0.1


_LAZY_MODULES = ("formats", "pictures", "wrappers")  # imported at their first use


def __getattr__(name: str) -> Any:
    """Imports a lazy module at its first use. Finds a renamed module by its old name, with a DeprecationWarning."""
    if name in _LAZY_MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _OLD_NAMES:
        raise _modules.make_missing_error(sys.modules[__name__], name, sys._getframe(1))
    warnings.warn(f"autoconv.{name} is now autoconv.{_OLD_NAMES[name]}. Version 0.3 will remove the old name.",
                  DeprecationWarning, stacklevel=2)
    return importlib.import_module(f".{_OLD_NAMES[name]}", __name__)
