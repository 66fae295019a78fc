"""The kernels for NVIDIA GPUs, over the case table: on a GPU where there is one, else in Numba's simulator of one.

The simulator is slow, and has to be chosen before Numba is imported, so it is a run of its own:
`NUMBA_ENABLE_CUDASIM=1 pytest tests/test_cuda.py`.
"""

import copy
import math
import pickle

import numpy as np
import pytest
from cases import CASES

import autoconv as ac
from autoconv import device, device_cuda, fusion, layers, models, optim
from autoconv import functional as F
from autoconv.gradcheck import gradcheck
from autoconv.kernels.cuda import driver
from autoconv.tensor import Tensor, tensor

if not (driver.simulated() or device_cuda.usable()):
    pytest.skip("no GPU here; NUMBA_ENABLE_CUDASIM=1 runs these tests in the simulator", allow_module_level=True)

# In the simulator arithmetic is NumPy's on single numbers, which warns where a GPU just gives infinity or NaN.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

WORK = 60_000  # multiply-adds of a case at most, in the simulator: some seconds


def work(case):
    """About how many multiply-adds a case takes."""
    image, *others = case.shapes
    windows = others and others[0] and len(others[0]) == 4
    return math.prod(image) * (math.prod(others[0]) // image[-1] if windows else 1)


each_case = pytest.mark.parametrize(
    "case", [case for case in CASES if not driver.simulated() or work(case) <= WORK], ids=lambda case: case.id)


def tensors(arrays, where, requires_grad=True):
    return [None if a is None else tensor(a, requires_grad, device=where) for a in arrays]


def gradients(case, inputs):
    """The value and the gradients of `case` for a gradient of the result that is the same in every run."""
    y = case.call(*inputs, **case.parameters)
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    return y.numpy(), [None if t is None else t.device.numpy(t.grad) for t in inputs]


def close(actual, expected, dtype):
    """Equal up to rounding, relative to the largest item."""
    rounding = {"float64": 1e-11, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(actual, expected, rtol=rounding, atol=rounding * max(1.0, np.abs(expected).max()))


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_gradients_are_the_cpu_s(case, dtype):
    expected, expected_gradients = gradients(case, tensors(case.inputs(), "cpu"))
    value, given = gradients(case, tensors(case.inputs(dtype), "cuda"))
    assert (value.shape, value.dtype) == (expected.shape, np.dtype(dtype))
    close(value, expected, dtype)
    for g, e in zip(given, expected_gradients):
        assert (g is None) == (e is None)
        if e is not None:
            assert g.dtype == np.dtype(dtype)
            close(g, e, dtype)
