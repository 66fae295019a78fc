"""Defines formulas for single numbers; the kernels of both devices compile the same formulas."""

from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any


def compile_formulas(formulas: ModuleType, inline: Callable) -> Any:
    """Compiles a module's functions with `inline`. Each one may call the functions above it."""
    names = dict(vars(formulas))
    for name, function in vars(formulas).items():
        if isinstance(function, FunctionType) and function.__module__ == formulas.__name__:
            names[name] = inline(FunctionType(function.__code__, names, name))
    return SimpleNamespace(**names)
