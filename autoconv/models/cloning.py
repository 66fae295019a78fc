"""Copies models layer by layer. The caller's functions may create and call the new layers."""

from collections.abc import Callable
from typing import Any

from ..engine.symbolic import SymbolicTensor, flatten, map_structure, pack
from ..layers import InputLayer, Layer
from .model import Model
from .sequential import Sequential

Clone = Callable[[Layer], Layer]
Call = Callable[..., Any]


def clone(model: Model, input_tensors: Any, clone_function: Clone | None, call_function: Call | None,
          recursive: bool) -> Model:
    """Copies a model as `models.clone_model` describes."""
    if clone_function is not None and not callable(clone_function):
        raise ValueError(f"Expected `clone_function` argument to be a callable. Received: {clone_function!r}.")
    if not isinstance(model, Sequential) and model._graph is None:
        raise ValueError("clone_model supports its other arguments only for Sequential and "
                         f"functional models. Received: a model of class {type(model).__name__}. "
                         "Call clone_model(model) without other arguments.")

    def make(layer: Layer) -> Layer:
        if recursive and isinstance(layer, Model):
            return clone(layer, None, clone_function, None if isinstance(layer, Sequential) else call_function, True)
        return type(layer).from_config(layer.get_config()) if clone_function is None else clone_function(layer)

    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError("`call_function` is supported only for functional models, not for "
                             f"Sequential models. Received: call_function={call_function!r}.")
        return _sequential(model, input_tensors, make)
    return _graph(model, input_tensors, make, call_function or (lambda layer, *args, **kwargs: layer(*args, **kwargs)))


def _sequential(model: Sequential, input_tensors: Any, make: Clone) -> Model:
    begin = model._begin
    if input_tensors is not None:
        tensors = flatten(input_tensors)
        if len(tensors) != 1 or not isinstance(tensors[0], SymbolicTensor):
            raise ValueError("input_tensors of a Sequential must be one symbolic tensor, such as "
                             f"Input(shape). Received: input_tensors={input_tensors!r}.")
        first: list[Any] = [tensors[0]]
    else:
        first = [] if begin is None else [InputLayer(begin.output.shape[1:], dtype=begin.output.dtype, name=begin.name)]
    return type(model)([*first, *(make(layer) for layer in model.layers)], model.trainable, model.name)


def _graph(model: Model, input_tensors: Any, make: Clone, call: Call) -> Model:
    graph = model.graph
    if input_tensors is None:
        begins = [InputLayer(old.shape[1:], dtype=old.dtype, name=old.name).output for old in graph.inputs]
    else:
        begins = flatten(input_tensors)
    if len(begins) != len(graph.inputs):
        raise ValueError("input_tensors must contain one symbolic tensor per model input, "
                         f"{len(graph.inputs)} in total. Received: {input_tensors!r}.")
    new = {id(old): begin for old, begin in zip(graph.inputs, begins)}
    operations: dict[int, Any] = {}
    for node in graph.nodes:
        if not node.inputs:
            continue
        operation = node.operation
        if id(operation) not in operations:
            operations[id(operation)] = make(operation) if isinstance(operation, Layer) else operation
        args, kwargs = node.arguments(lambda tensor: new[id(graph.resolve(tensor))])
        results = flatten(call(operations[id(operation)], *args, **kwargs))
        new.update((id(old), result) for old, result in zip(node.outputs, results))
    inputs = pack(graph.input_structure, begins)
    outputs = map_structure(lambda tensor: new[id(graph.resolve(tensor))], graph.output_structure)
    return Model(inputs, outputs, model.name)
