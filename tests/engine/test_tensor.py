"""What a user of tensors relies on: NumPy's words, gradients that add up in leaves, arrays that stay as they are."""

import gc
import weakref

import numpy as np
import pytest
from autoconv.tensor import Tensor, no_grad, tensor

from autoconv import functional as F
from autoconv.engine.variable import Variable
from autoconv.kernels import device


def leaf(values, dtype="float64"):
    return tensor(np.asarray(values, dtype), requires_grad=True)


def grad(f, *values):
    """The gradients of the sum of f."""
    leaves = [leaf(v) for v in values]
    f(*leaves).sum().backward()
    return [t.grad.tolist() for t in leaves]


# Arithmetic


def test_operators():
    a, b = leaf([1.0, 2.0]), leaf([4.0, 8.0])
    for y, expected in ((a + b, [5, 10]), (a - b, [-3, -6]), (a * b, [4, 16]), (b / a, [4, 4]), (-a, [-1, -2]),
                        (a**2, [1, 4]), (a @ b, 20), (a + 1, [2, 3]), (1 + a, [2, 3]), (1 - a, [0, -1]),
                        (3 * a, [3, 6]), (8 / b, [2, 1]), (a.exp().log(), [1, 2])):
        np.testing.assert_allclose(y.numpy(), expected)


