"""Suggests the closest name when a module does not have the requested one."""

import dis
import sys
from functools import partial
from types import FrameType, ModuleType
from typing import Any, NoReturn

from . import outside
from .names import suggestion


def suggest(*modules: ModuleType) -> None:
    """Makes these modules suggest a name in the errors of `module.name` and `from module import
    name`. If a module defines `__getattr__`, that function must itself call `make_missing_error`.
    """
    def raise_missing(module: ModuleType, name: str) -> NoReturn:
        raise make_missing_error(module, name, sys._getframe(1))

    for module in modules:
        # A partial has no frame of its own, so frame 1 belongs to the code that looks up the name.
        vars(module).setdefault("__getattr__", partial(raise_missing, module))


def make_missing_error(module: ModuleType, name: str, frame: FrameType) -> AttributeError | ImportError:
    """Returns the error for a name that the module lacks. frame: the frame of the code that looks up the name.

    It is an ImportError for `from module import name`, where Python discards the message of an AttributeError.
    """
    public = vars(module).get("__all__") or [
        key for key, value in vars(module).items()
        if key[0] != "_" and getattr(value, "__module__", None) == module.__name__]
    text = outside.answer(name, module.__name__) or f"{suggestion(name, public)} It has: {', '.join(sorted(public))}."
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM":
        return ImportError(f"cannot import name {name!r} from {module.__name__!r}.{text}", name=module.__name__)
    return AttributeError(f"module {module.__name__!r} has no attribute {name!r}.{text}", name=name)


class MissingModules:
    """An import finder that Python calls last. For modules that autoconv lacks, it raises errors with advice."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raises ModuleNotFoundError for a missing module of autoconv, if there is advice for its name."""
        package, _, last = name.rpartition(".")
        if package.partition(".")[0] == "autoconv" and package in sys.modules:
            modules = [each for each, value in vars(sys.modules[package]).items() if isinstance(value, ModuleType)]
            hint = outside.answer(last, package) or suggestion(last, modules)
            if hint:
                raise ModuleNotFoundError(f"No module named {name!r}.{hint}", name=name)


class NoAttributeError(AttributeError):
    """Raised if an object has no attribute of this name. The closest name is determined only when
    the message is shown, because `hasattr` does not need it.
    """

    def __init__(self, owner: Any, name: str, hint: str = "") -> None:
        super().__init__(name=name)
        self._owner, self._name, self._hint = owner, name, hint

    def __str__(self) -> str:
        public = [each for each in dir(type(self._owner)) if not each.startswith("_")]
        advice = outside.answer(self._name, type(self._owner).__name__) or suggestion(self._name, public)
        return f"{type(self._owner).__name__!r} object has no attribute {self._name!r}.{self._hint}{advice}"

    def __reduce__(self) -> Any:
        return AttributeError, (str(self),)
