"""Optional libraries, which are imported only when a function needs them."""

from importlib import import_module
from typing import Any


class ExtraError(ImportError):
    """A library that only some functions need is not installed; the message names the extra that brings it."""


def load(module: str, library: str, extra: str, feature: str) -> Any:
    """Imports a module of an optional library. Raises ExtraError, which names the user and the pip command."""
    try:
        return import_module(module)
    except ImportError:
        raise ExtraError(f"{feature} needs {library}, which is not installed: "
                         f"pip install 'autoconv[{extra}]'.") from None
