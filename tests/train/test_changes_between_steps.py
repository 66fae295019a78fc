"""Every change of a model between two steps is seen, or refused: never is the old answer given again.

What is expected is what a copy of the changed model gives, which has recorded nothing yet and runs layer by layer.
"""

import copy
import inspect

import numpy as np
import pytest
from autoconv.tensor import Tensor
from kinds import LAYERS, LOSSES, METRICS, NEEDED, OF_LOSSES, TARGETS_OF, X, net, of_module, targets

from autoconv import functional as F
from autoconv import get_num_threads, layers, losses, models, optimizers, set_num_threads, utils
from autoconv.engine.variable import Variable
from autoconv.random import set_state, state

NOT_ASKED = {"name", "built", "channels"}  # what a layer is called, and what it was built for
READ_WHEN_BUILT = {"filters", "kernel_size", "units", "depth_multiplier", "shared_axes"}
WEIGHTS = ["alpha", "beta", "bias", "depthwise_kernel", "gamma", "kernel", "moving_mean", "moving_variance"]
MUST_COUNT = {  # attributes whose change changes the answer, so that the tests below compare something
    layers.Activation: {"activation"}, layers.AveragePooling2D: {"pool_size", "strides", "padding"},
    layers.CenterCrop: {"height", "width"}, layers.Concatenate: {"axis"},
    layers.Conv2D: {"kernel", "bias", "strides", "padding", "dilation_rate", "activation"},
    layers.BatchNormalization: {"gamma", "beta", "moving_mean", "moving_variance", "epsilon"},
    layers.Conv2DTranspose: {"kernel", "bias", "strides", "padding", "activation"},
    layers.Dense: {"kernel", "bias", "activation"}, layers.Dropout: {"rate", "seed"},
    layers.DepthwiseConv2D: {"kernel", "bias", "strides", "padding", "activation"},
    layers.Dot: {"axes", "normalize"}, layers.RMSNormalization: {"epsilon"}, layers.Normalization: {"invert"},
    layers.AlphaDropout: {"rate", "seed", "noise_shape"}, layers.Cropping2D: {"cropping"}, layers.ELU: {"alpha"},
    layers.GaussianDropout: {"rate", "seed"}, layers.GaussianNoise: {"stddev", "seed"},
    layers.GroupNormalization: {"gamma", "beta", "epsilon"},
    layers.LayerNormalization: {"gamma", "beta", "epsilon"},
    layers.LeakyReLU: {"negative_slope"}, layers.Permute: {"dims"}, layers.PReLU: {"alpha"},
    layers.ReLU: {"max_value", "negative_slope", "threshold"},
    layers.Reshape: set(), layers.SeparableConv2D: {"depthwise_kernel", "bias", "padding", "activation"},
    layers.SpatialDropout2D: {"rate", "seed"}, layers.UnitNormalization: {"axis"},
    layers.UpSampling2D: {"size", "interpolation"},
    layers.GlobalAveragePooling2D: set(), layers.MaxPooling2D: {"pool_size", "strides"},
    layers.RandomBrightness: {"factor", "value_range", "seed"},
    layers.RandomContrast: {"factor", "value_range", "seed"},
    layers.RandomCrop: {"height", "width", "seed"}, layers.RandomFlip: {"seed"},
    layers.RandomErasing: {"factor", "scale", "fill_value", "value_range", "seed"},
    **{kind: {*factors, "fill_value", "seed"} for kind, factors in (
        (layers.RandomRotation, {"factor"}), (layers.RandomTranslation, {"height_factor", "width_factor"}),
        (layers.RandomZoom, {"height_factor", "width_factor"}))},
    layers.Resizing: {"height", "width", "fill_value", "pad_to_aspect_ratio"},
    layers.Rescaling: {"scale", "offset"}, layers.Softmax: {"axis"}, layers.ZeroPadding2D: {"padding"},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """The nets are so small that a second thread only waits: what changes is seen in Python."""
    before = get_num_threads()
    set_num_threads(1)
    yield
    set_num_threads(before)


@pytest.fixture(params=[pytest.param("1", id="fused"), pytest.param("0", id="not fused", marks=pytest.mark.soak)])
def _fusion(request, monkeypatch):
    monkeypatch.setenv("AUTOCONV_FUSION", request.param)


def draws(layer):
    """Whether it draws anew in each step of training."""
    return hasattr(layer, "seed")


def run(model, mode, y):
    """What a step gives: predictions, or losses and the weights after it; an error as its type."""
    try:
        if mode == "predict":
            return [model.predict_on_batch(X)]
        if mode == "test":
            return [np.asarray(model.test_on_batch(X, y))]
        if mode == "evaluate":
            return [np.asarray(model.evaluate(X, y, batch_size=3, verbose=0))]
        return [np.asarray(model.train_on_batch(X, y)), *model.get_weights()]
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        return type(error)


def expected(model, mode, y, monkeypatch):
    """The same of a copy that knows nothing, and fuses nothing."""
    with monkeypatch.context() as patched:
        patched.setenv("AUTOCONV_FUSION", "0")
        try:
            return run(copy.deepcopy(model), mode, y)
        except (ValueError, TypeError) as error:  # the graph of the copy cannot be
            return type(error)


def same(a, b):
    return len(a) == len(b) and all(
        p.shape == q.shape and np.allclose(p, q, rtol=1e-4, atol=1e-5, equal_nan=True) for p, q in zip(a, b))


def others(name, value):
    """Other values for an attribute."""
    if isinstance(value, Variable):
        return [Variable(value.numpy() * 0.5 + 0.3), None]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2]
    if isinstance(value, float):
        return [value * 0.5, 1.5] if name == "epsilon" else [value * 0.5, 0.0, 1.5]
    if isinstance(value, str):
        return ["same", "valid", "sum", "float64", "bilinear"]
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (int, float)):
        return [type(value)(v + 1 for v in value), list(value)[::-1], value[0] + 1, type(value)(v / 2 for v in value)]
    if isinstance(value, (list, tuple)):
        return [((2, 1), (1, 0)), 1, (None, 1, 1, None)]
    if callable(value):
        return [F.sigmoid, F.relu, None, "tanh"]
    return [3, 0.5, 1, "same", (None, 1, 1, None)]


