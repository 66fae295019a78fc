"""Converts weights to and from PyTorch's layouts and names, without PyTorch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import layers as L
from ..engine.variable import Variable
from ..layers import Layer
from ..models import Model
from .flat_order import UNKNOWN, Order, find_flat_orders, list_calls

View = Callable[[np.ndarray], np.ndarray]
Names = Mapping[str, str | tuple[str, ...]] | Iterable[str]
_Entries = dict[str, list["_Entry"]]  # entries by the suffix of a PyTorch module's path

_IGNORED = "num_batches_tracked"  # a counter that no layer of autoconv needs
_SHOWN = 12  # maximum number of mismatches in an error message


@dataclass(frozen=True)
class _Entry:
    """An array of a PyTorch module: its name and shape, autoconv's weight or None, and functions
    that convert the weight to PyTorch (`write`) and back (`read`).
    """

    name: str
    weight: Variable | None
    shape: tuple[int, ...]
    write: Callable[[], np.ndarray]
    read: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Module:
    """A PyTorch module: a layer, or one of the two convolutions of a SeparableConv2D."""

    path: str  # the layer's name, preceded by the names of the models that contain it
    layer: Layer
    entries: list[_Entry]


def from_torch_state_dict(model: Model, state: Mapping[str, Any],
                          names: Names | None = None) -> None:
    """Copies the weights of a PyTorch module into a built model with the same layers.

    state: arrays or tensors by name, such as "0.weight". The part of a name before its last dot is
    its group. Groups that are not in `names` are matched in order with the other layers that have
    weights. names: a dict {layer name: group}, with two groups for a SeparableConv2D and
    "model/layer" for a nested layer, or a list of the groups in the layers' order. Kernels are
    converted to autoconv's layout; kernels after a Flatten are reordered to (H, W, C). Raises
    ValueError with a list of all mismatches, without changing any weight.
    """
    modules = _modules(model)
    groups = _groups(state)
    problems: list[str] = []
    matches: list[tuple[Variable, np.ndarray]] = []
    for module, prefix in _match_groups(modules, list(groups), names, problems):
        matches += _read_group(module, prefix, groups[prefix], problems)
    _refuse(problems, f"The state dict does not fit {model.name!r}")
    for weight, value in matches:
        weight.assign(value)


def to_torch_state_dict(model: Model, names: Names | None = None) -> dict[str, np.ndarray]:
    """Returns the weights of a built model in PyTorch's layout, as arrays by name.

    `net.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})` loads the
    arrays. names: the groups, as in `from_torch_state_dict`. A group is by default the layer's
    name, plus ".depthwise" and ".pointwise" for a SeparableConv2D. Raises ValueError with a list of
    the weights that PyTorch's modules cannot hold.
    """
    modules = _modules(model)
    problems: list[str] = []
    prefixes = _prefixes(modules, names, problems)
    _refuse(problems, f"{model.name!r} cannot be written for PyTorch")
    state: dict[str, np.ndarray] = {}
    for index, module in enumerate(modules):
        prefix = prefixes.get(index, module.path.replace("/", "."))
        for entry in module.entries:
            key = _key(prefix, entry.name)
            if key in state:
                problems.append(f"{key}: two layers have this name. The second layer is {module.path!r}")
            try:
                state[key] = entry.write()
            except ValueError as error:
                problems.append(f"{key}: {error}")
    _refuse(problems, f"{model.name!r} cannot be written for PyTorch")
    return state


def _refuse(problems: list[str], summary: str) -> None:
    if problems:
        rest = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ValueError("\n  ".join([f"{summary}:", *problems[:_SHOWN], *rest]))


# Matching of layers with groups.


def _groups(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Groups the values of a state dict by the part of their name before the last dot."""
    if not isinstance(state, Mapping):
        raise ValueError("state must be a mapping of names to arrays, such as module.state_dict(). "
                         f"Received: {type(state).__name__}.")
    groups: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        prefix, _, name = str(key).rpartition(".")
        if name != _IGNORED:
            groups.setdefault(prefix, {})[name] = value
    return groups


