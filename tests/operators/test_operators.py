"""Every op, over the case table: values, gradients, and what an op may not do."""

import importlib
import pkgutil

import numba
import numpy as np
import pytest
from autoconv.tensor import Tensor, tensor
from cases import CASES, WITHOUT_GRADIENT

import autoconv.operators
from autoconv import functional as F
from autoconv.engine.gradcheck import GradientMismatch, gradcheck
from autoconv.layers import DepthwiseConv2D, SeparableConv2D
from autoconv.operators.registry import OPS

pytestmark = pytest.mark.usefixtures("tiles_for_few_pixels")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def tensors(arrays, requires_grad=True):
    return [None if a is None else tensor(a, requires_grad) for a in arrays]


def run(case, inputs):
    return case.call(*inputs, **case.parameters)


def gradients(case, inputs):
    """The value and the gradients of `case` for a gradient of the result that is the same in every run."""
    y = run(case, inputs)
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    return y.numpy(), [None if t is None else t.grad for t in inputs]


def close(actual, expected, dtype="float64"):
    """Equal up to rounding, relative to the largest item."""
    rounding = {"float64": 1e-11, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(actual, expected, rtol=rounding, atol=rounding * max(1.0, np.abs(expected).max()))


def spy(monkeypatch, case):
    """Notes each run of the case's op: the gradients that were asked for, and those that came."""
    calls, fn = [], OPS[case.op].fn

    def noted(*args, **parameters):
        y, backward = fn(*args, **parameters)

        def noted_backward(dy, needs, *reread):
            calls.append((needs, backward(dy, needs, *reread)))
            return calls[-1][1]

        return y, noted_backward

    monkeypatch.setattr(OPS[case.op], "fn", noted)
    return calls


def ours():
    """The names of all ops, but for the tests' own."""
    for module in pkgutil.iter_modules(autoconv.operators.__path__):
        importlib.import_module(f"autoconv.operators.{module.name}")
    return {name for name, op in OPS.items() if op.fn.__module__.startswith("autoconv.")}


def test_every_op_has_a_row():
    assert {case.op for case in (*CASES, *WITHOUT_GRADIENT)} == ours()


def test_no_row_is_twice():
    rows = [*CASES, *WITHOUT_GRADIENT]
    assert len({case.id for case in rows}) == len(rows)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value(case, dtype):
    y = run(case, tensors(case.inputs(dtype)))
    expected = case.reference(*case.inputs(), **case.parameters)
    assert (y.shape, y.dtype) == (np.shape(expected), np.dtype(dtype))
    assert y.data.flags.c_contiguous
    close(y.numpy(), expected, dtype)


@pytest.mark.parametrize("case", WITHOUT_GRADIENT, ids=lambda case: case.id)
@pytest.mark.parametrize("rounded", [False, True])
def test_value_without_a_gradient(case, rounded):
    arrays = [np.round(a) if rounded else a for a in case.inputs("float32")]
    y = run(case, tensors(arrays))
    assert not y.requires_grad
    assert y.dtype == {"argmax": np.int64, "floor_divide": np.float32}.get(case.op, np.bool_)
    np.testing.assert_array_equal(y.numpy(), case.reference(*arrays, **case.parameters))


@each_case
def test_gradient_is_the_derivative(case):
    gradcheck(lambda *inputs: run(case, inputs), *tensors(case.inputs()))


@each_case
def test_gradient_in_float32(case):
    _, precise = gradients(case, tensors(case.inputs()))
    _, single = gradients(case, tensors(case.inputs("float32")))
    for p, s in zip(precise, single):
        if p is not None:
            assert s.dtype == np.float32
            close(s, p, "float32")


EMPTY = [case for case in (*CASES, *WITHOUT_GRADIENT) if case.batched]


def test_every_op_has_a_row_with_an_empty_batch():
    assert {case.op for case in EMPTY} == ours()


@pytest.mark.parametrize("case", EMPTY, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_empty_batch(case, dtype):
    """The result differs from a full batch's in one axis, which is empty. Gradients of weights are 0."""
    arrays = case.inputs(dtype)
    inputs = tensors(a[:0] if i in case.batched else a for i, a in enumerate(arrays))
    if case.op.startswith("batch_norm") and "training" in case.note:
        with pytest.raises(ValueError, match="mean of the batch"):
            run(case, inputs)
        return
    y, full = run(case, inputs), case.reference(*case.inputs(), **case.parameters)
    assert [here for here, whole in zip(y.shape, full.shape, strict=True) if here != whole] == [0]
    if y.requires_grad:
        y.backward(np.zeros(y.shape, dtype))
        for t in inputs:
            if t is not None:
                np.testing.assert_array_equal(t.grad, np.zeros(t.shape))


@pytest.mark.parametrize("make", [DepthwiseConv2D, lambda *args, **options: SeparableConv2D(4, *args, **options)])
def test_an_empty_batch_passes_through_a_layer_with_a_depth_multiplier(make):
    layer = make(3, depth_multiplier=2)
    y = layer(np.zeros((0, 8, 8, 3), "float32"))
    assert y.shape == (0, *layer(np.zeros((1, 8, 8, 3), "float32")).shape[1:])


@each_case
def test_only_needed_gradients(case, monkeypatch):
    arrays = case.inputs()
    _, everything = gradients(case, tensors(arrays))
    for i, array in enumerate(arrays):
        if array is None:
            continue
        inputs = tensors(arrays, requires_grad=False)
        inputs[i] = tensor(array, requires_grad=True)
        with monkeypatch.context() as patch:
            calls = spy(patch, case)
            _, alone = gradients(case, inputs)
        [(needs, given)] = calls
        assert [need is not False for need in needs] == [j == i for j in range(len(arrays))]
        assert [g is not None for g in given] == [j == i for j in range(len(arrays))]
        close(alone[i], everything[i])


@each_case
def test_gradient_into_a_buffer(case):
    _, expected = gradients(case, tensors(case.inputs()))
    inputs = tensors(case.inputs())
    buffers = [None if t is None else np.full(t.shape, 7.0) for t in inputs]
    for t, buffer in zip(inputs, buffers):
        if t is not None:
            t._grad_buffer = buffer
    _, given = gradients(case, inputs)
    for g, buffer, e in zip(given, buffers, expected):
        if e is not None:
            assert g is buffer
            close(g, e)


@each_case
def test_inputs_that_are_not_contiguous(case):
    """A view with its axes reversed, and one that takes every second item, count as their values."""
    arrays = case.inputs()
    value, expected = gradients(case, tensors(arrays))
    turned = [None if a is None else tensor(a.T, True) for a in arrays]
    y = run(case, [None if t is None else t.transpose() for t in turned])
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    np.testing.assert_array_equal(y.numpy(), value)
    for t, e in zip(turned, expected):
        if e is not None:
            close(t.grad, e.T)
    sparse = [None if a is None else np.repeat(np.asfortranarray(a), 2).reshape(*a.shape, 2)[..., 0] for a in arrays]
    np.testing.assert_array_equal(run(case, tensors(sparse)).numpy(), value)


@each_case
def test_inputs_stay_as_they_are(case):
    arrays = case.inputs()
    inputs = tensors(arrays)
    gradients(case, inputs)
    for t, a in zip(inputs, arrays):
        if t is not None:
            np.testing.assert_array_equal(t.numpy(), a)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@each_case
def test_same_bits_for_any_number_of_threads(case):
    def bits():
        value, given = gradients(case, tensors(case.inputs("float32")))
        return [value, *(g for g in given if g is not None)]

    many = bits()
    numba.set_num_threads(1)
    try:
        one = bits()
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for a, b in zip(many, one):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("inputs", "outputs"), [(37, 10), (37, 90), (37, 345), (620, 700)])
def test_a_row_has_the_same_bits_in_a_dense_layer_of_any_batch(inputs, outputs, dtype):
    """A single row has tiles of its own, which depend on the number of threads."""
    rng = np.random.default_rng(5)
    x, w, b = (rng.normal(size=shape).astype(dtype) for shape in ((65, inputs), (inputs, outputs), (outputs,)))
    whole = F.dense(x, w, b).numpy()
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        try:
            for first, last in ((0, 1), (64, 65), (3, 5), (10, 29)):
                np.testing.assert_array_equal(F.dense(x[first:last], w, b).numpy(), whole[first:last])
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_functions_take_arrays_and_lists():
    image = np.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 2, 1, 3)[..., ::2]
    w = np.ones((1, 1, 2, 1))
    np.testing.assert_array_equal(F.conv2d(image, w).numpy(), image.sum(3, keepdims=True))
    assert F.relu([-1, 2]).dtype == np.float32
    assert F.relu(image).dtype == np.float64