def attributes(thing):
    """The names of all that a user can set: attributes, properties, the constructor's arguments."""
    names = {name for name in vars(thing) if not name.startswith("_")}
    names |= {name for name, of in inspect.getmembers(type(thing)) if isinstance(of, property) and of.fset}
    for kind in type(thing).__mro__[:-1]:
        names |= {name for name, a in inspect.signature(kind.__init__).parameters.items()
                  if name != "self" and a.kind not in (a.VAR_KEYWORD, a.VAR_POSITIONAL)}
    return sorted(names - NOT_ASKED - {"version", "device", "optimizer"})


def test_no_layer_is_forgotten():
    ours = set(of_module(layers, layers.Layer)) - {layers.InputLayer}
    assert ours == set(LAYERS)


@pytest.mark.slow
@pytest.mark.usefixtures("_fusion")
@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_an_attribute_of_a_layer(kind, monkeypatch):
    """Set to another value it changes the answer as in a model that was never asked, or it is refused."""
    counted, of_all, first = set(), set(attributes(layers.Layer())) - {"trainable"}, net(kind)[1]
    own = [name for name in attributes(LAYERS[kind]()) if kind is layers.Dense or name not in of_all]
    for name in [*own, *(name for name in WEIGHTS if name not in own and name in vars(first))]:
        for i in range(len(others(name, getattr(first, name, None)))):
            model, layer = net(kind)
            y = targets(model)
            for mode in ("train", "train", "predict", "predict"):
                before = run(model, mode, y)
                assert not isinstance(before, type)
            value = others(name, getattr(layer, name, None))[i]
            try:
                setattr(layer, name, value)
            except (ValueError, TypeError, AttributeError):
                continue
            for mode in ("predict", "train"):
                wanted = expected(model, mode, y, monkeypatch)
                for _ in range(2 if mode == "predict" else 1):
                    found = run(model, mode, y)
                    if isinstance(found, type):
                        continue  # refused
                    if name in READ_WHEN_BUILT:
                        assert mode == "train" or same(found, before)
                        continue
                    assert not isinstance(wanted, type), (name, value, mode, wanted)
                    assert same(found, wanted), (name, value, mode)
                    if (mode == "predict" and not same(found, before)) or (mode == "train" and draws(layer)):
                        counted.add(name)
    assert counted >= MUST_COUNT.get(kind, set())


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_a_changed_layer_is_saved_as_it_is_or_refused_by_name(kind, tmp_path):
    """What is loaded answers like the net that was saved, and says the same of itself."""
    kept, plain, arguments = set(), set(attributes(layers.Layer())), inspect.signature(kind.__init__).parameters
    names = [name for name in attributes(LAYERS[kind]()) if kind is layers.Dense or name not in plain]
    for name in [*names, *WEIGHTS]:
        for i in range(len(others(name, getattr(net(kind)[1], name, None)))):
            model, layer = net(kind)
            before = getattr(layer, name, None)
            if name not in names and name not in vars(layer):
                continue
            try:
                setattr(layer, name, others(name, before)[i])
                wanted = model.predict_on_batch(X)
            except (ValueError, TypeError, AttributeError, IndexError):
                continue  # refused
            error = refusal(model.save, tmp_path / "m.safetensors")
            if error:
                assert layer.name in error, (name, error)
                continue
            loaded = models.load_model(tmp_path / "m.safetensors")
            assert same([loaded.predict_on_batch(X)], [wanted]), (name, others(name, before)[i])
            again = loaded.get_layer(layer.name)
            assert again.get_config() == layer.get_config()
            if name in arguments and getattr(again, name) != before:
                kept.add(name)
    assert kept >= MUST_COUNT.get(kind, set()) & set(arguments)


