"""What has no result is refused before anything runs: complex numbers, no channels, the mean of nothing, no weights."""

import warnings

import numpy as np
import pytest
from loads import X, Y, bits, net

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, models

COMPLEX = np.ones((2, 3), np.complex64)

TAKEN = {  # where complex numbers could come in
    "tensor": lambda: ac.tensor(COMPLEX),
    "tensor of a list": lambda: ac.tensor([1j]),
    "tensor's dtype": lambda: ac.tensor([1.0], dtype="complex64"),
    "Tensor": lambda: ac.Tensor(COMPLEX),
    "Variable": lambda: ac.Variable(COMPLEX),
    "from_dlpack": lambda: ac.from_dlpack(COMPLEX),
    "a function": lambda: F.relu(COMPLEX),
    "a function's weights": lambda: F.dense(np.ones((2, 3), np.float32), np.ones((3, 2), complex)),
    "targets": lambda: F.mean_squared_error(COMPLEX, np.ones((2, 3), np.float32)),
    "a layer": lambda: layers.Dense(3)(COMPLEX),
    "a number beside a tensor": lambda: ac.tensor([1.0]) * 1j,
    "an array beside a tensor": lambda: ac.tensor([1.0, 2.0, 3.0]) + COMPLEX,
    "a comparison": lambda: ac.tensor([1.0]) < COMPLEX,
    "a gradient": lambda: ac.tensor([1.0], requires_grad=True).sum().backward(np.array(1j)),
    "a weight": lambda: ac.Variable(np.ones((2, 3))).assign(COMPLEX),
    "an initializer": lambda: layers.Dense(3, kernel_initializer=lambda shape, dtype: 1j * np.ones(shape))(X[:, 0, 0]),
    "set_weights": lambda: (m := net()).set_weights([w.astype(complex) for w in m.get_weights()]),
    "predict": lambda: net().predict(X.astype(complex), verbose=0),
    "predict_on_batch": lambda: net().predict_on_batch(X.astype(complex)),
    "fit": lambda: net().fit(X.astype(complex), Y, verbose=0),
    "fit's targets": lambda: net().fit(X, Y.astype(complex), verbose=0),
    "sample weights": lambda: net().train_on_batch(X, Y, Y.astype(complex)),
}


@pytest.mark.parametrize("where", TAKEN)
def test_complex_numbers_are_refused(where):
    with pytest.raises(TypeError, match=r"(only real|an array of) numbers\. Received.*complex"):
        TAKEN[where]()


@pytest.mark.parametrize("array", [np.array(["1"]), np.array([None]), np.array([1], "M8[s]")])
def test_what_is_no_number_is_refused(array):
    with pytest.raises(TypeError, match=f"only real numbers. Received: dtype {array.dtype}".replace("[", r"\[")):
        ac.tensor(array)


@pytest.mark.parametrize("run", [
    lambda: layers.Dense(3)(np.zeros((2, 0), np.float32)),
    lambda: layers.Dense(3)(np.zeros((2, 4, 0), np.float32)),
    lambda: layers.Dense(3).build((None, 0)),
    lambda: layers.Conv2D(3, 1)(np.zeros((2, 4, 4, 0), np.float32)),
    lambda: F.dense(np.zeros((2, 0), np.float32), np.zeros((0, 3), np.float32)),
])
def test_a_sum_over_no_channels_is_refused(run):
    with pytest.raises(ValueError, match=r"with at least one channel\. Received"):
        run()


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 3), (2, 0, 4, 3)])
def test_batch_normalization_of_no_items_is_refused_in_training(shape):
    layer, x = layers.BatchNormalization(), np.zeros(shape, np.float32)
    assert layer(x).shape == shape
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"batch_norm in training needs the mean of the batch.*Received: x of shape"):
        layer(x, training=True)
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), before))


@pytest.mark.parametrize("train", [lambda m: m.train_on_batch(X, Y), lambda m: m.fit(X, Y, verbose=0)],
                         ids=["train_on_batch", "fit"])
@pytest.mark.parametrize("trained_before", [False, True])
def test_a_frozen_model_says_that_nothing_is_trained(train, trained_before):
    model = net()
    if trained_before:
        train(model)
    model.trainable = False
    before, steps = bits(model), int(model.optimizer.iterations)
    with pytest.warns(UserWarning, match="no trainable weights, so nothing is trained"):
        train(model)
    assert (bits(model), model.optimizer.iterations) == (before, steps)
    model.trainable = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model)
    assert bits(model) != before


def test_a_model_of_which_a_part_was_frozen_before_training_says_what_to_do():
    model = net()
    model.layers[0].trainable = False
    model.train_on_batch(X, Y)
    model.layers[0].trainable = True
    with pytest.raises(ValueError, match=r"`trainable` was changed\. .*Create a new .*call compile\(\) again"):
        model.train_on_batch(X, Y)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(X, Y)


def test_the_same_model_is_the_same_file(tmp_path):
    model = net()
    model.class_names = tuple("äbcde")
    files = set()
    for _ in range(12):
        model.save(tmp_path / "net.safetensors")
        files.add((tmp_path / "net.safetensors").read_bytes())
    assert len(files) == 1
    assert bits(models.load_model(tmp_path / "net.safetensors")) == bits(model)
