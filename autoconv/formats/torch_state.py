"""PyTorch's state dicts: weights by the names of modules, with the axes in PyTorch's order. PyTorch is not needed.

PyTorch has images (N, C, H, W) and kernels (F, C, KH, KW); here they are (N, H, W, C) and (KH, KW, C, F). A `Linear`
behind a `Flatten` counts channels first there, so its rows are put in another order.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import layers as ours
from ..layers import Layer
from ..models import Model
from ..tensor import Parameter

# Of each class: our weight, PyTorch's name, and which axis of ours is which of PyTorch's.
_VECTORS: list[tuple[str, str, tuple[int, ...]]] = [("gamma", "weight", (0,)), ("beta", "bias", (0,))]
_WEIGHTS: dict[type[Layer], list[tuple[str, str, tuple[int, ...]]]] = {
    ours.Conv2D: [("kernel", "weight", (3, 2, 0, 1)), ("bias", "bias", (0,))],
    ours.Conv2DTranspose: [("kernel", "weight", (3, 2, 0, 1)), ("bias", "bias", (0,))],
    ours.DepthwiseConv2D: [("kernel", "weight", (2, 3, 0, 1)), ("bias", "bias", (0,))],
    ours.Dense: [("kernel", "weight", (1, 0)), ("bias", "bias", (0,))],
    ours.BatchNormalization: [*_VECTORS, ("moving_mean", "running_mean", (0,)),
                              ("moving_variance", "running_var", (0,))],
    ours.LayerNormalization: _VECTORS, ours.GroupNormalization: _VECTORS,
}


class _Place(NamedTuple):
    """A weight of ours, its name in a state dict, and how its array gets there: axes, and the image (H, W, C) that a
    Flatten before it took apart, if one did.
    """

    weight: Parameter
    name: str
    axes: tuple[int, ...]
    image: tuple[int, ...] | None
    depthwise: bool

    def to_torch(self) -> np.ndarray:
        value = self.weight.numpy()
        if self.image is not None:
            h, w, c = self.image
            value = value.reshape(h, w, c, -1).transpose(2, 0, 1, 3).reshape(value.shape)
        value = value.transpose(self.axes)
        return np.ascontiguousarray(value.reshape(-1, 1, *value.shape[2:]) if self.depthwise else value)

    def from_torch(self, value: np.ndarray) -> np.ndarray:
        shape = self.weight.shape
        if self.depthwise:
            value = value.reshape(*(shape[axis] for axis in self.axes))
        value = value.transpose(np.argsort(self.axes))
        if self.image is not None:
            h, w, c = self.image
            value = value.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(shape)
        return value


def from_torch_state_dict(model: Model, state: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """Gives a built model the weights of a PyTorch module: `from_torch_state_dict(model, module.state_dict())`.

    Layers with weights and modules are taken in their order; `names` says otherwise: {layer's name: module's name}.
    Raises ValueError, changing nothing, where names or shapes differ; for layers that PyTorch has not.
    """
    places = list(_places(model, names or _in_order(model, state)))
    given = {name: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
             for name, value in state.items() if not name.endswith("num_batches_tracked")}
    lines = [f"  {name} is in the state, and no layer takes it" for name in given
             if name not in {place.name for place in places}]
    for place in places:
        like = place.to_torch().shape
        if place.name not in given or given[place.name].shape != like:
            found = given[place.name].shape if place.name in given else "none"
            lines.append(f"  {place.name}: the model needs shape {like}, the state has {found}")
    if lines:
        raise ValueError(f"The state is not that of {model.name!r}:\n" + "\n".join(lines[:8]))
    for place in places:
        place.weight.assign(place.from_torch(given[place.name]))


def to_torch_state_dict(model: Model, names: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The weights of a built model under PyTorch's names, as arrays: `module.load_state_dict({name: torch.from_numpy(a)
    for name, a in found.items()})`. `names`: {layer's name: module's name}, by default the layers' own names.
    """
    given = names or {layer.name: layer.name for layer in _with_weights(model)}
    found: dict[str, np.ndarray] = {}
    for place in _places(model, given):
        found[place.name] = place.to_torch()
        if place.name.endswith(".running_var"):
            found[place.name.replace("running_var", "num_batches_tracked")] = np.asarray(0)
    return found


def _with_weights(model: Model) -> list[Layer]:
    """The layers that have weights of their own, in their order, with those of models within."""
    return [layer for layer in model._walk() if not isinstance(layer, Model) and layer._own_weights()]


def _in_order(model: Model, state: Mapping[str, Any]) -> dict[str, str]:
    """Each layer with the module of the same place."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    layers = _with_weights(model)
    if len(modules) != len(layers):
        raise ValueError(f"{model.name!r} has {len(layers)} layers with weights, and the state is of {len(modules)} "
                         f"modules: {modules}. Pass names={{layer's name: module's name}} for what belongs together.")
    return {layer.name: module for layer, module in zip(layers, modules)}


def _places(model: Model, names: Mapping[str, str]) -> Iterator[_Place]:
    images = _flattened(model)
    for layer in _with_weights(model):
        kind = next((kind for kind in type(layer).__mro__ if kind in _WEIGHTS), None)
        if kind is None:
            raise ValueError(f"PyTorch has no module for layer {layer.name!r}, a {type(layer).__name__}. There is one "
                             f"for {', '.join(sorted(known.__name__ for known in _WEIGHTS))}.")
        if layer.name not in names:
            raise ValueError(f"names says of no module for layer {layer.name!r}. Received: {dict(names)}.")
        prefix = names[layer.name]
        for own, theirs, axes in _WEIGHTS[kind]:
            weight = getattr(layer, own, None)
            if weight is not None:
                image = images.get(layer.name) if own == "kernel" and kind is ours.Dense else None
                yield _Place(weight, f"{prefix}.{theirs}".lstrip("."), axes, image,
                             kind is ours.DepthwiseConv2D and own == "kernel")


def _flattened(model: Model) -> dict[str, tuple[int, ...]]:
    """The image shapes (H, W, C) that a Flatten took apart, by the names of the dense layers behind it. Between them
    only activations and dropout may stand.
    """
    found: dict[str, tuple[int, ...]] = {}
    models = [model, *(layer for layer in model._walk() if isinstance(layer, Model) and layer is not model)]
    for each in models:
        flat: dict[int, tuple[int, ...]] = {}  # of tensors: the image that they were
        for node in each.graph.nodes:
            layer, inputs = node.operation, node.inputs
            if isinstance(layer, ours.Flatten) and len(inputs[0].shape) == 4:
                flat[id(node.outputs[0])] = tuple(inputs[0].shape[1:])  # type: ignore[arg-type]
            elif isinstance(layer, ours.Dense) and inputs and id(inputs[0]) in flat:
                found[layer.name] = flat[id(inputs[0])]
            elif len(inputs) == 1 and id(inputs[0]) in flat and not getattr(layer, "weights", ()):
                flat[id(node.outputs[0])] = flat[id(inputs[0])]
    return found
