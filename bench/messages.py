"""The model of docs/scaling.md: the time to sum an array over ranks, and the time of a training step.

    sum(n bytes, P ranks) = messages(P) * latency + 2 (P - 1) / P * n / bandwidth

With two ranks, each rank sends one message of n bytes. With more ranks, each byte is sent out and
returned in two messages, one after the other. The time of a step is a rank's computing time plus the
time to sum the gradient. The computing time has a fixed part and a part that grows with the rank's
number of images. The model ignores that the sum overlaps with the backward pass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """latency: seconds per message. bandwidth: bytes per second that a rank sends and receives."""

    latency: float
    bandwidth: float

    def seconds(self, size: float, ranks: int) -> float:
        """Returns the time to sum an array of `size` bytes over ranks on separate machines."""
        if ranks == 1:
            return 0.0
        return (1 if ranks == 2 else 2) * self.latency + 2 * (ranks - 1) / ranks * size / self.bandwidth


def fit_network(sums: Sequence[tuple[float, float]], ranks: int) -> Network:
    """Fits a network to measured sums (bytes, seconds). The latency follows from the smallest arrays.
    The bandwidth follows from the largest, which short bursts above the limit hardly affect.
    """
    sizes = [size for size, _ in sums]
    small, large = min(sizes), max(sizes)
    least, most = (float(np.median([seconds for each, seconds in sums if each == size])) for size in (small, large))
    copies, messages = 2 * (ranks - 1) / ranks, 1 if ranks == 2 else 2
    pace = (most - least) / (large - small) / copies
    return Network(max((least - copies * small * pace) / messages, 0.0), 1 / pace)


class Net(NamedTuple):
    """A net's costs in a step: a rank computes for `fixed_seconds`, and for `image` seconds per image.
    size: the gradient's size in bytes.
    """

    fixed_seconds: float
    image: float
    size: float

    def computes(self, images: float) -> float:
        """Returns the seconds in which a rank computes a step with this many images."""
        return self.fixed_seconds + images * self.image


def step(compute: float, size: float, ranks: int, network: Network) -> float:
    """Returns the seconds of a step in which each rank computes for `compute` seconds, and all ranks
    then sum a gradient of `size` bytes.
    """
    return compute + network.seconds(size, ranks)


def efficiency(net: Net, batch: float, ranks: int, network: Network) -> float:
    """Returns the throughput of `ranks` ranks that share a batch, divided by `ranks` times the
    throughput of a single rank that has the whole batch.
    """
    return net.computes(batch) / ranks / step(net.computes(batch / ranks), net.size, ranks, network)


def most(net: Net, batch: float, network: Network, least: float = 0.5, limit: int = 4096) -> int:
    """Returns the largest number of ranks (a power of two) that share a batch with at least this
    efficiency.
    """
    ranks = 1
    while ranks < limit and efficiency(net, batch, 2 * ranks, network) >= least:
        ranks *= 2
    return ranks
