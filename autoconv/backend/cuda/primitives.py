"""Instructions as functions for kernels: the real ones of ptx.py, or in the simulator those of emulated.py."""

import importlib
from typing import Any

from .runtime import SIMULATED

_found: Any = importlib.import_module(".emulated" if SIMULATED else ".ptx", __package__)

mine, times, scaled, within = _found.mine, _found.times, _found.scaled, _found.within
load, load2, load4 = _found.load, _found.load2, _found.load4
store, store2, store4 = _found.store, _found.store2, _found.store4
copy_async, copy4_async, commit, waiting = _found.copy_async, _found.copy4_async, _found.commit, _found.waiting
round_tf32, mma_tf32 = _found.round_tf32, _found.mma_tf32
