"""Lists the kernels of a net's training step for timing, with their operations and bytes."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ... import functional
from ... import optimizers as optim
from ...arguments import shapes
from ...engine.graph import fusion
from ...engine.graph.patterns import Fusion
from ...engine.variable import Variable
from ...kernels.device import Device, Pool, reusing
from ...layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, Layer, MaxPooling2D
from ...models import Model
from ...operators import activations, conv, dense, fused, norm, pool
from ...optimizers.slots import FlatParameters

ITEM = 4  # bytes per float32
ACTIVATIONS = {functional.relu: activations.relu, functional.tanh: activations.tanh}


class Case(NamedTuple):
    """A kernel call on one layer's arrays, with its operations and bytes."""

    kind: str
    layer: str
    flops: float
    bytes: int
    call: Callable[[], Any]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.layer}"


def cases(net: Model, batch_size: int, device: Device) -> Iterator[Case]:
    """Yields each kernel of a training step of `net` once, layer by layer."""
    seen = set()
    for case in _all_cases(net, batch_size, device):
        if case.name not in seen:
            seen.add(case.name)
            yield case


def _all_cases(net: Model, batch_size: int, device: Device) -> Iterator[Case]:
    pooling = [call for call in fusion.fuse(net.graph).calls if isinstance(call.operation, Fusion)
               and call.operation.pattern == ("conv", "relu", "pool")]
    pooled = {id(call.operation.layers[0]): call.shape for call in pooling}
    fused_ids = {id(layer) for call in pooling for layer in call.operation.layers}
    first = True  # the first layer needs no input gradient
    for node in net.graph.nodes:
        if not node.inputs:
            continue
        layer = node.operation
        x, y = ((batch_size, *tensor.shape[1:]) for tensor in (node.inputs[0], node.outputs[0]))
        if id(layer) in pooled:
            yield from _conv_pool(device, layer, x, (batch_size, *pooled[id(layer)][1:]), first)
        elif id(layer) in fused_ids:
            continue
        elif isinstance(layer, Conv2D):
            yield from _conv(device, layer, x, y, first)
        elif isinstance(layer, DepthwiseConv2D):
            yield from _depthwise(device, layer, x, y)
        elif isinstance(layer, BatchNormalization):
            yield from _norm(device, layer, y)
        elif isinstance(layer, MaxPooling2D | AveragePooling2D):
            yield from _pool(device, layer, x, y)
        elif isinstance(layer, Dense):
            yield from _dense(device, layer, x, y, first)
        if id(layer) not in fused_ids and (activation := getattr(layer, "activation", None)) in ACTIVATIONS:
            yield from _activation(device, ACTIVATIONS[activation], y)
        first = first and not (isinstance(layer, Layer) and layer.weights)
    yield _update(device, net)


def _conv(device: Device, layer: Conv2D, x: tuple, y: tuple, first: bool) -> Iterator[Case]:
    w = layer.kernel.shape
    window = shapes.window(x[1:3], w[:2], layer.strides, layer.padding, layer.dilation_rate)
    flops = 2 * prod(y) * prod(w[:3])
    size = _bytes(x, w, y)
    label = f"{_images(x)} -> {_images(y)}{_kernel(w)}"
    arrays = [_random(x), _random(w), _random(w[3:])]
    forward, backward = _calls(device, conv.conv2d, arrays, y, window=window)
    yield from _passes("conv", label, flops, size, forward, backward, first)


def _conv_pool(device: Device, layer: Conv2D, x: tuple, y: tuple, first: bool) -> Iterator[Case]:
    """Yields the cases of the kernel that fuses convolution, ReLU and pooling. It computes only the
    pixels that pooling reads.
    """
    w = layer.kernel.shape
    window = shapes.window(x[1:3], w[:2], layer.strides, layer.padding, layer.dilation_rate)
    flops = 4 * 2 * prod(y) * prod(w[:3])
    size = _bytes(x, w, y)
    label = f"{_images(x)} -> {_images(y)}{_kernel(w)}"
    forward, backward = _calls(device, fused.conv2d_relu_pool,
                               [_random(x), _random(w), _random(w[3:])], y, window=window)
    gradients = 1 if first else 2
    yield Case("conv+pool forward", label, flops, size, forward)
    yield Case("conv+pool gradients", label, flops * gradients, size + (gradients - 1) * _bytes(x) + _bytes(w),
               lambda: backward((not first, True, True)))


def _depthwise(device: Device, layer: DepthwiseConv2D, x: tuple, y: tuple) -> Iterator[Case]:
    w = layer.kernel.shape
    window = shapes.window(x[1:3], w[:2], layer.strides, layer.padding, layer.dilation_rate)
    forward, backward = _calls(device, conv.depthwise_conv2d, [_random(x), _random(w), None], y, window=window)
    flops = 2 * prod(y) * prod(w[:2])
    size = _bytes(x, w, y)
    label = f"{_images(x)} -> {_images(y)}{_kernel(w)}"
    yield from _passes("depthwise", label, flops, size, forward, backward, bias=False)


