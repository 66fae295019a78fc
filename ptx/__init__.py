"""A machine that runs PTX, the GPU's assembly, in NumPy: the kernels as the compiler made them, without a GPU.

`launch` runs one kernel, `device.interpreted` makes a whole `cuda` device of it. All threads of all blocks go through
an instruction at once, as lanes of NumPy's arrays. What a GPU would let pass is an error here: an access outside the
arguments or out of step with its width, two threads that race, a barrier that not all of a block reach.
"""

from .counters import Counters
from .errors import AddressError, DivergenceError, LimitError, PtxError, RaceError, UnsupportedError
from .launch import Program, compiled, launch, run
from .limits import occupancy

__all__ = ["AddressError", "Counters", "DivergenceError", "LimitError", "Program", "PtxError", "RaceError",
           "UnsupportedError", "compiled", "launch", "occupancy", "run"]
