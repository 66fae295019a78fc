"""Converts objects to plain data in Keras's form, and back. Registers the classes and functions of users.

An object becomes `{"module": ..., "class_name": ..., "config": ..., "registered_name": ...}`. Plain data contain no
code: a user's class or function is found by name if it is registered, in a scope, or in `custom_objects`.
"""

import inspect
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import EllipsisType, MappingProxyType
from typing import Any

import numpy as np

from ..engine.versions import contents
from . import names
from .keywords import UnknownArgumentError

_OBJECT_KEYS = {"module", "class_name", "config", "registered_name", "build_config", "compile_config"}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

registered_objects: dict[str, Any] = {}  # users' objects, keyed by "package>name"
_registered_names: dict[Any, str] = {}
_scope: ContextVar[Mapping[str, Any]] = ContextVar("custom objects", default=MappingProxyType({}))
_written_objects: ContextVar[dict[str, Any] | None] = ContextVar("written objects", default=None)
_registries: list["Registry"] = []


class UnknownClassError(ValueError, TypeError):
    """Raised for an unknown class or function in a configuration. As in Keras, it is a ValueError and a TypeError."""


# Classes and functions of users.


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Returns a decorator that registers a class or function as "package>name" for `load_model` and `deserialize`.

    The decorator raises ValueError for a class without get_config.
    """

    def decorate(obj: Any) -> Any:
        if isinstance(obj, type) and not hasattr(obj, "get_config"):
            raise ValueError(f"Cannot register a class that does not have a get_config() method. Received: {obj!r}.")
        full = f"{package}>{name or obj.__name__}"
        registered_objects[full] = obj
        _registered_names[obj] = full
        return obj

    return decorate


def get_custom_objects() -> dict[str, Any]:
    """Returns the registered objects by name. Objects added to this dict are registered, too."""
    return registered_objects


def get_registered_name(obj: Any) -> str:
    """Returns the name under which a class or function is saved: the registered name, or else `__name__`."""
    try:
        name = _registered_names.get(obj) or obj.__name__
    except (TypeError, AttributeError):  # an unhashable object, or one without a name
        return type(obj).__name__
    objects = _written_objects.get()
    if objects is not None:
        objects[name] = obj
    return name


@contextmanager
def collect_written_objects() -> Iterator[dict[str, Any]]:
    """Collects the classes and functions that are serialized inside a `with` block. Yields them by name."""
    objects: dict[str, Any] = {}
    token = _written_objects.set(objects)
    try:
        yield objects
    finally:
        _written_objects.reset(token)


@contextmanager
def custom_object_scope(*objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Registers more classes and functions, by name, inside a `with` block."""
    scope: dict[str, Any] = dict(_scope.get())
    for each in objects:
        scope.update(each or {})
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def known_objects() -> dict[str, Any]:
    """Returns all registered and scoped objects by name. Registered names also work without their package."""
    short = {full.rpartition(">")[2]: obj for full, obj in registered_objects.items()}
    return {**short, **registered_objects, **_scope.get()}


def get_registered_object(name: str, custom_objects: Mapping[str, Any] | None = None,
                          module_objects: Mapping[str, Any] | None = None) -> Any:
    """Returns the class or function with this name, or None. Searches `module_objects` last."""
    return {**(module_objects or {}), **registered_objects, **_scope.get(), **(custom_objects or {})}.get(name)


# One registry per kind.


