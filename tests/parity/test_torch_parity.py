"""The same values and gradients as PyTorch, where it is installed."""

from functools import partial

import numpy as np
import pytest
from autoconv.tensor import tensor

from autoconv import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional
FIRST = (0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)


def both(ours, theirs, *arrays, orders=None):
    """Runs both on the same numbers, and compares the values and the gradients of all arrays.

    `orders` says how the axes of each array are ordered for PyTorch; an image comes back from it as (N, C, H, W).
    """
    orders = orders or [None] * len(arrays)
    mine = [tensor(a, requires_grad=True) for a in arrays]
    turned = [a if order is None else a.transpose(order) for a, order in zip(arrays, orders)]
    other = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in turned]
    y, z = ours(*mine), theirs(*other)
    z = z.permute(0, 2, 3, 1) if z.ndim == 4 else z
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for m, o, order in zip(mine, other, orders):
        expected = o.grad.numpy() if order is None else o.grad.numpy().transpose(np.argsort(order))
        np.testing.assert_allclose(m.grad, expected, rtol=1e-9, atol=1e-10)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


KERNEL = (3, 2, 0, 1)  # (KH, KW, C, F) -> (F, C, KH, KW)


@pytest.mark.parametrize(("x", "w", "strides", "padding", "dilation", "groups"), [
    ((2, 9, 8, 3), (3, 3, 3, 5), 1, 0, 1, 1),
    ((2, 9, 8, 17), (5, 3, 17, 32), 2, (2, 1), 1, 1),
    ((1, 12, 11, 5), (3, 2, 5, 3), (1, 3), 2, 2, 1),
    ((2, 9, 9, 6), (3, 3, 2, 9), 2, 1, 1, 3),
])
def test_conv2d(x, w, strides, padding, dilation, groups):
    both(lambda x, w, b: F.conv2d(x, w, b, strides, padding, dilation, groups),
         lambda x, w, b: TF.conv2d(x, w, b, strides, padding, dilation, groups),
         normal(*x), normal(*w), normal(w[3]), orders=[FIRST, KERNEL, None])


def test_conv2d_same():
    both(lambda x, w: F.conv2d(x, w, padding="same"), lambda x, w: TF.conv2d(x, w, padding="same"),
         normal(2, 7, 8, 3), normal(3, 5, 3, 4), orders=[FIRST, KERNEL])


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 1)])
def test_conv2d_transpose(stride, dilation):
    both(lambda x, w, b: F.conv2d_transpose(x, w, b, stride, dilation_rate=dilation),
         lambda x, w, b: TF.conv_transpose2d(x, w, b, stride, dilation=dilation),
         normal(2, 5, 4, 3), normal(3, 3, 5, 3), normal(5), orders=[FIRST, KERNEL, None])


def test_depthwise_conv2d():
    x, w, b = normal(2, 7, 8, 5), normal(3, 3, 5, 2), normal(10)
    both(lambda x, w, b: F.depthwise_conv2d(x, w, b, 2, 1),
         lambda x, w, b: TF.conv2d(x, w.reshape(10, 1, 3, 3), b, 2, 1, groups=5),
         x, w, b, orders=[FIRST, (2, 3, 0, 1), None])


@pytest.mark.parametrize(("size", "strides", "padding"), [(2, 2, 0), (3, 2, 1), ((2, 3), (3, 1), 0)])
def test_pools(size, strides, padding):
    x = normal(2, 9, 8, 5)
    both(lambda x: F.max_pool2d(x, size, strides, padding), lambda x: TF.max_pool2d(x, size, strides, padding), x,
         orders=[FIRST])
    both(lambda x: F.avg_pool2d(x, size, strides, padding),
         lambda x: TF.avg_pool2d(x, size, strides, padding, count_include_pad=False), x, orders=[FIRST])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training):
    mean, variance = normal(5), np.abs(normal(5)) + 1
    both(lambda x, g, b: F.batch_norm(x, g, b, mean.copy(), variance.copy(), training, epsilon=1e-3),
         lambda x, g, b: TF.batch_norm(x, torch.tensor(mean), torch.tensor(variance), g, b, training, eps=1e-3),
         normal(4, 3, 2, 5), normal(5), normal(5), orders=[FIRST, None, None])


def test_dense_and_activations():
    both(lambda x, w, b: F.tanh(F.dense(x, w, b)), lambda x, w, b: torch.tanh(TF.linear(x, w, b)), normal(4, 7),
         normal(7, 3), normal(3), orders=[None, (1, 0), None])
    for ours, theirs in ((F.relu, torch.relu), (F.sigmoid, torch.sigmoid), (F.softmax, lambda x: x.softmax(-1)),
                         (F.log_softmax, lambda x: x.log_softmax(-1))):
        both(ours, theirs, normal(4, 7))


