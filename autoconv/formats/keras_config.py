"""Converts the configurations of models and layers between Keras's form and autoconv's form."""

from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any

import numpy as np

from .. import ops
from ..arguments.serialization import find_registry, get_registered_name, serialize
from ..engine.array_functions import FUNCTIONS
from ..engine.symbolic import Node
from ..files.json_text import JsonObject
from ..layers import InputLayer, Layer
from ..layers.function import Function
from ..models import Model, Sequential
from ..ops.core import OPERANDS
from . import keras2_config
from .keras_weights import has_graph

# Keras's arguments that autoconv lacks, with their values that have no effect. For any other value
# loading raises ValueError.
_MEANINGLESS: dict[str, tuple[Any, ...]] = {
    "renorm": (False,), "renorm_clipping": (None,), "renorm_momentum": (0.99,), "quantization_config": (None,),
    "input_axes": (None,), "output_axes": (None,), "sparse": (False, None), "ragged": (False, None),
    "optional": (False,), "SpatialDropout2D.noise_shape": (None,),
    **{f"{kind}.groups": (1,) for kind in ("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")}}
# autoconv's arguments that Keras lacks.
_OURS = ("input_shape", "input_dim", "batch_size")
_RANDOM = ("RandomBrightness", "RandomContrast")  # layers that have a data_format only in Keras

_GRAPHS = ("Functional", "Model")  # Keras's class names for models that are graphs

# Keras derives an operation's class name from its function: "ExpandDims" from expand_dims. _NAMES
# lists the exceptions. _NO_OPERATIONS lists the functions for which Keras has no operation.
_NAMES = {"allclose": "AllClose", "rgb_to_grayscale": "RGBToGrayscale"}
_NO_OPERATIONS = {"affine_transform", "batch_normalization", "binary_crossentropy", "categorical_crossentropy",
                  "exponential", "hard_swish", "layer_normalization", "mish", "norm", "remainder",
                  "sparse_categorical_crossentropy", "swish", "unstack"}
_CALLED = {*OPERANDS, "indices", "weights", "fill_value", "operands", "target", "output", "targets", "predictions",
           "constant_values", "variable", "rtol", "atol"}  # arguments passed in the call


def _modules() -> dict[str, str]:
    """Returns the Keras module of each function in `ops`, by the function's name."""
    modules = {**dict.fromkeys(ops.numpy.__all__, "numpy"), **dict.fromkeys(ops.nn.__all__, "nn"),
               **dict.fromkeys(ops.math.__all__, "math"), "erf": "math", "cast": "core",
               **dict.fromkeys(ops.image.__all__, "image"), "get_item": "numpy", "tanh": "numpy",
               "rsqrt": "math", "stop_gradient": "core"}
    return {name: f"keras.src.ops.{each}" for name, each in modules.items() if name not in _NO_OPERATIONS}


def _operation_class(name: str) -> str:
    return _NAMES.get(name) or "".join(part.capitalize() for part in name.split("_"))


_MODULES = _modules()
_NODE_NAMES: dict[str, str] = {"ReLU": "functional.relu"}  # autoconv's functions by Keras class
for _name in _MODULES:
    _keys = (_name, f"functional.{_name}", f"ops.{_name}")
    _NODE_NAMES.update((_operation_class(_name), name) for name in _keys if name in FUNCTIONS)


def from_keras(config: Any) -> Any:
    """Converts a Keras configuration. Raises ValueError for unsupported settings and for code."""
    if isinstance(config, list):
        return [from_keras(item) for item in config]
    if not isinstance(config, dict):
        return config
    kind = config.get("class_name")
    if kind is None:
        return {key: from_keras(value) for key, value in config.items()}
    kind, arguments = keras2_config.to_keras_3(kind, config.get("config") or {})
    function = arguments.get("function") if kind == "Lambda" else None
    is_named = isinstance(function, dict) and function.get("class_name") == "function"
    if kind == "__lambda__" or (kind == "Lambda" and not is_named):
        raise ValueError("the model contains a lambda, and code in a file is never run. Replace "
                         "the lambda with a layer class and save the model again")
    if kind == "DTypePolicy":
        return arguments["name"]
    if kind in _SPECIAL:
        return _SPECIAL[kind](config)
    if kind == "function" or not isinstance(arguments, dict):
        return arguments
    form = _SHAPED.get(kind) or (_functional if "output_layers" in arguments else _sequential if {
        "layers", "build_input_shape"} <= set(arguments) else _plain)
    result = form(kind, arguments)
    return {"module": config.get("module"), "class_name": kind, "config": result,
            "registered_name": config.get("registered_name")}