@pytest.mark.parametrize("f", [F.relu, F.sigmoid, F.tanh, F.softmax, F.log_softmax, F.max_pool2d, F.avg_pool2d,
                               F.global_avg_pool2d, F.global_max_pool2d, lambda x: F.dropout(x, 0.5, seed=1),
                               lambda x: F.conv2d(x, np.ones((2, 2, 1, 17))), lambda x: x.max(), lambda x: x.sum()])
def test_nan_survives(f):
    x = np.zeros((1, 2, 2, 1))
    x[0, 1, 1] = np.nan
    assert np.isnan(f(tensor(x)).numpy()).any()


def test_infinity_survives():
    x = tensor([[np.inf, 1.0, -np.inf]], requires_grad=True)
    np.testing.assert_array_equal(F.relu(x).numpy(), [[np.inf, 1, 0]])
    np.testing.assert_array_equal(F.sigmoid(x).numpy()[0, [0, 2]], [1, 0])
    np.testing.assert_array_equal(F.max_pool2d(x.numpy().reshape(1, 1, 3, 1), (1, 3)).numpy().item(), np.inf)
    assert F.max_pool2d(np.full((1, 2, 2, 1), -np.inf)).item() == -np.inf


def test_softmax_of_huge_numbers():
    x = tensor([[1e4, 1e4, -1e4]], requires_grad=True)
    np.testing.assert_allclose(F.softmax(x).numpy(), [[0.5, 0.5, 0]])
    np.testing.assert_allclose(F.log_softmax(x).numpy(), [[np.log(0.5), np.log(0.5), np.log(0.5) - 2e4]], rtol=1e-6)
    loss = F.sparse_categorical_crossentropy([2], x, from_logits=True)
    np.testing.assert_allclose(loss.numpy(), [2e4], rtol=1e-4)
    loss.backward(np.ones(1))
    np.testing.assert_allclose(x.grad, [[0.5, 0.5, -1]])
    np.testing.assert_allclose(F.sigmoid([-1000.0, -80.0, 1000.0]).numpy(), [0, np.exp(-80.0), 1], rtol=1e-5)


