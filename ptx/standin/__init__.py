"""A stand-in for NVIDIA's driver. It runs autoconv's whole launch path on a machine without a GPU.

`build` compiles the stand-in. `environment` returns the environment variables with which a process loads it as
libcuda.so.1. `attach`, called in that process, makes kernels run in the PTX emulator. The stand-in refuses calls that
the driver would refuse, and `Standin.reason` states the reason.
"""

from .build import MissingError, build, environment
from .host import Standin, attach

__all__ = ["MissingError", "Standin", "attach", "build", "environment"]
