"""Random graphs, with branches, shared layers, models in models and several outputs, against NumPy in float64."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import Input, Model, layers, utils
from autoconv import functional as F

BATCH, EPSILON = 2, 1e-6


def convolve(x, w, b):
    """A convolution with zeros around, so that the size stays: x (N, H, W, C), w (K, K, C, F) with odd K."""
    half = w.shape[0] // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    h, width = x.shape[1:3]
    return b + sum(padded[:, i:i + h, j:j + width] @ w[i, j] for i in range(w.shape[0]) for j in range(w.shape[1]))


def pooled(x):
    n, h, w, c = x.shape
    return x[:, :h // 2 * 2, :w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


ACTIVATIONS = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}
MERGES = {
    "Add": sum, "Subtract": lambda xs: xs[0] - xs[1], "Multiply": lambda xs: xs[0] * xs[1],
    "Average": lambda xs: sum(xs) / len(xs), "Maximum": lambda xs: np.maximum(xs[0], xs[1]),
    "Minimum": lambda xs: np.minimum(xs[0], xs[1]),
}


class Drawn:
    """A graph drawn at random, twice: as symbolic tensors, and as functions from the inputs' arrays to arrays."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.inputs = [Input((6, 6, int(self.rng.integers(1, 4))), dtype="float64")
                       for _ in range(self.rng.integers(1, 3))]
        self.tensors = [(x, lambda arrays, i=i: arrays[i]) for i, x in enumerate(self.inputs)]
        self.shared = {}
        for _ in range(self.rng.integers(5, 12)):
            self.tensors.append(self.one_more())
        self.outputs = [self.head(self.tensors[-1])]
        for _ in range(self.rng.integers(0, 3)):
            self.outputs.append(self.head(self.any()) if self.rng.random() < 0.7 else self.any())
        for i in range(len(self.inputs)):  # all inputs are connected
            self.outputs.append(self.head(self.tensors[i]))

    def any(self, fits=lambda tensor: True):
        found = [pair for pair in self.tensors if fits(pair[0])]
        return found[self.rng.integers(len(found))]

    def beside(self, tensor, same):
        """Another tensor that goes with this one."""
        return self.any(lambda other: other.ndim == 4 and other.shape[:same] == tensor.shape[:same])

    def one_more(self):
        x, reference = self.any(lambda tensor: tensor.ndim == 4)
        kind = self.rng.choice(["conv", "conv", "conv and pool", "shared", "merge", "merge", "merge", "concatenate",
                                "norm", "arithmetic", "function", "model"])
        if kind == "norm":
            layer = layers.BatchNormalization(dtype="float64")
            y = layer(x)
            layer.moving_mean.assign(self.rng.normal(size=x.shape[-1]))
            return y, lambda a: (reference(a) - values(layer.moving_mean)) * values(layer.gamma) / np.sqrt(
                values(layer.moving_variance) + 1e-3) + values(layer.beta)
        if kind == "merge":
            name = str(self.rng.choice(list(MERGES)))
            other, theirs = self.beside(x, 4)
            return getattr(layers, name)()([x, other]), lambda a: MERGES[name]([reference(a), theirs(a)])
        if kind == "concatenate":
            other, theirs = self.beside(x, 3)
            return layers.Concatenate()([x, other]), lambda a: np.concatenate([reference(a), theirs(a)], -1)
        if kind == "arithmetic":
            other, theirs = self.beside(x, 4)
            return 1.5 * x - other / 2 + -x * 0.25, lambda a: 1.5 * reference(a) - theirs(a) / 2 - reference(a) * 0.25
        if kind == "function":
            return F.tanh(x), lambda a: np.tanh(reference(a))
        layer = self.convolution(x.shape[-1], shared=kind == "shared")
        if kind == "model":
            inner = Input(x.shape[1:], dtype="float64")
            y = Model(inner, layers.Add()([layer(inner), layer(inner * 0.5)]))(x)
            return y, lambda a: convolution(layer, reference(a)) + convolution(layer, reference(a) * 0.5)
        y = layer(x)
        if kind != "conv and pool" or x.shape[1] < 4:
            return y, lambda a: convolution(layer, reference(a))
        self.tensors += [(y, lambda a: convolution(layer, reference(a)))] * int(self.rng.integers(0, 2))
        return layers.MaxPooling2D()(y), lambda a: pooled(convolution(layer, reference(a)))

    def convolution(self, channels, shared):
        if shared and channels in self.shared:
            return self.shared[channels]
        layer = layers.Conv2D(
            int(self.rng.integers(1, 4)), int(self.rng.choice([1, 3])), padding="same", dtype="float64",
            activation=str(self.rng.choice(list(ACTIVATIONS))), bias_initializer="random_normal",
        )
        return self.shared.setdefault(channels, layer) if shared else layer

    def head(self, pair):
        x, reference = pair
        layer = layers.Dense(3, dtype="float64")
        pixels = layers.GlobalAveragePooling2D()(x) if self.rng.random() < 0.5 else layers.Flatten()(x)
        flat = pixels.shape[1] != x.shape[-1]
        return layer(pixels), lambda a: (
            reference(a).reshape(BATCH, -1) if flat else reference(a).mean((1, 2))
        ) @ values(layer.kernel) + values(layer.bias)


