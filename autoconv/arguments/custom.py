"""Classes and functions of a user's own that files and configurations name: registered once, or for a block of code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from . import names

registered: dict[str, Any] = {}  # by "package>name"
_names: dict[Any, str] = {}  # of what is registered
_scope: ContextVar[Mapping[str, Any]] = ContextVar("custom objects", default=MappingProxyType({}))


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """A decorator: the class or function is found by "package>name" in every file that is loaded from then on.

    Raises ValueError for a class without get_config.
    """

    def decorate(thing: Any) -> Any:
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(f"Cannot register a class that does not have a get_config() method. Received: {thing!r}.")
        full = f"{package}>{name or thing.__name__}"
        registered[full] = thing
        _names[thing] = full
        return thing

    return decorate


def name_of(thing: Any) -> str:
    """The name under which a class or function is written: the registered one, or its own."""
    try:
        return _names.get(thing) or thing.__name__
    except (TypeError, AttributeError):  # it has no hash, or no name
        return type(thing).__name__


@contextmanager
def custom_object_scope(*objects: Mapping[str, Any]) -> Iterator[None]:
    """Within the block these names, too, are known."""
    found: dict[str, Any] = dict(_scope.get())
    for each in objects:
        found.update(each)
    token = _scope.set(found)
    try:
        yield
    finally:
        _scope.reset(token)


def known(own: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All names that can be meant: `own`, autoconv's; those registered and of the scope; and those `given`."""
    return {**own, **everywhere(), **(given or {})}


def by_full_name() -> dict[str, Any]:
    """What is registered and of the scope, by the names under which it was."""
    return {**registered, **_scope.get()}


def everywhere() -> dict[str, Any]:
    """What is registered and of the scope, by its names; what is registered by its class's name as well."""
    short = {full.rpartition(">")[2]: thing for full, thing in registered.items()}
    return {**short, **registered, **_scope.get()}


def find(kind: str, name: Any, own: Mapping[str, Any]) -> Any:
    """What a name means: one of `own`, or of a user's. Raises ValueError that says what `kind` of thing is unknown."""
    try:
        return names.lookup(kind, name, known(own) if isinstance(name, str) and name not in own else own)
    except ValueError as error:
        what = {"activation": "activation function"}.get(kind, kind)
        raise ValueError(f"Could not interpret {what} identifier: {name}. {error}") from None


class UnknownClassError(ValueError, TypeError):
    """A configuration names a class that nobody knows. Keras raises the one or the other."""


def to_config(thing: Any) -> dict[str, Any]:
    """An object as plain data: its class and what `get_config` says."""
    return {"class_name": name_of(type(thing)), "config": thing.get_config()}


def to_keras_config(thing: Any, module: str) -> dict[str, Any]:
    """`to_config` with what Keras writes beside it: the module of its classes, the name under which yours is found."""
    own = type(thing).__module__.startswith("autoconv.")
    return {"module": module if own else None, "class_name": type(thing).__name__, "config": thing.get_config(),
            "registered_name": None if own else name_of(type(thing))}


def function_to_config(function: Any) -> dict[str, Any]:
    """A function as plain data, in Keras's form: the name under which it is found."""
    return {"module": "builtins", "class_name": "function", "config": name_of(function), "registered_name": "function"}


def function_name(config: Any) -> Any:
    """The name in what `function_to_config` wrote; anything else as it is."""
    return config["config"] if isinstance(config, Mapping) and config.get("class_name") == "function" else config


def from_config(kind: str, config: Mapping[str, Any], own: Mapping[str, Any],
                given: Mapping[str, Any] | None = None) -> Any:
    """The object that `to_config` wrote. Raises ValueError for a class that nobody knows."""
    if not isinstance(config, Mapping) or not {"class_name", "config"} <= set(config):
        raise ValueError(f"The configuration of a {kind} is a dict with class_name and config. Received: {config!r}.")
    every = known(own, given)
    name = config.get("registered_name")
    return names.lookup(kind, name if name in every else config["class_name"], every).from_config(config["config"])
