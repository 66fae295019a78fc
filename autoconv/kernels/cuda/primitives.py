"""Instructions as functions for kernels: the real ones of ptx.py, or in the simulator those of emulated.py."""

from .runtime import SIMULATED

if SIMULATED:
    from .emulated import (
        commit,
        copy4_async,
        copy_async,
        load,
        load2,
        load4,
        mma_tf32,
        round_tf32,
        scaled,
        store,
        store2,
        store4,
        times,
        waiting,
        within,
    )
else:
    from .ptx import (
        commit,
        copy4_async,
        copy_async,
        load,
        load2,
        load4,
        mma_tf32,
        round_tf32,
        scaled,
        store,
        store2,
        store4,
        times,
        waiting,
        within,
    )

__all__ = ["commit", "copy4_async", "copy_async", "load", "load2", "load4", "mma_tf32", "round_tf32", "scaled", "store",
           "store2", "store4", "times", "waiting", "within"]