def refusal(function, *args):
    """The error's text, or None."""
    try:
        function(*args)
    except ValueError as error:
        return str(error)
    return None


class Twice(layers.Layer):
    """A user's layer, whose attribute is not what its argument was."""

    recordable = True

    def __init__(self, factor, units=2, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.inner = 2 * factor, layers.Dense(units)

    def call(self, x):
        return self.inner(x) * self.factor


@pytest.mark.parametrize(("change", "message"), [
    (lambda m: None, None),
    (lambda m: m.layers[2].inner.set_weights([w + 1 for w in m.layers[2].inner.get_weights()]), None),
    (lambda m: setattr(m.layers[0], "activation", lambda x: x * 2.0),
     "`activation` of layer 'conv' cannot be serialized.*have names"),
    (lambda m: setattr(m.layers[0], "bias", None), "'conv' .*under the name 'bias' the layer has no weight.*use_bias"),
    (lambda m: (setattr(m.layers[0], "bias", None), setattr(m.layers[0], "use_bias", False)), None),
    (lambda m: setattr(m.layers[0], "kernel", Variable(np.ones((5, 5, 4, 3), "float32"))),
     r"'conv' .*under the name 'kernel' the layer has a weight of shape \(5, 5, 4, 3\).*kernel_size"),
    (lambda m: (setattr(m.layers[0], "kernel", Variable(np.ones((5, 5, 4, 3), "float32"))),
                setattr(m.layers[0], "kernel_size", (5, 5))), None),
    (lambda m: setattr(m.layers[0], "call", lambda x: x[..., :3]), "'conv' .*function 'call'.*contains no code"),
    (lambda m: setattr(m, "call", lambda x: x), "'net' .*function 'call'.*contains no code"),
    (lambda m: setattr(m.layers[0], "name", "twice"), "different names"),
    (lambda m: setattr(m.layers[2], "factor", 5.0), "'twice' .*be loaded with factor=10.0. Received: factor=5.0"),
    (lambda m: setattr(m.layers[2].inner, "activation", "relu"), "'dense.* with activation='linear'.*'relu'"),
])
def test_a_file_makes_the_model_again_or_is_not_written(change, message, tmp_path):
    model = models.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(3, 3, padding="same", name="conv"),
                               layers.GlobalAveragePooling2D(), Twice(0.5, name="twice")], name="net")
    change(model)
    path, numbers = tmp_path / "m.safetensors", state()
    if message is not None:
        with pytest.raises(ValueError, match=message):
            model.save(path)
        assert not path.exists()
    else:
        model.save(path)
        loaded = models.load_model(path, {"Twice": Twice})
        assert same([loaded.predict_on_batch(X)], [model.predict_on_batch(X)])
    assert message is None or state() == numbers


