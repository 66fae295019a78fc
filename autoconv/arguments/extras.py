"""Optional libraries, which are imported only when a function needs them."""

from importlib import import_module
from typing import Any


class ExtraError(ImportError):
    """Raised if an optional library is not installed. The message names the pip extra that installs it."""


def load(module: str, library: str, extra: str, feature: str) -> Any:
    """Imports and returns a module. Raises ExtraError with the pip command if its optional library is missing."""
    try:
        return import_module(module)
    except ImportError:
        raise ExtraError(f"{feature} needs {library}, which is not installed. Install it with pip "
                         f"install 'autoconv[{extra}]'.") from None
