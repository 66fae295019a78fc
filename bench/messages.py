"""What messages between ranks cost, and how a training step's time follows from that: the model behind docs/scaling.md.

    sum(n bytes, P ranks) = messages(P) * latency + 2 (P - 1) / P * n / bandwidth

For two ranks that is one message of n bytes each way; for more each byte goes out and comes back, in two messages that
follow each other. A step takes its compute time, and what of the sum the backward pass does not hide.
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
    """The network with which sums of (bytes, seconds) are explained best, each by its relative error."""
    sizes, seconds = np.array(sums, float).T
    columns = np.stack([np.full(sizes.size, 1.0 if ranks == 2 else 2.0), 2 * (ranks - 1) / ranks * sizes], 1)
    latency, pace = np.linalg.lstsq(columns / seconds[:, None], np.ones(sizes.size), rcond=None)[0]
    return Network(max(float(latency), 0.0), 1 / max(float(pace), 1e-15))


def step(compute: float, size: float, ranks: int, network: Network, hidden: float = 0.0) -> float:
    """Seconds of a step in which each rank computes for `compute` seconds; of the sum, `hidden` seconds at most take no
    time of their own.
    """
    return compute + max(network.seconds(size, ranks) - hidden, 0.0)


def efficiency(compute: float, size: float, ranks: int, network: Network) -> float:
    """The throughput of so many ranks over that many times one's, each computing for `compute` seconds a step."""
    return compute / step(compute, size, ranks, network)


def most(compute_of: float, size: float, network: Network, least: float = 0.5, limit: int = 4096) -> int:
    """Up to how many ranks a step that takes one rank `compute_of` seconds stays above that efficiency, where the batch
    is the same for any number of ranks.
    """
    ranks = 1
    while ranks < limit and efficiency(compute_of / (2 * ranks), size, 2 * ranks, network) >= least:
        ranks *= 2
    return ranks