def _prefixes(modules: list[_Module], names: Names | None, problems: list[str]) -> dict[int, str]:
    """Returns the prefixes in `names`, by the index of the module to which each belongs."""
    if names is None:
        return {}
    if isinstance(names, str):
        raise ValueError("names must be a dict {layer name: prefix in the state dict}, or a "
                         f"list of such prefixes in the order of the layers. Received: {names!r}.")
    if not isinstance(names, Mapping):
        prefixes = list(names)
        if len(prefixes) != len(modules):
            problems.append(f"names has {len(prefixes)} prefixes, the layers need {len(modules)}: "
                            f"{[module.path for module in modules]}")
        return dict(enumerate(prefixes))
    result: dict[int, str] = {}
    for name, prefix in names.items():
        indices = [i for i, module in enumerate(modules) if name in (module.path, _layer_path(module))]
        values = [prefix] if isinstance(prefix, str) else list(prefix)
        if not indices:
            problems.append(f"names has {name!r}, which no layer with weights is called. There is: "
                            f"{list(dict.fromkeys(_layer_path(module) for module in modules))}")
        elif len(indices) != len(values):
            problems.append(f"names must give {name!r} {len(indices)} prefixes. Received: {prefix!r}")
        result.update(zip(indices, values))
    return result


def _layer_path(module: _Module) -> str:
    """Returns a module's path without a SeparableConv2D's suffix."""
    return module.path.rpartition("/")[0] if isinstance(module.layer, L.SeparableConv2D) else module.path


def _match_groups(modules: list[_Module], prefixes: list[str], names: Names | None,
                  problems: list[str]) -> list[tuple[_Module, str]]:
    """Returns each module with the prefix of its group."""
    mapping = _prefixes(modules, names, problems)
    for index, prefix in mapping.items():
        if prefix not in prefixes and index < len(modules):
            problems.append(f"{modules[index].path}: the state has nothing under {prefix!r}")
    free = [prefix for prefix in prefixes if prefix not in mapping.values()]
    rest = [i for i in range(len(modules)) if i not in mapping]
    if len(free) != len(rest):
        kinds = [f"{modules[i].path} ({type(modules[i].layer).__name__})" for i in rest]
        problems.append(f"{len(kinds)} layers with weights cannot be matched with {len(free)} groups of the state. "
                        f"The layers: {', '.join(kinds) or 'none'}. The groups: {', '.join(map(repr, free)) or 'none'}")
    if problems:
        return []
    mapping.update(zip(rest, free))
    return [(module, mapping[i]) for i, module in enumerate(modules)]


