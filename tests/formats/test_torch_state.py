"""Weights to and from PyTorch's modules, and PyTorch's and pandas's data in fit and predict."""

import numpy as np
import pytest

from autoconv import formats, models
from autoconv import functional as F
from autoconv import layers as L

torch = pytest.importorskip("torch")
nn = torch.nn
DRAWN = np.random.default_rng(7)


class Turned(nn.Module):
    """LayerNorm of the channels of images (N, C, H, W)."""

    def __init__(self, channels, eps):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


# Each: the shape of an input, our layers, PyTorch's modules.
NETS = {
    "conv": ((9, 8, 3), lambda: [L.Conv2D(5, (3, 2)), L.Conv2D(4, 3, strides=2, padding=1, use_bias=False)],
             lambda: [nn.Conv2d(3, 5, (3, 2)), nn.Conv2d(5, 4, 3, 2, 1, bias=False)]),
    "groups": ((8, 8, 4), lambda: [L.Conv2D(6, 3, groups=2, dilation_rate=2)],
               lambda: [nn.Conv2d(4, 6, 3, groups=2, dilation=2)]),
    "depthwise": ((8, 7, 3), lambda: [L.DepthwiseConv2D(3, depth_multiplier=2)],
                  lambda: [nn.Conv2d(3, 6, 3, groups=3)]),
    "separable": ((8, 7, 3), lambda: [L.SeparableConv2D(5, 3, depth_multiplier=2)],
                  lambda: [nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Conv2d(6, 5, 1)]),
    "transposed": ((5, 4, 3), lambda: [L.Conv2DTranspose(2, (3, 2), strides=2)],
                   lambda: [nn.ConvTranspose2d(3, 2, (3, 2), 2)]),
    "dense": ((6,), lambda: [L.Dense(5, "relu"), L.Dense(3, use_bias=False)],
              lambda: [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)]),
    "flattened": ((6, 5, 2), lambda: [L.Conv2D(3, 3, activation="relu"), L.MaxPooling2D(2), L.Flatten(), L.Dropout(0.5),
                                      L.Dense(7, "relu"), L.Dense(4)],
                  lambda: [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
                           nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4)]),
    "pooled": ((6, 5, 2), lambda: [L.Conv2D(3, 3), L.GlobalAveragePooling2D(), L.Dense(4)],
               lambda: [nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)]),
    "batch norm": ((6, 5, 3), lambda: [L.BatchNormalization(epsilon=1e-5), L.Flatten(),
                                       L.BatchNormalization(epsilon=1e-5), L.Dense(4)],
                   lambda: [nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(90), nn.Linear(90, 4)]),
    "no scale": ((6, 5, 3), lambda: [L.BatchNormalization(epsilon=1e-5, scale=False, center=False)],
                 lambda: [nn.BatchNorm2d(3, affine=False)]),
    "layer norm": ((4, 3, 2), lambda: [L.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5),
                                       L.LayerNormalization(epsilon=1e-5), L.Flatten(),
                                       L.LayerNormalization(epsilon=1e-5), L.Dense(4)],
                   lambda: [nn.LayerNorm((2, 4, 3)), Turned(2, 1e-5), nn.Flatten(), nn.LayerNorm(24),
                            nn.Linear(24, 4)]),
    "group norm": ((4, 3, 6), lambda: [L.GroupNormalization(3, epsilon=1e-5)], lambda: [nn.GroupNorm(3, 6)]),
    "rms norm": ((6,), lambda: [L.RMSNormalization(), L.Dense(4)],
                 lambda: [nn.RMSNorm(6, 1e-6), nn.Linear(6, 4)]),
    "prelu": ((4, 3, 6), lambda: [L.PReLU(shared_axes=[1, 2]), L.PReLU(shared_axes=[1, 2, 3]), L.Flatten(), L.PReLU(),
                                  L.Dense(4)],
              lambda: [nn.PReLU(6), nn.PReLU(), nn.Flatten(), nn.PReLU(72), nn.Linear(72, 4)]),
    "generator": ((5,), lambda: [L.Dense(4 * 3 * 2), L.BatchNormalization(epsilon=1e-5), L.ReLU(),
                                 L.Reshape((4, 3, 2)), L.Conv2DTranspose(3, 2, strides=2)],
                  lambda: [nn.Linear(5, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (2, 4, 3)),
                           nn.ConvTranspose2d(2, 3, 2, 2)]),
}


def outputs(ours, theirs, x):
    """What both give for x, as arrays with the channels last."""
    first = x.transpose(0, 3, 1, 2) if x.ndim == 4 else x
    with torch.no_grad():
        z = theirs(torch.from_numpy(np.ascontiguousarray(first))).numpy()
    return ours.predict(x, verbose=0), z.transpose(0, 2, 3, 1) if z.ndim == 4 else z


