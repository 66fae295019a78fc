"""A stand-in for NVIDIA's driver: the package's own launch path, up to the driver's calls, on a machine without a GPU.

`build` compiles it, `environment` is what a process needs to take it for libcuda.so.1, and `attach`, in that process,
has kernels run in the PTX machine. What the driver refuses, it refuses; `Standin.reason` says why.
"""

from .build import MissingError, build, environment
from .host import Standin, attach

__all__ = ["MissingError", "Standin", "attach", "build", "environment"]
