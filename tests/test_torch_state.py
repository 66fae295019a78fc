"""PyTorch's state dicts: the same outputs in both, in both directions."""

import numpy as np
import pytest

from autoconv import layers, models
from autoconv.formats import from_torch_state_dict, to_torch_state_dict

torch = pytest.importorskip("torch")
nn = torch.nn

X = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)


def convolutional():
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, groups=4),
        nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(2 * 2 * 8, 6), nn.ReLU(), nn.Linear(6, 3, bias=False))
    model = models.Sequential([
        layers.Input((8, 8, 2)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(epsilon=1e-5),
        layers.ReLU(), layers.MaxPooling2D(), layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        layers.Flatten(), layers.Dropout(0.5), layers.Dense(6, activation="relu"), layers.Dense(3, use_bias=False)])
    return module, model


def transposed():
    module = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, stride=2), nn.GroupNorm(2, 4, eps=1e-3), nn.Conv2d(4, 4, 3, groups=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(4, eps=1e-3), nn.Linear(4, 2))
    model = models.Sequential([
        layers.Input((8, 8, 2)), layers.Conv2DTranspose(4, 3, strides=2), layers.GroupNormalization(2),
        layers.Conv2D(4, 3, groups=2), layers.GlobalAveragePooling2D(), layers.LayerNormalization(), layers.Dense(2)])
    return module, model


def branching():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.stem, self.side = nn.Linear(8 * 8 * 6, 3), nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return self.head(torch.flatten(torch.cat([self.stem(x), self.side(x)], 1), 1))

    x = layers.Input((8, 8, 2))
    y = layers.Concatenate()([layers.Conv2D(3, 3, padding="same", name="a")(x), layers.Conv2D(3, 1, name="b")(x)])
    return Net(), models.Model(x, layers.Dense(3, name="c")(layers.Flatten()(y)))


NETS = [(convolutional, None), (transposed, None), (branching, {"a": "stem", "b": "side", "c": "head"})]


def of_torch(module):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(X.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize(("make", "names"), NETS)
def test_the_outputs_are_those_of_pytorch(make, names):
    module, model = make()
    with torch.no_grad():
        module(torch.from_numpy(X.transpose(0, 3, 1, 2).copy()))  # moves the averages
    from_torch_state_dict(model, module.state_dict(), names)
    np.testing.assert_allclose(model.predict(X, verbose=0), of_torch(module), atol=1e-5)


@pytest.mark.parametrize(("make", "names"), NETS)
def test_and_back(make, names):
    module, model = make()
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).random(weight.shape) + 0.1)
    if names is None:
        with_weights = [layer.name for layer in model.layers if layer.weights]
        names = dict(zip(with_weights, dict.fromkeys(name.rpartition(".")[0] for name in module.state_dict())))
    module.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch_state_dict(model, names).items()})
    np.testing.assert_allclose(model.predict(X, verbose=0), of_torch(module), rtol=1e-4)


def test_what_does_not_fit_is_said_and_changes_nothing():
    module, model = convolutional()
    before = model.get_weights()
    state = module.state_dict()
    for change, said in (({"0.weight": torch.zeros(4, 2, 5, 5)}, r"0\.weight: the model needs shape \(4, 2, 3, 3\)"),
                         ({"11.weight": torch.zeros(3)}, "5 layers with weights, and the state is of 6")):
        with pytest.raises(ValueError, match=said):
            from_torch_state_dict(model, {**state, **change})
    with pytest.raises(ValueError, match="says of no module"):
        from_torch_state_dict(model, state, {"conv2d": "0"})
    other = models.Sequential([layers.Input((8, 8, 2)), layers.SeparableConv2D(3, 3)])
    with pytest.raises(ValueError, match="no module for layer"):
        from_torch_state_dict(other, {"0.weight": state["0.weight"]})
    for a, b in zip(model.get_weights(), before):
        np.testing.assert_array_equal(a, b)


def test_tensors_of_pytorch_are_taken_as_data():
    model = models.Sequential([layers.Input((8, 8, 2)), layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(torch.from_numpy(X), torch.zeros(3, 3), verbose=0)
    np.testing.assert_array_equal(model.predict(torch.from_numpy(X), verbose=0), model.predict(X, verbose=0))
