"""The kernels' other paths: for AVX2 and for plain x86-64, run on this processor by telling Numba to compile for those.

The ops here are those whose kernels are built on simd.py. No other kernel has a line that knows its target.
ARM has no test of its own here: there the suite runs as it is, on the 128-bit path.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are targets of x86-64"),
    pytest.mark.timeout(900),  # the kernels are compiled anew for each target, once a machine
]

TESTS = Path(__file__).parent
HASWELL = ("64bit avx avx2 bmi bmi2 cmov cx16 cx8 f16c fma fsgsbase fxsr invpcid lzcnt mmx movbe pclmul popcnt rdrnd "
           "sahf sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave xsaveopt")
TARGETS = {  # Numba's name of it, its features, and the width of its vectors in bytes
    "avx2": ("haswell", ",".join(f"+{name}" for name in HASWELL.split()), 32),
    "plain": ("x86-64", "", 16),
}

TILED = ("conv2d", "conv2d_transpose", "conv2d_relu_pool", "dense", "depthwise_conv2d", "avg_pool2d",
         "batch_norm_add_relu")

IN_IT = """
import os
import sys
import pytest
from autoconv.backend.cpu import simd
assert simd.VECTOR_BYTES == int(os.environ["WIDTH"]), f"the kernels use vectors of {simd.VECTOR_BYTES} bytes"
sys.exit(pytest.main(sys.argv[1:]))
"""

BETWEEN_GUARD_PAGES = f"""
import sys
sys.path.insert(0, "tests")
import cases
import guard_pages
cases.CASES[:] = [case for case in cases.CASES if case.op in {TILED}]
assert {{case.op for case in cases.CASES}} == set({TILED})
guard_pages.main("end")
"""


def run(target, *command):
    name, features, width = TARGETS[target]
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "WIDTH": str(width)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=TESTS.parent)


@pytest.fixture(params=TARGETS)
def target(request):
    if request.param == "avx2" and run("plain", "-c", DETECT).returncode:
        pytest.skip("this processor has no AVX2")
    return request.param


DETECT = """
import sys
from llvmlite import binding
sys.exit(not all(binding.get_host_cpu_features()[name] for name in ("avx2", "fma", "bmi2", "f16c")))
"""


def test_values_and_gradients(target):
    done = run(target, "-c", IN_IT, str(TESTS / "test_ops.py"), "-q", "-x", "-p", "no:cacheprovider",
               "-k", "(test_value or test_gradient_is_the_derivative or test_gradient_in_float32) "
                     f"and ({' or '.join(TILED)})")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are set up with Linux's mmap")
def test_no_stray_access(target):
    """Masked loads become branches where the processor has none: those too must stay inside the arrays."""
    done = run(target, "-c", BETWEEN_GUARD_PAGES)
    assert done.returncode == 0, done.stderr or f"killed by signal {-done.returncode}"
