"""Converts the arguments of `compile` to losses, loss weights and metrics per output, and to and from plain data."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import losses as losses_module
from .. import metrics as metrics_module
from .. import optimizers as optim
from ..arguments.names import uniquify
from ..arguments.serialization import known_objects, serialize
from ..engine.symbolic import flatten
from ..files.json_text import JsonObject

Shape = tuple[int | None, ...]


class Goal(NamedTuple):
    """An output's loss. `output` is the output's index, `name` the loss's name in the logs."""

    output: int
    loss: losses_module.Loss
    weight: float
    name: str


class Score(NamedTuple):
    """An output's metric. `output` is the output's index, and `name` is the metric's name in the
    logs. `uses_weights` is true if the metric uses sample weights.
    """

    output: int
    metric: metrics_module.Metric
    name: str
    uses_weights: bool = False


class OutputsError(ValueError, KeyError):
    """Raised for a `compile` argument without one entry per output. Here, Keras raises ValueError or KeyError."""

    __str__ = Exception.__str__  # KeyError's __str__ would quote the message


def check_loss(loss: Any) -> Any:
    """Returns loss objects for names, functions or objects. Raises ValueError for unknown names."""
    if isinstance(loss, Mapping) and "class_name" not in loss:
        return {name: check_loss(item) for name, item in loss.items()}
    if isinstance(loss, list | tuple):
        return [check_loss(item) for item in loss]
    return None if loss is None else losses_module.find_loss(loss)


def check_weights(loss_weights: Any) -> Any:
    """Returns `loss_weights` unchanged. Raises ValueError if it contains anything but numbers and None."""
    if not all(w is None or (isinstance(w, int | float) and not isinstance(w, bool)) for w in flatten(loss_weights)):
        raise ValueError("loss_weights must be a number, or a list or dict of numbers. Received: "
                         f"{loss_weights!r}. To pass metrics, use metrics={loss_weights!r}.")
    return loss_weights


def check_metrics(metrics: Any) -> Any:
    """Returns `metrics` unchanged. Raises ValueError if it contains an unknown metric name."""
    for metric in flatten(list(metrics) if isinstance(metrics, set) else metrics):
        for item in _to_list(metric):
            metrics_module.check(item)
    return metrics


def goals(loss: Any, loss_weights: Any, outputs: Sequence[str]) -> list[Goal]:
    """Returns a `Goal` for each output that has a loss. `outputs` are the names of all outputs."""
    for item in _spread(loss, outputs, "loss", True):
        if item is not None and item.reduction in (None, "none"):
            raise ValueError("Training needs a loss that returns one number per batch. Received: the "
                             f"loss {item.name!r} with reduction={item.reduction!r}, which returns "
                             "one number per sample. Use reduction='sum_over_batch_size' or 'sum'.")
    weights = [1.0 if w is None else float(w) for w in _spread(loss_weights, outputs, "loss_weights", False)]
    result = [Goal(i, item, weights[i], f"{name}{item.name if name.endswith('/') else ''}_loss")
              for i, (name, item) in enumerate(zip(outputs, _spread(loss, outputs, "loss", True))) if item is not None]
    if not result:
        raise ValueError("The model must have a loss for at least one output. Pass a loss to compile().")
    return result


def scores(metrics: Any, weighted_metrics: Any, outputs: Sequence[str], targets: Sequence[Shape],
           predictions: Sequence[Shape], losses: Sequence[Any]) -> list[Score]:
    """Creates a `Score` for each metric. `targets` and `predictions` are the outputs' shapes."""
    counts: Counter[str] = Counter()
    result: list[Score] = []
    for items, is_weighted in ((metrics, False), (weighted_metrics, True)):
        single = len(outputs) == 1 and not isinstance(items, Mapping)
        if single and isinstance(items, list | tuple) and len(items) == 1 and isinstance(items[0], list | tuple):
            items = items[0]  # the single output's list of metrics
        groups = [items] if single else _spread(items, outputs, "weighted_" * is_weighted + "metrics", False)
        by_output = [[metrics_module.find_metric(m, t, p, loss) for m in _to_list(group)]
                     for group, t, p, loss in zip(groups, targets, predictions, losses)]
        start = ["" if len(outputs) == 1 else f"{name}_" for name in outputs]
        names = {score.name for score in result}  # names used by unweighted metrics
        result += [Score(i, m, uniquify(start[i] + "weighted_" * (start[i] + m.name in names) + m.name, counts),
                         is_weighted) for i, group in enumerate(by_output) for m in group]
    for score in result:
        score.metric.reset_state()  # another model may have used the same metric object
    return result


