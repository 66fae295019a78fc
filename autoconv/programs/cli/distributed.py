"""`train --distributed`: joins the processes that mpiexec started, and ends all if one fails."""

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from ...arguments.extras import ExtraError
from ...engine.ranks import ALONE, Ranks
from ...kernels import device as devices
from ...kernels.device import DeviceError
from . import options
from .signals import Termination

REPORT_DELAY = 1.0  # seconds that all ranks except 0 wait before they report an error


def distributed_options(command: Callable) -> Callable:
    """Adds the options --distributed and --timeout, which are the arguments of `join_ranks`."""
    for option in (
        click.option("--timeout", type=options.Duration(), metavar="10m", default="10m",
                     help="With --distributed, stop and report a process that sends no message for this long."),
        click.option("--distributed", is_flag=True, help="Train together with the other processes that mpiexec "
                     "started: mpiexec -n 4 python -m mpi4py -m autoconv train ... --distributed. Needs the extra mpi. "
                     "--batch-size is the number of images of all processes together."),
    ):
        command = option(command)
    return command


@contextmanager
def join_ranks(distributed: bool, timeout: float) -> Iterator[Ranks]:
    """Yields the ranks that train together, or ALONE. If one process fails, all processes end."""
    if not distributed:
        number = max((int(os.environ[name]) for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
                      if os.environ.get(name, "").isdigit()), default=1)
        if number > 1:
            warnings.warn(f"mpiexec started {number} processes, each of which now trains by "
                          "itself. Add --distributed to train one net together.", stacklevel=2)
        yield ALONE
        return
    from ... import parallel
    from ...parallel import ending

    try:
        ranks = parallel.MPI(timeout=timeout)
    except (RuntimeError, ExtraError) as error:
        raise click.UsageError(f"--distributed cannot be used: {error}") from error
    if ranks.rank:
        warnings.simplefilter("ignore")
    try:
        yield ranks
    except click.exceptions.Exit:
        raise
    except KeyboardInterrupt as error:
        ending.fail(143 if isinstance(error, Termination) else 130)
        if ranks.rank:
            time.sleep(REPORT_DELAY)
        raise
    except BaseException as error:
        ending.fail(error.exit_code if isinstance(error, click.ClickException) else 1)
        if ranks.rank == 0:
            raise
        time.sleep(REPORT_DELAY)
        expected = click.ClickException, OSError, ValueError, DeviceError, ExtraError, MemoryError
        if isinstance(error, expected):
            text = error.format_message() if isinstance(error, click.ClickException) else str(error)
            raise click.ClickException(f"Rank {ranks.rank} failed: {text}") from error
        raise


def fail_together(code: int) -> None:
    """Ends all processes. If only this one ended before it joined, the others would wait for it."""
    from ... import parallel
    from ...parallel import ending

    with suppress(RuntimeError, ExtraError):  # raised if mpiexec started no other process
        ranks = parallel.MPI()
        ending.fail(code)
        if ranks.rank:
            time.sleep(REPORT_DELAY)


def run_once(ranks: Ranks, function: Callable, *args: Any) -> Any:
    """Runs a function on rank 0 and returns its result on all ranks. If it fails, all ranks exit."""
    if ranks.size == 1:
        return function(*args)
    if ranks.rank:
        result, code = ranks.broadcast(None)
        if code is not None:
            raise click.exceptions.Exit(code)
        return result
    try:
        result = function(*args)
    except BaseException as error:
        ranks.broadcast((None, getattr(error, "exit_code", 1)))
        raise
    return ranks.broadcast((result, None))[0]


def run_staggered(ranks: Ranks, function: Callable, *args: Any) -> Any:
    """Runs a function on each rank and returns its result. One rank per machine runs before the others."""
    for first in (True, False):
        if ranks.prepares == first:
            result = function(*args)
        ranks.exchange(None)
    return result


def default_threads(ranks: Ranks) -> int | None:
    """Returns the default number of threads of this rank, or None for a single process."""
    if ranks.size == 1:
        return None
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    every = ranks.exchange((platform.node(), own))
    sharing = sum(node == every[ranks.rank][0] and bool(own & theirs) for node, theirs in every)
    return min(max(1, len(own) // sharing), devices.get_num_threads())


def assign_device(ranks: Ranks, name: str) -> str:
    """Returns the name of this rank's device. "cuda" spreads the ranks over the machine's GPUs."""
    if name != "cuda" or ranks.size == 1:
        return name
    return f"cuda:{ranks.number_here % len(devices.gpus())}"
