"""Functions that list parameters, and errors for unknown arguments that suggest the closest parameter."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any, NoReturn

from .names import suggestion

_INSTEAD = {  # advice on arguments of older versions of Keras
    "save_format": " The file's suffix says the format: 'model.keras', 'model.h5' or 'model.safetensors'.",
    "include_optimizer": " load_model(filepath, compile=False) leaves the optimizer out.",
}


class UnknownArgumentError(TypeError, ValueError):
    """Raised for an unknown argument. It is a TypeError, as in Python, and a ValueError, as in Keras's layers."""


def refuse_argument(thing: Any, name: str, base: type, arguments: dict[str, Any] | None = None,
                    prefix: str | None = None) -> NoReturn:
    """Raises UnknownArgumentError for an argument that neither `base` nor the class of `thing`
    accepts. prefix: the start of the message, before `arguments`.
    """
    names = [*signature(type(thing).__init__).parameters, *signature(base.__init__).parameters]  # type: ignore[misc]
    prefix = prefix or f"Unrecognized keyword arguments passed to {type(thing).__name__}"
    report = f"{prefix}: {arguments}. " if arguments else ""
    raise UnknownArgumentError(f"{report}{type(thing).__name__} has no argument {name!r}.{suggestion(name, names)}")


def refuse(thing: Any, method: str, arguments: Mapping[str, Any]) -> None:
    """Raises UnknownArgumentError if there are `arguments`, which the method of `thing` does not
    accept. An example is "Sequential.fit has no argument 'epoch'. Did you mean 'epochs'?".
    """
    if arguments:
        parameters = signature(getattr(thing, method)).parameters.values()
        names = [each.name for each in parameters if each.kind is not Parameter.VAR_KEYWORD]
        name = next(iter(arguments))
        raise UnknownArgumentError(
            f"{type(thing).__name__}.{method} has no argument "
            f"{name!r}.{_INSTEAD.get(name) or suggestion(name, names)} Its arguments are {', '.join(names)}.")


def parameters(function: Callable, start: int = 0, stop: int | None = None) -> list[Parameter]:
    """Returns the parameters of a function from position `start` up to, but excluding, `stop`."""
    return list(signature(function).parameters.values())[start:stop]


def accepts(function: Callable, count: int) -> bool:
    """Returns whether a function accepts `count` arguments. Returns True for a C function without a signature."""
    try:
        signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # some C functions have no signature
        return True
    return True


def constructor(parameters: list[Parameter], base: type, *fixed_args: Any, **fixed_kwargs: Any) -> Callable[..., None]:
    """Returns an `__init__` with these parameters. It passes them and the fixed arguments to `base.__init__`."""
    init_signature = Signature([Parameter("self", Parameter.POSITIONAL_OR_KEYWORD), *parameters])

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = init_signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        base.__init__(self, *fixed_args, **fixed_kwargs, **arguments)  # type: ignore[misc]

    initialize.__signature__ = init_signature  # type: ignore[attr-defined]
    return initialize