class Registry:
    """All objects of one kind, such as losses: autoconv's classes, and the names that `get` accepts.

    kind: the word for the objects in error messages. module: the Keras module of the classes. base: the classes' base
    class. names: short names and functions. `get`, `serialize` and `deserialize` work as in Keras.
    """

    def __init__(self, kind: str, module: str, base: Any = (), classes: Mapping[str, Any] = MappingProxyType({}),
                 names: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.kind, self.module, self.base = kind, module, base
        self.classes, self.names = dict(classes), dict(names)
        _registries.append(self)

    def find(self, name: Any) -> Any:
        """Returns the class or function with this name. Raises ValueError, which suggests the closest name."""
        if isinstance(name, str):
            for objects in (self.names, self.classes, known_objects()):
                if name in objects:
                    return objects[name]
        objects = {**(self.names or self.classes), **known_objects()}
        raise ValueError(f"Could not interpret {self.kind} identifier: {name!r}.{names.known_names(name, objects)}")

    def get(self, identifier: Any) -> Any:
        """Returns the object for a name, configuration or class. Returns None, functions and objects unchanged."""
        if isinstance(identifier, Mapping):
            return self.deserialize(identifier)
        if isinstance(identifier, str) or not (
                identifier is None or callable(identifier) or isinstance(identifier, self.base)):
            identifier = self.find(identifier)
        return identifier() if isinstance(identifier, type) else identifier

    def serialize(self, obj: Any) -> Any:
        """Returns an object or a function as plain data, in Keras's form."""
        return serialize(obj)

    def deserialize(self, config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Creates the object from the result of `serialize`. custom_objects: your classes and functions by name.

        Raises ValueError for unknown names.
        """
        with custom_object_scope(custom_objects):
            if isinstance(config, Mapping) and config.get("class_name") == "function":
                config = config["config"]
            if not isinstance(config, Mapping):
                return self.get(config)
            if "class_name" not in config:
                raise ValueError(f"Each {self.kind} configuration must be a dict with the key "
                                 f"'class_name'. Received: {config!r}.")
            return _create_object({"config": {}, **config}, self)


def find_registry(cls: type) -> Registry | None:
    """Returns the registry of an autoconv class; None for a user's class."""
    return next((one for one in _registries if one.classes.get(cls.__name__) is cls), None)


def get_registry(kind: str) -> Registry:
    """Returns the registry of a kind of object, such as "initializer"."""
    return next(one for one in _registries if one.kind == kind)


# Objects that their constructor arguments describe.


class ConfigurableMeta(ABCMeta):
    """The metaclass of `Configurable`. It records the constructor's arguments, and for a user's
    class also the attributes after construction.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            obj = super().__call__(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # from the constructor itself, not from Python's check of the arguments
            known = list(cls.config_parameters())  # type: ignore[attr-defined]
            unknown = next((name for name in kwargs if name not in known), None)
            advice = "" if unknown is None else names.suggestion(unknown, known)
            advice = advice or f" The arguments of {cls.__name__} are {', '.join(known)}."
            raise UnknownArgumentError(f"{error}.{advice}") from None
        attributes = {} if find_registry(cls) else {
            name: attribute(obj, name) for name in obj.config_parameters()}
        recipe = vars(obj).get("_recipe", (args, tuple(kwargs.items())))
        vars(obj)["_recipe"] = *recipe[:2], tuple(
            (name, contents(value)) for name, value in attributes.items() if value is not MISSING)
        return obj


class Configurable(metaclass=ConfigurableMeta):
    """An object that its constructor arguments describe: `from_config(get_config())` creates an
    equal object.

    The configuration of an autoconv object has the current attribute for each argument, or else the
    value that was passed. A user's class may transform its arguments. Its configuration has the
    arguments that were passed, and the current attributes for arguments whose attributes changed
    after construction.
    """

    # Positional arguments, (name, argument) pairs, and (name, contents) pairs for a user's
    # attributes. A constructor may set `_recipe`, so that its arguments are not kept.
    _recipe: tuple

    @classmethod
    def config_parameters(cls) -> dict[str, inspect.Parameter]:
        """Returns the constructor's parameters by name; if it accepts **kwargs, also those of the base class."""
        return constructor_parameters(cls)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data, without arguments that a user's `get_config` adds itself.

        Raises ValueError for values without a plain form, such as a lambda.
        """
        missing = subclass_arguments(type(self))  # type: ignore[arg-type]
        return {name: self._plain(name, value) for name, value in self._arguments().items() if name not in missing}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Creates an object from a result of `get_config`."""
        return cls(**deserialize(config))

    def _plain(self, name: str, value: Any) -> Any:
        return serialize(value)

    def _arguments(self) -> dict[str, Any]:
        args, kwargs, attributes = self._recipe
        parameters = self.config_parameters()
        varargs = inspect.getfullargspec(type(self).__init__).varargs
        if varargs and args:
            raise NotImplementedError(f"{type(self).__name__} has the argument *{varargs}, which the default "
                                      "get_config() cannot store. Define get_config() in the class.")
        arguments = {**dict(zip(parameters, args)), **dict(kwargs)}
        if find_registry(type(self)) is None:
            values = {name: attribute(self, name) for name, _ in attributes}
            return {**arguments, **{name: values[name] for name, old in attributes if contents(values[name]) != old}}
        values = {name: attribute(self, name, arguments.get(name, parameters[name].default)) for name in parameters}
        return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}


MISSING = object()


def attribute(obj: Any, name: str, default: Any = MISSING) -> Any:
    """Returns the value of an attribute that can be set, or `default` if there is none."""
    member = getattr(type(obj), name, None)
    has_setter = hasattr(type(member), "__set__") and getattr(member, "fset", member) is not None
    return getattr(obj, name, default) if name in vars(obj) or has_setter else default


@cache
def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Returns a constructor's parameters by name; if it accepts **kwargs, also those of the base class."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            for parameter in own:
                if parameter.kind not in _VARIABLE:
                    parameters.setdefault(parameter.name, parameter)
            if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own):
                break
    return parameters


@cache
def subclass_arguments(cls: type) -> frozenset[str]:
    """Returns the constructor arguments that a user's `get_config` adds to those of its base class,
    as in Keras. These are the arguments that the base class's constructor does not accept.
    """
    order = cls.__mro__
    first_builtin = next(i for i, each in enumerate(order) if each is Configurable or any(
        each is one.base or one.classes.get(each.__name__) is each for one in _registries))
    overrides = [i for i, each in enumerate(order[:first_builtin]) if "get_config" in vars(each)]
    if not overrides:
        return frozenset()
    base = next(each for each in order[overrides[-1] + 1:] if hasattr(each, "get_config"))
    return frozenset(constructor_parameters(cls).keys() - constructor_parameters(base).keys())


# Plain data.

