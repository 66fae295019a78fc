"""Kernels for AVX2 and for 128-bit vectors, on this processor: Numba compiles for the target that its settings name.

They give the same bits as this processor's own kernels if the target has FMA instructions. The ordinary tests take the
ops whose kernels are built on simd.py, because no other kernel has a line that knows its target; the soak tests take
all ops. ARM has no test of its own: there the suite runs as it is, on the 128-bit path.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import cases
import guard_pages
import numpy as np
import pytest

from autoconv.kernels.cpu import simd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="guard pages are set up with Linux's mmap"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are targets of x86-64"),
    pytest.mark.timeout(900),  # the kernels are compiled anew for each target, once a machine
]

ROOT = Path(__file__).parents[2]
HASWELL = ("64bit avx avx2 bmi bmi2 cmov cx16 cx8 f16c fma fsgsbase fxsr invpcid lzcnt mmx movbe pclmul popcnt rdrnd "
           "sahf sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave xsaveopt")
NARROW = "64bit avx cmov cx16 cx8 fma fxsr mmx popcnt sahf sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave"
TARGETS = {  # Numba's name of it, its features, and the width of its vectors in bytes
    "avx2": ("haswell", ",".join(f"+{name}" for name in HASWELL.split()), 32),
    "narrow": ("x86-64-v2", ",".join(f"+{name}" for name in NARROW.split()), 16),
    "plain": ("x86-64", "", 16),  # without FMA, and without masked loads
}

TILED = ("conv2d", "conv2d_transpose", "conv2d_relu_pool", "dense", "depthwise_conv2d", "avg_pool2d",
         "batch_norm_add_relu", "matmul")

ON_IT = """
import os
import sys
import numpy as np
from autoconv.kernels.cpu import simd
assert simd.VECTOR_BYTES == int(os.environ["WIDTH"]), f"the kernels use vectors of {simd.VECTOR_BYTES} bytes"
sys.path[:0] = ["tests/support", "tests/kernels"]
import guard_pages
import test_instruction_sets
at, dtype, ops, path = sys.argv[1:]
guard_pages.guard_kernels(at)
rows = test_instruction_sets.rows(ops)
np.savez(path, *guard_pages.results(rows, dtype, lambda array: guard_pages.copied(array, at)))
"""


def rows(ops):
    """The rows of the case table: all, or only those of ops whose kernels are built on simd.py."""
    found = [case for case in cases.CASES if ops == "all" or case.op in TILED]
    assert {case.op for case in found} >= set(TILED)
    return found


def run(target, *command):
    name, features, width = TARGETS[target]
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "WIDTH": str(width)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def target(request):
    if request.param == "avx2" and simd.VECTOR_BYTES <= 32:
        pytest.skip("it is this processor's own target, or one that it cannot run")
    return request.param


def found_on(target, dtype, ops, path):
    """Yields pairs of results: those of the target's kernels, and those of this processor's."""
    done = run(target, "-c", ON_IT, "end", dtype, ops, str(path))
    assert done.returncode == 0, done.stderr or f"killed by signal {-done.returncode}"
    with np.load(path) as found:
        yield from zip((found[name] for name in found), guard_pages.results(rows(ops), dtype), strict=True)


@pytest.mark.parametrize(("target", "dtype", "ops"), [
    ("avx2", "float32", "tiled"), ("narrow", "float64", "tiled"),
    *(pytest.param(target, dtype, "all", marks=pytest.mark.soak)
      for target in ("avx2", "narrow") for dtype in ("float32", "float64"))], indirect=["target"])
def test_values_and_gradients_have_the_bits_of_this_processor(target, dtype, ops, tmp_path):
    pairs = found_on(target, dtype, ops, tmp_path / "found.npz")
    differ = [i for i, (found, expected) in enumerate(pairs) if found.tobytes() != expected.tobytes()]
    assert not differ, f"results {differ} differ"


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.soak)])
def test_a_processor_without_fma_gives_the_same_values(dtype, tmp_path):
    """It has no masked loads either: the branches in their place must stay inside the arrays, which end at a page that
    may not be touched.
    """
    rounding = {"float32": 3e-5, "float64": 1e-11}[dtype]
    for found, expected in found_on("plain", dtype, "tiled", tmp_path / "found.npz"):
        np.testing.assert_allclose(found, expected, rounding, rounding * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(("target", "code", "said"), [
    ("narrow", 0, "All nets have the weights"),
    pytest.param("avx2", 0, "All nets have the weights", marks=pytest.mark.soak),
    pytest.param("plain", 1, "has no FMA instructions", marks=pytest.mark.soak)], indirect=["target"])
def test_verify_trains_nets_to_the_same_weights(target, code, said, monkeypatch):
    """NumPy's functions, too, use no other instructions than those of any x86-64 processor."""
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", " ".join(np._core._multiarray_umath.__cpu_dispatch__))
    done = run(target, "-m", "autoconv", "verify")
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