def _plain(kind: str, config: JsonObject) -> JsonObject:
    """Converts the arguments of a class. Drops arguments that have no effect, and raises ValueError
    for values that autoconv does not support.
    """
    arguments = {}
    for key, value in config.items():
        values = _MEANINGLESS.get(key) or _MEANINGLESS.get(f"{kind}.{key}")
        if values is not None:
            if value not in values:
                raise ValueError(f"{kind} has {key}={value!r}, which autoconv does not support")
        elif not (key == "data_format" and kind in _RANDOM):
            arguments[key] = from_keras(value)
    return arguments


def _input(kind: str, config: JsonObject) -> JsonObject:
    result = _plain(kind, config)
    shape = result.pop("batch_shape", None)
    if isinstance(shape, list) and shape:
        result["shape"] = shape[1:]
        if shape[0] is not None:
            result["batch_size"] = shape[0]
    return result


def _sequential(kind: str, config: JsonObject) -> JsonObject:
    layers = [from_keras(layer) for layer in config["layers"]]
    shape = from_keras(config.get("build_input_shape"))
    if layers and layers[0]["class_name"] == "InputLayer":
        shape = [None, *layers.pop(0)["config"]["shape"]]
    return {"name": config.get("name"), "trainable": config.get("trainable", True),
            "layers": layers, "build_input_shape": shape}


def _functional(kind: str, config: JsonObject) -> JsonObject:
    layers = []
    first = _first_calls(config)
    for entry in config["layers"]:
        layer = from_keras(entry)
        calls = [_call(call, first) for call in entry["inbound_nodes"]]
        if "trainable" not in entry["config"] and entry["class_name"] not in _SHAPED:  # an operation
            if entry["class_name"] not in _NODE_NAMES:
                raise ValueError("autoconv does not support the operation "
                                 f"{entry['class_name']!r}, which has the name {entry['name']!r}")
            options = {key: value for key, value in layer["config"].items() if key not in ("name", "initial")}
            if entry["class_name"] not in _WITH_DTYPE:
                options.pop("dtype", None)
            for call in calls:
                if "subscripts" in options:
                    call["args"].insert(0, options["subscripts"])
                call["kwargs"].update({key: value for key, value in options.items() if key != "subscripts"})
                if entry["class_name"] == "GetItem" and isinstance(call["args"][1], list):
                    call["args"][1] = {"tuple": call["args"][1]}
            function = {"function": _NODE_NAMES[entry["class_name"]], "name": entry["name"]}
            layer = {"class_name": "Function", "config": function}
        layers.append({"layer": layer, "name": keras2_config.convert_name(entry["name"]), "inbound_nodes": calls})
    return {"name": config.get("name"), "trainable": config.get("trainable", True),
            "layers": layers, **{key: _tensors(config[key], first) for key in ("input_layers", "output_layers")}}


def _first_calls(config: JsonObject) -> dict[str, int]:
    """Returns the number of each layer's first call in Keras: 0, or 1 for a nested model."""
    lists = [config["output_layers"], *(call for entry in config["layers"]
                                        for call in entry["inbound_nodes"] if "args" not in call)]
    numbers: dict[str, set[int]] = {}
    for name, number, *_ in _references_in(lists):
        numbers.setdefault(name, set()).add(number)
    first = {}
    for entry in config["layers"]:
        ids = numbers.get(entry["name"], {0})
        calls = len(entry["inbound_nodes"])
        first[entry["name"]] = int(0 not in ids and (max(ids) == calls or entry["class_name"] in _GRAPHS))
    return first


def _references_in(value: Any) -> Iterator[list[Any]]:
    """Yields the tensor references in a structure: lists [layer name, call, output, ...]."""
    if value and isinstance(value, list) and isinstance(value[0], str):
        yield value
    else:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references_in(item)


def _call(call: Any, first: Mapping[str, int]) -> JsonObject:
    """Converts a layer call. A call in Keras 2 is a structure of lists [layer, call, output, kwargs]."""
    if "args" not in call:
        kwargs: JsonObject = next((reference[3] for reference in _references_in(call) if len(reference) > 3), {})
        return {"args": [_tensors(call, first)], "kwargs": _kwargs(kwargs)}
    return {"args": [from_keras(arg) for arg in call["args"]], "kwargs": _kwargs(call["kwargs"])}


