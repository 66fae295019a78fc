"""What `compile` was given, as plain data, and back: for files, and for `get_compile_config`."""

from collections.abc import Callable, Mapping
from typing import Any

from .. import losses, metrics
from .. import optimizers as optim
from ..arguments.serialization import known_objects, serialize

_FLAGS = ("run_eagerly",)


def to_config(model: Any) -> dict[str, Any] | None:
    """The arguments of a model's compile(), None where it is not compiled. Raises ValueError for what no file can name,
    such as a lambda.
    """
    if model.optimizer is None:
        return None
    settled = model.optimizer if isinstance(model.optimizer, optim.Optimizer) else optim.get(model.optimizer)
    return {
        "optimizer": serialize(settled), "loss": _each(model.loss, _named),
        "loss_weights": model._trainer.loss_weights, "metrics": _each(model._trainer.metrics, _named),
        "weighted_metrics": _each(model._trainer.weighted_metrics, _named),
        **{name: getattr(model, name) for name in _FLAGS}}


def from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of compile() that `to_config` described. Raises ValueError for names that nobody knows."""
    if not isinstance(config, Mapping) or not isinstance(config.get("optimizer"), Mapping | str):
        raise ValueError("A compile configuration must have an optimizer. "
                         f"Received: {config!r:.80}.")
    given = config["optimizer"]
    known = {"loss_weights": config.get("loss_weights"), **{name: bool(config.get(name)) for name in _FLAGS}}
    return {
        "optimizer": optim.get(given) if isinstance(given, str) else optim.deserialize(given, custom_objects),
        "loss": _each(config.get("loss"), _meant(losses, custom_objects)),
        **{name: _each(config.get(name), _meant(metrics, custom_objects)) for name in ("metrics", "weighted_metrics")},
        **known}


def _meant(module: Any, custom_objects: Mapping[str, Any] | None) -> Callable[[Any], Any]:
    """What a name or a config stands for; a name of ours stays, as compile() makes of it what goes with the outputs."""
    own = {**known_objects(), **(custom_objects or {})}
    return lambda one: own.get(one, one) if isinstance(one, str) else module.deserialize(one, custom_objects)


def _named(one: Any) -> Any:
    """A loss or a metric as plain data; a name as it is."""
    if isinstance(one, str | Mapping):
        return one
    one = one() if isinstance(one, type) else getattr(one, "_function", one) if _is_of_function(one) else one
    return serialize(one)


def _is_of_function(one: Any) -> bool:
    """Whether a loss is a user's function and nothing else, which its name says."""
    return type(one) is losses.LossFunction


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """The function of each thing in lists and dicts by names; a class's config is one thing."""
    if value is None:
        return None
    if isinstance(value, list | tuple | set):
        return [_each(item, function) for item in value]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {str(key): _each(item, function) for key, item in value.items()}
    return function(value)