def test_a_built_layer_takes_no_other_layer():
    layer = Twice(0.5)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="already built"):
        layer.second = layers.Dense(3)


def test_saving_draws_no_numbers_and_gives_no_names(tmp_path):
    model, _ = net(layers.Conv2D)
    name, numbers = layers.Dense(1).name, state()
    model.save(tmp_path / "m.safetensors")
    assert state() == numbers
    assert int(layers.Dense(1).name.rpartition("_")[2]) == int(name.rpartition("_")[2] or 0) + 1


@pytest.mark.parametrize("kind", [layers.Activation, layers.Conv2D, layers.Conv2DTranspose, layers.Dense,
                                  layers.DepthwiseConv2D])
def test_an_activation_is_set_as_the_constructor_takes_it(kind):
    model, layer = net(kind)
    for value in (None, "sigmoid", F.tanh, "linear"):
        model.predict_on_batch(X)
        layer.activation = value
        assert same([model.predict_on_batch(X)], [copy.deepcopy(model).predict_on_batch(X)])
        assert model.recording_report()["predict"] == {"forward": None}
    with pytest.raises(ValueError, match="Did you mean 'sigmoid'"):
        layer.activation = "sigmoit"


@pytest.mark.usefixtures("_fusion")
@pytest.mark.parametrize("change", [
    lambda m: m.layers[0].kernel.assign(m.layers[0].kernel.numpy() * 2),
    lambda m: m.layers[0].kernel.data.__setitem__(..., 0.5),
    lambda m: setattr(m.layers[0].kernel, "data", np.full(m.layers[0].kernel.shape, 0.5, "float32")),
    lambda m: setattr(m.layers[0], "kernel", Variable(np.full(m.layers[0].kernel.shape, 0.5, "float32"))),
    lambda m: setattr(m.layers[0], "bias", None),
    lambda m: m.set_weights([w * 0.5 + 0.1 for w in m.get_weights()]),
    lambda m: m.layers[0].build((None, 6, 6, 4)),
    lambda m: m.build((None, 6, 6, 4)),
    lambda m: setattr(m.layers[0], "trainable", False),
    lambda m: setattr(m, "trainable", False),
    lambda m: setattr(m.layers[0].kernel, "requires_grad", False),
    lambda m: setattr(m.layers[2], "trainable", False),
    lambda m: m.to("cpu"),
    lambda m: m.pop(),
    lambda m: m.add(layers.Dense(3)),
    lambda m: (m.pop(), m.add(layers.Dense(7, kernel_initializer="ones"))),
    lambda m: setattr(m.layers[0], "call", lambda x: F.relu(x[:, :4, :4] + 1)),
    lambda m: setattr(m, "call", lambda x, training=False: F.flatten(x)[:, :7]),
    lambda m: (setattr(m, "optimizer", optimizers.Adam(0.2))),
    lambda m: (setattr(m, "optimizer", "adam")),
    lambda m: (setattr(m, "loss", losses.MeanAbsoluteError())),
    lambda m: (setattr(m, "loss", "mean_absolute_error")),
    lambda m: m.compile("adam", "mae"),
    lambda m: m.compile(m.optimizer, "mae"),
], ids=lambda f: inspect.getsource(f).partition("m: ")[2][:60].replace("[", "").replace("]", "") if callable(f) else "")
@pytest.mark.filterwarnings("ignore:The model has no trainable weights")
@pytest.mark.parametrize("mode", ["predict", "train", "evaluate"])
def test_weights_layers_and_what_trains(change, mode, monkeypatch):
    utils.set_random_seed(1)
    model = models.Sequential([
        layers.Input((6, 6, 4)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(),
        layers.BatchNormalization(), layers.Flatten(), layers.Dense(7),
    ])
    model.compile(optimizers.SGD(0.1), "mse")
    for _ in range(2):
        run(model, mode, targets(model))
    change(model)
    y = targets(model) if mode != "predict" else None
    began = state()
    wanted = expected(model, mode, y, monkeypatch)
    set_state(began)
    found = run(model, mode, y)
    assert isinstance(found, type) or same(found, wanted)
    if mode == "predict":
        assert not isinstance(found, type)


def test_load_weights(tmp_path):
    model, _ = net(layers.Conv2D)
    model.save_weights(tmp_path / "w.weights.safetensors")
    before = model.predict_on_batch(X)
    model.set_weights([w * 0 for w in model.get_weights()])
    assert not same([model.predict_on_batch(X)], [before])
    model.load_weights(tmp_path / "w.weights.safetensors")
    assert np.array_equal(model.predict_on_batch(X), before)


def test_a_weight_in_anothers_place_is_the_layers_weight(tmp_path):
    """It trains, is saved under the other's name, and the other is gone."""
    model, layer = net(layers.Conv2D)
    names = list(model.named_weights())
    layer.kernel = Variable(np.ones(layer.kernel.shape, "float32"))
    assert list(model.named_weights()) == names
    assert [w is layer.kernel for w in layer.weights] == [True, False]
    layer.bias = None
    assert [id(w) for w in layer.weights] == [id(layer.kernel)]
    layer.bias = Variable(np.zeros(4, "float32"), name="bias")
    assert [w.name for w in layer.weights] == ["kernel", "bias"]


def test_frozen_weights_that_thaw_are_trained():
    model, _ = net(layers.Conv2D)
    model.trainable = False
    before = model.get_weights()
    for _ in range(2):
        with pytest.warns(UserWarning, match="no trainable weights"):
            model.train_on_batch(X, targets(model))
    assert same(model.get_weights(), before)
    model.trainable = True
    model.train_on_batch(X, targets(model))
    assert not same(model.get_weights(), before)


class Table(layers.Layer):
    """A user's recordable layer, with all that can change in place."""

    recordable = True

    def __init__(self):
        super().__init__()
        self.numbers, self.by_name, self.array = [1.0, 2.0], {"a": 1.0}, np.ones(4, "float64")
        self.nested, self.object, self.tensor = ([1.0], {"b": [1.0]}), Settings(), Tensor(np.ones(4, "float32"))
        self.blocks = [layers.Dense(4, kernel_initializer="ones"), layers.Dense(4)]

    def call(self, x):
        y = x * self.numbers[0] + self.by_name["a"] * self.numbers[1] + self.array.astype("float32")
        y = y * self.nested[0][0] * self.nested[1]["b"][0] * self.object.factor * self.tensor
        for block in self.blocks:
            y = block(y)
        return y


class Settings:
    def __init__(self):
        self.factor = 1.0


@pytest.mark.parametrize("change", [
    lambda t: t.numbers.__setitem__(0, 3.0),
    lambda t: t.by_name.update(a=3.0),
    lambda t: t.array.__setitem__(1, 5.0),
    lambda t: t.nested[0].__setitem__(0, 3.0),
    lambda t: t.nested[1]["b"].__setitem__(0, 3.0),
    lambda t: setattr(t.object, "factor", 3.0),
    lambda t: setattr(t.tensor, "data", np.full(4, 2, "float32")),
    lambda t: t.tensor.data.__setitem__(0, 7.0),
    lambda t: t.blocks.pop(),
    lambda t: t.blocks.reverse(),
    lambda t: t.blocks.append(t.blocks[0]),
    lambda t: t.blocks.__setitem__(1, t.blocks[0]),
    lambda t: setattr(t, "blocks", t.blocks[:1]),
    lambda t: setattr(t.blocks[0], "activation", F.tanh),
    lambda t: delattr(t, "recordable") if "recordable" in vars(t) else setattr(t, "recordable", False),
])
def test_what_changes_within_an_attribute_of_a_users_layer(change):
    model = models.Sequential([layers.Input((4,)), Table(), layers.ReLU()])
    x = np.abs(X[:, 0, 0])
    for _ in range(2):
        model.predict_on_batch(x)
    assert model.recording_report()["predict"] == {"forward": None}
    change(model.layers[0])
    for _ in range(2):
        assert same([model.predict_on_batch(x)], [copy.deepcopy(model).predict_on_batch(x)])


def test_a_rescalings_lists_and_arrays_change_in_place():
    for kind in (list, np.array):
        model = models.Sequential([layers.Input((6, 6, 4)), layers.Rescaling(kind([1.0, 2.0, 3.0, 4.0]))])
        model.predict_on_batch(X)
        model.layers[0].scale[1] = 9.0
        np.testing.assert_allclose(model.predict_on_batch(X), X * [1, 9, 3, 4], rtol=1e-6)
        assert model.recording_report()["predict"] == {"forward": None}


def test_the_arrays_in_a_graph_change_in_place():
    shift = np.zeros(4)
    x = layers.Input((4,))
    model = models.Model(x, x * 2.0 + F.clip(x, 0.0, 1.0))
    y = models.Model(x, x + shift.astype("float32"))
    model.predict_on_batch(X[:, 0, 0])
    array = y.graph.nodes[-1].args[1]
    assert isinstance(array, np.ndarray)
    y.predict_on_batch(X[:, 0, 0])
    array[:] = 3.0
    np.testing.assert_allclose(y.predict_on_batch(X[:, 0, 0]), X[:, 0, 0] + 3, rtol=1e-6)


OPTIMIZERS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9), "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    **{kind.__name__: lambda kind=kind: kind(0.1 if kind is optimizers.SGD else 0.01)
       for kind in of_module(optimizers, optimizers.Optimizer)}}