def drawn(weights):
    """Values for weights, positive ones as variances need them."""
    return [DRAWN.uniform(0.2, 1.0, w.shape).astype("float32") for w in weights]


def pair(name):
    shape, ours, theirs = NETS[name]
    model, module = models.Sequential([L.Input(shape), *ours()]), nn.Sequential(*theirs()).eval()
    model.set_weights(drawn(model.get_weights()))
    module.load_state_dict({key: torch.tensor(3) if "num_" in key else torch.from_numpy(value)
                            for key, value in zip(module.state_dict(), drawn(
                                [v.numpy() for v in module.state_dict().values()]))})
    return model, module, DRAWN.normal(size=(3, *shape)).astype("float32")


@pytest.mark.parametrize("name", NETS)
def test_a_net_takes_pytorch_s_weights_and_gives_the_same(name):
    model, module, x = pair(name)
    formats.from_torch_state_dict(model, module.state_dict())
    ours, theirs = outputs(model, module, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_pytorch_takes_a_net_s_weights_and_gives_the_same(name):
    model, module, x = pair(name)
    prefixes = [path for path, each in module.named_modules() if [*each.parameters(False), *each.buffers(False)]]
    state = formats.to_torch_state_dict(model, prefixes)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    ours, theirs = outputs(model, module, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    before = model.get_weights()
    model.set_weights(drawn(before))
    formats.from_torch_state_dict(model, state)
    for mine, was in zip(model.get_weights(), before):
        np.testing.assert_array_equal(mine, was)


def test_a_graph_with_branches_goes_by_names():
    x = L.Input((6, 5, 2))
    left, right = L.Conv2D(3, 3, name="left")(x), L.Conv2D(3, 3, name="right")(x)
    flat = L.Concatenate()([L.Flatten()(left), L.GlobalMaxPooling2D()(right)])
    model = models.Model(x, L.Dense(4, name="head")(flat))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.b, self.a = nn.Linear(39, 4), nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)

        def forward(self, x):
            return self.head(torch.cat([self.a(x).flatten(1), self.b(x).amax((2, 3))], 1))

    net, names = Net().eval(), {"left": "a", "right": "b", "head": "head"}
    formats.from_torch_state_dict(model, net.state_dict(), names)
    np.testing.assert_allclose(*outputs(model, net, DRAWN.normal(size=(2, 6, 5, 2)).astype("float32")), atol=1e-5)
    assert {k: v.shape for k, v in formats.to_torch_state_dict(model, names).items()} == {
        k: tuple(v.shape) for k, v in net.state_dict().items()}
    del names["right"]  # the one group that is left
    formats.from_torch_state_dict(model, net.state_dict(), names)


def test_models_within_a_model_and_functions():
    inner = models.Sequential([L.Input((4, 4, 3)), L.Conv2D(5, 3, name="conv"), L.Flatten()], name="inner")
    x = L.Input((4, 4, 3))
    model = models.Model(x, L.Dense(2, name="head")(F.relu(inner(x))))
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten()), nn.ReLU(), nn.Linear(20, 2)).eval()
    formats.from_torch_state_dict(model, net.state_dict())
    np.testing.assert_allclose(*outputs(model, net, DRAWN.normal(size=(2, 4, 4, 3)).astype("float32")), atol=1e-5)
    assert list(formats.to_torch_state_dict(model)) == ["inner.conv.weight", "inner.conv.bias", "head.weight",
                                                        "head.bias"]
    formats.from_torch_state_dict(model, net.state_dict(), {"head": "2", "inner/conv": "0.0"})


def test_parameters_and_types_that_numpy_lacks():
    model, module, x = pair("dense")
    formats.from_torch_state_dict(model, dict(module.named_parameters()))
    np.testing.assert_allclose(*outputs(model, module, x), atol=1e-5)
    formats.from_torch_state_dict(model, module.to(torch.bfloat16).state_dict())
    np.testing.assert_allclose(*outputs(model, module.float(), x), atol=1e-5)


def dense(use_bias=True):
    return models.Sequential([L.Input((3,)), L.Dense(4, use_bias=use_bias, name="one"), L.Dense(2, name="two")])


GOOD = {"0.weight": np.ones((4, 3)), "0.bias": np.ones(4), "2.weight": np.ones((2, 4)), "2.bias": np.ones(2)}


