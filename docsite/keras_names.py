"""Writes the page "Keras's names": which public names of Keras autoconv has, and why the others are missing."""

from types import ModuleType
from typing import Any

import autoconv
from autoconv.arguments import outside
from autoconv.arguments.serialization import Registry
from docsite import keras_table, reference
from docsite.keras_arguments import MODULES

START = """# Keras's names

This page lists every public name of the Keras {version} modules below. A program compares them with autoconv.

- **available**: the name exists in autoconv, with the same arguments and defaults.
- **different**: the name exists, but some of Keras's arguments are missing, or an argument has a different default.
  autoconv raises an error for an argument that it does not support, and never ignores it.
  [Coming from Keras](keras.md) compares all arguments.
- **missing**: the name does not exist. The table gives the reason or an alternative. The error message for the name
  gives the same text.
"""


def page() -> str:
    """Returns the page as Markdown."""
    parts = [START.format(version=keras_table.KERAS["version"])]
    counts = {module: _sorted_out(module) for module in MODULES if names(module)}
    rows = [f"| `{_said(module)}` | {len(there)} | {len(differs)} | {len(absent)} |"
            for module, (there, differs, absent) in counts.items()]
    parts.append("| module | available | different | missing |\n|---|---|---|---|\n" + "\n".join(rows))
    for module, (there, differs, absent) in counts.items():
        parts.append(f"## {_said(module)}")
        if there:
            parts.append(f"Available: {', '.join(f'`{name}`' for name in there)}.")
        if differs:
            rows = [f"| `{name}` | {text} |" for name, text in differs.items()]
            parts.append("| different | in autoconv |\n|---|---|\n" + "\n".join(rows))
        if absent:
            reasons: dict[str, list[str]] = {}
            for name, reason in absent.items():
                reasons.setdefault(reason, []).append(f"`{name}`")
            rows = [f"| {', '.join(several)} | {reason} |" for reason, several in reasons.items()]
            parts.append("| missing | reason or alternative |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def names(module: str) -> list[str]:
    """Returns the public names of one of Keras's modules."""
    start = f"{module}." if module else ""
    return [path.removeprefix(start) for path in keras_table.KERAS
            if path.startswith(start) and "." not in path.removeprefix(start) and path != "version"]


def ours(module: str) -> ModuleType:
    """Returns autoconv's module of that name."""
    return reference.load(module) if module else autoconv


def is_there(module: str, name: str) -> bool:
    """Whether a name of Keras exists in autoconv, in the module or as a module itself."""
    return name in reference.public_names(ours(module)) or f"{module}.{name}".lstrip(".") in (
        *reference.MODULES, *MODULES)


def reason(module: str, name: str) -> str:
    """Returns why a name of Keras is missing, or what to use instead; "" if no reason is recorded."""
    return outside.answer(name, ours(module).__name__).strip()


def _sorted_out(module: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    there, differs, absent = [], {}, {}
    for name in names(module):
        if not is_there(module, name):
            absent[name] = reason(module, name).replace(f"np.{name}", "NumPy's function")
        elif how := _difference(getattr(ours(module), name, None), f"{module}.{name}".lstrip(".")):
            differs[name] = how
        else:
            there.append(name)
    return there, differs, absent


def _difference(value: Any, path: str) -> str:
    """Describes which of Keras's arguments are missing, or have a different default."""
    theirs = keras_table.KERAS[path]
    if not callable(value) or not theirs or isinstance(getattr(value, "__self__", None), Registry):
        return ""
    compared = keras_table.compare(value, theirs, path)
    refused = [name for name in compared.default_alone if name != "autocast"]
    return "; ".join(f"{what} {', '.join(several)}" for what, several in (
        ("without", [f"`{name}`" for name in compared.absent]),
        ("accepts only Keras's default for", [f"`{name}`" for name in refused]),
        ("", compared.another_default)) if several).strip()


def _said(module: str) -> str:
    return f"keras.{module}".rstrip(".")
