"""Sets the number of CPU threads for kernels, and describes the processor, the compiler's target
and the cache of compiled kernels.
"""

import os
import sys
from typing import Any

from ..threads import get_num_threads


def set_num_threads(count: int) -> None:
    """Sets the number of threads that Numba uses. Raises ValueError if `count` is below 1 or above
    the maximum, which can be increased only before Numba is imported.
    """
    if count < 1:
        raise ValueError(f"The number of threads must be at least 1. Received: {count}.")
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(max(count, os.cpu_count() or 1))
    import numba

    if count > numba.config.NUMBA_NUM_THREADS:
        raise ValueError(
            f"This process can use at most {numba.config.NUMBA_NUM_THREADS} threads for kernels. Received: {count}. "
            f"Set the environment variable NUMBA_NUM_THREADS={count} before Python starts."
        )
    numba.set_num_threads(count)


def describe() -> dict[str, Any]:
    """Returns a dict that describes the compiler's versions, the processor and its vector width,
    the threads and the kernel cache.
    """
    import llvmlite
    import numba

    from ...files import folders
    from .. import caching
    from . import jit, simd

    name, features = jit.target()
    cache_state = caching.state(jit.cache_folder())  # read before `_threading_layer` runs a kernel
    return {
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu_name": name,
        "cpu_features": sorted(f for f in features if f.startswith(("avx", "fma", "sse4", "neon"))),
        "vector_bits": simd.VECTOR_BYTES * 8,
        "threads": get_num_threads(),
        "max_threads": numba.config.NUMBA_NUM_THREADS,
        "threading_layer": _threading_layer(),
        "cache_folder": str(jit.cache_folder() or folders.user_cache()),
        "cache_state": cache_state,
    }


def _threading_layer() -> str:
    """Returns Numba's threading layer. Numba selects it when the first parallel kernel runs, so
    this function runs a small one.
    """
    import numba
    import numpy as np

    from . import pointwise

    pointwise.relu(np.zeros(1, np.float32), np.empty(1, np.float32))
    return numba.threading_layer()
