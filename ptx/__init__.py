"""An emulator for PTX, the GPU's assembly language, in NumPy. It runs compiled kernels without a GPU.

`launch` runs one kernel, and `device.interpreted` provides a whole `cuda` device. All threads of all blocks execute an
instruction at once, as lanes of NumPy arrays. The emulator raises errors for bugs that a GPU would not report: an
access outside the arguments or at a misaligned address, a race between two threads, a barrier that not all threads
reach.
"""

from .counters import Counters
from .errors import AddressError, DivergenceError, LimitError, PtxError, RaceError, UnsupportedError
from .launch import Program, compiled, launch, run
from .limits import occupancy

__all__ = ["AddressError", "Counters", "DivergenceError", "LimitError", "Program", "PtxError", "RaceError",
           "UnsupportedError", "compiled", "launch", "occupancy", "run"]