@pytest.mark.slow
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_attribute_of_an_optimizer(make, monkeypatch):
    counted = set()
    for name in set(attributes(make())) - {"flat"}:
        for value in [0.5, 0.01, True, 2, lambda step: 0.2 / (step + 1)]:
            model = models.Sequential([layers.Input((6, 6, 4)), layers.Flatten(), layers.Dense(3)])
            model.compile(make(), "mse")
            y = targets(model)
            for _ in range(2):
                model.train_on_batch(X, y)
            old, unchanged = getattr(model.optimizer, name, None), copy.deepcopy(model)
            try:
                setattr(model.optimizer, name, value)
            except (ValueError, TypeError, AttributeError):
                continue
            for _ in range(2):
                wanted, found = expected(model, "train", y, monkeypatch), run(model, "train", y)
                assert isinstance(found, type) or same(found, wanted), (name, value)
            run(unchanged, "train", y)
            if not isinstance(found, type) and old != value and not same(found, run(unchanged, "train", y)):
                counted.add(name)
    assert {"learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm"} <= counted
    assert {"momentum"} & set(attributes(make())) <= counted


def scored(loss, activation, metric=None):
    utils.set_random_seed(4)
    model = models.Sequential([layers.Input((6, 6, 4)), layers.Flatten(), layers.Dense(3, activation)])
    model.compile(optimizers.SGD(0.005), loss, metrics=[] if metric is None else [metric])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*LOSSES, *METRICS], ids=lambda kind: f"{kind.__module__[9:]}.{kind.__name__}")
