"""Creates the environment of a benchmarked process. It is the same for all frameworks and slows none of them down."""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Variables that make OpenBLAS assume another processor, or set how threads wait. Set for one library, they slow others
# down by a factor of several.
CRIPPLING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_WAIT_POLICY")
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# By default the C library returns arrays of a net's size to the system and requests them again in every step, which
# halves the speed of PyTorch's training. These settings make it keep the memory, so that all peers run at full speed.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def clean(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment variables, adapted for a peer with this number of threads."""
    result = {key: value for key, value in os.environ.items() if key not in CRIPPLING}
    result.update(KEEP_MEMORY)
    result.update(dict.fromkeys(COUNTS, str(threads)))
    result.update(first(ROOT) | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"})
    result.update(more or {})
    return result


def first(folder: Path) -> dict[str, str]:
    """Returns the variable that makes Python import from `folder` first, then from the folder of the benchmarks."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH")]))}


def confine(threads: int) -> None:
    """Restricts this process to this number of processors, if the system supports it. Some frameworks have no other
    limit.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])