def _to_list(value: Any) -> list[Any]:
    """Returns a list, tuple or set as a list, None as [], and any other value as [value]."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _spread(value: Any, outputs: Sequence[str], argument: str, repeats: bool) -> list[Any]:
    """Returns a list with one entry per output. With `repeats`, a single entry is used for all outputs."""
    if isinstance(value, Mapping):
        unknown = [name for name in value if name not in outputs]
        if unknown:
            raise ValueError(f"{argument} contains names that are not outputs of the model: "
                             f"{unknown}. The outputs of the model: {list(outputs)}.")
        return [value.get(name) for name in outputs]
    if isinstance(value, list | tuple):
        if len(value) != len(outputs):
            raise OutputsError(f"{argument} must have one entry per output: {list(outputs)}. Received: {value!r}.")
        return list(value)
    if value is not None and len(outputs) > 1 and not repeats:
        raise ValueError(f"{argument} must be a list or a dict with one entry for each output: "
                         f"{list(outputs)}. Received: {value!r}.")
    return [value] * len(outputs)


# Conversion to and from plain data, for files and for `get_compile_config`.


def to_config(trainer: Any) -> JsonObject | None:
    """Returns compile()'s arguments as plain data; None if compile() was not called. Raises
    ValueError for objects without a name, such as lambdas.
    """
    if trainer.optimizer is None:
        return None
    return {"optimizer": serialize(optim.get(trainer.optimizer)), "loss": _map(trainer.loss, _encode),
            "loss_weights": trainer.loss_weights, "metrics": _map(trainer.metrics, _encode),
            "weighted_metrics": _map(trainer.weighted_metrics, _encode), "run_eagerly": trainer.run_eagerly}


def from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> JsonObject:
    """Returns the arguments of compile() from the plain data of `to_config`. Raises ValueError for unknown names."""
    if not isinstance(config, Mapping) or not isinstance(config.get("optimizer"), Mapping | str):
        raise ValueError("A compile configuration must be a dict whose entry 'optimizer' is a "
                         f"name or a dict. Received: {config!r:.80}.")
    entry = config["optimizer"]
    objects = {**known_objects(), **(custom_objects or {})}

    def make_reader(module: Any) -> Callable[[Any], Any]:
        """Returns a decoder that keeps built-in names as strings, because compile() chooses the variants they mean."""
        return lambda x: objects.get(x, x) if isinstance(x, str) else module.deserialize(x, custom_objects)

    return {"optimizer": optim.get(entry) if isinstance(entry, str) else optim.deserialize(entry, custom_objects),
            "loss": _map(config.get("loss"), make_reader(losses_module)), "loss_weights": config.get("loss_weights"),
            **{name: _map(config.get(name), make_reader(metrics_module)) for name in ("metrics", "weighted_metrics")},
            "run_eagerly": bool(config.get("run_eagerly"))}


def _encode(item: Any) -> Any:
    """Converts a loss or metric to plain data. Names and configs remain unchanged."""
    if isinstance(item, str | Mapping):
        return item
    if type(item) is losses_module.LossFunction:  # a user's function is saved only by its name
        return serialize(getattr(item, "_function", item))
    return serialize(item() if isinstance(item, type) else item)


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    """Applies `function` to each leaf of nested lists and dicts. An object's config counts as one leaf."""
    if value is None:
        return None
    if isinstance(value, list | tuple | set):
        return [_map(item, function) for item in value]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {str(key): _map(item, function) for key, item in value.items()}
    return function(value)
