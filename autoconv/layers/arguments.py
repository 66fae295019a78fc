"""What a layer's constructor got, and what became of it since: what `get_config` writes."""

from collections.abc import Callable
from functools import cache, wraps
from inspect import Parameter as Argument
from inspect import signature
from typing import Any

from ..versions import contents

_VARIABLE = (Argument.VAR_POSITIONAL, Argument.VAR_KEYWORD)
_MISSING = object()
_COMMON = {"input_shape": None, "input_dim": None, "activity_regularizer": None, "autocast": True}
_PLAIN = Argument("argument", Argument.KEYWORD_ONLY, default=None)


def remembers(init: Callable) -> Callable:
    """A constructor, after which the layer knows what was made of each argument. Where one calls that of its base
    class, the outermost counts.
    """

    @wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapper:
            made = {name: attribute(self, name) for name in argument_names(type(self))}  # type: ignore[arg-type]
            vars(self)["_made"] = {name: contents(value) for name, value in made.items() if value is not _MISSING}

    return wrapper


@cache
def argument_names(kind: type) -> tuple[str, ...]:
    """The names of the constructor's arguments; of one with **kwargs also those of the class it derives from."""
    names: dict[str, None] = {}
    for of in kind.__mro__:
        if "__init__" in vars(of):
            arguments = list(signature(of.__init__).parameters.values())[1:]  # type: ignore[misc]
            names.update(dict.fromkeys(a.name for a in arguments if a.kind not in _VARIABLE))
            if not any(a.kind is Argument.VAR_KEYWORD for a in arguments):
                break
    return tuple(names)


def arguments_now(layer: Any) -> dict[str, Any]:
    """The arguments that make a layer as this one is now: those that were given, and of each whose attribute was set
    to something else since, the attribute. Of autoconv's own layers all of them.
    """
    kind = type(layer)
    arguments = signature(kind.__init__).parameters
    open_ended = any(a.kind is Argument.VAR_KEYWORD for a in arguments.values())
    common = {"name": layer.name, "trainable": layer.trainable, "dtype": layer.dtype}
    config = {name: value for name, value in common.items() if open_ended or name in arguments}
    args, kwargs = layer._arguments
    for argument, value in signature(kind.__init__).bind(layer, *args, **kwargs).arguments.items():
        if arguments[argument].kind is Argument.VAR_POSITIONAL:
            raise NotImplementedError(f"{kind.__name__} takes *{argument}: give it a get_config of its own.")
        new = value if arguments[argument].kind is Argument.VAR_KEYWORD else {argument: value}
        config.update({name: item for name, item in new.items() if name not in common})
    config.pop(next(iter(arguments)))  # the layer itself
    now = {name: attribute(layer, name) for name in layer._made if name not in common}
    changed = {name: value for name, value in now.items()
               if value is not _MISSING and contents(value) != layer._made[name]}
    if changed:  # an attribute may have been made of another argument, where its own was None
        config.update({name: value for name, value in now.items() if name in arguments and value is not _MISSING
                       and config.get(name, arguments[name].default) is None})
    config.update(changed)
    if kind.__module__.startswith("autoconv."):
        for name in (*arguments, *layer.extras()):
            given = arguments.get(name, _PLAIN)
            if given.kind not in _VARIABLE and name not in ("self", *common):
                value = attribute(layer, name)
                config[name] = value if value is not _MISSING else config.get(
                    name, layer._fixed.get(name, given.default))
        config.update({name: layer.unsupported[name] for name in layer.written if name in layer.unsupported})
        for name, default in _COMMON.items():  # those that every layer takes, where they say something
            if config.get(name, default) == default and name not in layer.written:
                config.pop(name, None)
        if "activity_regularizer" in (*config, *layer.written):
            config["activity_regularizer"] = layer.activity_regularizer
    return config


def attribute(layer: Any, name: str) -> Any:
    """What the layer has under an argument's name, where a user can set it; else a mark."""
    of = getattr(type(layer), name, None)
    if name in vars(layer) or (hasattr(type(of), "__set__") and getattr(of, "fset", of) is not None):
        return getattr(layer, name, _MISSING)
    return _MISSING
