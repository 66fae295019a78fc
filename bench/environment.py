"""The environment variables and processors of a peer's process. They are the same for all peers,
without settings that slow down one of them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Variables that override OpenBLAS's processor type or how threads wait. A value that suits one
# library makes others several times slower.
CRIPPLING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_WAIT_POLICY")
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# By default, the C library returns large arrays to the system and allocates them again in every
# step, which halves PyTorch's training speed. With these settings, the C library keeps the memory.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def clean(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns a copy of this process's environment variables for a peer with this many threads."""
    result = {key: value for key, value in os.environ.items() if key not in CRIPPLING}
    result.update(KEEP_MEMORY)
    result.update(dict.fromkeys(COUNTS, str(threads)))
    result.update(first(ROOT) | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"})
    result.update(extra or {})
    return result


def first(folder: Path) -> dict[str, str]:
    """Returns the environment variable that makes Python import from `folder` first, and then from
    this checkout, which contains the harness.
    """
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH")]))}


def confine(threads: int) -> None:
    """Confines this process to `threads` processors, if the system supports that. Some frameworks
    have no other way to limit their threads.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])
