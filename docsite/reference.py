"""Generates the API reference: a page for each public module, a heading for each of its names.

mkdocstrings adds the docstrings.
"""

import importlib
import inspect
from functools import cache
from types import ModuleType
from typing import Any

from autoconv.arguments.serialization import Registry

MODULES = {  # module -> title, in the order of the site
    "models": "Models", "layers": "Layers", "optimizers": "Optimizers", "optimizers.schedules": "Schedules",
    "losses": "Losses", "metrics": "Metrics", "activations": "Activations", "regularizers": "Regularizers",
    "constraints": "Constraints", "callbacks": "Callbacks", "datasets": "Data sets", "utils": "Utilities",
    "pictures": "Pictures", "pictures.grids": "Grids of numbers", "initializers": "Initializers",
    "functional": "Functions on tensors", "ops": "keras.ops", "saving": "Saving", "config": "Settings",
    "backend": "keras.backend", "random": "Random", "nets": "Built-in nets", "parallel": "Several processes",
    "formats": "Files and PyTorch", "wrappers": "scikit-learn",
}
TOP = ["Tensor", "Parameter", "tensor", "no_grad", "from_dlpack", "gradcheck", "set_precision", "get_precision",
       "set_num_threads", "get_num_threads"]
HIDDEN = {"metrics.check", "callbacks.Logs", "initializers.fans"}  # used between modules


def pages() -> dict[str, str]:
    """Returns the text of each page by its path."""
    top = "\n\n".join(f"::: autoconv.{name}" for name in TOP)
    rows = "\n".join(f"| [`autoconv.{name}`]({_file(name)}) | {_first_line(name)} |" for name in MODULES)
    index = ("# API reference\n\nA name that also exists in Keras has Keras's signature and defaults. "
             "[Coming from Keras](../keras.md) compares them argument by argument.\n\n"
             f"| module | |\n|---|---|\n{rows}\n\n## The package itself\n\n{top}\n")
    return {"api/index.md": index, **{f"api/{_file(name)}": _page(name, title) for name, title in MODULES.items()}}


def sources() -> dict[str, str]:
    """Maps the files and folders of the package to their reference pages, by the paths that links in the project use.
    """
    found = {"autoconv": "api/index.md"}
    for name in MODULES:
        path = f"autoconv/{name.replace('.', '/')}"
        found[path if hasattr(load(name), "__path__") else f"{path}.py"] = f"api/{_file(name)}"
    return found


def public_names(module: ModuleType) -> list[str]:
    """Returns the public names of a module: those in `__all__`, or the names defined in it without a leading
    underscore.
    """
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items()
                 if not name.startswith("_") and (getattr(value, "__module__", None) == module.__name__
                                                  or isinstance(getattr(value, "__self__", None), Registry))]
    short = module.__name__.removeprefix("autoconv.")
    return [name for name in names if callable(getattr(module, name)) and f"{short}.{name}" not in HIDDEN]


def load(name: str) -> ModuleType:
    """Imports and returns the public module of that name."""
    return importlib.import_module(f"autoconv.{name}")


def _page(name: str, title: str) -> str:
    module = load(name)
    others, shown = {}, {}  # a class may have several names
    for item in public_names(module):
        value = getattr(module, item)
        first = getattr(value, "__name__", item)
        (others if first != item and first in vars(module) else shown)[item] = first
    parts = [f"# {title}\n\n`autoconv.{name}`: {inspect.getdoc(module)}"]
    if others:
        parts.append("Other names: " + ", ".join(f"`{other}` is `{item}`" for other, item in others.items()) + ".")
    return "\n\n".join([*parts, *(_entry(module, item) for item in shown)]) + "\n"


def _entry(module: ModuleType, item: str) -> str:
    """Returns the entry for a name of a module. Includes members that a class inherits from undocumented classes, and
    methods that are functions defined elsewhere.
    """
    names = "".join(f"\n        - {name}" for name in inherited(getattr(module, item)))
    entry = f"::: {_place(module, item)}" + (f"\n    options:\n      inherited_members:{names}" if names else "")
    return "\n\n".join([entry, *(f"::: {place}\n    options:\n      heading_level: 3"
                                  for place in forwarded(getattr(module, item)))])


def forwarded(value: Any) -> list[str]:
    """Returns the full names of a class's methods that are functions of another class or file."""
    names = [name for name in vars(value) if not name.startswith("_")] if inspect.isclass(value) else []
    return [f"{member.__module__}.{member.__qualname__}" for member in (getattr(value, name) for name in names)
            if inspect.isfunction(member)
            and member.__module__.startswith("autoconv.")
            and not member.__qualname__.startswith(f"{value.__qualname__}.")]


def inherited(value: Any) -> list[str]:
    """Returns the methods and properties that a class inherits from autoconv's classes that are on no page."""
    above = value.__mro__[1:] if inspect.isclass(value) else ()
    shown = [value, *(of for of in above if of in _classes())]
    hidden = [of for of in above if of.__module__.startswith("autoconv.") and of not in shown
              and f"{of.__module__}.{of.__qualname__}".removeprefix("autoconv.") not in HIDDEN]
    return list(dict.fromkeys(
        name for of in hidden for name, member in vars(of).items()
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
        and inspect.getdoc(member) and not any(hasattr(one, name) for one in shown[1:]) and name not in vars(value)))


@cache
def _classes() -> set[Any]:
    """Returns all classes that are documented on a page."""
    modules = [load(name) for name in MODULES]
    everything = (getattr(module, name) for module in modules for name in public_names(module))
    return {value for value in everything if inspect.isclass(value)}


def _place(module: ModuleType, item: str) -> str:
    """Returns the full name of the place where the name is defined."""
    value = getattr(module, item)
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{module.__name__}.{item}"


def _file(name: str) -> str:
    return f"{name.replace('.', '-')}.md"


def _first_line(name: str) -> str:
    return (inspect.getdoc(load(name)) or "").split("\n")[0]
