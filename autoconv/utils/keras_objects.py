"""Objects as plain data in Keras's form, with the modules of their classes, and back."""

from collections.abc import Callable, Mapping
from types import EllipsisType, FunctionType
from typing import Any

import numpy as np

from .. import activations, constraints, initializers, losses, metrics, optimizers, regularizers
from ..arguments import custom, names
from ..layers import config as layers_config
from ..tensor import Tensor, tensor

_MODULES: dict[str, Mapping[str, Any]] = {  # of Keras's classes, by the modules where it has them
    "keras.initializers": initializers.CLASSES, "keras.regularizers": regularizers.CLASSES,
    "keras.constraints": constraints.CLASSES, "keras.optimizers": optimizers.CLASSES, "keras.losses": losses.CLASSES,
    "keras.metrics": metrics.CLASSES}
_SCHEDULES, _LAYERS, _MODELS = "keras.optimizers.schedules", "keras.layers", ("Sequential", "Functional", "Model")


def serialize(obj: Any) -> Any:
    """See `utils.serialize_keras_object`."""
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, dict):
        return {key: serialize(item) for key, item in obj.items()}
    if isinstance(obj, list | tuple):
        return type(obj)([serialize(item) for item in obj])
    for kind, name, plain in _PLAIN:
        if isinstance(obj, kind):
            return {"class_name": name, "config": plain(obj)}
    if isinstance(obj, np.generic):
        return obj.item()
    if hasattr(obj, "get_config"):
        return _with_modules({"class_name": type(obj).__name__, "config": _plain_config(obj.get_config())}, type(obj))
    if callable(obj) and hasattr(obj, "__name__"):
        if obj.__name__ == "<lambda>":
            raise ValueError(f"A lambda has no name by which it could be found again. Received: {obj!r}. Define it "
                             "with def, and register it.")
        return custom.function_to_config(obj)
    raise TypeError(f"Cannot serialize object {obj!r} of type {type(obj).__name__}. To be serializable, a class must "
                    "implement the get_config() method.")


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """See `utils.deserialize_keras_object`."""
    if isinstance(config, list | tuple):
        return [deserialize(item, custom_objects) for item in config]
    if isinstance(config, str) and custom_objects and config in custom_objects:
        return custom_objects[config]
    if not isinstance(config, Mapping):
        return config
    name = config.get("class_name")
    if name is None or "config" not in config:
        return {key: deserialize(item, custom_objects) for key, item in config.items()}
    if name in _READ:
        return _READ[name](config["config"])
    if name == "function":
        return _function(config["config"], custom_objects)
    kind = _class(config, custom_objects)
    inner = {key: layers_config.deserialize(_ours(item), dict(custom_objects or {}))
             for key, item in config["config"].items()} if _is_user(kind) else _ours(config["config"])
    made = kind.from_config(inner)
    if config.get("build_config") and hasattr(made, "build_from_config"):
        made.build_from_config(config["build_config"])
    return made


_PLAIN: list[tuple[type, str, Callable[[Any], Any]]] = [  # what has no word in JSON
    (bytes, "__bytes__", lambda value: {"value": value.decode()}),
    (np.ndarray, "__numpy__", lambda value: {"value": value.tolist(), "dtype": value.dtype.name}),
    (Tensor, "__tensor__", lambda value: {"value": value.numpy().tolist(), "dtype": value.dtype.name}),
    (slice, "__slice__", lambda value: {"start": value.start, "stop": value.stop, "step": value.step}),
    (EllipsisType, "__ellipsis__", lambda value: {}),
]
_READ: dict[str, Callable[[Any], Any]] = {
    "__bytes__": lambda config: config["value"].encode(),
    "__numpy__": lambda config: np.array(config["value"], config["dtype"]),
    "__tensor__": lambda config: tensor(config["value"], dtype=config["dtype"]),
    "__slice__": lambda config: slice(config["start"], config["stop"], config["step"]),
    "__ellipsis__": lambda config: Ellipsis,
}


def _plain_config(value: Any) -> Any:
    """A configuration in which objects, ours among them as `{"class_name", "config"}`, have Keras's form."""
    if isinstance(value, Mapping):
        inner = {key: _plain_config(item) for key, item in value.items()}
        return _with_modules(inner) if set(value) == {"class_name", "config"} else inner
    if isinstance(value, list | tuple):
        return type(value)([_plain_config(item) for item in value])
    return serialize(value)


def _with_modules(config: dict[str, Any], kind: type | None = None) -> dict[str, Any]:
    """A class's name and config with its module and the name under which it is registered."""
    kind = kind or custom.known(layers_config.CLASSES).get(config["class_name"])
    if kind is not None and _is_user(kind):
        return {"module": None, **config, "registered_name": custom.name_of(kind)}
    name = config["class_name"]
    module = next((module for module, classes in _MODULES.items() if classes.get(name) is kind), None)
    if module is None:
        schedule = isinstance(kind, type) and issubclass(kind, optimizers.schedules.LearningRateSchedule)
        module = _SCHEDULES if schedule else "keras" if name in _MODELS else _LAYERS
    return {"module": module, **config, "registered_name": None}


def _is_user(kind: Any) -> bool:
    return not kind.__module__.startswith("autoconv.")


def _class(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> Any:
    """The class that a configuration names, by its registered name, its module, or its name alone."""
    given = custom.known({}, custom_objects)
    name, module = config["class_name"], config.get("module")
    for each in (config.get("registered_name"), name):
        if each in given:
            return given[each]
    schedules = {kind.__name__: kind for kind in optimizers.schedules.LearningRateSchedule.__subclasses__()}
    every = {_LAYERS: layers_config.CLASSES, _SCHEDULES: schedules, **_MODULES}
    for classes in [every[module]] if module in every else every.values():
        if name in classes:
            return classes[name]
    known = list(every.get(str(module), layers_config.CLASSES))
    raise custom.UnknownClassError(f"Could not locate class {name!r}.{names.suggestion(name, known)} A class of your "
                                   "own is registered by @register_keras_serializable(), or passed in custom_objects.")


def _function(name: str, custom_objects: Mapping[str, Any] | None) -> Any:
    own = custom.known({}, custom_objects)
    known = {**losses.FUNCTIONS, **activations.ACTIVATIONS, **own}
    if name not in known:
        raise custom.UnknownClassError(f"Could not locate function {name!r}.{names.suggestion(name, known)} One of "
                                       "your own is registered by @register_keras_serializable().")
    found: FunctionType = known[name]
    return found


def _ours(value: Any) -> Any:
    """A configuration of Keras's form as classes of ours take it: names of functions and dtypes, no modules."""
    if isinstance(value, list | tuple):
        return type(value)([_ours(item) for item in value])
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if kind == "function":
        return value["config"]
    if kind == "DTypePolicy":
        return value["config"]["name"]
    if kind in _READ:
        return _READ[kind](value["config"])
    if kind is not None and "config" in value:
        registered = value.get("registered_name")
        return {"class_name": registered if registered and value.get("module") is None else kind,
                "config": _ours(value["config"])}
    return {key: _ours(item) for key, item in value.items()}
