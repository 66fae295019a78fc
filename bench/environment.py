"""The environment of a peer's process: the same for all, without settings that slow down one of
them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
# OpenBLAS's override of the processor type, and a setting of how threads wait. Set for one library,
# they slow down others several times.
CRIPPLING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_WAIT_POLICY")
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# By default, the C library returns arrays of a net's size to the system and allocates them again in
# every step, which halves PyTorch's training speed. With these settings, it keeps them, and all
# peers run at their best.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def clean(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment for a peer that should use this many threads."""
    result = {key: value for key, value in os.environ.items() if key not in CRIPPLING}
    result.update(KEEP_MEMORY)
    result.update(dict.fromkeys(COUNTS, str(threads)))
    result.update(first(ROOT) | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"})
    result.update(extra or {})
    return result


def first(folder: Path) -> dict[str, str]:
    """Returns the setting that makes Python search `folder` first, and find this harness as well.
    """
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH")]))}


def confine(threads: int) -> None:
    """Confines this process to this many processors, if the system supports that: some frameworks
    have no other way to limit their threads.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])
