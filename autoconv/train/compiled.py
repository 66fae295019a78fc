"""The arguments of `compile`: losses, their weights and metrics for each output; also as plain data."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import losses as losses_module
from .. import metrics as metrics_module
from .. import optimizers as optim
from ..arguments.names import uniquify
from ..arguments.serialization import known_objects, serialize
from ..engine.symbolic import flatten

Shape = tuple[int | None, ...]


class Goal(NamedTuple):
    """The loss of output number `output`, its `weight`, and its name in the logs."""

    output: int
    loss: losses_module.Loss
    weight: float
    name: str


class Score(NamedTuple):
    """A metric of output number `output`, and its name in the logs; weighted: whether sample weights count."""

    output: int
    metric: metrics_module.Metric
    name: str
    weighted: bool = False


class OutputsError(ValueError, KeyError):
    """The number of entries differs from the number of outputs. Keras raises a ValueError or a KeyError."""

    __str__ = Exception.__str__  # KeyError's __str__ would quote the message


def check_loss(loss: Any) -> Any:
    """Returns the losses for names, functions or objects, also in lists or dicts. Raises ValueError for unknown
    names.
    """
    if isinstance(loss, Mapping) and "class_name" not in loss:
        return {name: check_loss(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [check_loss(one) for one in loss]
    return None if loss is None else losses_module.find_loss(loss)


def check_weights(loss_weights: Any) -> Any:
    """Checks that loss_weights are numbers, a list or a dict of them; metrics are refused."""
    if not all(w is None or (isinstance(w, int | float) and not isinstance(w, bool)) for w in flatten(loss_weights)):
        raise ValueError("loss_weights must be numbers, a list or a dict of them. "
                         f"Received: {loss_weights!r}. Metrics are given by name: metrics={loss_weights!r}.")
    return loss_weights


def check_metrics(metrics: Any) -> Any:
    """Returns the given metrics after checking all names."""
    for metric in flatten(list(metrics) if isinstance(metrics, set) else metrics):
        for one in _listed(metric):
            metrics_module.check(one)
    return metrics


def goals(loss: Any, loss_weights: Any, outputs: Sequence[str]) -> list[Goal]:
    """Returns the losses of a model with outputs of these names."""
    for one in _spread(loss, outputs, "loss", True):
        if one is not None and one.reduction in (None, "none"):
            raise ValueError(f"A loss with reduction='none' gives no number to train by. Received: {one.name}. Take "
                             "'sum_over_batch_size' or 'sum'.")
    weights = [1.0 if w is None else float(w) for w in _spread(loss_weights, outputs, "loss_weights", False)]
    found = [Goal(i, one, weights[i], f"{name}{one.name if name.endswith('/') else ''}_loss")
             for i, (name, one) in enumerate(zip(outputs, _spread(loss, outputs, "loss", True))) if one is not None]
    if not found:
        raise ValueError("No output of the model has a loss.")
    return found


def scores(metrics: Any, weighted_metrics: Any, outputs: Sequence[str], targets: Sequence[Shape],
           predictions: Sequence[Shape], losses: Sequence[Any]) -> list[Score]:
    """Creates a model's metrics for targets and predictions of these shapes, and losses or None."""
    given: Counter[str] = Counter()
    found: list[Score] = []
    for wanted, weighted in ((metrics, False), (weighted_metrics, True)):
        alone = len(outputs) == 1 and not isinstance(wanted, Mapping)
        if alone and isinstance(wanted, list | tuple) and len(wanted) == 1 and isinstance(wanted[0], list | tuple):
            wanted = wanted[0]  # a list with one entry per output
        groups = [wanted] if alone else _spread(wanted, outputs, "weighted_metrics" if weighted else "metrics", False)
        made = [[metrics_module.find_metric(m, t, p, loss) for m in _listed(group)]
                for group, t, p, loss in zip(groups, targets, predictions, losses)]
        start = ["" if len(outputs) == 1 else f"{name}_" for name in outputs]
        taken = {score.name for score in found}  # names used by unweighted metrics
        found += [Score(i, m, uniquify(start[i] + ("weighted_" if start[i] + m.name in taken else "") + m.name, given),
                        weighted) for i, group in enumerate(made) for m in group]
    for score in found:
        score.metric.reset_state()  # another model may have used it
    return found


def _listed(given: Any) -> list[Any]:
    """Converts one thing, several, or None to a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple | set) else [given]


def _spread(given: Any, outputs: Sequence[str], what: str, for_all: bool) -> list[Any]:
    """Returns one entry per output from a list or dict; repeats a single entry if `for_all`."""
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in outputs]
        if unknown:
            raise ValueError(f"{what} names outputs that the model lacks: {unknown}. It has: {list(outputs)}.")
        return [given.get(name) for name in outputs]
    if isinstance(given, list | tuple):
        if len(given) != len(outputs):
            raise OutputsError(f"{what} must have one entry per output: {list(outputs)}. Received: {given!r}.")
        return list(given)
    if given is not None and len(outputs) > 1 and not for_all:
        raise ValueError(f"{what} must be a list or a dict, one entry for each output: {list(outputs)}. "
                         f"Received: {given!r}.")
    return [given] * len(outputs)


# Plain data, for files and for `get_compile_config`.


def to_config(trainer: Any) -> dict[str, Any] | None:
    """Returns compile()'s arguments as plain data, None if it was not called. Raises ValueError for lambdas and the
    like.
    """
    if trainer.optimizer is None:
        return None
    return {"optimizer": serialize(optim.get(trainer.optimizer)), "loss": _each(trainer.loss, _named),
            "loss_weights": trainer.loss_weights, "metrics": _each(trainer.metrics, _named),
            "weighted_metrics": _each(trainer.weighted_metrics, _named), "run_eagerly": trainer.run_eagerly}


def from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the arguments of compile() from `to_config`'s data. Raises ValueError for unknown names."""
    if not isinstance(config, Mapping) or not isinstance(config.get("optimizer"), Mapping | str):
        raise ValueError("A compile configuration must have an optimizer. "
                         f"Received: {config!r:.80}.")
    given = config["optimizer"]
    own = {**known_objects(), **(custom_objects or {})}

    def meant(module: Any) -> Callable[[Any], Any]:
        """Keeps a name of ours as it is: compile() chooses the variant for the outputs."""
        return lambda one: own.get(one, one) if isinstance(one, str) else module.deserialize(one, custom_objects)

    return {"optimizer": optim.get(given) if isinstance(given, str) else optim.deserialize(given, custom_objects),
            "loss": _each(config.get("loss"), meant(losses_module)), "loss_weights": config.get("loss_weights"),
            **{name: _each(config.get(name), meant(metrics_module)) for name in ("metrics", "weighted_metrics")},
            "run_eagerly": bool(config.get("run_eagerly"))}


def _named(one: Any) -> Any:
    """Converts a loss or a metric to plain data; keeps names."""
    if isinstance(one, str | Mapping):
        return one
    if type(one) is losses_module.LossFunction:  # only a user's function, which its name identifies
        return serialize(getattr(one, "_function", one))
    return serialize(one() if isinstance(one, type) else one)


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Applies the function to each thing in lists and dicts; a class's config is one thing."""
    if value is None:
        return None
    if isinstance(value, list | tuple | set):
        return [_each(item, function) for item in value]
    if isinstance(value, Mapping) and "class_name" not in value:
        return {str(key): _each(item, function) for key, item in value.items()}
    return function(value)