def test_numpy_arrays_on_either_side():
    a, array = leaf([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    for y, expected in ((array + a, [[4, 5], [5, 6]]), (a - array, [[-2, -1], [-3, -2]]), (array * a, [[3, 6], [4, 8]]),
                        (array @ a, [[3, 6], [4, 8]]), (np.float64(2) * a, [[2, 4]]), (a * [2, 3], [[2, 6]])):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        assert y.numpy().tolist() == expected


def test_gradients_of_what_was_broadcast_are_summed():
    assert grad(lambda a, b: a + b, np.ones((2, 3)), np.ones(3)) == [[[1, 1, 1], [1, 1, 1]], [2, 2, 2]]
    assert grad(lambda a, b: a * b, [[2.0, 3.0]], [[5.0], [7.0]]) == [[[12, 12]], [[5], [5]]]
    assert grad(lambda a, b: a - b, 1.0, np.ones((2, 2))) == [4, [[-1, -1], [-1, -1]]]


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"broadcast.*Received shapes: \(2, 3\) and \(4,\)"):
        leaf(np.ones((2, 3))) + leaf(np.ones(4))
    with pytest.raises(ValueError, match=r"Received shapes: \(2, 3\) and \(2, 3\)"):
        leaf(np.ones((2, 3))) @ leaf(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"broadcast.*Received shapes: \(1, 2\) and \(3,\)"):
        leaf([[1.0, 2.0]]) ** leaf([2.0, 1.0, 0.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_are_kept(dtype):
    a = tensor(np.ones((2, 2), dtype), requires_grad=True)
    same_shape = [a + 1, 2.5 * a, a / 3, a**2, a**0.5, a - np.float64(1), a @ a, a * [1, 2], a * np.arange(2), a.exp(),
                  F.softmax(a), F.sigmoid(a)]
    smaller = [a.mean(), a.sum(0), a.max(), a[0]]
    assert {y.dtype for y in (*same_shape, *smaller)} == {np.dtype(dtype)}
    y = a
    for other in same_shape:
        y = y + other
    y.sum().backward()
    assert a.grad.dtype == np.dtype(dtype)


def test_mixed_dtypes():
    single, double = leaf([1.0], "float32"), leaf([2.0])
    y = single * double
    assert y.dtype == np.float64
    y.backward()
    assert (single.grad.dtype, double.grad.dtype) == (np.float32, np.float64)
    whole = tensor([1, 2])
    assert whole.dtype.kind == "i"
    assert (whole * 0.5).numpy().tolist() == [0.5, 1]
    assert (whole / 2).dtype == np.float32
    assert (whole + 1).dtype == whole.dtype
    assert tensor(np.full(300, 255, "uint8")).sum().item() == 300 * 255


def test_how_a_tensor_is_made():
    assert tensor([1.0, 2.0]).dtype == np.float32
    assert tensor(np.float64(2)).dtype == np.float64
    assert tensor([1, 2], dtype="float32", requires_grad=True).dtype == np.float32
    assert tensor(tensor(np.ones(2))).dtype == np.float64
    assert repr(leaf([1.5])) == "Tensor([1.5], dtype=float64, requires_grad=True)"
    assert (len(leaf([1.0, 2.0])), leaf(np.ones((2, 3))).ndim, leaf(np.ones((2, 3))).size) == (2, 2, 6)
    with pytest.raises(TypeError, match="floating-point tensors have gradients"):
        tensor([1, 2], requires_grad=True)


# Shapes, reductions, indexing


def test_indexing():
    x = leaf(np.arange(12.0).reshape(3, 4))
    mask = x.numpy() % 2 == 0
    for index in (1, -1, (1, 2), slice(0, 2), (..., -1), (None, 0), [0, 2], ([0, 2], [1, 1]), mask, (slice(None), [3])):
        np.testing.assert_array_equal(x[index].numpy(), x.numpy()[index])
    np.testing.assert_array_equal(x[tensor([2, 0])].numpy(), x.numpy()[[2, 0]])
    assert [row.numpy().tolist() for row in x] == x.numpy().tolist()
    with pytest.raises(IndexError):
        x[3]


def test_gradients_of_an_index():
    assert grad(lambda x: x[[0, 2, 2]], [1.0, 2.0, 3.0]) == [[1, 0, 2]]
    assert grad(lambda x: x[np.array([True, False, True])], [1.0, 2.0, 3.0]) == [[1, 0, 1]]
    assert grad(lambda x: x[:, 1], np.ones((2, 3))) == [[[0, 1, 0], [0, 1, 0]]]
    assert grad(lambda x: x[1] * 3 + x[1], [1.0, 2.0]) == [[0, 4]]


def test_shapes():
    x = leaf(np.arange(6.0).reshape(2, 3))
    assert x.reshape(3, 2).shape == x.reshape((3, -1)).shape == x.T.shape == (3, 2)
    np.testing.assert_array_equal(x.T.numpy(), x.numpy().T)
    assert leaf(np.ones((2, 3, 4))).transpose(2, 0, 1).shape == leaf(np.ones((2, 3, 4))).transpose((2, 0, 1)).shape
    with pytest.raises(ValueError, match=r"6 elements cannot be reshaped to \(4, 2\). Received shape: \(2, 3\)"):
        x.reshape(4, 2)
    with pytest.raises(ValueError, match="each of the 2 axes once"):
        x.transpose(0)


def test_reductions():
    x = leaf(np.arange(24.0).reshape(2, 3, 4))
    for axis in (None, 0, -1, (0, 2)):
        for keepdims in (False, True):
            for name in ("sum", "mean", "max"):
                expected = getattr(x.numpy(), name)(axis=axis, keepdims=keepdims)
                np.testing.assert_allclose(getattr(x, name)(axis, keepdims).numpy(), expected)
    assert x.sum().shape == ()
    with pytest.raises(ValueError, match=r"axis must be an integer in -3..2 for a tensor with 3 axes. Received: 3"):
        x.sum(3)
    with pytest.raises(ValueError, match="once"):
        x.mean((1, -2))
    with pytest.raises(ValueError, match="maximum of zero elements"):
        leaf(np.ones((2, 0))).max(1)


# The tape


def test_gradients_add_up_in_leaves():
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_a_tensor_used_twice():
    assert grad(lambda x: x * x + x, [3.0]) == [[7]]
    assert grad(lambda x: x + x, [3.0]) == [[2]]
    x = leaf([3.0])
    y = x * x
    (y * y + y).backward()  # x^4 + x^2
    assert x.grad.tolist() == [4 * 27 + 6]


def test_a_diamond_is_walked_once():
    x = leaf(2.0)
    y = x
    for _ in range(50):  # walking every path would take 2^50 steps
        y = y * 0.5 + y * 0.5
    y.backward()
    assert x.grad.item() == 1


def test_a_long_chain():
    x = y = leaf(1.0)
    for _ in range(5000):
        y = y + 0.001
    y.backward()
    assert x.grad.item() == 1


def test_second_backward():
    x = leaf([1.0])
    y = x * 2
    y.backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward()
    assert x.grad.tolist() == [2]


def test_second_backward_through_a_shared_part():
    x = leaf([1.0])
    shared = x * 2
    a, b = shared * 3, shared * 5 + x
    a.backward()
    with pytest.raises(RuntimeError, match="freed"):
        b.backward()
    assert x.grad.tolist() == [6]  # nothing half-done in the leaves


def test_backward_frees_what_it_kept():
    x = leaf(np.ones(3))
    y = F.sigmoid(x)
    kept = weakref.ref(y)
    z = y.sum()
    del y
    gc.collect()
    assert kept() is not None
    z.backward()
    assert kept() is None


def test_backward_wants_one_number_or_a_gradient():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"one element. Received shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"shape \(2,\). Received: one of shape \(3,\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward([1.0, 10.0])
    assert x.grad.tolist() == [2, 20]
    with pytest.raises(RuntimeError, match="requires gradients"):
        tensor([1.0]).backward()


def test_no_grad():
    x = leaf([1.0])
    with no_grad():
        y = x * 2
    assert not y.requires_grad
    assert (x * 2).requires_grad
    assert not (x * 2).detach().requires_grad
    with pytest.raises(ValueError, match="stop"), no_grad():
        raise ValueError("stop")
    assert (x * 2).requires_grad


def test_constants_get_no_gradient():
    x, c = leaf([2.0]), tensor(np.array([3.0]))
    (x * c).backward()
    assert c.grad is None
    assert x.grad.tolist() == [3]


# Arrays that were handed out


def test_numpy_works_on_tensors_that_require_gradients():
    x = leaf([1.0, 2.0])
    assert x.numpy().tolist() == np.asarray(x * 2 - x).tolist() == [1, 2]
    assert (x.sum()).item() == 3
    assert np.asarray(x, "float32").dtype == np.float32


def test_a_tensor_copies_its_array():
    array = np.ones(3)
    x = tensor(array)
    array[:] = 5
    assert x.numpy().tolist() == [1, 1, 1]


def test_leaves_never_share_their_gradients():
    a, b, given = leaf([1.0]), leaf([1.0]), np.array([1.0])
    (a + b).backward(given)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, given)
    first = a.grad
    (a * 5).backward()
    assert (first.tolist(), a.grad.tolist()) == ([1], [6])  # what was handed out stays


def test_a_buffer_takes_every_gradient():
    w = leaf([1.0, 2.0])
    w._grad_buffer = buffer = np.full(2, 9.0)
    (w * w + F.relu(w)).sum().backward()
    assert w.grad is buffer
    assert buffer.tolist() == [3, 5]
    (w * 10).sum().backward()
    assert buffer.tolist() == [13, 15]
    w.grad = None
    w[0].backward()
    assert w.grad is buffer
    assert buffer.tolist() == [1, 0]


def test_a_buffer_of_what_an_op_reads_twice():
    def gradient(p):
        x = np.random.default_rng(0).normal(size=(5, 2))
        y = F.batch_norm(x, p, p, np.zeros(2), np.ones(2), training=True)
        y.backward(np.arange(10.0).reshape(5, 2))
        return p.grad

    plain, buffered = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    buffered._grad_buffer = np.empty(2)
    np.testing.assert_allclose(gradient(buffered), gradient(plain), rtol=1e-12)


def test_results_survive_a_pool():
    """Steps that reuse buffers give the same results, and what the user holds is never overwritten."""
    pool, x = device.Pool(), leaf(np.random.default_rng(0).normal(size=(4, 6)))
    held, expected = [], []
    for step in range(5):
        with device.reusing(pool):
            y = F.softmax(F.relu(x * (step + 1.0)) + x)
            (y * y).sum().backward()
        view = y[1:].numpy() if step % 2 else y.reshape(2, 12).numpy()
        held.append([y.numpy(), view, x.grad])
        expected.append([array.copy() for array in held[-1]])
        x.grad = None
    for arrays, copies in zip(held, expected):
        for array, copy in zip(arrays, copies):
            np.testing.assert_array_equal(array, copy)
    assert len({array.ctypes.data for arrays in held for array in arrays[:1]}) == 5


def test_a_pool_uses_its_buffers_again():
    pool = device.Pool()
    with device.reusing(pool):
        first = F.relu(np.ones(1000)).numpy().ctypes.data
        assert F.relu(np.zeros(1000)).numpy().ctypes.data == first


def test_variables():
    p = Variable(np.ones(3), name="kernel")
    before = p.numpy()
    p.assign([1, 2, 3])
    assert (before.tolist(), p.numpy().tolist()) == ([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match=r"kernel has shape \(3,\). Received a value of shape \(2,\)"):
        p.assign([1, 2])
    assert not Variable(np.ones(3), trainable=False).requires_grad


def test_devices():
    x = leaf([1.0])
    assert x.to("cpu") is x
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu'"):
        x.to("gpu")


# Gradients in the middle of a graph


def test_retain_grad():
    x = leaf([1.0, 2.0, -3.0])
    middle = x * x
    other = x * 3
    middle.retain_grad()
    x.retain_grad()  # a leaf keeps its gradient in any case
    (middle * middle + middle + other).sum().backward()
    np.testing.assert_allclose(middle.grad, 2 * x.numpy() ** 2 + 1)
    np.testing.assert_allclose(x.grad, (2 * x.numpy() ** 2 + 1) * 2 * x.numpy() + 3)
    assert other.grad is None


def test_backward_computes_the_gradients_of_the_given_inputs_only():
    x, w, unused = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0])
    middle = x * w
    y = (middle * middle + x).sum()
    y.backward(inputs=[x, middle, unused])
    np.testing.assert_allclose(x.grad, 2 * x.numpy() * w.numpy() ** 2 + 1)
    np.testing.assert_allclose(middle.grad, 2 * x.numpy() * w.numpy())
    assert w.grad is None
    assert unused.grad is None
    (x * w).sum().backward(inputs=w)
    np.testing.assert_allclose(w.grad, x.numpy())


def test_backward_runs_no_kernels_for_other_weights(monkeypatch):
    x, w, v = (leaf(np.ones(shape)) for shape in ((1, 6, 6, 1), (3, 3, 1, 2), (3, 3, 2, 1)))

    def run(inputs):
        F.conv2d(F.conv2d(x, w), v).sum().backward(inputs=inputs)

    run(None)  # compiles the kernels, after a dry run of each
    runs, kernels = [], device.get("cpu").kernels("conv")
    compute = kernels.conv2d_weight_grad
    monkeypatch.setattr(kernels, "conv2d_weight_grad", lambda *args, **kwargs: runs.append(compute(*args, **kwargs)))
    for inputs, expected in ((x, 0), (v, 1), ([w, v], 2)):
        runs.clear()
        run(inputs)
        assert len(runs) == expected


def test_inputs_beyond_a_freed_part_of_the_tape_are_refused():
    x, w = leaf([1.0]), leaf([2.0])
    h = x * w
    first, second = h.sum(), (h * h).sum()
    first.backward(inputs=w)
    with pytest.raises(RuntimeError, match="This graph was freed"):
        second.backward(inputs=w)


def test_inputs_retain_their_gradients_for_one_pass():
    x = leaf([3.0])
    middle = x * x
    (middle * 2).sum().backward(create_graph=True, inputs=middle)
    assert middle.grad.tolist() == [2]
    (middle * 5).sum().backward()
    assert middle.grad.tolist() == [2]
    assert x.grad.tolist() == [30]
    w = leaf([1.0])
    x.backward(inputs=w)  # x does not depend on w
    assert w.grad is None
    assert x.grad.tolist() == [30]


def test_backward_needs_inputs_that_require_gradients():
    for inputs in ([], [tensor([1.0])], [leaf([1.0]), np.ones(1)]):
        with pytest.raises(ValueError, match=r"tensors that require gradients\. Received: .*Leave out `inputs`"):
            (leaf([1.0]) * 2).sum().backward(inputs=inputs)


def test_retain_grad_needs_a_gradient():
    with pytest.raises(RuntimeError, match=r"requires_grad=False\. Pass requires_grad=True"):
        (tensor([1.0]) * 2).retain_grad()