def test_the_first_maximum_gets_the_gradient():
    x = tensor(np.ones((1, 4, 4, 1)), requires_grad=True)
    F.max_pool2d(x, 3, strides=1).sum().backward()
    assert x.grad[0, :, :, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    y = tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    y.max(axis=1).sum().backward()
    assert y.grad.tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("axis", [-1, 1])
def test_parts_of_a_large_concatenation_get_the_sum_of_its_gradients(axis):
    rng = np.random.default_rng(0)
    shapes = [(30, 40, 150), (30, 40, 10)] if axis == -1 else [(30, 30, 170), (30, 10, 170)]
    parts = [tensor(rng.standard_normal(shape, np.float32), requires_grad=True) for shape in shapes]
    whole = F.concatenate(parts, axis=axis)
    np.testing.assert_array_equal(whole.numpy(), np.concatenate([part.numpy() for part in parts], axis))
    a, b = (rng.standard_normal(whole.shape, np.float32) for _ in range(2))
    ((whole * a).sum() + (whole * b).sum()).backward()
    for part, gradient in zip(parts, np.split(a + b, [shapes[0][axis]], axis)):
        np.testing.assert_array_equal(part.grad, gradient)


@pytest.mark.parametrize("view", [
    lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x[..., ::-1], lambda x: x[..., 20:], lambda x: x[3:]])
def test_parts_of_a_large_tensor_and_their_gradients(view):
    values = np.random.default_rng(0).standard_normal((40, 50, 128), np.float32)
    x = tensor(values, requires_grad=True)
    (view(x) * view(values)).sum().backward()
    np.testing.assert_array_equal(view(x).numpy(), view(values))
    expected = np.zeros_like(values)
    view(expected)[...] = view(values)
    np.testing.assert_array_equal(x.grad, expected)


def test_numbers_and_nothing_at_all():
    x = tensor([-1.0, 2.0], requires_grad=True)
    (F.maximum(x, 0.5) + F.minimum(3, x)).sum().backward()
    assert x.grad.tolist() == [1, 2]
    assert F.concatenate([np.ones((2, 0)), x.reshape(2, 1)], axis=-1).shape == (2, 1)
    assert F.maximum(np.ones((0, 3)), 1).shape == (0, 3)
    assert F.argmax(np.ones((0, 3)), 1).shape == (0,)
    assert F.softmax(np.ones((0, 3, 2)), (1, 2)).shape == (0, 3, 2)


def test_where_both_are_equal_the_first_gets_the_gradient():
    for f in (F.maximum, F.minimum):
        a, b = (tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in range(2))
        f(a, b).sum().backward()
        assert (a.grad.tolist(), b.grad.tolist()) == ([1, 1, 1], [0, 0, 0])


def test_the_gradient_of_clip_passes_at_its_bounds():
    x = tensor([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan], requires_grad=True)
    y = F.clip(x, -1, 1)
    np.testing.assert_array_equal(y.numpy(), [-1, -1, 0, 1, 1, np.nan])
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0, 0]
    bounds = tensor([0.0, 0.5], requires_grad=True)
    F.clip(tensor([-1.0, 2.0]), bounds, np.array([9.0, 1.0])).sum().backward()
    assert bounds.grad.tolist() == [1, 0]
    assert F.clip(tensor([1, 5]), 0.5, None).numpy().tolist() == [1, 5]
    assert F.clip(tensor([1, 5]), 2, 3).dtype == np.int64