@pytest.mark.parametrize(("state", "names", "said"), [
    ({**GOOD, "0.weight": np.ones((3, 4))}, None,
     r"0\.weight: the shape must be \(4, 3\)\. Received: \(3, 4\)\. The array is for 'one'"),
    ({**GOOD, "3.weight": np.ones(2)}, None, r"2 layers .* 3 groups of the state\. The layers: one \(Dense\), two"),
    ({k: v for k, v in GOOD.items() if k != "0.bias"}, None,
     r"0\.bias is missing, for 'one' \(Dense\)\. There is: weight"),
    ({**GOOD, "0.weight_g": np.ones(4)}, None, r"0\.weight_g has no place in 'one' \(Dense\)"),
    ({**GOOD, "2.bias": "x"}, None, r"2\.bias: the value must be an array of numbers\. Received: str of dtype"),
    (GOOD, {"one": "1"}, r"one: the state has nothing under '1'"),
    (GOOD, {"three": "0"}, r"names has 'three', which no layer .* \['one', 'two'\]"),
    (GOOD, {"one": ("0", "2")}, r"names must give 'one' 1 prefixes"),
    (GOOD, ["0"], r"names has 1 prefixes, the layers need 2"),
    (GOOD, "0", r"names must be a dict"),
    (list(GOOD), None, r"state must be a mapping .* Received: list"),
])
def test_what_does_not_fit_is_listed_and_changes_nothing(state, names, said):
    model = dense()
    before = model.get_weights()
    with pytest.raises(ValueError, match=said):
        formats.from_torch_state_dict(model, state, names)
    for mine, was in zip(model.get_weights(), before):
        np.testing.assert_array_equal(mine, was)


def test_all_that_does_not_fit_is_listed():
    with pytest.raises(ValueError, match=r"(?s)0\.weight: .*0\.bias: .*2\.weight: .*2\.bias: "):
        formats.from_torch_state_dict(dense(), {key: np.ones((5, 5)) for key in GOOD})
    with pytest.raises(ValueError, match=r"0\.bias has no place in 'one' \(Dense\); make the layer with use_bias=True"):
        formats.from_torch_state_dict(dense(use_bias=False), GOOD)


class Scale(L.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale


def test_what_pytorch_cannot_have_is_refused():
    def net(*given, shape=(4, 3, 2)):
        return models.Sequential([L.Input(shape), *given])

    with pytest.raises(ValueError, match=r"'scale' \(Scale\) has weights of a kind"):
        formats.to_torch_state_dict(net(Scale(name="scale")))
    with pytest.raises(ValueError, match=r"'norm' \(LayerNormalization\) has weights of a kind"):
        formats.to_torch_state_dict(net(L.LayerNormalization(rms_scaling=True, name="norm")))
    with pytest.raises(ValueError, match=r"'dense' \(Dense\): the order of its numbers is not known"):
        formats.to_torch_state_dict(net(L.Reshape((2, 3, 4)), L.Flatten(), L.Dense(3, name="dense")))
    with pytest.raises(ValueError, match=r"create the layer with shared_axes=\[1, 2\]"):
        formats.to_torch_state_dict(net(L.PReLU(alpha_initializer="glorot_uniform")))
    with pytest.raises(ValueError, match="isn't built"):
        formats.to_torch_state_dict(models.Sequential([L.Dense(3)]))
    half = net(L.BatchNormalization(scale=False, name="norm"))
    state = formats.to_torch_state_dict(half)
    np.testing.assert_array_equal(state["norm.weight"], 1)
    formats.from_torch_state_dict(half, state)
    with pytest.raises(ValueError, match="all elements of the array must be 1"):
        formats.from_torch_state_dict(half, {**state, "norm.weight": np.full(2, 2.0)})


# Data of other packages.


def trained(x, y):
    model = models.Sequential([L.Input((3,)), L.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    return model.predict(x, verbose=0)


def test_tensors_of_pytorch_are_data():
    x, y = DRAWN.normal(size=(40, 3)).astype("float32"), DRAWN.normal(size=(40, 1)).astype("float32")
    found = trained(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_array_equal(found, trained(x, y))
    np.testing.assert_array_equal(trained(torch.from_numpy(x.T.copy()).T, torch.from_numpy(y)), found)


def test_a_contiguous_tensor_is_not_copied():
    from autoconv.train.user_arrays import check_data

    x, y = torch.ones(4, 3), torch.ones(4)
    data = check_data(x, y)
    assert data.x[0].ctypes.data == x.data_ptr()
    assert data.y[0].ctypes.data == y.data_ptr()


def test_tables_of_pandas_are_data():
    pandas = pytest.importorskip("pandas")
    x, y = DRAWN.normal(size=(40, 3)).astype("float32"), DRAWN.normal(size=40).astype("float32")
    table = pandas.DataFrame(x, columns=["a", "b", "c"])
    np.testing.assert_array_equal(trained(table, pandas.Series(y)), trained(x, y))
    np.testing.assert_array_equal(trained(table, pandas.DataFrame({"y": y})), trained(x, y[:, None]))