def test_losses():
    labels, x = np.array([3, 0, 6, 2]), normal(4, 7)
    targets = np.random.default_rng(0).uniform(size=(4, 7))
    both(lambda x: F.sparse_categorical_crossentropy(labels, x, from_logits=True),
         lambda x: TF.cross_entropy(x, torch.tensor(labels), reduction="none"), x)
    both(lambda x: F.categorical_crossentropy(targets, x, from_logits=True),
         lambda x: TF.cross_entropy(x, torch.tensor(targets), reduction="none"), x)
    both(lambda x: F.categorical_crossentropy(targets, F.softmax(x)),
         lambda x: TF.cross_entropy(x, torch.tensor(targets), reduction="none"), x)
    both(lambda x: F.binary_crossentropy(targets, x, from_logits=True),
         lambda x: TF.binary_cross_entropy_with_logits(x, torch.tensor(targets), reduction="none").mean(-1), x)
    both(lambda x: F.mean_squared_error(targets, x), lambda x: ((x - torch.tensor(targets)) ** 2).mean(-1), x)
    both(lambda x: F.mean_absolute_error(targets, x), lambda x: (x - torch.tensor(targets)).abs().mean(-1), x)


def odd_ones(f, theirs, *arrays, orders=None):
    """Puts NaN and infinities everywhere into each array, and the gradient: value and gradients are finite, infinite
    or NaN where PyTorch's are. In float32.
    """
    arrays = [a.astype("float32") for a in arrays]
    orders = orders or [None] * len(arrays)
    dy = np.random.default_rng(1).normal(size=f(*map(tensor, arrays)).shape).astype("float32")
    for which in range(len(arrays) + 1):
        size = [*arrays, dy][which].size
        for place in sorted({*range(0, size, size // 9 + 1), size - 1}):
            for value in (np.nan, np.inf, -np.inf):
                *given, gradient = (a.copy() for a in (*arrays, dy))
                (*given, gradient)[which].flat[place] = value
                mine = [tensor(a, requires_grad=True) for a in given]
                turned = [a if order is None else a.transpose(order) for a, order in zip(given, orders)]
                other = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in turned]
                y, z = f(*mine), theirs(*other)
                y.backward(gradient)
                z = z.permute(0, 2, 3, 1) if z.ndim == 4 else z
                z.backward(torch.tensor(gradient))
                yield which, (y.numpy(), z.detach().numpy()), *(
                    (m.grad, o.grad.numpy() if order is None else o.grad.numpy().transpose(np.argsort(order)))
                    for m, o, order in zip(mine, other, orders))


def kinds(array):
    return np.isposinf(array) + 2 * np.isneginf(array) + 3 * np.isnan(array)


ODD = {
    "relu": (F.relu, torch.relu, (3, 4)), "tanh": (F.tanh, torch.tanh, (3, 4)),
    "sigmoid": (F.sigmoid, torch.sigmoid, (3, 4)), "softmax": (F.softmax, lambda x: x.softmax(-1), (3, 4)),
    "log_softmax": (F.log_softmax, lambda x: x.log_softmax(-1), (3, 4)),
    "exp": (F.exp, torch.exp, (3, 4)), "log": (F.log, torch.log, (3, 4)), "sqrt": (F.sqrt, torch.sqrt, (3, 4)),
    "clip": (lambda x: F.clip(x, -1, 1), lambda x: x.clamp(-1, 1), (3, 4)),
    "max": (lambda x: x.max(1), lambda x: x.max(1).values, (3, 4)),
    "sum": (lambda x: x.sum(1), lambda x: x.sum(1), (3, 4)), "mean": (lambda x: x.mean(0), lambda x: x.mean(0), (3, 4)),
    "cube": (lambda x: x**3, lambda x: x**3, (3, 4)), "to the 0": (lambda x: x**0, lambda x: x**0, (3, 4)),
    "multiply": (lambda x, y: x * y, lambda x, y: x * y, (3, 4), (4,)),
    "divide": (lambda x, y: x / y, lambda x, y: x / y, (3, 4), (4,)),
    "maximum": (F.maximum, torch.maximum, (3, 4), (3, 4)), "minimum": (F.minimum, torch.minimum, (3, 4), (3, 4)),
    "matmul": (lambda x, y: x @ y, lambda x, y: x @ y, (3, 4), (4, 2)),
    "dense": (F.dense, lambda x, w, b: x @ w + b, (3, 4), (4, 5), (5,)),
    "where": (lambda x, y: F.where(np.eye(3, 4) > 0, x, y), lambda x, y: torch.where(torch.eye(3, 4) > 0, x, y),
              (3, 4), (3, 4)),
    "sparse crossentropy": (
        lambda x: F.sparse_categorical_crossentropy([1, 0, 3], x, from_logits=True),
        lambda x: TF.cross_entropy(x, torch.tensor([1, 0, 3]), reduction="none"), (3, 4)),
    "mse": (lambda x: F.mean_squared_error(np.ones((3, 4)), x), lambda x: ((x - 1) ** 2).mean(-1), (3, 4)),
    "batch_norm": (
        lambda x: F.batch_norm(x, None, None, np.zeros(4, "float32"), np.ones(4, "float32"), True, epsilon=1e-5),
        lambda x: TF.batch_norm(x, None, None, training=True), (6, 4)),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_numbers_go_where_they_go_in_pytorch(what):
    """A gradient of several terms in which dy is infinite: infinite or NaN, by the order of the sum. That of a maximum
    is TensorFlow's: test_odd_numbers.py has it.
    """
    ours, theirs, *shapes = ODD[what]
    for _, (y, z), *gradients in odd_ones(ours, theirs, *(normal(*s) for s in shapes)):
        np.testing.assert_array_equal(kinds(y), kinds(z))
        for mine, other in gradients if what not in ("maximum", "minimum") else ():
            np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(other))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_pixels_weights_and_gradients_go_where_they_go_in_pytorch(padding):
    """But for an input gradient with a weight that is not finite: gathered, it multiplies zeros around dy by it."""
    for which, (y, z), (dx, their_dx), (dw, their_dw), (db, their_db) in odd_ones(
            lambda x, w, b: F.conv2d(x, w, b, padding=padding), lambda x, w, b: TF.conv2d(x, w, b, padding=padding),
            normal(1, 5, 6, 2), normal(3, 3, 2, 4), normal(4), orders=[FIRST, KERNEL, None]):
        for mine, other in ((y, z), (dw, their_dw), (db, their_db), (dx, their_dx)):
            if mine is dx and which == 1 and padding:
                assert not np.isfinite(mine[~np.isfinite(other)]).any()
            else:
                np.testing.assert_array_equal(kinds(mine), kinds(other))


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize(("ours", "theirs"), [
    (F.max_pool2d, TF.max_pool2d), (F.avg_pool2d, partial(TF.avg_pool2d, count_include_pad=False)),
], ids=["max", "mean"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_pixels_are_pooled_as_in_pytorch(ours, theirs, window):
    for _, *pairs in odd_ones(lambda x: ours(x, *window), lambda x: theirs(x, *window), normal(1, 5, 6, 2),
                              orders=[FIRST]):
        for mine, other in pairs:
            np.testing.assert_array_equal(kinds(mine), kinds(other))


UNARY = [("exp", lambda x: (0.3 * x).exp(), lambda x: (0.3 * x).exp()), ("tanh", F.tanh, torch.tanh),
         ("sigmoid", F.sigmoid, torch.sigmoid), ("silu", F.silu, TF.silu), ("sin", F.sin, torch.sin),
         ("erf", F.erf, torch.erf), ("square", lambda x: x * x, lambda x: x * x), ("relu", F.relu, torch.relu),
         ("softmax", F.softmax, lambda x: torch.softmax(x, -1)), ("turn", lambda x: x.T, lambda x: x.T),
         ("root", lambda x: (x * x + 1.0).sqrt(), lambda x: (x * x + 1.0).sqrt()),
         ("negative", lambda x: -x, lambda x: -x),
         ("mean", lambda x: x - x.mean(0, keepdims=True), lambda x: x - x.mean(0, keepdim=True)),
         ("log", lambda x: (x * x + 0.5).log(), lambda x: (x * x + 0.5).log())]
BINARY = [("add", lambda a, b: a + b), ("subtract", lambda a, b: a - b), ("multiply", lambda a, b: a * b),
          ("divide", lambda a, b: a / (b * b + 1.0)), ("matmul", lambda a, b: a @ b)]


@pytest.mark.parametrize("seed", range(200))
def test_second_derivatives_of_random_expressions(seed):
    """The gradient of the squared length of a random expression's gradient."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 3)) for _ in range(3)]
    ours, theirs = [tensor(a, True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    mine, other, names = list(ours), list(theirs), []
    for _ in range(7):
        if rng.random() < 0.6:
            name, f, g = UNARY[rng.integers(len(UNARY))]
            i = rng.integers(len(mine))
            mine.append(f(mine[i]))
            other.append(g(other[i]))
        else:
            name, f = BINARY[rng.integers(len(BINARY))]
            i, j = rng.integers(len(mine), size=2)
            mine.append(f(mine[i], mine[j]))
            other.append(f(other[i], other[j]))
        names.append(name)
    sum(y.sum() for y in mine[3:]).backward(create_graph=True)
    slopes = [t.grad for t in ours if t.grad is not None]
    for t in ours:
        t.grad = None
    sum((slope * slope).sum() for slope in slopes).backward()
    expected = torch.autograd.grad(sum(y.sum() for y in other[3:]), theirs, create_graph=True, allow_unused=True)
    expected = torch.autograd.grad(sum((slope * slope).sum() for slope in expected if slope is not None), theirs,
                                   allow_unused=True)
    for t, slope in zip(ours, expected):
        found = np.zeros((3, 3)) if t.grad is None else t.grad
        np.testing.assert_allclose(found, 0 if slope is None else slope.numpy(), rtol=1e-8, atol=1e-8,
                                   err_msg=" ".join(names))
