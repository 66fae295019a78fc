"""Defines formulas for single numbers, from which both devices' kernels are compiled."""

from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any


def compile_formulas(formulas: ModuleType, inline: Callable, **replacements: Callable) -> Any:
    """Compiles each function of a module with `inline` and returns them as a namespace. A function
    may call the functions that are defined above it. `replacements` take the place of names in the
    module.
    """
    names = vars(formulas) | replacements
    for name, function in vars(formulas).items():
        is_own = isinstance(function, FunctionType) and function.__module__ == formulas.__name__
        if is_own and name not in replacements:
            names[name] = inline(FunctionType(function.__code__, names, name))
    return SimpleNamespace(**names)


def load_elementary() -> ModuleType:
    """Returns the module of exp, cos, powers and so on, which have the same bits on every processor,
    unlike Python's. It is imported when this function is called, because it imports Numba.
    """
    from . import elementary

    return elementary
