"""NumPy within a layer: the layers below learn as with our functions, or an error names ours."""

import math
import operator
import re

import gradients
import numpy as np
import pytest
from autoconv.tensor import Tensor, no_grad, tensor

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, losses, metrics, models, ops, optimizers
from autoconv.engine.gradcheck import gradcheck
from autoconv.engine.symbolic import flatten
from autoconv.engine.variable import Variable

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
    (lambda x: np.median(x), r"np\.median"), (lambda x: np.from_dlpack(x), "DLPack"),
    (lambda x: tensor(x) * 2, r"ac\.tensor\(\)"), (lambda x: F.relu(np.exp2(x)), r"np\.exp2 .*'exp'"),
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
    np.testing.assert_array_equal(Of(lambda x: Tensor(np.arctan(x)))(X), ops.arctan(X))
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
    p = Variable(np.ones(3))
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
    with pytest.raises(ValueError, match=r"one element can be used as true or false. Received shape \(3,\)"):
        bool(a == b)


@pytest.mark.parametrize(("loss", "said"), [
    (lambda t, p: tensor(np.mean(np.square(t - p.numpy()), -1)), r"\.numpy\(\)"),
    (lambda t, p: F.mean_squared_error(t, p) + 0.1 * np.abs(np.asarray(p)).mean(-1), r"np\.asarray"),
    (lambda t, p: F.mean_squared_error(t, p) * float(p.mean()), r"float\(\)"),
    (lambda t, p: F.mean_squared_error(t, p) + np.cumprod(p, -1)[:, -1], r"np\.cumprod"),
    (lambda t, p: F.mean_squared_error(t, tensor(p)), r"ac\.tensor\(\)"),
    (lambda t, p: F.sparse_categorical_crossentropy(p[:, 0], p), r"no gradient for y_true.*y_true\.detach\(\)"),
])
def test_what_would_lose_the_gradient_is_refused_in_a_loss(loss, said):
    class Own(losses.Loss):
        def call(self, y_true, y_pred):
            return loss(y_true, y_pred)

    class Model(models.Model):
        def call(self, x):
            return self.dense(x)

        def compute_loss(self, y, y_pred, **others):
            return loss(y, y_pred).mean()

    model, own = models.Sequential([layers.Input((5,)), layers.Dense(3)]), Model()
    own.dense = layers.Dense(3)
    for each, given in ((model, loss), (model, Own()), (own, "mse")):
        each.compile("sgd", given)
        with pytest.raises(TypeError, match=said):
            each.fit(X, X[:, :3], verbose=0)


def test_a_regularizer_in_numpy_s_words():
    for regularizer, moves in ((lambda w: np.sum(np.square(w)), True), (lambda w: np.square(w.numpy()).sum(), False)):
        model = models.Sequential([layers.Input((5,)), layers.Dense(3, kernel_regularizer=regularizer)])
        model.compile(optimizers.SGD(0.1), lambda t, p: F.mean_squared_error(t, p) * 0.0)
        before = model.layers[0].kernel.numpy()
        if moves:
            model.train_on_batch(X, X[:, :3])
            np.testing.assert_allclose(model.layers[0].kernel.numpy(), 0.8 * before, rtol=1e-5)
        else:
            with pytest.raises(TypeError, match="in a regularizer would lose them"):
                model.train_on_batch(X, X[:, :3])


def test_a_step_of_a_user_s_own():
    """The loss keeps its gradient; metrics, and what a step returns, are values."""
    class Shown(metrics.Metric):
        def reset_state(self):
            self.seen = 0.0

        def update_state(self, y_true, y_pred):
            self.seen += float(np.cumsum(np.abs(y_pred.detach().numpy())).max())

        def result(self):
            return self.seen

    class Model(models.Sequential):
        penalty = staticmethod(ops.abs)

        def train_step(self, data):
            x, y = data
            y_pred = self(x, training=True)
            loss = F.mean_squared_error(y, y_pred).mean() + self.penalty(y_pred).mean()
            self.shown.update_state(y, y_pred)
            self.best.update_state(y, y_pred)
            loss.backward()
            for weight in self.trainable_weights:
                weight.assign_sub(0.1 * weight.grad)
                weight.grad = None
            return {"loss": float(loss), "seen": self.shown.result(), "best": self.best.result()}

    model = Model([layers.Input((5,)), layers.Dense(3)])
    model.shown, model.best = Shown(), metrics.MeanAbsoluteError()
    model.compile("sgd", "mse")
    assert all(value > 0 for value in model.train_on_batch(X, X[:, :3], return_dict=True).values())
    model.penalty = lambda p: np.abs(p.numpy())
    with pytest.raises(TypeError, match=r"\.numpy\(\) .* in train_step of 'model\w*' would lose them"):
        model.train_on_batch(X, X[:, :3])


def test_what_hands_a_tensor_on_keeps_its_gradient_or_refuses():
    y = tensor(X, requires_grad=True) * 2
    with pytest.raises(TypeError, match=r"ac\.tensor\(\) on a tensor that requires gradients would lose them"):
        tensor([y, y])
    with pytest.raises(TypeError, match="A Variable that layer"):
        layers.Add()([layers.Input((5,)), y])
    with pytest.raises(ValueError, match=r"same shape. Received shapes: \[\(6, 5\), \(5,\)\]"):
        ops.sum([y, y[0]])
    total = ops.max([[y, 1 + y], [0.5 * y, np.zeros_like(X)]], axis=(0, 1)).sum() + (X[None] + [y]).sum()
    assert total.requires_grad
    x = tensor(X, requires_grad=True)
    operator.add(x, [x, x]).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(X.shape, 4))