def values(parameter):
    return parameter.numpy()


def convolution(layer, x):
    return ACTIVATIONS[layer.activation.__name__](convolve(x, values(layer.kernel), values(layer.bias)))


@pytest.mark.parametrize("seed", range(50))
def test_a_random_graph_computes_and_learns_as_numpy_in_float64(seed):
    utils.set_random_seed(seed)  # other weights may have a pixel beside a kink, where there is no slope to measure
    drawn = Drawn(seed)
    symbols, references = zip(*drawn.outputs)
    model, rng = Model(drawn.inputs, list(symbols)), np.random.default_rng(seed + 1000)
    arrays = [rng.normal(size=(BATCH, *x.shape[1:])) for x in drawn.inputs]
    tensors = [ac.tensor(array, requires_grad=True) for array in arrays]
    found = model(tensors)
    found = found if isinstance(found, list) else [found]
    for y, symbol, reference in zip(found, symbols, references):
        assert y.shape == (BATCH, *symbol.shape[1:])
        np.testing.assert_allclose(y.numpy(), reference(arrays), rtol=1e-9, atol=1e-9)

    factors = [rng.normal(size=y.shape) for y in found]

    def loss():
        return sum((reference(arrays) * factor).sum() for reference, factor in zip(references, factors))

    sum(((y * factor).sum() for y, factor in zip(found[1:], factors[1:])), (found[0] * factors[0]).sum()).backward()
    checked = [(tensor.grad, array) for tensor, array in zip(tensors, arrays)]
    weights = [w for w in model.trainable_weights if w.grad is not None]
    assert len(weights) == len(model.trainable_weights)
    for gradient, array in checked:
        way = rng.normal(size=array.shape)
        assert (gradient * way).sum() == pytest.approx(slope(loss, lambda step, a=array, w=way: a.__iadd__(step * w)),
                                                       rel=1e-5, abs=1e-6)
    for weight in weights:
        way, before = rng.normal(size=weight.shape), weight.numpy()

        def move(step, weight=weight, way=way):
            weight.assign(weight.numpy() + step * way)

        assert (weight.grad * way).sum() == pytest.approx(slope(loss, move), rel=1e-5, abs=1e-6), weight.name
        weight.assign(before)


def slope(loss, move):
    """The derivative of a loss along a way, from the loss a little ahead and a little behind."""
    move(EPSILON)
    ahead = loss()
    move(-2 * EPSILON)
    behind = loss()
    move(EPSILON)
    return (ahead - behind) / (2 * EPSILON)


@pytest.mark.parametrize("seed", range(0, 50, 5))
def test_a_random_graph_is_the_same_from_its_config_and_without_fusion(seed, monkeypatch, tmp_path):
    drawn = Drawn(seed)
    model = Model(drawn.inputs, [symbol for symbol, _ in drawn.outputs])
    arrays = [np.random.default_rng(seed).normal(size=(BATCH, *x.shape[1:])) for x in drawn.inputs]
    found = model(arrays)
    model.save(tmp_path / "model.safetensors")
    monkeypatch.setenv("AUTOCONV_FUSION", "0")
    again = ac.models.load_model(tmp_path / "model.safetensors")
    assert again.get_config() == model.get_config()
    for a, b in zip(found, again(arrays)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)
