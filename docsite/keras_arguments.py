"""Writes the arguments and defaults of the installed Keras: `python -m docsite.keras_arguments`.

With its file, keras_arguments.json, the tables of the site can be generated without Keras. A default is stored as
Python source text; null means that the argument has no default.
"""

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
MODULES = ["", "layers", "activations", "initializers", "regularizers", "constraints", "models", "optimizers",
           "optimizers.schedules", "losses", "metrics", "callbacks", "utils", "saving", "config", "backend", "random",
           "ops",
           "ops.image", "ops.nn", "ops.numpy", "datasets", "datasets.mnist", "datasets.fashion_mnist",
           "datasets.cifar10"]
METHODS = {"models.Model": ["compile", "fit", "evaluate", "predict", "predict_on_batch", "train_on_batch",
                            "test_on_batch", "summary", "save", "save_weights", "load_weights", "get_layer", "build"],
           "models.Sequential": ["add", "pop"],
           "layers.Layer": ["add_weight", "build", "get_weights", "set_weights", "count_params"]}
NOT_PUBLIC = {"src", "version"}  # Keras's source package, and the key of the version in the file
SET = {"rank", "pool_dimensions", "pool_mode"}  # arguments of a base class that each class sets


def main() -> None:
    """Writes the file, with one entry per line."""
    keras = importlib.import_module("keras")
    found: dict[str, dict[str, Any]] = {}
    for module in MODULES:
        holder = importlib.import_module(f"keras.{module}".rstrip("."))
        for name, value in vars(holder).items():
            if name in NOT_PUBLIC:
                continue
            if inspect.ismodule(value) and name[0] != "_" and module in ("", "datasets"):
                found[f"{module}.{name}".lstrip(".")] = {}
            elif not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[f"{module}.{name}".lstrip(".")] = arguments(value)
    for owner, methods in METHODS.items():
        module, name = owner.split(".")
        kind = getattr(importlib.import_module(f"keras.{module}"), name)
        found.update({f"{owner}.{method}": arguments(getattr(kind, method)) for method in methods})
    pixels = keras.Input((1,))
    found["models.Model"] = arguments(type(keras.Model(pixels, pixels)))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(found.items()))
    FILE.write_text(f'{{\n"version": "{keras.__version__}",\n{lines}\n}}\n', encoding="utf-8")


def arguments(value: Callable) -> dict[str, Any]:
    """Returns each argument with its default as text. Includes the arguments of base classes if **kwargs passes them
    on.
    """
    try:
        signatures = [inspect.signature(value)] if not inspect.isclass(value) else [
            inspect.signature(kind.__init__) for kind in inspect.getmro(value) if "__init__" in vars(kind)]
    except (TypeError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for signature in signatures:
        parameters = signature.parameters.values()
        for p in parameters:
            if p.name not in ("self", *SET, *found) and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                found[p.name] = None if p.default is p.empty else written(p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def written(default: Any) -> str:
    """Returns a default as text; an object is represented by its class name."""
    return repr(default) if not hasattr(default, "__dict__") else type(default).__name__


if __name__ == "__main__":
    main()
