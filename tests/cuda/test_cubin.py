"""Every CUDA kernel compiles to PTX and assembles to a cubin, for each architecture it serves. No GPU is needed."""

import importlib.util
import pkgutil
import re

import pytest

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

from autoconv.kernels.kernel import kernels_in
from bench import gpu_plan
from ptx import cubin

assembly = importlib.import_module("autoconv.kernels.cuda.assembly")
internals = importlib.import_module("autoconv.kernels.cuda.internals")
texts = importlib.import_module("ptx.texts").texts
ALL = assembly.kernels()
TURING = (7, 5)


def assemble(kernel, dtype, *capabilities):
    """As `assembly.assemble`, of the PTX that other tests run."""
    return [assembly.assemble_ptx(text, internals.target(capability))
            for text, capability in zip(texts(kernel, kernel.types(dtype), *capabilities), capabilities)]


# Kernels for float32 that compute in float64 as well, and mean it: sums over many items, numbers that are rounded once.
DOUBLE = ("arith._sum_parts", "arith.add_parts", "norm._sums", "norm._moments", "norm._products",
          "norm._parameter_grads", "norm._coefficients", "norm._fold", "norm._moving_average", "norm_add._masked",
          "update._rmsprop", "update._ada", "update._lion", "update._moving_average", "update._nadam",
          "update._square_sums", "update._shrink", "step._accumulate", "step._close_step", "joint._", "image._draws",
          "random._gaussian_noise")


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name in sorted(ALL) for dtype in ALL[name].dtypes])
def test_assembles(name, dtype):
    *_, last = several = assemble(
        ALL[name], dtype, *(c for c in assembly.find_capabilities(ALL[name], dtype) if c != TURING))
    for made in several:
        assert made.cubin[:4] == b"\x7fELF"
        assert 0 < made.registers <= 255
        assert (made.spills, made.stack) == (0, 0)  # what a thread works on stays in registers
        if name in gpu_plan.products() and made is last:  # the newest architecture of those
            assert made.registers <= gpu_plan.registers(name)
        if dtype == "float32" and not name.startswith(DOUBLE):  # a number as Python writes it makes a sum float64
            assert not re.findall(r"(?:add|sub|mul|fma|div|sqrt)\.\S*f64", made.ptx)


OF_EACH_FILE = sorted({name.partition(".")[0]: name for name in ALL}.values())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in OF_EACH_FILE else pytest.mark.soak)
                                  for name in sorted(ALL)])
def test_assembles_for_the_oldest_and_the_newest(name):
    """Turing and Blackwell: one kernel of each file; in the long runs all."""
    oldest = [TURING] if TURING in assembly.find_capabilities(ALL[name], "float32") else []
    wanted = [*oldest, *(c for c in assembly.BLACKWELL if c in internals.list_capabilities())]
    for made in assemble(ALL[name], "float32", *wanted) if wanted else ():
        assert made.cubin[:4] == b"\x7fELF"
        assert (made.spills, made.stack) == (0, 0)


@pytest.mark.parametrize(("capability", "target"), [((7, 5), "sm_75"), ((8, 9), "sm_89"), ((9, 0), "sm_90a"),
                                                    ((12, 0), "sm_120a")])
def test_what_is_checked_is_what_runs(capability, target):
    """On a GPU a kernel's code is taken for the target that numba-cuda names there, from Hopper on with the features of
    its generation alone. It is the code whose registers are counted here, made of the PTX that other tests run.
    """
    if capability not in internals.list_capabilities():
        pytest.skip(f"the compiler here does not know {target}")
    relu = ALL["pointwise._relu"]
    with internals.pretend_capability(capability):
        run = internals.compile_kernel(relu.function, relu.types("float32"), relu._dispatcher.targetoptions)
        code, asked = run.library.get_cubin().code, run.library.get_asm_str()
    checked, = assemble(relu, "float32", capability)
    instructions = [re.findall(r"^\t([a-z@][^\[;\n]+)", text, re.M) for text in (checked.ptx, asked)]
    assert len(instructions[0]) > 10
    assert instructions[0] == instructions[1]
    for text in (checked.ptx, asked):
        assert f".target {target}\n" in text
    (there,), (here,) = cubin.kernels(bytes(code)), cubin.kernels(checked.cubin)
    assert there._replace(name="") == here._replace(name="")  # in the name is for which GPU Numba compiled first


def test_every_kernel_of_a_file_is_found():
    """A kernel that is kept in a way that `find_kernels` does not see would be compiled by nobody."""
    assert {"arith.add", "arith.add_number", "arith.negative", "conv.add_parts_1", "conv.forward_exact_single",
            "strided.copy"} <= set(ALL)


def test_tensor_cores_are_used_where_there_are_some_and_nowhere_else():
    tensor = {name for name in ALL if "_tf32_" in name}
    assert {"conv.forward_tf32_large", "outer.weight_gradient_tf32_first", "fused.forward_tf32_small"} <= tensor
    for name in ("conv.forward_tf32_large", "conv.forward_exact_large"):
        ptx = assemble(ALL[name], "float32", (8, 0))[0].ptx
        for instruction in ("mma.sync.aligned.m16n8k8", "cp.async.cg.shared.global"):
            assert (instruction in ptx) == (name in tensor)
    for name, kernel in ALL.items():
        assert bool(kernel.tensor_cores) == (name in tensor)
        assert (7, 5) not in assembly.find_capabilities(kernel, "float32") or name not in tensor


def test_no_two_kernels_have_the_same_name():
    """The disk cache finds them by it."""
    found = {}
    for file in pkgutil.iter_modules([assembly.FOLDER]):
        for value in vars(importlib.import_module(f"autoconv.kernels.cuda.{file.name}")).values():
            for item in kernels_in(value):
                assert found.setdefault(item.name, item) is item
    assert found == ALL


def test_a_spill_is_seen():
    """More sums at once than there are registers."""
    kernels = importlib.import_module("autoconv.kernels.cuda.kernels")
    cuda = kernels.cuda

    @kernels.kernel("(int64, T[::1], T[::1])")
    def greedy(count, a, out):
        sums = cuda.local.array(300, "float64")
        for i in range(count):
            sums[int(a[i]) % 300] += a[i]
        for i in range(300):
            out[i] = sums[i]

    assert assembly.assemble(greedy, "float32", (8, 0))[0].stack >= 300 * 8
