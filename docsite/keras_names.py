"""The page "Keras's names": each public name of Keras's, and whether it is there, differs, or why it is not there."""

from types import ModuleType
from typing import Any

import autoconv
from autoconv.arguments import outside
from autoconv.arguments.serialization import Registry
from docsite import keras_table, reference
from docsite.keras_arguments import MODULES

START = """# Keras's names

Every public name of Keras {version} in the modules below, compared with autoconv by a program.

- **there**: with the same arguments and defaults.
- **differs**: there, and some of Keras's arguments are not, or have another default. A refused argument is an error,
  never ignored. [Coming from Keras](keras.md) has all arguments.
- **absent**: with the reason, which is also what the error says where you ask for the name.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [START.format(version=keras_table.KERAS["version"])]
    counts = {module: _sorted_out(module) for module in MODULES if names(module)}
    rows = [f"| `{_said(module)}` | {len(there)} | {len(differs)} | {len(absent)} |"
            for module, (there, differs, absent) in counts.items()]
    parts.append("| module | there | differ | absent |\n|---|---|---|---|\n" + "\n".join(rows))
    for module, (there, differs, absent) in counts.items():
        parts.append(f"## {_said(module)}")
        if there:
            parts.append(f"There: {', '.join(f'`{name}`' for name in there)}.")
        if differs:
            rows = [f"| `{name}` | {text} |" for name, text in differs.items()]
            parts.append("| differs | how |\n|---|---|\n" + "\n".join(rows))
        if absent:
            reasons: dict[str, list[str]] = {}
            for name, reason in absent.items():
                reasons.setdefault(reason, []).append(f"`{name}`")
            rows = [f"| {', '.join(several)} | {reason} |" for reason, several in reasons.items()]
            parts.append("| absent | why, or what instead |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def names(module: str) -> list[str]:
    """Keras's public names in one of its modules."""
    start = f"{module}." if module else ""
    return [path.removeprefix(start) for path in keras_table.KERAS
            if path.startswith(start) and "." not in path.removeprefix(start) and path != "version"]


def ours(module: str) -> ModuleType:
    """Our module of that name."""
    return reference.load(module) if module else autoconv


def is_there(module: str, name: str) -> bool:
    """Whether a name of Keras's is one of ours: of a module, or a module itself."""
    return name in reference.public_names(ours(module)) or f"{module}.{name}".lstrip(".") in (
        *reference.MODULES, *MODULES)


def reason(module: str, name: str) -> str:
    """Why a name of Keras's is absent; nothing where nobody said."""
    return outside.answer(name, ours(module).__name__).strip()


def _sorted_out(module: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    there, differs, absent = [], {}, {}
    for name in names(module):
        if not is_there(module, name):
            said = reason(module, name).replace(f"autoconv has no {name}: ", "")
            absent[name] = said.replace(f"np.{name}", "NumPy's function")
        elif how := _difference(getattr(ours(module), name, None), f"{module}.{name}".lstrip(".")):
            differs[name] = how
        else:
            there.append(name)
    return there, differs, absent


def _difference(value: Any, path: str) -> str:
    """What of Keras's arguments is not there, or has another default."""
    theirs = keras_table.KERAS[path]
    if not callable(value) or not theirs or isinstance(getattr(value, "__self__", None), Registry):
        return ""
    compared = keras_table.compare(value, theirs, path)
    refused = [name for name in compared.default_alone if name != "autocast"]
    return "; ".join(f"{what} {', '.join(several)}" for what, several in (
        ("without", [f"`{name}`" for name in compared.absent]), ("Keras's default alone:", [f"`{n}`" for n in refused]),
        ("", compared.another_default)) if several).strip()


def _said(module: str) -> str:
    return f"keras.{module}".rstrip(".")