_PLAIN: list[tuple[Any, str, Callable[[Any], Any], Callable[[Any], Any]]] = [  # data types that JSON lacks
    (bytes, "__bytes__", lambda value: {"value": value.decode()}, lambda config: config["value"].encode()),
    (np.ndarray, "__numpy__", lambda value: {"value": value.tolist(), "dtype": value.dtype.name},
     lambda config: np.array(config["value"], config["dtype"])),
    (slice, "__slice__", lambda value: {"start": value.start, "stop": value.stop, "step": value.step},
     lambda config: slice(config["start"], config["stop"], config["step"])),
    (EllipsisType, "__ellipsis__", lambda value: {}, lambda config: Ellipsis),
]


def add_plain(cls: Any, name: str, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
    """Registers a function that writes values of a type as `{"class_name": name, "config": write(value)}`,
    and a function that reads them. If the type is (), values are only read, never written.
    """
    _PLAIN.append((cls, name, write, read))


def serialize_keras_object(obj: Any) -> Any:
    """Returns an object, function, array, list, dict or number as plain data in Keras's form.

    Raises TypeError for a class without get_config, ValueError for a lambda.
    """
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, Mapping):
        return {key: serialize(item) for key, item in obj.items()}
    if isinstance(obj, list | tuple):
        return type(obj)([serialize(item) for item in obj])
    for cls, name, write, _ in _PLAIN:
        if isinstance(obj, cls):
            return {"class_name": name, "config": write(obj)}
    if isinstance(obj, np.generic):
        return obj.item()
    if hasattr(obj, "get_config") and not isinstance(obj, type):
        registry = find_registry(type(obj))
        return {"module": registry and registry.module, "class_name": type(obj).__name__,
                "config": serialize(obj.get_config()),
                "registered_name": None if registry else get_registered_name(type(obj))}
    if callable(obj) and hasattr(obj, "__name__"):
        if obj.__name__ == "<lambda>":
            raise ValueError("A lambda cannot be serialized, because it has no name. Received: "
                             f"{obj!r}. Define a function with def and register it.")
        return {"module": "builtins", "class_name": "function", "config": get_registered_name(obj),
                "registered_name": "function"}
    raise TypeError(f"Cannot serialize object {obj!r} of type {type(obj).__name__}. To be "
                    "serializable, a class must implement the get_config() method.")


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None,
                             safe_mode: bool = True) -> Any:
    """Creates the object from the result of `serialize`, or of Keras's `serialize_keras_object`.

    custom_objects: your classes and functions by name. safe_mode: must be True, because code in a
    configuration is never run. Raises UnknownClassError, a ValueError and TypeError, for unknown names.
    """
    if not safe_mode:
        raise ValueError("safe_mode must be True, because autoconv never runs code from a "
                         "configuration. Pass your classes and functions in custom_objects.")
    if isinstance(config, str):
        return (custom_objects or {}).get(config, config)
    with custom_object_scope(custom_objects):
        if isinstance(config, list | tuple):
            return type(config)([deserialize(item) for item in config])
        if not isinstance(config, Mapping):
            return config
        if not {"class_name", "config"} <= set(config) or set(config) - _OBJECT_KEYS:
            return {key: deserialize(item) for key, item in config.items()}
        for _, name, _, read in _PLAIN:
            if name == config["class_name"]:
                return read(config["config"])
        if config["class_name"] == "function":
            return _find_function(config["config"])
        return _create_object(config)


def _create_object(config: Mapping[str, Any], registry: Registry | None = None) -> Any:
    """Creates the object of a configuration. registry: searched if the configuration names no known module."""
    obj = _find_class(config, registry).from_config(deserialize(config["config"]))
    if config.get("build_config") and hasattr(obj, "build_from_config") and not obj.built:
        obj.build_from_config(config["build_config"])
    return obj


def _find_class(config: Mapping[str, Any], registry: Registry | None) -> Any:
    users, name = known_objects(), config["class_name"]
    for each in (config.get("registered_name"), name):
        if each in users:
            return users[each]
    registries = [one for one in _registries if one.module == config.get("module")] or (
        [registry] if registry else _registries)
    for one in registries:
        short = one.names.get(name) if isinstance(name, str) else None
        if name in one.classes or (one is registry and isinstance(short, type)):
            return one.classes.get(name, short)
    classes = {**{each: None for one in registries for each in one.classes}, **users}
    raise UnknownClassError(
        f"Could not locate class {name!r}.{names.suggestion(name, classes)} If this is your own class, register the "
        f"class with @register_keras_serializable(), or pass custom_objects={{{name!r}: {name}}}.")


def _find_function(name: Any) -> Any:
    library = {key: value for one in _registries for key, value in one.names.items() if not isinstance(value, type)}
    functions = {**library, **known_objects()}
    if name not in functions:
        raise UnknownClassError(f"Could not locate function {name!r}.{names.suggestion(name, functions)} If this is "
                                "your own function, register the function with @register_keras_serializable().")
    return functions[name]


CustomObjectScope = custom_object_scope
serialize, deserialize = serialize_keras_object, deserialize_keras_object
