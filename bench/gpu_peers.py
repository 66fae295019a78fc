"""Estimates a training step in PyTorch and in JAX: counts its launches, and computes lower bounds of
their times in the same way as for autoconv.

PyTorch's kernels are its eager operations, captured on one stream as a CUDA graph. JAX's kernels are
XLA's fusions. All convolutions and matrix products are assumed to run at `PRODUCTS` operations per
second. At small batches this favours the peers.
"""

from math import prod
from typing import NamedTuple

from . import workloads
from .gpu_plan import MEMORY, NODE, SHORTEST
from .specs import Conv, Dense, Dropout, Flatten, Pool, Scale, Shape, Spec
from .workloads import Workload

PRODUCTS = 250e12  # FLOP per second of the peers' products: half of the data sheet's dense TF32 peak
CLASSES_KERNELS = 2  # kernels over the logits in one direction, for log-softmax and loss


class Kernel(NamedTuple):
    bytes: float
    flops: float = 0.0

    @property
    def seconds(self) -> float:
        return max(SHORTEST, self.bytes / MEMORY, self.flops / PRODUCTS) + NODE


def seconds(kernels: list[Kernel]) -> float:
    """Returns the seconds of a step whose kernels run one after the other on one stream."""
    return sum(kernel.seconds for kernel in kernels)


def pytorch(workload: Workload, batch_size: int) -> list[Kernel]:
    """Returns the kernels of a training step in PyTorch with channels_last. Each bias and each ReLU
    has a separate kernel. RMSprop has five launches for all weights together.
    """
    found = [Kernel(8.0 * batch_size * prod(workload.input_shape)), Kernel(0)]
    is_first = True
    for layer, before, after in workloads.shapes(workload):
        x, y, w, flops = _sizes(layer, before, after, batch_size)
        match layer:
            case Conv() | Dense():
                bias = isinstance(layer, Conv) and layer.bias
                # a dense layer's bias is part of the product
                found += [Kernel(x + w + y, flops)] + [Kernel(2 * y)] * bias
                found += [Kernel(2 * y), Kernel(3 * y)] * bool(layer.activation)  # ReLU and its gradient
                # gradients of the weights, of the input unless the layer is the first, and of the bias
                found += [Kernel(x + w + y, flops)] * (2 - is_first) + [Kernel(y)]
                is_first = False
            case Pool():
                # forward with 8-byte indices, zeros for the input's gradient, backward
                found += [Kernel(x + 3 * y), Kernel(x), Kernel(x + 3 * y)]
            case Dropout():
                found += [Kernel(2.25 * x), Kernel(2.25 * x)]
            case Scale():
                found.append(Kernel(2 * x))
            case Flatten():
                # conversion to channels first, and of the gradient back to channels last
                found += [Kernel(2 * x)] * (2 if prod(before[:2]) > 1 else 0)
            case _:
                raise NotImplementedError(layer)
    logits = 4.0 * batch_size * workload.classes
    weights = 4.0 * sum(w.size for w in workloads.weights(workload))
    return [*found, *[Kernel(2 * logits)] * 2 * CLASSES_KERNELS, *[Kernel(n * weights) for n in (2, 3, 2, 2, 4)]]


def jax(workload: Workload, batch_size: int) -> list[Kernel]:
    """Returns the kernels of a training step in JAX. XLA fuses bias and ReLU into the product, and a
    ReLU's gradient into the sum for the bias. RMSprop is one fusion for all small arrays, and one for
    each array of more than a million weights.
    """
    found = [Kernel(8.0 * batch_size * prod(workload.input_shape)), Kernel(0)]
    is_first = True
    for layer, before, after in workloads.shapes(workload):
        x, y, w, flops = _sizes(layer, before, after, batch_size)
        match layer:
            case Conv() | Dense():
                found += [Kernel(x + w + y, flops)] * (3 - is_first) + [Kernel(3 * y if layer.activation else y)]
                is_first = False
            case Pool():
                found += [Kernel(x + y), Kernel(2 * x + y)]
            case Dropout():
                found += [Kernel(2.25 * x), Kernel(2.25 * x)]
            case Scale():
                found.append(Kernel(2 * x))
            case Flatten():
                pass  # a view
            case _:
                raise NotImplementedError(layer)
    logits = 4.0 * batch_size * workload.classes
    sizes = [4.0 * w.size for w in workloads.weights(workload)]
    large = [size for size in sizes if size > 4e6]
    updates = [Kernel(5 * size) for size in (*large, sum(sizes) - sum(large))]
    return [*found, *[Kernel(2 * logits)] * (1 + CLASSES_KERNELS), *updates]


def _sizes(layer: Spec, input_shape: Shape, output_shape: Shape, batch_size: int) -> tuple[float, float, float, float]:
    """Returns the bytes of a layer's input, of its output and of its weights, and the FLOP of one of
    its matrix products.
    """
    x, y = (4.0 * batch_size * prod(shape) for shape in (input_shape, output_shape))
    taps = layer.kernel**2 if isinstance(layer, Conv) else 1
    weights = taps * input_shape[-1] * output_shape[-1] if isinstance(layer, Conv | Dense) else 0
    return x, y, 4.0 * weights, 2.0 * batch_size * prod(output_shape) * taps * input_shape[-1] * bool(weights)
