"""Matrix products against float64, for shapes that reach every path of the kernels."""

import numpy as np
import pytest

from autoconv import tensor
from autoconv.kernels.device import get_num_threads, set_num_threads

SHAPES = [
    ((3, 4), (4, 5)), ((1, 700), (700, 3)), ((40, 600), (600, 130)), ((7,), (7, 2)),
    ((2, 3, 7), (7,)), ((2, 3, 4), (2, 4, 5)), ((6, 1, 3, 4), (5, 4, 2)), ((4, 3), (5, 3, 2)),
    ((5, 17, 600), (5, 600, 70)), ((2, 5), (5, 0)), ((2, 0), (0, 3)), ((4, 2, 0), (4, 0, 3)),
    ((0, 3), (3, 2)), ((0, 2, 3), (0, 3, 4)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_and_gradients_are_those_of_float64(a, b, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in (a, b))
    x = tensor(a, requires_grad=True)
    w = tensor(b, requires_grad=True)
    y = x @ w
    y.sum().backward()
    bound = 2 * a.shape[-1] * np.finfo(dtype).eps
    exact, size = (np.matmul(f(a.astype(float)), f(b.astype(float))) for f in (np.array, np.abs))
    assert y.dtype == dtype
    assert y.shape == exact.shape
    assert (np.abs(y.numpy() - exact) <= bound * size).all()
    da = rng.standard_normal(a.shape)
    db = rng.standard_normal(b.shape)
    np.testing.assert_allclose(np.vdot(x.grad, da), np.matmul(da, b).sum(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.vdot(w.grad, db), np.matmul(a, db).sum(), rtol=1e-3, atol=1e-3)


def test_neither_threads_nor_strides_change_a_bit():
    rng = np.random.default_rng(0)
    before = get_num_threads()
    for a, b in [((40, 600), (600, 130)), ((5, 17, 600), (5, 600, 70)), ((1, 700), (700, 3))]:
        a, b = (rng.standard_normal(shape).astype("float32") for shape in (a, b))
        found = []
        try:
            for threads in range(1, before + 1):
                set_num_threads(threads)
                found.append((tensor(a) @ tensor(b)).numpy())
        finally:
            set_num_threads(before)
        turned = [tensor(np.ascontiguousarray(m.swapaxes(-1, -2)).swapaxes(-1, -2)) for m in (a, b)]
        found.append((turned[0] @ turned[1]).numpy())
        assert all((y == found[0]).all() for y in found)


def test_products_of_integers_and_mixed_dtypes():
    a = np.arange(6).reshape(2, 3)
    b = np.arange(12).reshape(3, 4)
    y = tensor(a) @ tensor(b)
    assert y.dtype.kind == "i"
    np.testing.assert_array_equal(y.numpy(), a @ b)
    mixed = tensor(a.astype("float64")) @ tensor(b.astype("float32"))
    np.testing.assert_array_equal(mixed.numpy(), a @ b)
