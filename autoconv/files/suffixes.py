"""Checks the names of model files."""

import os
from pathlib import Path

SUFFIXES = (".safetensors", ".keras", ".h5", ".hdf5")


def check(filepath: str | os.PathLike[str], weights_only: bool = False) -> str:
    """Returns a model or weights file's suffix. Raises ValueError for an unsupported suffix."""
    path = Path(filepath)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"The name of a model file must end in one of {', '.join(SUFFIXES)}. Received: {str(path)!r}.")
    if weights_only and path.suffix != ".safetensors" and not path.name.endswith(".weights.h5"):
        raise ValueError("The name of a weights file must end in .weights.h5 or .safetensors. "
                         f"Received: {str(path)!r}.")
    if not weights_only and path.name.endswith(".weights.h5"):
        raise ValueError(f"A .weights.h5 file contains no model. Received: {str(path)!r}. Use "
                         "save_weights and load_weights, or choose another name.")
    return path.suffix