def _read_group(module: _Module, prefix: str, group: dict[str, Any],
                problems: list[str]) -> list[tuple[Variable, np.ndarray]]:
    """Returns the weights of a module with their new values. Adds mismatches to `problems`."""
    values = []
    target = f"{module.path!r} ({type(module.layer).__name__})"
    for entry in module.entries:
        if entry.name not in group:
            if entry.weight is not None:
                problems.append(f"{_key(prefix, entry.name)} is missing, for {target}. There is: {', '.join(group)}")
            continue
        try:
            value = entry.read(_array(group[entry.name]))
        except ValueError as error:
            problems.append(f"{_key(prefix, entry.name)}: {error} The array is for {target}")
            continue
        if entry.weight is not None:
            values.append((entry.weight, value))
    for name in group.keys() - {entry.name for entry in module.entries}:
        hint = "; make the layer with use_bias=True" if name == "bias" and hasattr(module.layer, "use_bias") else ""
        problems.append(f"{_key(prefix, name)} has no place in {target}{hint}")
    return values


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _array(value: Any) -> np.ndarray:
    """Returns an array or tensor as a NumPy array. Raises ValueError if it is not numeric."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except TypeError:  # a type that NumPy lacks, such as bfloat16
        array = np.asarray(value.float())
    if array.dtype.kind not in "fiu":
        raise ValueError(f"the value must be an array of numbers. Received: {type(value).__name__} "
                         f"of dtype {array.dtype}.")
    return array


# PyTorch's counterpart of each layer.


def _modules(model: Model) -> list[_Module]:
    """Returns the PyTorch modules of layers with weights. Raises ValueError if a layer has no counterpart."""
    model.count_params()  # raises if the model is not built
    calls = list_calls(model.graph)
    orders = find_flat_orders(calls)
    orders_by_layer: dict[int, tuple[Order, Order]] = {}
    for call in calls:
        order_in, order_out = (orders.get(values[0]) for values in (call.inputs, call.outputs))
        orders_by_layer.setdefault(id(call.operation), (order_in, order_out))
    problems: list[str] = []
    modules: list[_Module] = []
    for path, layer in _find_weighted_layers(model):
        order_in, order_out = orders_by_layer.get(id(layer), (None, None))
        parts = next((make(layer, order_in, order_out) for kind, make in _KINDS.items() if isinstance(layer, kind)), {})
        entry_weights = {id(e.weight) for entries in parts.values() for e in entries}
        if any(id(weight) not in entry_weights for weight in layer.weights):
            problems.append(f"{path!r} ({type(layer).__name__}) has weights of a kind that no PyTorch module has")
        elif (order_in is UNKNOWN or order_out is UNKNOWN) and not isinstance(layer, _IMAGE_LAYERS):
            problems.append(f"{path!r} ({type(layer).__name__}): the order of its numbers is not "
                            "known. Between images and vectors use Flatten, or Reshape, alone")
        modules += [_Module(path + part, layer, entries) for part, entries in parts.items()]
    _refuse(problems, f"{model.name!r} has layers without a counterpart in PyTorch")
    return modules


def _find_weighted_layers(model: Model, path: str = "") -> list[tuple[str, Layer]]:
    """Returns the path and the layer of each layer with weights, also in nested models."""
    layers: dict[int, tuple[str, Layer]] = {}
    for layer in model.layers:
        if isinstance(layer, Model) and layer._graph is not None:
            for inner, each in _find_weighted_layers(layer, f"{path}{layer.name}/"):
                layers.setdefault(id(each), (inner, each))
        elif layer.weights:
            layers.setdefault(id(layer), (path + layer.name, layer))
    return list(layers.values())


def _entry(name: str, weight: Variable, view: View) -> _Entry:
    """Returns the entry of a weight. `view` converts an array to PyTorch's layout."""
    indices = view(np.arange(weight.size).reshape(weight.shape))

    def read(array: np.ndarray) -> np.ndarray:
        if array.shape != indices.shape:
            raise ValueError(f"the shape must be {indices.shape}. Received: {array.shape}.")
        value = np.empty(weight.size, array.dtype)
        value[indices] = array
        return value.reshape(weight.shape)

    return _Entry(name, weight, indices.shape, lambda: weight.numpy().reshape(-1)[indices], read)


def _constant(name: str, value: float, size: int) -> _Entry:
    """Returns the entry of an array that autoconv's layer lacks. Its elements must be `value`."""

    def read(array: np.ndarray) -> np.ndarray:
        if not np.all(array == value):
            raise ValueError(f"the layer has no such weight, so all elements of the array must be {value:g}.")
        return array

    return _Entry(name, None, (size,), lambda: np.full(size, value, np.float32), read)


def _view(order: Order) -> View:
    """Returns a function that reorders an array's last axis to PyTorch's order."""
    return (lambda a: a) if order is None or order is UNKNOWN else (lambda a: a[..., order])


def _add_bias(layer: Any, weight: _Entry, order: Order = None) -> _Entries:
    return {"": [weight, *([] if layer.bias is None else [_entry("bias", layer.bias, _view(order))])]}


def _convolution(layer: L.Conv2D | L.Conv2DTranspose, order_in: Order,
                 order_out: Order) -> _Entries:
    """(KH, KW, in, out) -> (out, in, KH, KW); for ConvTranspose2d, in and out are exchanged."""
    return _add_bias(layer, _entry("weight", layer.kernel, lambda a: a.transpose(3, 2, 0, 1)))


def _transpose_depthwise(kernel: np.ndarray) -> np.ndarray:
    """(KH, KW, C, M) -> (C * M, 1, KH, KW), the layout of a Conv2d with C groups."""
    kh, kw, channels, multiplier = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)


