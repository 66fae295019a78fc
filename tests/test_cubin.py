"""Every CUDA kernel compiles to PTX and assembles to a cubin, for each architecture it serves. No GPU is needed."""

import importlib.util
import os

import pytest

from autoconv.device import ROOMS

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

CAPABILITIES = {"float32": [(7, 5), (8, 0), (9, 0)], "float64": [(8, 0)]}  # float64 is for checks

# Kernels that a training step of a built-in net launches: their sums must stay in registers.
HOT = ("conv._", "dense._", "fused._", "pool._", "pointwise._relu", "pointwise._softmax", "update._")



def kernels():
    """All kernels by name."""
    from autoconv.kernels.cuda import runtime

    found = {}
    for file in (*ROOMS, "strided"):
        found.update(runtime.kernels_of(importlib.import_module(f"autoconv.kernels.cuda.{file}")))
    return found


ALL = kernels()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(ALL))
def test_assembles(name, dtype):
    from autoconv.kernels.cuda.assembly import assemble

    for capability in CAPABILITIES[dtype]:
        made = assemble(ALL[name], dtype, capability)
        assert made.cubin[:4] == b"\x7fELF"
        assert 0 < made.registers <= 255
        if name.startswith(HOT):
            assert (made.spills, made.stack) == (0, 0)


def test_every_kernel_of_a_file_is_found():
    """A kernel that is kept in a way that `kernels_of` does not see would be compiled by nobody."""
    from autoconv.kernels.cuda import arith, runtime

    names = set(runtime.kernels_of(arith))
    assert {"arith.add", "arith.add_number", "arith.negative", "arith._matmul"} <= names