def _kwargs(kwargs: JsonObject) -> JsonObject:
    return {key: from_keras(value) for key, value in kwargs.items()
            if key != "mask" and not (key == "training" and value is None)}


def _tensors(value: Any, first: Mapping[str, int]) -> Any:
    """Converts a structure of Keras's tensor references, lists [layer name, call, output, ...]."""
    if isinstance(value, dict):
        return {"dict": {key: _tensors(item, first) for key, item in value.items()}}
    if value and isinstance(value[0], str):
        name, number, output = value[:3]
        return {"tensor": [keras2_config.convert_name(name), number - first.get(name, 0), output]}
    return _tensors(value[0], first) if len(value) == 1 else [_tensors(item, first) for item in value]


_WITH_DTYPE = {"Cast", "ZerosLike", "OnesLike", "FullLike", "OneHot"}
_SHAPED: dict[str, Callable[[str, JsonObject], JsonObject]] = {
    "InputLayer": _input, "Sequential": _sequential, **dict.fromkeys(_GRAPHS, _functional)}
_SPECIAL: dict[str, Callable[[JsonObject], Any]] = {
    "__keras_tensor__": lambda config: {"tensor": config["config"]["keras_history"]},
    "__slice__": lambda config: {"slice": [from_keras(config["config"].get(key)) for key in ("start", "stop", "step")]},
    "__ellipsis__": lambda config: {"ellipsis": True},
    "__numpy__": lambda config: {"array": [config["config"]["value"], config["config"]["dtype"]]},
    "__tuple__": lambda config: [from_keras(item) for item in config["items"]],
    "__list__": lambda config: [from_keras(item) for item in config["items"]]}


# Conversion of autoconv's configurations to Keras's.


def model_to_keras(model: Model) -> JsonObject:
    """Returns a model in Keras's form: its layers and calls, or for a user's class only the arguments."""
    if not has_graph(model) or type(model).__init__ not in (Model.__init__, Sequential.__init__):
        return _own_layer(model)
    if isinstance(model, Sequential):
        first = []
        shapes = model.layer_shapes
        if shapes:
            first = [_object("keras.layers", "InputLayer",
                             {"batch_shape": list(shapes[0]), "dtype": model.inputs[0].dtype,
                              "sparse": False, "ragged": False, "name": "input_layer"})]
        config: JsonObject = {"layers": [*first, *(_layer(layer) for layer in model.layers)]}
        if shapes:
            config["build_input_shape"] = list(shapes[0])
        kind = "Sequential"
        module = "keras"
    else:
        config = _graph(model)
        kind = "Functional"
        module = "keras.src.models.functional"
    entry = _object(module, kind, {"name": model.name, "trainable": model.trainable, **config})
    if find_registry(type(model)) is None:
        entry.update(class_name=type(model).__name__, registered_name=get_registered_name(type(model)), module=None)
    return entry


def _object(module: str | None, kind: str, config: JsonObject,
            registered_name: str | None = None) -> JsonObject:
    return {"module": module, "class_name": kind, "config": dict(config), "registered_name": registered_name}


def _layer(layer: Layer) -> JsonObject:
    if isinstance(layer, Model):
        return model_to_keras(layer)
    registry = find_registry(type(layer))
    if registry is None:
        return _own_layer(layer)
    config = {key: value for key, value in layer.get_config().items()
              if key not in (*_OURS, *_MEANINGLESS)}  # older versions of Keras do not accept these
    if isinstance(layer, InputLayer):
        config = {"batch_shape": list(layer.output.shape), "dtype": layer.output.dtype,
                  "sparse": False, "ragged": False, "name": layer.name}
    elif isinstance(config.get("padding"), int | list) and "kernel_size" in config:
        raise ValueError(f"In Keras, the padding of {type(layer).__name__} must be 'valid' or 'same'. Received: "
                         f"padding={config['padding']} in layer {layer.name!r}. Use padding='valid' after a "
                         "ZeroPadding2D layer, or save the model as .safetensors.")
    return _add_build_config(layer, _object(registry.module, type(layer).__name__, config))


def _own_layer(layer: Layer) -> JsonObject:
    """Converts a user's layer or model, which Keras finds by its registered name."""
    config = {key: value for key, value in serialize(layer.get_config()).items() if key not in _OURS}
    return _add_build_config(layer, _object(None, type(layer).__name__, config, get_registered_name(type(layer))))


