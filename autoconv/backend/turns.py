"""The lock under which the CPU's parallel kernels run.

Some of Numba's thread pools (workqueue) end the process when two Python threads enter them at once. So whoever starts
a parallel kernel, or replays some, holds this lock: `jit.Kernel` and `Trace` take it by themselves.
"""

import threading

turn = threading.RLock()