# Every public function, by each of its arguments.

PUBLIC = gradients.public()
ARGUMENTS = {f"{name} {label}": (name, value, call) for name, function in PUBLIC.items() if name in gradients.TABLE
             for label, value, call in gradients.arguments(name, function)}


def test_every_public_function_has_a_row():
    assert PUBLIC.keys() == gradients.TABLE.keys()


def test_every_argument_that_may_be_a_number_has_one():
    assert not [label for label, (_, value, _) in ARGUMENTS.items() if not np.isfinite(value).all()]


def is_flat(label):
    name, argument = label.split(" ")[:2]
    return name in gradients.FLAT.split() or gradients.FLAT_ARGUMENTS.get(name) == argument


@pytest.mark.parametrize("label", ARGUMENTS)
def test_a_gradient_goes_on_or_an_error_says_why_not(label):
    name, value, call = ARGUMENTS[label]
    refused = ""
    try:
        result = call(tensor(value, requires_grad=True))
    except (TypeError, ValueError) as error:
        refused = str(error)
    if refused:
        assert re.search(r"detach\(\)|must be a number", refused), refused
        return
    if name in gradients.CUT:
        return
    if is_flat(label):
        if (value == value.round()).all():
            return  # where such functions step
        for moved in (value - 1e-7, value + 1e-7):
            assert all(map(np.array_equal, *([np.asarray(item) for item in flatten(each)]
                                             for each in (result, call(tensor(moved))))))
        return

    def carried(x):
        found = gradients.floats(call(x))
        moving = [t for t in found if t.requires_grad] or found  # under no_grad() none does
        return F.concatenate([t.reshape(-1) for t in (moving if x.requires_grad else found)])

    assert any(t.requires_grad for t in gradients.floats(result)), "the gradient was lost"
    gradcheck(carried, tensor(value, requires_grad=True))


@pytest.mark.parametrize("name", losses.CLASSES)
def test_a_loss_has_gradients_for_targets_and_predictions(name):
    loss = losses.CLASSES[name]()
    row = gradients.drawn(name, {"y_true": gradients.MATRIX, "y_pred": gradients.PROBABILITIES})
    targets, predictions = (tensor(row[key], requires_grad=True) for key in ("y_true", "y_pred"))
    if loss.target_dtype("float64").kind == "i":
        gradcheck(lambda p: loss(gradients.LABELS, p), predictions)
        with pytest.raises(TypeError, match=r"no gradient for y_true.*y_true\.detach\(\)"):
            loss(tensor(gradients.LABELS.astype("float64"), requires_grad=True), predictions)
        return
    gradcheck(loss, targets, predictions)
    with pytest.raises(TypeError, match=r"no gradient for sample_weight.*sample_weight\.detach\(\)"):
        loss(targets, predictions, tensor(np.ones(3), requires_grad=True))
    both = loss([tensor(row["y_true"][0], requires_grad=True)] * 2, [tensor(row["y_pred"][0], requires_grad=True)] * 2)
    assert both.requires_grad
    expected = loss(row["y_true"][[0, 0]], tensor(row["y_pred"][[0, 0]]))
    np.testing.assert_allclose(both.item(), expected.item(), rtol=1e-6)


ONE_STEP = {
    "the first argument": (lambda t, p: F.mean_squared_error(p, t) + 0.1 * ops.mean(ops.abs(p), axis=-1), 6.1),
    "NumPy's functions": (lambda t, p: np.mean(np.square(p - t), -1) + 0.1 * np.mean(np.abs(p), -1), 6.1),
    "two outputs of the net": (lambda t, p: F.mean_squared_error(p, t) + F.mean_absolute_error(2 * p, p), 7),
    "a list of tensors": (lambda t, p: ops.sum([ops.mean(p * p, -1), ops.mean(ops.abs(p), -1)], 0), 7),
    "top_k": (lambda t, p: ops.sum(ops.top_k(ops.concatenate([p, 3 * p, 2 * p], -1), 2)[0], -1), 5),
    "sort": (lambda t, p: ops.sort(ops.concatenate([p, 3 * p, 2 * p], -1))[:, 2], 3),
}


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("name", ONE_STEP)
def test_a_step_is_the_one_of_keras(name, eager):
    """One layer of the weights (1, 2), inputs of ones, SGD(0.1): what Keras 3.15.1 gives on PyTorch. The gradient of
    the loss for the prediction, 3, is that of both weights.
    """
    loss, gradient = ONE_STEP[name]
    model = models.Sequential([layers.Input((2,)), layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[1.0], [2.0]])])
    model.compile(optimizers.SGD(0.1), loss, run_eagerly=eager)
    model.fit(np.ones((1, 2)), np.zeros((1, 1)), verbose=0)
    np.testing.assert_allclose(model.get_weights()[0].ravel(), np.array([1, 2]) - 0.1 * gradient, rtol=1e-6)
