"""Compiles kernels for GPUs that need not be present. Returns their PTX, their machine code (cubin)
and the number of registers they need.
"""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..kernel import find_kernels
from . import internals
from .internals import Capability, Target
from .kernels import CudaKernel

FOLDER = str(Path(__file__).parent)

# The compute capabilities that kernels of each floating-point dtype are checked for: Turing,
# Ampere, Hopper. float64 is only used as a reference.
CAPABILITIES: dict[str, tuple[Capability, ...]] = {"float32": ((7, 5), (8, 0), (9, 0)), "float64": ((8, 0),)}
# Blackwell's compute capabilities: data-center GPUs, then consumer GPUs
BLACKWELL: tuple[Capability, ...] = ((10, 0), (12, 0))
TENSOR_CORES = (8, 0)  # the first compute capability whose tensor cores accept float32


class MachineCode(NamedTuple):
    """A compiled kernel: its PTX, its machine code and the number of registers per thread. `stack`
    is the size of a thread's local arrays in bytes, and `spills` the number of bytes that a thread
    spills to memory because the registers do not suffice.
    """

    ptx: str
    cubin: bytes
    registers: int
    stack: int
    spills: int


def kernels() -> dict[str, CudaKernel]:
    """Returns all kernels of all files in this folder, by name."""
    files = [importlib.import_module(f"{__package__}.{file.name}") for file in pkgutil.iter_modules([FOLDER])]
    return {name: kernel for file in files for name, kernel in find_kernels(file).items()}


def find_capabilities(kernel: CudaKernel, dtype: str) -> tuple[Capability, ...]:
    """Returns the compute capabilities that a kernel is checked for, as far as the installed
    compiler supports them.
    """
    least = TENSOR_CORES if kernel.tensor_cores else (0, 0)
    candidates = CAPABILITIES[dtype] if dtype in kernel.dtypes else ()
    return tuple(c for c in candidates if c >= least and c in internals.list_capabilities())


def assemble(kernel: CudaKernel, dtype: Any, *capabilities: Capability) -> list[MachineCode]:
    """Compiles a kernel for each of the compute capabilities, such as (8, 0), with the same options
    as for a launch. Needs the CUDA packages, but no GPU and no driver.
    """
    targets = [internals.target(capability) for capability in capabilities]
    options = kernel._dispatcher.targetoptions
    texts = internals.ptx(kernel.function, kernel.types(dtype), options, targets)
    return [assemble_ptx(text, target) for text, target in zip(texts, targets)]


def assemble_ptx(ptx: str, target: Target) -> MachineCode:
    """Compiles PTX to machine code for a compiler target."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{''.join(map(str, target))}", verbose=True)
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    code, log = linker.link("cubin").code, linker.get_info_log()
    return MachineCode(ptx, bytes(code), *(sum(map(int, re.findall(pattern, log))) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes spill stores")))