def _norm(device: Device, layer: BatchNormalization, y: tuple) -> Iterator[Case]:
    """Yields the cases of batch normalization in training, with the batch's mean and variance."""
    size = y[-1:]
    averages = [device.asarray(_random(size)) for _ in range(2)]
    forward, backward = _calls(device, norm.batch_norm, [_random(y), _random(size), _random(size)], y,
                               mean=averages[0], variance=averages[1], training=True, epsilon=layer.epsilon)
    yield Case("normalization forward", _images(y), 0, 2 * _bytes(y), forward)
    yield Case("normalization gradients", _images(y), 0, 3 * _bytes(y), lambda: backward((True, True, True)))


def _pool(device: Device, layer: MaxPooling2D | AveragePooling2D, x: tuple, y: tuple) -> Iterator[Case]:
    window = shapes.window(x[1:3], layer.pool_size, layer.strides, layer.padding)
    kind, op = ("pool", pool.max_pool2d) if isinstance(layer, MaxPooling2D) else ("average pool", pool.avg_pool2d)
    forward, backward = _calls(device, op, [_random(x)], y, window=window)
    label = f"{_images(x)} -> {_images(y)}"
    yield Case(f"{kind} forward", label, 0, _bytes(x, y), forward)
    yield Case(f"{kind} gradient", label, 0, _bytes(x, y), lambda: backward((True,)))


def _dense(device: Device, layer: Dense, x: tuple, y: tuple, first: bool) -> Iterator[Case]:
    w = layer.kernel.shape
    forward, backward = _calls(device, dense.dense, [_random(x), _random(w), _random(w[1:])], y)
    flops = 2 * prod(y) * w[0]
    size = _bytes(x, w, y)
    label = f"{x[1]} -> {y[1]}"
    yield from _passes("dense", label, flops, size, forward, backward, first)


def _passes(kind: str, label: str, flops: float, size: int, forward: Callable, backward: Callable,
            first: bool = False, bias: bool = True) -> Iterator[Case]:
    """Yields the cases of a layer with weights. first: whether no input gradient is needed."""
    yield Case(f"{kind} forward", label, flops, size, forward)
    if not first:
        yield Case(f"{kind} input gradient", label, flops, size, lambda: backward((True, False, False)))
    yield Case(f"{kind} weight gradient", label, flops, size, lambda: backward((False, True, bias)))


def _activation(device: Device, op: Any, y: tuple) -> Iterator[Case]:
    forward, backward = _calls(device, op, [_random(y)], y)
    yield Case(f"{op.name} forward", _images(y), 0, 2 * _bytes(y), forward)
    yield Case(f"{op.name} gradient", _images(y), 0, 3 * _bytes(y), lambda: backward((True,)))


def _update(device: Device, net: Model) -> Case:
    """Returns the case of an RMSprop step, which reads weights, gradients and slots and writes
    weights and slots.
    """
    optimizer = optim.RMSprop()
    optimizer.build([Variable.wrap(device.asarray(_random(p.shape)), p.name, trainable=True,
                                   device=device) for p in net.trainable_weights])
    flat: FlatParameters = optimizer.flat  # type: ignore[assignment]
    flat.gradient[...] = 1e-3
    gradients = list(flat.gradients)
    return Case("update", f"{flat.size:,} parameters", 0, 5 * flat.size * ITEM, lambda: optimizer.apply(gradients))


def _calls(device: Device, op: Any, arrays: list, y: tuple, **static: Any) -> tuple[Callable, Callable]:
    """Returns the op's forward and backward calls, which reuse buffers as in a training step."""
    buffers = Pool()
    arrays = [None if a is None else device.array(a) for a in arrays]
    with reusing(buffers):
        _, back = op(device, *arrays, **static)
    dy = device.array(_random(y))

    def forward() -> None:
        with reusing(buffers):
            op(device, *arrays, **static)

    def backward(needs: tuple[bool, ...]) -> None:
        with reusing(buffers):
            back(dy, needs, *arrays[:op.rereads])

    return forward, backward


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _bytes(*arrays: tuple[int, ...]) -> int:
    return ITEM * sum(prod(shape) for shape in arrays)


def _images(shape: tuple[int, ...]) -> str:
    """Formats the shape of one image of a batch, such as 28x28x1."""
    return "x".join(map(str, shape[1:]))


def _kernel(w: tuple[int, ...]) -> str:
    """Formats the size of a kernel, or returns "" for the usual size 3x3."""
    return "" if w[:2] == (3, 3) else f", {w[0]}x{w[1]}"
