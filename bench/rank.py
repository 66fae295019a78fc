"""Runs one of the processes that train a net together, for `bench.scaling`: `python -m bench.rank JOB`,
with the job as JSON.

The first process writes its results to the job's file: the loss of the first batch, and the seconds
of each pass through the data.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from autoconv import parallel
from autoconv.engine.ranks import ALONE, Ranks

from . import workloads
from .peers.autoconv import Autoconv, EpochClock

# sizes in bytes of the arrays whose sums are timed, to measure the cost of messages
SIZES = (1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 23)
REPEATS = 15
CHECKED = 3  # number of steps after which all processes must have the same loss
# ratio of two batch sizes; their times show which part of a step does not depend on the batch size
SMALLER = 4


class RankTimer:
    """Wraps ranks, and records the seconds that are spent in their methods during training."""

    def __init__(self, ranks: Ranks) -> None:
        self.seconds, self._depth = 0.0, 0
        for name in ("start", "start_mean", "progress", "finish"):
            setattr(ranks, name, self._wrap(getattr(ranks, name)))

    def _wrap(self, method: Any) -> Any:
        def call(*args: Any) -> None:
            start, self._depth = time.perf_counter(), self._depth + 1
            method(*args)
            self._depth -= 1
            if not self._depth:  # only the outermost call counts, because the methods call each other
                self.seconds += time.perf_counter() - start

        return call


def autoconv(job: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Trains with autoconv's `fit`. With several ranks, also measures the time of sums over ranks, during
    training and without other work.
    """
    ranks = parallel.MPI(**job["ranks"]) if job["size"] > 1 else ALONE
    peer = Autoconv(workloads.WORKLOADS[job["workload"]], job["threads"], "train", workloads.SEED)
    peer.load(workloads.weights(peer.workload))
    peer.net.distribute(ranks)
    peer.hold(images, labels, job["batch_size"])
    results: dict[str, Any] = {"loss": peer.loss(images[: job["batch_size"]], labels[: job["batch_size"]])}
    clock, steps = EpochClock(), len(images) // job["batch_size"]
    peer.shuffle = False
    peer.train(CHECKED)  # the first of these steps is recorded
    results["later"] = peer.loss(images[: job["batch_size"]], labels[: job["batch_size"]])
    if ranks.size > 1:
        results["sums"] = [[size, _time_sum(ranks, size)] for size in SIZES]
        results["gradient"] = _time_sum(ranks, 4 * sum(w.size for w in peer.net.trainable_weights))
    timer = RankTimer(ranks) if ranks.size > 1 else None
    peer.net.fit(images, peer.targets, job["batch_size"], epochs=job["passes"] + 1, verbose=0, callbacks=clock)
    if timer is not None:
        results["waited"] = timer.seconds / steps / (job["passes"] + 1)
    results["bytes"] = 4 * sum(w.size for w in peer.net.trainable_weights)
    results["seconds"] = (np.diff(clock.ends) / steps).tolist() if ranks.rank == 0 else []
    if ranks.size == 1:
        clock, size = EpochClock(), job["batch_size"] // SMALLER
        few = images[: steps * size], peer.targets[: steps * size]
        peer.net.fit(*few, size, epochs=job["passes"] + 1, verbose=0, callbacks=clock)
        results["small"] = (np.diff(clock.ends)[1:] / steps).tolist()
    return results


def _time_sum(ranks: Ranks, size: int) -> float:
    """Returns the seconds to sum an array of `size` bytes over all ranks, while nothing else runs."""
    part, results = np.zeros(size // 4, np.float32), []
    for _ in range(REPEATS):
        ranks.exchange(None)
        start = time.perf_counter()
        ranks.start(part)
        ranks.finish()
        results.append(time.perf_counter() - start)
    return float(np.median(results[1:]))


def torch(job: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Trains with PyTorch. Several ranks use DistributedDataParallel over gloo, and each has its part
    of every batch.
    """
    import torch as library
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from .peers.pytorch import Torch

    peer = Torch(workloads.WORKLOADS[job["workload"]], job["threads"], "train", workloads.SEED, channels_last=True)
    peer.load(workloads.weights(peer.workload))
    rank, size, batch = int(os.environ.get("RANK", 0)), job["size"], job["batch_size"]
    results = {"loss": peer.loss(images[:batch], labels[:batch]), "seconds": []}
    if size > 1:
        distributed.init_process_group("gloo", rank=rank, world_size=size)
        peer.run = DistributedDataParallel(peer.net, gradient_as_bucket_view=True, static_graph=True)
    own = np.concatenate([np.arange(i + rank * batch // size, i + (rank + 1) * batch // size)
                          for i in range(0, len(images), batch)])
    peer.hold(images[own], labels[own], batch // size)
    peer.shuffle, run = False, peer.run
    peer.train(CHECKED)
    peer.run = peer.net
    results["later"] = peer.loss(images[:batch], labels[:batch])
    peer.run = run
    for turn in range(job["passes"] + 1):
        start = time.perf_counter()
        peer.train(len(images) // batch)
        if size > 1:
            distributed.barrier()
        if turn:
            results["seconds"].append((time.perf_counter() - start) / (len(images) // batch))
    if size > 1:
        library.distributed.destroy_process_group()
    return results if rank == 0 else {"seconds": []}


def main() -> None:
    job = json.loads(sys.argv[1])
    images, labels = workloads.data(workloads.WORKLOADS[job["workload"]], job["steps"] * job["batch_size"])
    results = {"autoconv": autoconv, "torch": torch}[job["engine"]](job, images, labels)
    if results["seconds"]:
        Path(job["file"]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