def test_a_choice_lets_no_infinity_through_that_was_not_chosen():
    x = tensor([-1.0, 4.0], requires_grad=True)
    F.where(x > 0, x, 0.0).backward(np.array([np.inf, 1.0], "float32"))
    assert x.grad.tolist() == [0, 1]
    assert np.isnan(F.maximum(tensor([np.nan, 1.0]), tensor([1.0, np.nan])).numpy()).all()


def test_an_absolute_value_has_the_slope_0_at_0():
    x = tensor([-2.0, 0.0, 3.0], requires_grad=True)
    abs(x).sum().backward()
    assert x.grad.tolist() == [-1, 0, 1]


@pytest.mark.parametrize("f", [
    lambda x: F.concatenate([x, x]), lambda x: F.stack([x, x]), lambda x: F.where(x > 0, x, -x)])
def test_dtypes_of_choices_and_joins(f):
    for dtype in ("float32", "float64"):
        assert f(tensor(np.ones((2, 2), dtype))).dtype == np.dtype(dtype)


def test_the_condition_may_be_a_tensor_alone():
    condition = tensor([1.0, 0.0]) > 0.5
    assert F.where(condition, 1, 0).dtype == np.float32
    assert F.where(condition, 1, 0).numpy().tolist() == [1, 0]
    assert F.where([True, False], [5.0, 6.0], 0).numpy().tolist() == [5, 0]


@pytest.mark.parametrize(("call", "said"), [
    (lambda: F.concatenate([]), "list of at least one tensor"),
    (lambda: F.concatenate(np.ones((2, 2))), "list of at least one"),
    (lambda: F.concatenate([np.ones((2, 3)), np.ones((3, 3))], axis=1),
     r"agree on all axes except axis 1. Received shapes: \[\(2, 3\), \(3, 3\)\]"),
    (lambda: F.concatenate([np.ones(2), np.ones((2, 2))]), "agree"), (lambda: F.concatenate([1.0, 2.0]), "use stack"),
    (lambda: F.stack([np.ones(2), np.ones(3)]), "the same shape"), (lambda: F.split(np.ones(5), 2), "equal parts"),
    (lambda: F.pad(np.ones((2, 2)), 1, mode="edge"), "Unknown mode: 'edge'"),
    (lambda: F.pad(np.ones((0, 2)), 1, mode="reflect"), "needs elements to repeat"),
    (lambda: F.pad(np.ones((2, 2)), 1, "symmetric", 3), "Leave out constant_values"),
    (lambda: F.pad(np.ones((2, 2)), -1), "pad_width must be"), (lambda: F.pad(np.ones(2), ((1, 1),) * 3), "pad_width"),
    (lambda: F.squeeze(np.ones((2, 1)), 0), "axes of size 1"), (lambda: F.expand_dims(np.ones(2), 3), "axis must be"),
    (lambda: F.maximum(np.ones(2), np.ones(3)), r"maximum needs operands whose shapes broadcast.*\(2,\) and \(3,\)"),
    (lambda: F.clip(np.ones(2), "0", 1), "x_min must be"), (lambda: F.argmax(np.ones((0, 2)), 0), "zero elements"),
])
def test_what_does_not_fit_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_probabilities_are_clipped_and_made_to_sum_to_one():
    y_true, y_pred = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 1.0]])
    expected = [-np.log(1e-7), -np.log(0.75)]
    np.testing.assert_allclose(F.categorical_crossentropy(y_true, y_pred).numpy(), expected)
    np.testing.assert_allclose(F.sparse_categorical_crossentropy([1, 0], y_pred).numpy(), expected)
    np.testing.assert_allclose(F.binary_crossentropy([1.0], np.array([[0.0]])).numpy(), [-np.log(1e-7)])


def test_moving_statistics():
    x = np.random.default_rng(0).normal(3, 2, (4, 5, 5, 2)).astype("float32")
    mean, variance = np.zeros(2, "float32"), np.ones(2, "float32")
    F.batch_norm(x, None, None, mean, variance, training=False)
    assert (mean.tolist(), variance.tolist()) == ([0, 0], [1, 1])
    F.batch_norm(x, None, None, mean, variance, training=True, momentum=0.9)
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


