"""`MPI`: communication between processes that mpiexec started. Sums are added in rank order."""

import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arguments.extras import ExtraError
from ..engine.ranks import Ranks
from . import ending
from .summing import Buffers, RankSum
from .waiting import Watch

STARTED_BY = ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "SLURM_STEP_ID")  # set by mpiexec or srun
TAGS = 1 << 13  # number of tags per kind of message; MPI allows more than twice this number


class MPI(Ranks):
    """All processes of an mpi4py communicator, by default of MPI's COMM_WORLD.

    bucket_bytes: the bytes of each piece of the gradient that is summed during the backward pass.
    timeout: if a rank sends nothing for this many seconds, the other ranks raise TimeoutError with
    its number. A callback on only one rank must take less time. compression: None, or "float16",
    which halves the bytes by rounding. With the same number of ranks, each run computes the same
    bits. Raises RuntimeError if mpiexec started no other process, ExtraError if mpi4py is missing,
    ValueError for invalid arguments.
    """

    def __init__(self, comm: Any = None, bucket_bytes: int = 1 << 18, timeout: float = 600.0,
                 compression: str | None = None) -> None:
        if compression not in (None, "float16"):
            raise ValueError(f"compression must be None or 'float16'. Received: {compression!r}.")
        for name, value in (("bucket_bytes", bucket_bytes), ("timeout", timeout)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} must be a number above 0. Received: {value!r}.")
        self._mpi = _mpi4py()
        base = self._mpi.COMM_WORLD if comm is None else comm
        if base.size == 1 and comm is None and not any(name in os.environ for name in STARTED_BY):
            raise RuntimeError("Only one process is running. Start several processes, for example "
                               "with `mpiexec -n 4 python -m mpi4py program.py` or `mpiexec -n 4 "
                               "python -m mpi4py -m autoconv train mnist --distributed`.")
        self._comm = base.Dup()
        self.rank = self._comm.rank
        self.size = self._comm.size
        self.bucket_bytes = int(bucket_bytes)
        self.compression = compression
        self._watch = Watch(self.rank, float(timeout))
        # Tag counts of sums and of other messages are separate, because their order differs between
        # a rank that records a step and a rank that replays it.
        self._tag_counts = {"sums": 0, "others": 0}
        self._active_sums: list[RankSum] = []
        self._buffers: Buffers = defaultdict(list)
        self._free_buffers: dict[tuple[int, np.dtype], list[np.ndarray]] = defaultdict(list)
        self._busy_buffers: list[np.ndarray] = []
        node = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.number_here = int(node.rank)
        node.Free()
        ending.watch(self._comm)

    def __reduce__(self) -> tuple:
        raise TypeError("A distributed model cannot be copied to another process, because each of its ranks is a "
                        "process. Call model.distribute(autoconv.engine.ranks.ALONE) first.")

    def start(self, part: Any) -> None:
        if isinstance(part, np.ndarray):
            self._begin(part, _is_ready, [part], 1)
            return
        free = self._free_buffers[part.size, part.dtype]  # free pinned host buffers
        host = free.pop() if free else part.allocate_pinned()
        self._busy_buffers.append(host)
        self._begin(host, part.begin_copy_to(host), [part], 1)

    def start_mean(self, arrays: Sequence[Any]) -> None:
        values = np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in arrays])
        self._begin(values, _is_ready, arrays, self.size)

    def _begin(self, host: np.ndarray, is_ready: Callable[[], bool], targets: Sequence[Any],
               divisor: int) -> None:
        wire_dtype = self.compression if divisor == 1 else None
        tag = self._tag("sums", 2)
        self._active_sums.append(RankSum(self._comm, host, is_ready, targets, divisor, tag, wire_dtype, self._buffers))
        self.progress()

    def progress(self) -> None:
        for work in self._active_sums:
            work.advance()

    def finish(self) -> None:
        for work in self._active_sums:
            self._watch.wait(work.advance, work.missing)
            self.progress()
        self._active_sums.clear()
        for host in self._busy_buffers:
            self._free_buffers[host.size, host.dtype].append(host)
        self._busy_buffers.clear()

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        data = np.asarray(array, order="C")
        return self._exchange_arrays(data, [np.empty_like(data) for _ in range(self.size)])

    def exchange(self, value: Any) -> list[Any]:
        data = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)
        sizes = self.gather(np.array(data.size))
        buffers = [np.empty(int(size), np.uint8) for size in sizes]
        return [pickle.loads(buffer.data) for buffer in self._exchange_arrays(data, buffers)]

    def _exchange_arrays(self, data: np.ndarray, buffers: list[np.ndarray]) -> list[np.ndarray]:
        """Sends this rank's array to all ranks, and receives the other ranks' arrays in `buffers`."""
        tag = self._tag("others", 1)
        peers = [peer for peer in range(self.size) if peer != self.rank]
        receiving = [self._comm.Irecv(_bytes(buffers[peer]), peer, tag) for peer in peers]
        sending = [self._comm.Isend(_bytes(data), peer, tag) for peer in peers]
        self._wait([*receiving, *sending], [*peers, *peers])
        buffers[self.rank] = data
        return buffers

    def broadcast(self, value: Any) -> Any:
        data = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8) if self.rank == 0 else None
        size = np.array(0 if data is None else data.size)
        self._wait([self._comm.Ibcast(_bytes(size), 0)], [0])
        buffer = np.empty(int(size), np.uint8) if data is None else np.array(data)
        self._wait([self._comm.Ibcast(buffer, 0)], [0])
        return value if self.rank == 0 else pickle.loads(buffer.data)

    def _wait(self, requests: list[Any], ranks: list[int]) -> None:
        """Waits until all requests are complete. ranks: the other rank of each request."""
        self._watch.wait(lambda: self._mpi.Request.Testall(requests),
                         lambda: [rank for rank, each in zip(ranks, requests) if not each.Test()])

    def _tag(self, kind: str, count: int) -> int:
        """Returns the first of `count` unused tags. The tag is the same on all ranks."""
        first = self._tag_counts[kind]
        self._tag_counts[kind] += count
        return first % TAGS + (TAGS if kind == "sums" else 0)


def _is_ready() -> bool:
    """Returns True, because arrays in host memory need no copy from a GPU."""
    return True


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _mpi4py() -> Any:
    try:
        from mpi4py import MPI as library  # noqa: N811 (it is a module)
    except ImportError as error:
        raise ExtraError("Training on several processes needs mpi4py and an MPI library such as MPICH or Open MPI. "
                         "Install both with: pip install 'autoconv[mpi]' mpich") from error
    except RuntimeError as error:  # mpi4py is installed, but no MPI library
        raise ExtraError(f"mpi4py cannot find an MPI library on this computer: {error}. Install one with `pip install "
                         "mpich`, or install the system package mpich or openmpi-bin.") from error
    return library
