"""Computes the size of a peer on disk, including all its dependencies."""

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path


def count_bytes(names: Iterable[str]) -> int:
    """Returns the total bytes of these distributions and all their installed dependencies. Each
    distribution is counted once.
    """
    return sum(_size(package) for package in closure(names).values())


def closure(names: Iterable[str]) -> dict[str, Distribution]:
    """Returns these distributions and all their installed dependencies, by name. Dependencies that
    only an extra requires are left out.
    """
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # the dependency is for another system or Python version
            continue
        needs = [need for need in found[name].requires or () if not re.search(r"\bextra\s*==", need)]
        waiting += [match[0] for need in needs if (match := re.match(r"[\w.-]+", need))]
    return found


def _size(package: Distribution) -> int:
    files = [Path(str(package.locate_file(f))) for f in package.files or ()]
    name = _normal(package.metadata["Name"]).replace("-", "_")
    inside = any(f.parent.name == name or name in f.parts for f in package.files or () if f.suffix == ".py")
    spec = None if inside else find_spec(name)
    # an editable installation lists only a link to the package's source files
    if spec is not None and spec.submodule_search_locations and not inside:
        folder = Path(next(iter(spec.submodule_search_locations)))
        files += [f for f in folder.rglob("*") if "__pycache__" not in f.parts]
    return sum(f.stat().st_size for f in set(files) if f.is_file())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
