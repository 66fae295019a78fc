"""What a kernel becomes on an architecture that need not be here: PTX, a cubin, and how many registers that takes."""

import re
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from .runtime import Kernel, cuda


class Assembled(NamedTuple):
    """A kernel as machine code. `spills` are bytes that went to memory as the registers did not suffice; `stack` is
    what a thread's own arrays take.
    """

    cubin: bytes
    registers: int
    stack: int
    spills: int


def assemble(kernel: Kernel, dtype: Any, capability: tuple[int, int]) -> Assembled:
    """Compiles a kernel for a compute capability such as (8, 0). Needs the CUDA packages, but no GPU and no driver."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    with _pretended(capability):
        ptx, _ = cuda.compile_ptx(kernel.function, kernel.types(dtype), device=False, cc=capability)
    options = LinkerOptions(arch="sm_{}{}".format(*capability), verbose=True)
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    code, said = linker.link("cubin").code, linker.get_info_log()
    return Assembled(bytes(code), *(sum(map(int, re.findall(pattern, said))) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes spill stores")))


@contextmanager
def _pretended(capability: tuple[int, int]) -> Any:
    """Numba asks the current GPU for what a kernel's helpers are compiled: within this block there is one."""
    dispatcher = cuda.dispatcher
    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked
