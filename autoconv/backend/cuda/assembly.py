"""What a kernel becomes on an architecture that need not be here: PTX, a cubin, and how many registers that takes."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any, NamedTuple

from .runtime import Kernel, cuda, kernels_of, pretended

FOLDER = str(Path(__file__).parent)

# The compute capabilities that each floating type is checked for: Turing, Ampere, Hopper. float64 is for checks alone.
CAPABILITIES = {"float32": ((7, 5), (8, 0), (9, 0)), "float64": ((8, 0),)}
TENSOR_CORES = (8, 0)  # from here on they take float32


class Assembled(NamedTuple):
    """A kernel as machine code. `spills` are bytes that went to memory as the registers did not suffice; `stack` is
    what a thread's own arrays take.
    """

    ptx: str
    cubin: bytes
    registers: int
    stack: int
    spills: int


def kernels() -> dict[str, Kernel]:
    """All kernels by name, of all files beside this one."""
    files = [importlib.import_module(f"{__package__}.{file.name}") for file in pkgutil.iter_modules([FOLDER])]
    return {name: kernel for file in files for name, kernel in kernels_of(file).items()}


def served(kernel: Kernel, dtype: str) -> tuple[tuple[int, int], ...]:
    """The compute capabilities that a kernel is checked for."""
    least = TENSOR_CORES if kernel.tensor_cores else (0, 0)
    return tuple(c for c in CAPABILITIES[dtype] if c >= least) if dtype in kernel.dtypes else ()


def assemble(kernel: Kernel, dtype: Any, capability: tuple[int, int]) -> Assembled:
    """Compiles a kernel for a compute capability such as (8, 0). Needs the CUDA packages, but no GPU and no driver."""
    with pretended(capability):
        ptx, _ = cuda.compile_ptx(kernel.function, kernel.types(dtype), device=False, cc=capability)
    return assembled(ptx, capability)


def assembled(ptx: str, capability: tuple[int, int]) -> Assembled:
    """PTX as machine code for a compute capability."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability), verbose=True)
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    code, said = linker.link("cubin").code, linker.get_info_log()
    return Assembled(ptx, bytes(code), *(sum(map(int, re.findall(pattern, said))) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes spill stores")))
