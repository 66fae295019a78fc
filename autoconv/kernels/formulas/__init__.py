"""Formulas of single numbers, written once: the kernels of both devices compile them, each for itself."""

from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any


def compiled(formulas: ModuleType, inline: Callable) -> Any:
    """Compiles a file's functions by a device's `inline`. Each may call those above it."""
    names = dict(vars(formulas))
    for name, function in vars(formulas).items():
        if isinstance(function, FunctionType) and function.__module__ == formulas.__name__:
            names[name] = inline(FunctionType(function.__code__, names, name))
    return SimpleNamespace(**names)