@pytest.mark.filterwarnings("ignore:.*from_logits=True, but its predictions come from a")
def test_an_attribute_of_a_loss_or_metric(kind, monkeypatch):
    activation, make_targets = TARGETS_OF.get(kind, OF_LOSSES["numbers"])
    y, counted = make_targets(), set()

    def made():
        thing = kind(**NEEDED.get(kind, {}))
        if kind in METRICS:
            of_labels = y.ndim == 1
            return thing, scored("sparse_categorical_crossentropy" if of_labels else "mse", activation, thing)
        return thing, scored(thing, activation)

    first = made()[0]
    for name in attributes(first):
        for i in range(len(others(name, getattr(first, name, None)))):
            thing, model = made()
            for mode in ("train", "train", "test", "test", "evaluate", "evaluate"):
                before = run(model, mode, y)
            values = others(name, getattr(thing, name, None))
            if i >= len(values):  # a state that is an array by now
                continue
            value = values[i]
            try:
                setattr(thing, name, value)
            except (ValueError, TypeError, AttributeError):
                continue
            for mode in ("evaluate", "test", "train"):
                wanted, found = expected(model, mode, y, monkeypatch), run(model, mode, y)
                assert isinstance(found, type) or same(found, wanted), (name, value, mode)
                if mode == "evaluate" and not isinstance(found, type) and not same(found, before):
                    counted.add(name)
    assert {"label_smoothing", "threshold", "k"} & set(attributes(first)) <= counted


