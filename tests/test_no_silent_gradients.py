"""NumPy within a layer: the layers below learn as with our functions, or an error names ours."""

import math

import numpy as np
import pytest

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, models
from autoconv.tensor import Parameter, Tensor, no_grad, tensor

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 6)


class Of(layers.Layer):
    """A user's layer that computes f(x)."""

    def __init__(self, f, **options):
        super().__init__(**options)
        self.f = f

    def call(self, x):
        return self.f(x)


def trained(middle, activation=None):
    """The first layer's kernel before and after training with such a layer above it."""
    ac.utils.set_random_seed(2)
    above = [] if middle is None else [Of(middle)]
    model = models.Sequential([layers.Input((5,)), layers.Dense(8), layers.Dense(8, activation=activation), *above,
                               layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.layers[0].kernel.numpy()
    model.fit(X, Y, epochs=2, batch_size=3, shuffle=False, verbose=0)
    return before, model.layers[0].kernel.numpy(), model.predict(X, verbose=0)


@pytest.mark.parametrize(("numpy_s", "ours"), [
    (np.tanh, "tanh"), (np.exp, F.exp), (np.abs, abs), (lambda x: np.maximum(x, 0), "relu"),
    (lambda x: np.maximum(x, 0.1 * x), lambda x: F.maximum(x, 0.1 * x))], ids=["tanh", "exp", "abs", "relu", "leaky"])
def test_an_activation_of_numpy_s_learns_as_ours(numpy_s, ours):
    before, after, answers = trained(None, numpy_s)
    _, expected, expected_answers = trained(None, ours)
    assert (after != before).any()
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    np.testing.assert_allclose(answers, expected_answers, rtol=1e-5)


W = np.random.default_rng(2).normal(size=(8, 4)).astype("float32")

PAIRS = {
    "where": (lambda x: np.where(x > 0, x, 0.2 * x), lambda x: F.where(x > 0, x, 0.2 * x)),
    "where_greater": (lambda x: np.where(np.greater(x, 0), x, 0), lambda x: F.where(F.greater(x, 0), x, 0)),
    "concatenate": (lambda x: np.concatenate([x, -x], axis=1), lambda x: F.concatenate([x, -x], axis=1)),
    "concatenate_rows": (lambda x: np.concatenate((-x, x))[len(x):], lambda x: F.concatenate([-x, x], axis=0)[len(x):]),
    "stack": (lambda x: np.stack([x, x * x], -1), lambda x: F.stack([x, x * x], -1)),
    "split": (lambda x: np.split(x, 2, axis=1)[1], lambda x: F.split(x, 2, axis=1)[1]),
    "pad": (lambda x: np.pad(x, ((0, 0), (1, 2))), lambda x: F.pad(x, ((0, 0), (1, 2)))),
    "clip": (lambda x: np.clip(x, -0.5, 0.5), lambda x: F.clip(x, -0.5, 0.5)),
    "sqrt_log": (lambda x: np.sqrt(np.log(np.square(x) + 2)), lambda x: ((x * x + 2).log()).sqrt()),
    "sum": (lambda x: x - np.sum(x, axis=1, keepdims=True), lambda x: x - x.sum(1, keepdims=True)),
    "mean_max_min": (lambda x: x - np.mean(x, 1, keepdims=True) + np.max(x) - np.min(x),
                     lambda x: x - x.mean(1, keepdims=True) + x.max() + (-x).max()),
    "std": (lambda x: x / (np.std(x, axis=1, keepdims=True) + 0.1),
            lambda x: x / (((x - x.mean(1, True)) ** 2).mean(1, True).sqrt() + 0.1)),
    "reshape": (lambda x: np.transpose(np.reshape(x, (-1, 2, 4)), (0, 2, 1)),
                lambda x: x.reshape(-1, 2, 4).transpose(0, 2, 1)),
    "squeeze": (lambda x: np.squeeze(np.expand_dims(x, 1), 1), lambda x: x),
    "matmul": (lambda x: np.matmul(x, W), lambda x: x @ W), "dot": (lambda x: np.dot(x, W), lambda x: x @ W),
    "arithmetic": (lambda x: np.divide(np.subtract(np.add(1, x), np.multiply(x, 2)), 3), lambda x: (1 + x - x * 2) / 3),
    "power": (lambda x: np.negative(np.power(np.abs(x) + 1, 1.5)), lambda x: -((abs(x) + 1) ** 1.5)),
    "array_first": (lambda x: np.full(8, 2, "float32") * x, lambda x: x * 2),
    "in_place": (lambda x: in_place(np.ones(x.shape, "float32"), x), lambda x: x + 1),
    "ufunc_of_a_number": (lambda x: np.float32(3) - x, lambda x: 3 - x),
    "sign": (lambda x: x * np.sign(x.detach().numpy()), abs), "sign_of_a_tensor": (lambda x: x * np.sign(x), abs),
    "shapes": (lambda x: x * np.ones_like(x) * np.shape(x)[1] / np.ndim(x), lambda x: x * 4),
}


def in_place(total, x):
    total += x
    return total


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_in_numpy_s_words_learns_as_in_ours(name):
    numpy_s, ours = PAIRS[name]
    before, after, answers = trained(numpy_s)
    _, expected, expected_answers = trained(ours)
    assert (after != before).any()
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(answers, expected_answers, rtol=1e-5)


@pytest.mark.parametrize(("f", "said"), [
    (lambda x: x.numpy(), r"^\.numpy\(\) .* in layer 'of.*' would lose them.*x\.detach\(\)\.numpy\(\)"),
    (lambda x: np.asarray(x), r"np\.asarray .*functional \(maximum, where"), (lambda x: np.array([x, x]), "np.asarray"),
    (lambda x: x * x.sum().item(), r"\.item\(\)"), (lambda x: x * float(x.sum()), r"float\(\)"),
    (lambda x: x * math.exp(x.mean()), r"float\(\)"), (lambda x: x * int(x.sum()), r"numpy\(\)"),
    (lambda x: np.arctanh(x), r"np\.arctanh .*Did you mean 'arctan'\?.*concatenate, "),
    (lambda x: np.sum(x, dtype="float64"), r"np\.sum with these arguments"),
    (lambda x: np.add.reduce(x), r"np\.add\.reduce"), (lambda x: np.cumprod(x, 1), r"np\.cumprod .*matmul"),
    (lambda x: np.exp(x, out=np.empty(x.shape, "float32")), r"np\.exp with these arguments"),
    (lambda x: np.linalg.norm(x, axis=1), r"np\.norm"), (lambda x: np.pad(x, 1, mode="edge"), "Unknown mode: 'edge'"),
    (lambda x: np.sort(x), r"np\.sort"), (lambda x: np.from_dlpack(x), "DLPack"),
    (lambda x: tensor(x) * 2, r"ac\.tensor\(\)"), (lambda x: F.relu(np.log2(x)), r"np\.log2 .*'log'"),
])
def test_what_would_lose_the_gradient_is_refused(f, said):
    with pytest.raises((TypeError, ValueError), match=said):
        trained(f)


def test_a_parameter_s_values_are_refused_too():
    class Scaled(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
            self.first = self.scale.numpy()  # in build nothing is recorded

        def call(self, x):
            return x * self.scale.numpy()

    class Around(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Scaled()

        def call(self, x):
            return self.inner(x)

    layer = Around()
    with pytest.raises(TypeError, match=r"\.numpy\(\) on a tensor that requires gradients in layer 'around\w*/scaled"):
        layer(X)
    layer.trainable = False
    assert layer(X).numpy().tolist() == X.tolist()
    layer.trainable = True
    with no_grad():
        layer(X)


def test_what_needs_no_gradient_is_free():
    """Detached values, inputs of the first layer, inference."""
    seen = []
    trained(lambda x: seen.append(x.detach().numpy().max()) or x)
    assert len(seen) > 3
    assert Of(lambda x: Tensor(np.arctan(x)))(X).numpy().tolist() == np.arctan(X).tolist()
    with no_grad():
        y = Of(lambda x: Tensor(np.asarray(x)))(tensor(X, requires_grad=True))
    assert not y.requires_grad
    assert "Tensor(" in Of(lambda x: seen.append(repr(x)) or x)(tensor(X, requires_grad=True)).__repr__()


def test_outside_a_layer_tensors_are_as_easy_as_arrays():
    x = tensor(X, requires_grad=True)
    y = layers.Dense(4)(x)
    for value in (y.numpy(), np.asarray(y), np.tanh(y), np.maximum(y, 0), np.concatenate([y, y]),
                  np.where(X[:, :4], y, 0), np.multiply(y, 2),
                  np.sum(y, 0), np.mean(y, axis=1), np.max(y, 0), np.reshape(y, -1), np.std(y, 0),
                  np.transpose(y), np.cumsum(y), np.add.reduce(y), np.less(y, 0)):
        assert type(value) is np.ndarray
    np.testing.assert_allclose(np.sum(y, 0), y.numpy().sum(0))
    assert float(np.max(y)) == float(y.max()) == y.max().item()
    assert np.shape(y) == (6, 4)
    np.testing.assert_array_equal(y, np.asarray(y))
    with pytest.raises(TypeError, match="cannot write into a tensor"):
        np.exp(X, out=x)
    after_an_error = Of(lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        after_an_error(x)
    assert y.numpy().shape == (6, 4)


def test_arrays_on_the_left_of_an_operator_give_tensors():
    x = tensor(X, requires_grad=True)
    for y in (X + x, X - x, X * x, X / (x * x + 1), X.T @ x):
        assert isinstance(y, Tensor)
        assert y.requires_grad
    total = np.zeros_like(X)
    held = total
    total += x
    assert total.requires_grad
    np.testing.assert_array_equal(held, X)
    (X * x).sum().backward()
    np.testing.assert_array_equal(x.grad, X)
    p = Parameter(np.ones(3))
    kept = np.reshape(p, (3, 1))
    p.assign([5, 5, 5])
    assert kept.tolist() == [[1], [1], [1]]


def test_comparisons():
    a, b = tensor([1.0, 2.0, 3.0], requires_grad=True), np.array([2.0, 2.0, 2.0], "float32")
    for f in (lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b, lambda a, b: a >= b, lambda a, b: a == b,
              lambda a, b: a != b):
        for left, right in ((a, b), (b, a), (a, 2), (2, a), (a, tensor(b)), (a, [2, 2, 2]), (np.float32(2), a)):
            y = f(left, right)
            assert isinstance(y, Tensor)
            assert not y.requires_grad
            assert y.numpy().tolist() == f(np.asarray(left), np.asarray(right)).tolist()
    assert (a == None) is False  # noqa: E711
    assert a != "a"
    assert {a: 1}[a] == 1
    assert bool(a.sum() > 5)
    assert a.max() != 1
    with pytest.raises(ValueError, match=r"one item is true or false. Received shape \(3,\)"):
        bool(a == b)


def test_a_loss_in_numpy_s_words_is_an_error():
    """Outside a layer NumPy gives arrays, and a loss that has no gradient is refused."""
    model = models.Sequential([layers.Input((5,)), layers.Dense(3)])
    for loss in (lambda y_true, y_pred: tensor(np.mean(np.square(y_true - y_pred.numpy()), -1)),
                 lambda y_true, y_pred: np.mean(np.square(np.asarray(y_true) - np.asarray(y_pred)), -1)):
        model.compile("sgd", loss)
        with pytest.raises((RuntimeError, TypeError, AttributeError)):
            model.fit(X, X[:, :3], verbose=0)
