"""Models the cost of messages between ranks, and the time of a training step that follows from it (docs/scaling.md).

    sum(n bytes, P ranks) = messages(P) * latency + 2 (P - 1) / P * n / bandwidth

Two ranks exchange one message of n bytes in each direction. With more ranks, each byte is sent twice, in two messages
that follow each other. The time of a step is the time that a rank computes, which partly depends on its number of
images, plus the time to sum the gradient. The model ignores that the sum may overlap with the backward pass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """latency: seconds of a message; bandwidth: bytes a second that a rank sends and receives."""

    latency: float
    bandwidth: float

    def seconds(self, size: float, ranks: int) -> float:
        """To sum an array of so many bytes over ranks, each on a machine of its own."""
        if ranks == 1:
            return 0.0
        return (1 if ranks == 2 else 2) * self.latency + 2 * (ranks - 1) / ranks * size / self.bandwidth


def fitted(sums: Sequence[tuple[float, float]], ranks: int) -> Network:
    """The network of which sums of (bytes, seconds) tell: its latency by the smallest, its bandwidth by the largest,
    which short bursts above the limit do not change.
    """
    sizes = [size for size, _ in sums]
    small, large = min(sizes), max(sizes)
    least, most = (float(np.median([seconds for each, seconds in sums if each == size])) for size in (small, large))
    of_bytes, messages = 2 * (ranks - 1) / ranks, 1 if ranks == 2 else 2
    pace = (most - least) / (large - small) / of_bytes
    return Network(max((least - of_bytes * small * pace) / messages, 0.0), 1 / pace)


class Net(NamedTuple):
    """What a rank computes in a step: `fixed` seconds, and `image` for each image of its part. size: of the gradient,
    in bytes.
    """

    fixed: float
    image: float
    size: float

    def computes(self, images: float) -> float:
        """Seconds for so many images."""
        return self.fixed + images * self.image


def step(compute: float, size: float, ranks: int, network: Network) -> float:
    """Seconds of a step in which each rank computes for `compute` seconds, and then sums so many bytes."""
    return compute + network.seconds(size, ranks)


def efficiency(net: Net, batch: float, ranks: int, network: Network) -> float:
    """The throughput of so many ranks that share a batch, over that many times the throughput of one that has all."""
    return net.computes(batch) / ranks / step(net.computes(batch / ranks), net.size, ranks, network)


def most(net: Net, batch: float, network: Network, least: float = 0.5, limit: int = 4096) -> int:
    """Up to how many ranks (a power of two) that share a batch that efficiency is left."""
    ranks = 1
    while ranks < limit and efficiency(net, batch, 2 * ranks, network) >= least:
        ranks *= 2
    return ranks
