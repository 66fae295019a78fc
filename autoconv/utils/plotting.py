"""Draws a model's graph with Graphviz."""

import os
from pathlib import Path
from typing import Any

from ..arguments import extras
from ..engine.symbolic import Node, map_structure
from ..files import atomic
from ..layers.function import get_kind

SOURCE = (".dot", ".gv")  # Graphviz's source format, written without Graphviz
SCALABLE = (".svg", ".svgz", ".pdf", ".ps", ".eps")  # formats drawn without dpi, which would truncate an .svg
BOX = {"shape": "box", "style": "rounded,filled", "fillcolor": "#f4f6fb", "color": "#3f51b5",
       "fontname": "Helvetica", "margin": "0.16,0.09", "height": "0.4"}
ARROW = {"color": "#5a5d64", "arrowsize": "0.7"}


def plot_model(model: Any, to_file: str | os.PathLike[str] = "model.png", show_shapes: bool = False,
               show_dtype: bool = False, show_layer_names: bool = False, rankdir: str = "TB",
               expand_nested: bool = False, dpi: int = 200, show_layer_activations: bool = False,
               show_trainable: bool = False, **kwargs: Any) -> Path:
    """Draws a model's layers and their connections into `to_file`, and returns the file's path. The
    suffix selects the format: .png, .svg, .pdf or .dot (Graphviz's source).

    Arguments are the same as in Keras; a nested model is one box. rankdir: "TB" from top to bottom,
    "LR" from left to right. Raises ImportError if the package `graphviz` (extra `graphs`) is missing,
    FileNotFoundError if its program `dot` is missing, AttributeError if the model has no graph.
    """
    if expand_nested or kwargs:
        raise ValueError("plot_model supports neither expand_nested=True nor unknown arguments. "
                         f"Received: {dict(kwargs, expand_nested=expand_nested)}.")
    if rankdir not in ("TB", "BT", "LR", "RL"):
        raise ValueError(f"rankdir must be 'TB', 'BT', 'LR' or 'RL'. Received: {rankdir!r}.")
    path = Path(to_file)
    graph = model.graph
    graphviz = extras.load("graphviz", "the package graphviz", "graphs", "Drawing a model")
    if path.suffix[1:] not in graphviz.FORMATS and path.suffix not in SOURCE:
        raise ValueError(f"The file suffix must be a Graphviz format, such as .png or .svg. Received: {str(path)!r}.")
    resolution = {} if path.suffix in (*SCALABLE, *SOURCE) else {"dpi": str(dpi)}
    drawing = graphviz.Digraph(model.name, graph_attr={"rankdir": rankdir, "ranksep": "0.3", **resolution},
                               node_attr=BOX, edge_attr=ARROW)
    numbers = {id(node): str(number) for number, node in enumerate(graph.nodes)}
    options = {"names": show_layer_names, "shapes": show_shapes, "dtype": show_dtype,
               "activations": show_layer_activations, "trainable": show_trainable}
    for node in graph.nodes:
        drawing.node(numbers[id(node)], graphviz.escape("\n".join(_lines(node, **options))))
        for parent in graph.parents(node):
            drawing.edge(numbers[id(parent)], numbers[id(node)])
    if path.suffix in SOURCE:
        atomic.write(path, drawing.source)
        return path
    try:
        atomic.write(path, drawing.pipe(format=path.suffix[1:]))
    except graphviz.ExecutableNotFound:
        raise FileNotFoundError("Graphviz's program `dot` is missing. Install it (https://graphviz.org/download), "
                                "or pass to_file='model.dot' to write only the drawing's source.") from None
    return path


def _lines(node: Node, names: bool, shapes: bool, dtype: bool, activations: bool,
           trainable: bool) -> list[str]:
    """Returns the lines of text in the box of a layer's call."""
    operation = node.operation
    kind = get_kind(operation)
    lines = [f"{operation.name} ({kind})" if names else kind]
    activation = getattr(operation, "activation", None)
    if activations and activation is not None:
        lines.append(f"activation: {getattr(activation, '__name__', type(activation).__name__)}")
    if shapes:
        outputs = map_structure(lambda tensor: tensor.shape, node.structure)
        lines += [f"input: {', '.join(str(t.shape) for t in node.inputs)}"] if node.inputs else []
        lines.append(f"output: {outputs}")
    if dtype:
        lines.append(f"dtype: {node.outputs[0].dtype}")
    if trainable and getattr(operation, "weights", None):
        lines.append("trainable" if operation.trainable else "not trainable")
    return lines