def _separable(layer: L.SeparableConv2D, order_in: Order, order_out: Order) -> _Entries:
    pointwise = _entry("weight", layer.pointwise_kernel, lambda a: a.transpose(3, 2, 0, 1))
    return {"/depthwise": [_entry("weight", layer.depthwise_kernel, _transpose_depthwise)],
            "/pointwise": _add_bias(layer, pointwise)[""]}


def _dense(layer: L.Dense, order_in: Order, order_out: Order) -> _Entries:
    rows, columns = map(_view, (order_in, order_out))
    kernel = _entry("weight", layer.kernel, lambda a: rows(columns(a).T))
    return _add_bias(layer, kernel, order_out)


def _affine(layer: Any, view: View) -> list[_Entry]:
    """Returns the entries of gamma and beta. A PyTorch module has both of them or neither."""
    if layer.gamma is None and layer.beta is None:
        return []
    size = (layer.beta if layer.gamma is None else layer.gamma).size
    return [_constant(name, value, size) if weight is None else _entry(name, weight, view)
            for name, weight, value in (("weight", layer.gamma, 1.0), ("bias", layer.beta, 0.0))]


def _batch_norm(layer: L.BatchNormalization, order_in: Order, order_out: Order) -> _Entries:
    if layer._order is not None:
        return {}  # normalized over an axis other than the channels
    view = _view(order_in)
    return {"": [*_affine(layer, view), _entry("running_mean", layer.moving_mean, view),
                 _entry("running_var", layer.moving_variance, view)]}


def _sample_norm(layer: L.LayerNormalization | L.GroupNormalization, order_in: Order,
                 order_out: Order) -> _Entries:
    """Converts a LayerNorm or GroupNorm. Weights over whole images, (H, W, C), become (C, H, W)."""
    if getattr(layer, "rms_scaling", False):
        return {}  # PyTorch's RMSNorm divides by the root mean square instead
    whole = isinstance(layer, L.LayerNormalization) and layer.axis == [1, 2, 3]
    rank = len(layer._build_shape)
    if getattr(layer, "_order", None) is not None or (not whole and isinstance(layer.axis, list) and (
            layer.axis != list(range(layer.axis[0], rank)) or (rank == 4 and layer.axis[0] < 3))):
        return {}  # in PyTorch's images these axes are at other positions
    return {"": _affine(layer, (lambda a: a.transpose(2, 0, 1)) if whole else _view(order_in))}


def _prelu(layer: L.PReLU, order_in: Order, order_out: Order) -> _Entries:
    """Converts a PReLU. In PyTorch it has one slope per channel or one slope in total."""
    alpha = layer.alpha
    view = _view(order_in)
    channels = alpha.shape[-1]
    indices = view(np.arange(channels))

    def read(array: np.ndarray) -> np.ndarray:
        if array.shape not in ((channels,), (1,)):
            raise ValueError(f"the shape must be {(channels,)} or (1,). Received: {array.shape}.")
        value = np.empty(channels, array.dtype)
        value[indices] = array
        return np.ascontiguousarray(np.broadcast_to(value, alpha.shape))

    def write() -> np.ndarray:
        values = alpha.numpy().reshape(-1, channels)
        if not np.all(values == values[0]):
            raise ValueError("PyTorch's PReLU has one slope per channel, but here the slopes of a channel differ. "
                             "For images, create the layer with shared_axes=[1, 2].")
        return values[0][indices]

    return {"": [_Entry("weight", alpha, (channels,), write, read)]}


_IMAGE_LAYERS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Conv2DTranspose)
_KINDS: dict[type, Callable[[Any, Order, Order], _Entries]] = {
    L.Conv2D: _convolution, L.Conv2DTranspose: _convolution, L.DepthwiseConv2D: lambda layer, *orders: (
        _add_bias(layer, _entry("weight", layer.kernel, _transpose_depthwise))),
    L.SeparableConv2D: _separable, L.Dense: _dense, L.BatchNormalization: _batch_norm,
    L.LayerNormalization: _sample_norm, L.GroupNormalization: _sample_norm, L.PReLU: _prelu,
    L.RMSNormalization: lambda layer, order_in, order_out: (  # only the last axis is supported
        {"": [_entry("weight", layer.scale, _view(order_in))]} if layer.scale.ndim == 1 else {}),
}