def _add_build_config(layer: Layer, entry: JsonObject) -> JsonObject:
    """Adds the input shape for which a layer was built to the layer's entry."""
    if entry["config"].get("activity_regularizer") is None:
        entry["config"].pop("activity_regularizer", None)
    if layer._build_shape is None or isinstance(layer, InputLayer):
        return entry
    return {**entry, "build_config": {"input_shape": serialize(layer._build_shape)}}


def _graph(model: Model) -> JsonObject:
    records = model.graph.records()
    entries = []
    calls_by_operation: dict[Any, list[Node]] = {}
    for node in sorted(model.graph.nodes, key=lambda node: node.number):
        calls_by_operation.setdefault(node.operation, []).append(node)
    shapes = {(operation.name, i, j): tensor for operation, nodes in calls_by_operation.items()
              for i, node in enumerate(nodes) for j, tensor in enumerate(node.outputs)}

    def plain(item: Any) -> Any:
        if isinstance(item, list):
            return [plain(part) for part in item]
        if not isinstance(item, dict) or len(item) != 1:
            return item
        (kind, value), = item.items()
        if kind == "tensor":
            tensor = shapes[tuple(value)]
            return {"class_name": "__keras_tensor__", "config": {
                "shape": list(tensor.shape), "dtype": tensor.dtype, "keras_history": list(value)}}
        if kind == "slice":
            return {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), value))}
        if kind == "ellipsis":
            return {"class_name": "__ellipsis__", "config": {}}
        if kind == "array":
            return {"class_name": "__numpy__", "config": dict(zip(("value", "dtype"), value))}
        return [plain(part) for part in value] if kind == "tuple" else {k: plain(part) for k, part in value.items()}

    for entry in records["layers"]:
        calls = [{"args": plain(call["args"]), "kwargs": {key: plain(value) for key, value in call["kwargs"].items()}}
                 for call in entry["inbound_nodes"]]
        layer = entry["layer"]
        result = _operation(layer, calls) if isinstance(layer, Function) else _layer(layer)
        entries.append({**result, "name": entry["name"], "inbound_nodes": calls})
    ends = {key: _references(records[key]) for key in ("input_layers", "output_layers")}
    graphs = {entry["name"] for entry in entries if entry["class_name"] in _GRAPHS}
    for reference in _references_in(ends["output_layers"]):
        reference[1] += reference[0] in graphs  # for a nested model's outputs, Keras counts calls from 1
    return {"layers": entries, **ends}


def _operation(function: Function, calls: list[JsonObject]) -> JsonObject:
    """Converts a function in a graph to a Keras operation, which stores the keyword arguments."""
    splits = [_split_arguments(function, call) for call in calls]
    if function.short not in _MODULES or any(options != splits[0][1] for _, options in splits):
        raise ValueError(f"Keras has no operation for the function {function.function!r}, named {function.name!r}. "
                         "Save the model as .safetensors, or wrap the function in a layer.")
    for call, (args, _) in zip(calls, splits):
        call.update(args=args, kwargs={})
    kind = _operation_class(function.short)
    return {**_object(_MODULES[function.short], kind, {"name": function.name, **(splits[0][1] if splits else {})}),
            "registered_name": kind}


def _split_arguments(function: Function, call: JsonObject) -> tuple[list[Any], JsonObject]:
    """Splits a function's arguments into a Keras operation's call arguments and its options."""
    if function.short == "get_item":
        return call["args"], {}
    sig = signature(function.call if "." in function.function else getattr(ops, function.short))
    bound = sig.bind(*call["args"], **call["kwargs"])
    bound.apply_defaults()
    args = [value for name, value in bound.arguments.items() if name in _CALLED and name != "operands"]
    args += bound.arguments.get("operands", ())
    while args and args[-1] is None:
        args.pop()
    options = {name: value for name, value in bound.arguments.items() if name not in _CALLED}
    if function.short == "relu" and options == {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}:
        options = {}  # Keras's ReLU operation has no options
    if function.short == "pad":  # Keras requires a pair of widths for each axis
        options["pad_width"] = np.broadcast_to(options["pad_width"], (len(args[0]["config"]["shape"]), 2)).tolist()
    return args, options


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        (kind, inner), = value.items()
        return list(inner) if kind == "tensor" else {key: _references(item) for key, item in inner.items()}
    return [_references(item) for item in value]
