"""Random nets: recorded and eager, fused and not, on the CPU and the GPU, saved and loaded, changed between steps, they
give the same. 50 nets in every run, or 20; 1,000 with `pytest -m soak`.
"""

import copy

import numpy as np
import pytest
import random_nets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import of_module
from random_nets import ARGUMENTS, CLASSES, NOT_DRAWN, nets

from autoconv import functional as F
from autoconv import layers, models, optimizers, utils

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
SAMPLES, BATCH = 7, 3


def counted(few, many=1000):
    long = [pytest.mark.soak, pytest.mark.timeout(3600)]
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=long)])


def of_every(count, **drawn):
    """Runs the function below on so many examples, the same ones in every run."""
    def run(check):
        settings(max_examples=count, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))(given(**drawn)(check))()

    return run


def test_every_layer_and_every_argument_is_drawn():
    """An argument that is not drawn is one that takes its default alone."""
    assert set(ARGUMENTS) == set(of_module(layers, layers.Layer)) - {layers.InputLayer}
    for kind in ARGUMENTS:
        _others_are_refused(kind)


def _others_are_refused(kind):
    @of_every(1, given=ARGUMENTS[kind]((5, 6, 4)))
    def check(given):
        drawn = {"trainable", "activity_regularizer", *kind.extras(), *given}
        for name in set(kind.config_parameters()) - drawn - NOT_DRAWN:
            with pytest.raises(ValueError, match=f"supports only {name}="):
                kind(**given, **{name: "another"})


class Eager(layers.Activation):
    """A layer that is not recorded, so that no step of its model is."""

    recordable = False


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05, momentum=0.9), "adam": lambda: optimizers.Adam(0.01),
    "clipped": lambda: optimizers.RMSprop(0.01, clipnorm=0.1),
    "schedule": lambda: optimizers.AdamW(optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)),
}
LOSSES = ["mse", "categorical_crossentropy"]


def numbers(net, count=SAMPLES):
    """Images, and targets that sum to 1."""
    rng = np.random.default_rng(3)
    y = rng.random((count, CLASSES))
    return rng.normal(size=(count, *net.shapes[0])).astype("float32"), (y / y.sum(1, keepdims=True)).astype("float32")


def begun(net, optimizer="sgd", loss="mse", dtype="float32", first=layers.Activation):
    utils.set_random_seed(1)
    model = net.build(dtype, first)
    model.compile(OPTIMIZERS[optimizer](), loss, metrics=["mae"])
    return model


def fitted(model, net, epochs=2):
    """All numbers that a short training gives: batches of 3, 3 and 1."""
    x, y = numbers(net)
    history = model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, shuffle=False).history
    return [*map(np.array, history.values()), *asked(model, net)]


def asked(model, net):
    x, y = numbers(net)
    return [*model.get_weights(), model.predict(x, BATCH, verbose=0),
            np.array(model.evaluate(x, y, batch_size=BATCH, verbose=0))]


def changed(model, net, change):
    """The same after a change, or the error that refuses it."""
    x, y = numbers(net)
    try:
        change(model)
        return [np.array([model.train_on_batch(x[:BATCH], y[:BATCH]) for _ in range(2)]), *asked(model, net)]
    except (ValueError, TypeError) as error:
        return [np.array(str(type(error)))]


def same_bits(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@counted(50)
def test_a_recorded_training_has_the_bits_of_an_eager_one(count):
    """Also after an attribute was changed between two steps."""
    @of_every(count, net=nets(), data=st.data(), optimizer=st.sampled_from(sorted(OPTIMIZERS)),
              loss=st.sampled_from(LOSSES))
    def check(net, data, optimizer, loss):
        change, found = data.draw(random_nets.changes(net)), []
        for first in (layers.Activation, Eager):
            model = begun(net, optimizer, loss, first=first)
            found.append([*fitted(model, net), *changed(model, net, change)])
        same_bits(*found)


def near(found, expected, rounding):
    """Equal up to rounding, which is relative to an array's largest number."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        size = np.abs(b[np.isfinite(b)]).max(initial=1)
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding * size)


@counted(20)
def test_fused_layers_give_what_the_layers_give(count, monkeypatch):
    @of_every(count, net=nets(), optimizer=st.sampled_from(sorted(OPTIMIZERS)), loss=st.sampled_from(LOSSES))
    def check(net, optimizer, loss):
        found = []
        for fusion in ("1", "0"):
            with monkeypatch.context() as patched:
                patched.setenv("AUTOCONV_FUSION", fusion)
                found.append(fitted(begun(net, optimizer, loss, "float64"), net, epochs=1))
        near(*found, rounding=1e-6)


@counted(20)
def test_a_step_is_the_gradient_of_the_loss_times_the_rate(count):
    """By the tape alone: forward, loss, backward, and SGD in NumPy."""
    @of_every(count, net=nets())
    def check(net):
        model = net.build("float64")
        model.compile(optimizers.SGD(0.1), "mse")
        x, y = (a.astype("float64") for a in numbers(net))
        twin = copy.deepcopy(model)
        utils.set_random_seed(2)
        logs = model.train_on_batch(x, y)
        utils.set_random_seed(2)
        loss = F.mean_squared_error(y, twin(x, training=True)).mean()
        loss = loss + sum(twin.losses)
        if loss.requires_grad:
            loss.backward()
        near([np.array(logs)], [loss.numpy()], 1e-9)
        for w in twin.weights:
            w.data = w.numpy() - 0.1 * (0 if w.grad is None else w.grad)
            if w.constraint is not None and w.requires_grad:
                w.data = w.constraint(w).numpy()
        near(model.get_weights(), twin.get_weights(), 1e-9)


@counted(20)
def test_a_saved_net_is_the_same_net(count, tmp_path):
    """Architecture, weights and predictions, to the bit; and both train on alike."""
    @of_every(count, net=nets())
    def check(net):
        model = begun(net)
        fitted(model, net, epochs=1)
        model.save(tmp_path / "net.safetensors")
        loaded = models.load_model(tmp_path / "net.safetensors")
        assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]
        x, y = numbers(net)
        found = []
        for one in (model, loaded):
            utils.set_random_seed(4)
            for layer in one.layers:
                if getattr(layer, "seed", None) is not None:
                    layer.seed = layer.seed  # its own draws begin anew
            one.compile(optimizers.SGD(0.05), "mse")
            found.append([one.predict(x, verbose=0), *one.get_weights(), np.array(one.train_on_batch(x, y)),
                          *one.get_weights()])
        same_bits(*found)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_somewhere")
@counted(2, 60)
def test_a_gpu_gives_what_the_cpu_gives(count):
    @of_every(count, net=nets(most=5), optimizer=st.sampled_from(sorted(OPTIMIZERS)), loss=st.sampled_from(LOSSES))
    def check(net, optimizer, loss):
        found = []
        for where in ("cpu", "cuda"):
            model = begun(net, optimizer, loss, "float64").to(where)
            found.append(fitted(model, net, epochs=1))
        near(*found, rounding=1e-7)
