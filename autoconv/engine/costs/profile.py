"""`model.profile()` reports the costs of each layer of a net."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...arguments.names import printable
from ...kernels.device import Device
from ...layers.function import get_kind
from ..graph.graph import Graph
from ..symbolic import Node
from . import counting, measuring
from .tables import BLANK, share, short, table


class Row(NamedTuple):
    """The costs of one layer's call on a batch.

    `output_shape` excludes the batch axis. `params` is 0 if an earlier call of the layer has counted the
    parameters. `multiply_adds` is the number per sample. `predict_bytes` is the size of all arrays that must
    exist while the call runs, including its inputs and outputs. `train_bytes` is the size of the call's output,
    which the backward pass reads again, or 0 for a view. `seconds` is the inference time for a batch. `share` is
    the least time that the call's operations and bytes need on this machine, divided by `seconds`. `seconds` and
    `share` are None if not measured, or if the layer ran in the kernel of the layer `within`.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    multiply_adds: int
    predict_bytes: int
    train_bytes: int
    seconds: float | None = None
    share: float | None = None
    within: str | None = None


@dataclass(frozen=True, repr=False)
class Profile:
    """The costs of a net, per layer (`rows`) and in total; printed as a table. Byte counts follow from the layers'
    definitions. Fused kernels need less memory; training also needs gradients and the optimizer's slots.
    """

    name: str
    batch_size: int
    rows: list[Row]
    params: int
    weight_bytes: int
    input_bytes: int

    @property
    def multiply_adds(self) -> int:
        """The number of multiply-adds per sample."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def map_bytes(self) -> int:
        """The bytes of all layers' outputs for a batch, which training keeps."""
        return sum(row.train_bytes for row in self.rows)

    @property
    def predict_bytes(self) -> int:
        """The bytes needed to predict a batch: the weights, and the peak of arrays that exist at once."""
        return max((row.predict_bytes for row in self.rows), default=0) + self.weight_bytes

    @property
    def train_bytes(self) -> int:
        """The bytes needed to train on a batch: outputs, inputs and weights."""
        return self.map_bytes + self.input_bytes + self.weight_bytes

    @property
    def seconds(self) -> float | None:
        """The inference time of all layers for a batch, in seconds; None if not measured."""
        times = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(times) if times else None

    def as_dict(self) -> dict[str, Any]:
        """Returns the profile as plain data."""
        totals = ("multiply_adds", "map_bytes", "predict_bytes", "train_bytes", "seconds")
        return {**asdict(self), **{name: getattr(self, name) for name in totals},
                "rows": [row._asdict() for row in self.rows]}

    def __str__(self) -> str:
        has_times = self.seconds is not None
        head = ["layer", "output", "params", "mult-adds", "predict", "train", *(["time", "ceiling"] * has_times)]
        lines = [[printable(row.name), "x".join(map(str, row.output_shape)), f"{row.params:,}",
                  short(row.multiply_adds), short(row.predict_bytes, "B"), short(row.train_bytes, "B"),
                  f"in {row.within}" if row.within else f"{1e3 * row.seconds:.3f} ms" if row.seconds else "",
                  share(row.share)][:len(head)]  # the last two columns exist only with times
                 for row in self.rows]
        images = "one sample" if self.batch_size == 1 else f"a batch of {self.batch_size}"
        sums = [
            f"parameters       {self.params:,} ({short(self.weight_bytes, 'B')})",
            f"multiply-adds    {short(self.multiply_adds)} a sample",
            f"to predict       {short(self.predict_bytes, 'B')} for {images}: what is needed at once, and the weights",
            f"to train         {short(self.train_bytes, 'B')} for {images}: "
            f"{short(self.map_bytes, 'B')} of outputs, the inputs and the weights",
        ]
        if self.seconds:
            sums.append(f"time             {1e3 * self.seconds:.3f} ms for {images}, "
                        f"{self.batch_size / self.seconds:,.0f} samples/s")
        if any((row.share or 0) > 1 for row in self.rows):
            sums.append(BLANK)
        return f"{printable(self.name)}, {images}\n{table(head, lines)}\n\n" + "\n".join(sums)

    def __repr__(self) -> str:
        return str(self)


def profile(name: str, graph: Graph, device: Device, inputs: list[tuple[int, ...]], measure: bool) -> Profile:
    """Profiles a graph for inputs of these shapes, batch first. Also measures times if `measure` is true."""
    batch_size = inputs[0][0]
    shapes = counting.infer_shapes(graph, inputs)
    nodes = [node for node in graph.nodes if node.inputs]
    weights = {id(w): w for operation in graph.layers for w in operation.weights}.values()
    size = {id(t): prod(shapes[id(t)]) * np.dtype(t.dtype).itemsize for t in counting.list_tensors(graph)}
    times = measuring.calls(graph, device, shapes, size) if measure and device.is_synchronous else {}
    rows: list[Row] = []
    ids: set[int] = set()
    for node, live_bytes in zip(nodes, _alive(graph, nodes, size)):
        operation = node.operation
        params = operation.count_params() if hasattr(operation, "count_params") and id(operation) not in ids else 0
        ids.add(id(operation))
        call_inputs, call_outputs = counting.call_shapes(graph, node, shapes)
        rows.append(Row(
            operation.name, get_kind(operation), call_outputs[0][1:], params,
            counting.multiply_adds(operation, call_inputs, call_outputs) // batch_size, live_bytes,
            0 if counting.is_view(node, training=True) else sum(size[id(t)] for t in node.outputs),
            *times.get(id(node), ()),
        ))
    return Profile(name, batch_size, rows, sum(w.size for w in weights),
                   sum(w.size * w.dtype.itemsize for w in weights), sum(size[id(t)] for t in graph.inputs))


def _alive(graph: Graph, nodes: list[Node], size: dict[int, int]) -> list[int]:
    """Returns, per node, the bytes of all values that exist while it runs: outputs, and values read then or later."""
    owner = {id(t): id(t) for t in graph.inputs}  # id of the value whose memory each value uses
    for node in nodes:
        source = owner[id(graph.resolve(node.inputs[0]))] if counting.is_view(node, training=False) else None
        owner.update((id(t), source or id(t)) for t in node.outputs)
    last = {owner[id(graph.resolve(t))]: len(nodes) for t in graph.outputs}
    for place in reversed(range(len(nodes))):
        for t in (*nodes[place].inputs, *nodes[place].outputs):
            last.setdefault(owner[id(graph.resolve(t))], place)
    present = {owner[id(t)] for t in graph.inputs}
    totals = []
    for place, node in enumerate(nodes):
        present |= {owner[id(t)] for t in node.outputs}
        totals.append(sum(size[key] for key in present))
        present = {key for key in present if last.get(key, -1) > place}
    return totals
