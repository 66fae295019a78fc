"""`backward(create_graph=True)`: gradients that are tensors, with gradients of their own."""

import numpy as np
import pytest
from autoconv.tensor import apply

from autoconv import functional as F
from autoconv import gradcheck, layers, losses, models, tensor, utils
from autoconv.arguments import shapes
from autoconv.operators import conv, dense

WINDOW = shapes.window((4, 5), (3, 3), padding="same")
RNG = np.random.default_rng(0)
SQUARE = [(3, 4)]
TWO = [(3, 4), (4,)]


def slopes(f, tensors):
    """The gradients of f's sum, as tensors."""
    f(*tensors).sum().backward(create_graph=True)
    found = [t.grad for t in tensors]
    for t in tensors:
        t.grad = None
    return found


CASES = {
    "arithmetic": (lambda a, b: a * b / (b + 3.0) - a, TWO), "power": (lambda a: a**3.0, SQUARE),
    "tensor power": (lambda a, b: a**b, TWO), "exp log": (lambda a: a.exp() * a.log(), SQUARE),
    "sqrt": (lambda a: a.sqrt() * a, SQUARE), "expm1 log1p": (lambda a: F.expm1(a) * F.log1p(a), SQUARE),
    "erf": (lambda a: F.erf(a) * a, SQUARE), "sin cos": (lambda a: F.sin(a) * F.cos(a), SQUARE),
    "sinh cosh": (lambda a: F.sinh(a) + F.cosh(a), SQUARE),
    "arcs": (lambda a: F.arcsin(a / 2.0) * F.arccos(a / 2.0) * F.arctan(a), SQUARE),
    "arctan2": (F.arctan2, TWO), "tanh": (F.tanh, SQUARE), "sigmoid": (F.sigmoid, SQUARE),
    "silu": (F.silu, SQUARE), "hard_silu": (lambda a: F.hard_silu(a) * a, SQUARE),
    "pieces": (lambda a: F.relu(a - 1.0) * abs(a) * F.relu6(a) * F.hard_sigmoid(a) * a.clip(0.5, 1.2), SQUARE),
    "leaky_relu": (lambda a: F.leaky_relu(a - 0.8) * a, SQUARE),
    "choices": (lambda a, b: F.maximum(a, b) * F.minimum(a, b) * F.where(a > 1.0, a, b * b), TWO),
    "softmax": (lambda a: F.softmax(a) * a, SQUARE), "log_softmax": (lambda a: F.log_softmax(a) * a, SQUARE),
    "axes": (lambda a: (a.sum(0) * a.mean(1, keepdims=True) * a.T.reshape(3, 4))[1:] * a[:2], SQUARE),
    "places": (lambda a: F.concatenate([F.pad(a, ((1, 0), (0, 2))), a[[0, 0, 2, 1]][:, :3]], 1)[:, 1:]**3.0, SQUARE),
    "matmul": (lambda a, b: (a @ b)**2.0, [(2, 3, 4), (4, 5)]), "vector": (lambda a, b: (a @ b)**2.0, TWO),
    "dense": (lambda x, w, b: F.dense(x, w, b)**2.0, [(3, 4), (4, 5), (5,)]),
    "dense relu": (lambda x, w: apply(dense.dense, x - 0.8, w, None, activation="relu")**2.0, [(3, 4), (4, 5)]),
    "conv2d relu": (lambda x, w: apply(conv.conv2d, x - 0.8, w, None, window=WINDOW, activation="relu")**2.0,
                    [(2, 4, 5, 2), (3, 3, 2, 3)]),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, strides=2)**2.0, [(2, 7, 6, 3), (3, 2, 3, 4), (4,)]),
    "conv2d same": (lambda x, w: F.tanh(F.conv2d(x, w, None, padding="same")), [(2, 4, 5, 2), (3, 3, 2, 3)]),
    "conv2d_transpose": (lambda x, w: F.conv2d_transpose(x, w, None, strides=2)**2.0, [(1, 3, 2, 2), (3, 3, 3, 2)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2)**3.0, [(2, 4, 6, 2)]),
}


@pytest.mark.parametrize("what", CASES)
def test_second_and_third_derivatives(what):
    f, shapes = CASES[what]
    tensors = [tensor(RNG.uniform(0.2, 1.5, shape), True) for shape in shapes]

    def first(*given):
        return sum((slope * slope * slope).sum() for slope in slopes(f, given))

    def second(*given):
        return sum((slope * slope).sum() for slope in slopes(first, given))

    gradcheck(first, *tensors)
    gradcheck(second, *tensors, tolerance=1e-5)


def test_an_op_without_second_derivatives_is_named():
    x = tensor(RNG.normal(size=(1, 4, 4, 2)), True)
    with pytest.raises(NotImplementedError, match=r"Received: the op max_pool2d\. The ops with such .*: abs, add"):
        F.max_pool2d(x, 2).sum().backward(create_graph=True)


def test_the_penalty_of_a_critic_trains_its_weights():
    """Gulrajani et al. (2017): the critic's slope at images should have the length 1."""
    utils.set_random_seed(0)
    critic = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="tanh"), layers.Flatten(),
                                layers.Dense(1)])
    images = RNG.normal(size=(5, 8, 8, 1)).astype("float32")

    def penalty():
        x = tensor(images, True)
        critic(x).sum().backward(create_graph=True)
        for weight in critic.weights:
            weight.grad = None
        return losses.MeanSquaredError()(np.ones(5, "float32"), (x.grad * x.grad).sum((1, 2, 3)).sqrt())

    values = []
    for _ in range(30):
        loss = penalty()
        loss.backward()
        values.append(loss.item())
        for weight in critic.trainable_weights:
            if weight.grad is not None:
                weight.assign(weight.numpy() - 0.1 * weight.grad)
                weight.grad = None
    assert values[-1] < values[0] / 10


def test_a_second_backward_adds_to_a_gradient_with_a_tape():
    x = tensor([1.0, 2.0], True)
    (x * x).sum().backward(create_graph=True)
    (x * 3.0).sum().backward()
    np.testing.assert_allclose(x.grad, [5, 7])


def test_gradients_of_the_given_inputs_only():
    x, w = tensor([1.0, 2.0], True), tensor([3.0, 4.0], True)
    (w * x**3.0).sum().backward(create_graph=True, inputs=x)
    assert w.grad is None
    slope, x.grad = x.grad, None
    slope.sum().backward(inputs=[w, x])
    np.testing.assert_allclose(w.grad, [3, 12])
    np.testing.assert_allclose(x.grad, [18, 48])


def test_a_power_at_0_and_a_gradient_that_has_a_tape():
    x = tensor([0.0, 1.0], True)
    first, = slopes(lambda t: t**2, [x])
    second, = slopes(lambda t: slopes(lambda s: s**2, [t])[0], [x])
    np.testing.assert_array_equal([first.numpy(), second.numpy()], [[0, 2], [2, 2]])
    direction = tensor([2.0, 3.0], True)
    (x * x).backward(direction, create_graph=True)
    x.grad.sum().backward()
    np.testing.assert_array_equal(direction.grad, [0, 2])


def test_a_freed_tape_is_named():
    y = (tensor([1.0], True) * 2.0).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="This graph was freed"):
        y.backward(create_graph=True)
