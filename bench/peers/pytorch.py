"""Runs PyTorch in three configurations, with a handwritten loop over preloaded tensors."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..specs import (
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Scale,
    Shape,
    Spec,
    Upsample,
    output_shape,
)
from ..workloads import EPSILON, NORM_EPSILON, NORM_MOMENTUM, RHO, Workload
from .base import Peer, chunks
from .channels_first import convert_weights

ACTIVATIONS = {
    "relu": partial(nn.ReLU, inplace=True), "relu6": partial(nn.ReLU6, inplace=True),
    "swish": partial(nn.SiLU, inplace=True), "hard_swish": partial(nn.Hardswish, inplace=True),
    "sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid, "tanh": nn.Tanh, None: nn.Identity,
}


class Multiply(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Add(nn.Module):
    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


class MultiplyChannels(nn.Module):
    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.body(x)[:, :, None, None]


class Concatenate(nn.Module):
    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def network(layers: Sequence[Spec], shape: Shape) -> nn.Sequential:
    """Builds these layers for samples of this shape. The net ends with the logits, which PyTorch's
    loss requires.
    """
    modules: list[nn.Module] = []
    for layer in layers:
        modules += _modules(layer, shape)
        shape = output_shape(layer, shape)
    return nn.Sequential(*(module for module in modules if not isinstance(module, nn.Identity)))


def _modules(layer: Spec, shape: Shape) -> list[nn.Module]:
    match layer:
        case Conv(filters, kernel, padding, activation, strides, bias):
            conv = nn.Conv2d(shape[-1], filters, kernel, strides, padding, bias=bias)
            return [conv, ACTIVATIONS[activation]()]
        case Depthwise(kernel, strides):
            return [nn.Conv2d(shape[-1], shape[-1], kernel, strides, kernel // 2, groups=shape[-1], bias=False)]
        case Norm(activation):  # PyTorch's momentum is the weight of the new value, 1 - NORM_MOMENTUM
            norm = nn.BatchNorm2d(shape[-1], NORM_EPSILON, 1 - NORM_MOMENTUM)
            return [norm, ACTIVATIONS[activation]()]
        case Pool(size, strides, padding):
            return [nn.MaxPool2d(size, strides, padding)]
        case AveragePool():
            return [nn.AvgPool2d(2)]
        case GlobalPool():
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        case Flatten():
            return [nn.Flatten()]
        case Dense(units, activation):
            return [nn.Linear(shape[0], units), ACTIVATIONS[activation]()]
        case Dropout(rate):
            return [nn.Dropout(rate)]
        case Scale(factor):
            return [Multiply(factor)]
        case Upsample():
            return [nn.Upsample(scale_factor=2)]
        case Residual(body, shortcut, activation):
            return [Add(network(body, shape), network(shortcut, shape), ACTIVATIONS[activation]())]
        case Gate(body):
            return [MultiplyChannels(network(body, shape))]
        case Concat(body):
            return [Concatenate(network(body, shape))]
    raise NotImplementedError(layer)


class Torch(Peer):
    def __init__(
        self, workload: Workload, threads: int, mode: str, seed: int, channels_last: bool = False,
        use_compile: bool = False, device: str = "cpu",
    ) -> None:
        super().__init__(workload, threads, mode, seed)
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.device = torch.device(device)
        self.net = network(workload.layers, workload.input_shape).to(self.device, memory_format=self.format)
        self.run = self.net
        if use_compile:
            # freezing turns weights into constants, so there can be no gradients
            freeze = {"freezing": True} if mode == "infer" else {}
            self.run = torch.compile(self.net, dynamic=False, options=freeze)
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=1e-3, alpha=RHO, eps=EPSILON)
        self.rates: Iterator[float] = repeat(1e-3)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        with torch.no_grad():
            for own, array in zip(self._tensors(), convert_weights(self.workload, weights, True), strict=True):
                own.copy_(torch.from_numpy(array))

    def weights(self) -> list[np.ndarray]:
        return list(convert_weights(self.workload, [t.cpu().numpy() for t in self._tensors()], False))

    def _tensors(self) -> list[torch.Tensor]:
        """Returns all weights in Keras's order. In both frameworks, a normalization's averages follow
        its two parameters.
        """
        return [t for name, t in self.net.state_dict().items() if not name.endswith("num_batches_tracked")]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        self.net.eval()
        with torch.inference_mode():
            return F.cross_entropy(self.run(self._images(images)), self._labels(labels)).item()

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = self._images(images), self._labels(labels), batch_size
        self.batches = [self._convert_format(self.images[rows]) for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        self.net.train()
        count = steps * self.batch_size
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for rows, rate in zip(order.split(self.batch_size), self.rates):
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.zero_grad()
            F.cross_entropy(self.run(self._convert_format(self.images[rows])), self.labels[rows]).backward()
            self.optimizer.step()

    def infer(self, steps: int) -> None:
        self.net.eval()
        with torch.inference_mode():
            for batch in self.batches[:steps]:
                F.softmax(self.run(batch), dim=1)

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = iter(rates.tolist())

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        self.net.eval()
        with torch.inference_mode():
            found = [self.run(self._images(images[rows])).argmax(1) for rows in chunks(len(images), batch_size)]
        return torch.cat(found).cpu().numpy()

    def _images(self, images: np.ndarray) -> torch.Tensor:
        return self._convert_format(torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2))

    def _labels(self, labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(labels).to(self.device)

    def _convert_format(self, images: torch.Tensor) -> torch.Tensor:
        return images.contiguous(memory_format=self.format)


def eager(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed)


def channels_last(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed, channels_last=True)


def torch_compile(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed, channels_last=True, use_compile=True)