def test_what_compile_was_given_changes_in_place():
    model = scored("mse", "tanh")
    y = OF_LOSSES["numbers"][1]()
    wanted = ["mse"]
    model.compile("sgd", ["mse"], metrics=wanted)
    first = model.evaluate(X, y, verbose=0)
    wanted.append("mae")
    assert len(model.evaluate(X, y, verbose=0)) == 3
    model.loss[0] = losses.MeanAbsoluteError()
    changed = model.evaluate(X, y, verbose=0)
    assert changed[0] == pytest.approx(changed[2], rel=1e-5)
    assert changed[0] != pytest.approx(first[0])


@pytest.mark.parametrize("change", ["compile", "optimizer"])
def test_another_optimizer_within_fit_is_refused(change):
    from autoconv.callbacks import LambdaCallback

    model = scored("mse", "tanh")
    y = OF_LOSSES["numbers"][1]()

    def replace(batch, logs):
        if change == "compile":
            model.compile("adam", "mse")
        else:
            model.optimizer = optimizers.Adam()

    with pytest.raises(RuntimeError, match="between two calls of fit"):
        model.fit(X, y, batch_size=2, verbose=0, callbacks=LambdaCallback(on_train_batch_end=replace))


def test_a_callback_that_changes_weights_or_settings_between_steps_is_seen():
    from autoconv.callbacks import LambdaCallback

    y, weights = OF_LOSSES["numbers"][1](), []
    for recorded in (True, False):
        model = scored("mse", "tanh")
        model.optimizer.recordable = recorded
        model.layers[1].recordable = recorded

        def change(batch, logs, model=model):
            model.layers[1].kernel.data = model.layers[1].kernel.numpy() * 0.5
            model.optimizer.momentum = 0.9 if batch else 0.0
            model.layers[1].activation = F.sigmoid if batch else F.tanh

        model.fit(X, y, batch_size=2, epochs=2, shuffle=False, verbose=0,
                  callbacks=LambdaCallback(on_train_batch_end=change))
        weights.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_shared_layers():
    """One layer in two models: what one changes, the other sees."""
    shared = layers.Dense(4, activation="relu")
    one = models.Sequential([layers.Input((4,)), shared, layers.Dense(2)])
    x = layers.Input((4,))
    two = models.Model(x, layers.Add()([shared(x), x]))
    one.compile(optimizers.SGD(0.5), "mse")
    for _ in range(2):
        before = two.predict_on_batch(X[:, 0, 0])
    one.train_on_batch(X[:, 0, 0], np.ones((6, 2), "float32"))
    assert not same([two.predict_on_batch(X[:, 0, 0])], [before])
    assert same([two.predict_on_batch(X[:, 0, 0])], [copy.deepcopy(two).predict_on_batch(X[:, 0, 0])])
    shared.activation = F.tanh
    assert same([two.predict_on_batch(X[:, 0, 0])], [copy.deepcopy(two).predict_on_batch(X[:, 0, 0])])


def test_inputs_by_dict_and_by_list_are_told_apart():
    class Either(models.Model):
        recordable = True

        def call(self, inputs):
            a, b = (inputs["a"], inputs["b"]) if isinstance(inputs, dict) else (inputs[1], inputs[0])
            return a - b

    model, a, b = Either(), X[:, 0, 0], X[:, 1, 1]
    for _ in range(2):
        np.testing.assert_allclose(model.predict_on_batch({"a": a, "b": b}), a - b, rtol=1e-6)
        np.testing.assert_allclose(model.predict_on_batch([a, b]), b - a, rtol=1e-6)
