"""Converts Keras 2 configurations, also those of compile(), to Keras 3: renames classes and
arguments, and drops arguments that have no effect. Source: Keras 2.15.
"""

from typing import Any

from .. import initializers, losses, metrics, optimizers
from ..files.json_text import JsonObject

_CLASSES = {"Policy": "DTypePolicy", "ThresholdedReLU": "ReLU"}
_ARGUMENTS: dict[str, dict[str, str]] = {
    "LeakyReLU": {"alpha": "negative_slope"}, "ThresholdedReLU": {"theta": "threshold"},
    "InputLayer": {"batch_input_shape": "batch_shape"}}
# Arguments that Keras 2 writes although they have no effect.
_UNUSED = {"SeparableConv2D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
           **dict.fromkeys(initializers.CLASSES, ("dtype",)), **dict.fromkeys(losses.CLASSES, ("fn",)),
           **dict.fromkeys(optimizers.CLASSES, ("jit_compile", "is_legacy_optimizer"))}


def to_keras_3(kind: str, config: Any) -> tuple[str, Any]:
    """Returns the Keras 3 class and arguments of an object saved by any Keras version."""
    kind = kind.removeprefix("Custom>") if kind.removeprefix("Custom>") in optimizers.CLASSES else kind
    if kind == "Sequential" and isinstance(config, list):  # form used before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict):
        return kind, config
    if kind == "MeanMetricWrapper" and isinstance(config.get("fn"), str):
        return "function", _metric_name(config)
    new_names: dict[str, str] = _ARGUMENTS.get(kind, {})
    unused = _UNUSED.get(kind, ())
    result: JsonObject = {str(new_names.get(key, key)): value for key, value in config.items() if key not in unused}
    if result.get("batch_input_shape") is not None:
        result["input_shape"] = result.pop("batch_input_shape")[1:]
    if isinstance(result.get("name"), str):
        result["name"] = convert_name(result["name"])
    if isinstance(result.get("axis"), list) and len(result["axis"]) == 1:
        result["axis"] = result["axis"][0]
    if result.get("reduction") == "auto" and kind in losses.CLASSES:
        result["reduction"] = "sum_over_batch_size"
    if kind in optimizers.CLASSES:
        _set_rate(result)
    return _CLASSES.get(kind, kind), result


def convert_name(name: str) -> str:
    """Replaces "/" in a layer's Keras 2 name by "_", because Keras 3 does not allow "/"."""
    return name.replace("/", "_")


def _set_rate(optimizer: JsonObject) -> None:
    """Renames `lr` to `learning_rate`, and replaces `decay` by the equivalent schedule."""
    rate = optimizer.pop("lr", optimizer.get("learning_rate"))
    decay = optimizer.pop("decay", 0.0)
    if decay:
        rate = {"class_name": "InverseTimeDecay",
                "config": {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}}
    optimizer["learning_rate"] = rate


def _metric_name(config: JsonObject) -> str:
    """Returns the name of the metric in the configuration of a MeanMetricWrapper."""
    name = str(config.get("name", ""))
    function = config["fn"]
    if function not in metrics.BY_NAME:  # a user's function
        return function
    while name and name not in (*metrics.BY_NAME, "accuracy", "acc"):
        name = name.partition("_")[2]
    return name or function