DISTRIBUTIONS = {
    "normal": lambda z: z, "far away": lambda z: z + 1e3, "rectified": lambda z: np.maximum(z, 0),
    "heavy tails": lambda z: np.exp(2 * z), "another first row": lambda z: np.where(np.arange(len(z))[:, None], z, 1e4),
    "a drift": lambda z: z + np.linspace(-100, 100, len(z))[:, None], "one number": lambda z: np.full_like(z, 3.7),
    "mostly zeros": lambda z: z * (np.abs(z) > 2.5), "huge": lambda z: z * 1e15, "tiny": lambda z: z * 1e-15,
}


@pytest.mark.parametrize("what", DISTRIBUTIONS)
@pytest.mark.parametrize("shape", [(5000, 48), (64, 70), (3001, 3)])
def test_the_sums_of_batch_norm_lose_no_digits(what, shape):
    """Mean, variance and gradients of gamma and beta, summed up in float32 and float64, against float64 alone."""
    rng = np.random.default_rng(0)
    x, dy = DISTRIBUTIONS[what](rng.standard_normal(shape)).astype("float32"), rng.standard_normal(shape)
    wide = x.astype("float64")
    mean, variance = wide.mean(0), wide.var(0)
    moving = [np.zeros(shape[1], "float32") for _ in range(2)]
    gamma, beta = (tensor(np.ones(shape[1], "float32"), requires_grad=True) for _ in range(2))
    y = F.batch_norm(tensor(x, requires_grad=True), gamma, beta, *moving, training=True, momentum=0.0, epsilon=1e-20)
    y.backward(dy.astype("float32"))
    np.testing.assert_allclose(moving[0], mean, rtol=2e-7, atol=2e-7 * float(np.sqrt(variance).max()))
    np.testing.assert_allclose(moving[1], variance, rtol=2e-6)
    dy = dy.astype("float32").astype("float64")
    terms = dy * (wide - moving[0]) / np.sqrt(variance + 1e-20)
    assert (abs(gamma.grad - terms.sum(0)) <= 1e-6 * abs(terms).sum(0)).all()
    assert (abs(beta.grad - dy.sum(0)) <= 2e-7 * abs(dy).sum(0)).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 1, 700])
def test_a_number_that_is_none_stays_in_its_channel_of_batch_norm(odd, row):
    x = np.random.default_rng(0).standard_normal((1000, 20)).astype("float32")
    x[row, 3] = odd
    mean, variance = np.zeros(20, "float32"), np.zeros(20, "float32")
    y = F.batch_norm(x, None, None, mean, variance, training=True, momentum=0.0).numpy()
    np.testing.assert_equal(mean[3], np.float32(odd))
    assert np.isnan(y[:, 3]).any()
    others = np.arange(20) != 3
    assert np.isfinite(y[:, others]).all()
    assert np.isfinite([mean[others], variance[others]]).all()


def test_batch_norm_of_numbers_far_from_zero():
    x = (1e4 + np.random.default_rng(0).normal(size=(1000, 1))).astype("float32")
    y = F.batch_norm(x, None, None, np.zeros(1, "float32"), np.ones(1, "float32"), training=True, epsilon=1e-6)
    np.testing.assert_allclose(y.numpy(), (x - x.mean(dtype="float64")) / x.std(dtype="float64"), atol=2e-3)


def test_dropout():
    x = tensor(np.ones(10_000), requires_grad=True)
    y = F.dropout(x, 0.3, seed=5)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.02
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.7)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.numpy())  # the same mask on the way back
    assert F.dropout(x, 0.3, training=False) is x
    assert (F.dropout(x, 0.5).numpy() != F.dropout(x, 0.5).numpy()).any()
    assert not F.dropout(x, 1).numpy().any()


def test_gradcheck_finds_a_wrong_gradient(monkeypatch):
    x = tensor(np.random.default_rng(0).normal(size=(3, 2)), requires_grad=True)
    gradcheck(F.tanh, x)
    fn = OPS["tanh"].fn

    def halved(k, x):
        y, backward = fn(k, x)
        return y, lambda dy, needs: (0.5 * backward(dy, needs)[0],)

    monkeypatch.setattr(OPS["tanh"], "fn", halved)
    with pytest.raises(GradientMismatch, match=r"backward\(\) gives .* finite differences"):
        gradcheck(F.tanh, x)


def test_gradcheck_wants_float64():
    with pytest.raises(ValueError, match="float64"):
        gradcheck(F.tanh, tensor([1.0], requires_grad=True))
    with pytest.raises(ValueError, match="require gradients"):
        gradcheck(F.tanh, Tensor(np.ones(1)))
