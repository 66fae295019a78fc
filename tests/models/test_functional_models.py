"""`Model(inputs, outputs)`: graphs of layers, in Keras's words; and what is said of graphs that cannot be."""

import copy
import os
import pickle
import weakref

import numpy as np
import pytest

import autoconv as ac
from autoconv import Input, Model, layers, losses, models
from autoconv import functional as F
from autoconv.layers import parts

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def residual_block(of):
    """The same lines for autoconv and for Keras: `of` has layers and Model."""
    layers = of.layers
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    shared = layers.Dense(4, name="shared")
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Concatenate()([shared(x), shared(y)]) * 2.0 + 1.0
    x = layers.GlobalAveragePooling2D(name="a_rather_long_name_of_a_pooling_layer")(x)
    return of.Model(inputs, [layers.Dense(3)(x), x])


SUMMARY = """\
Model: "functional"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ Layer (type)                  ┃ Output Shape              ┃         Param # ┃ Connected to               ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
│ input_layer (InputLayer)      │ (None, 8, 8, 3)           │               0 │ -                          │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ conv2d (Conv2D)               │ (None, 8, 8, 4)           │             112 │ input_layer[0][0]          │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ conv2d_1 (Conv2D)             │ (None, 8, 8, 4)           │             148 │ conv2d[0][0]               │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ batch_normalization           │ (None, 8, 8, 4)           │              16 │ conv2d_1[0][0]             │
│ (BatchNormalization)          │                           │                 │                            │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ add (Add)                     │ (None, 8, 8, 4)           │               0 │ conv2d[0][0],              │
│                               │                           │                 │ batch_normalization[0][0]  │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ re_lu (ReLU)                  │ (None, 8, 8, 4)           │               0 │ add[0][0]                  │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ shared (Dense)                │ (None, 8, 8, 4)           │              20 │ re_lu[0][0],               │
│                               │                           │                 │ batch_normalization[0][0]  │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ concatenate (Concatenate)     │ (None, 8, 8, 8)           │               0 │ shared[0][0], shared[1][0] │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ multiply (Multiply)           │ (None, 8, 8, 8)           │               0 │ concatenate[0][0]          │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ add_1 (Add)                   │ (None, 8, 8, 8)           │               0 │ multiply[0][0]             │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ a_rather_long_name_of_a_pool… │ (None, 8)                 │               0 │ add_1[0][0]                │
│ (GlobalAveragePooling2D)      │                           │                 │                            │
├───────────────────────────────┼───────────────────────────┼─────────────────┼────────────────────────────┤
│ dense (Dense)                 │ (None, 3)                 │              27 │ a_rather_long_name_of_a_p… │
└───────────────────────────────┴───────────────────────────┴─────────────────┴────────────────────────────┘
 Total params: 323 (1.26 KB)
 Trainable params: 315 (1.23 KB)
 Non-trainable params: 8 (32.00 B)"""


@pytest.fixture(autouse=True)
def _names_start_anew(monkeypatch):
    monkeypatch.setattr(parts, "_name_counts", parts.Counter())
    monkeypatch.setenv("COLUMNS", "200")


def test_the_summary_says_what_is_connected_to_what():
    texts = []
    residual_block(ac).summary(print_fn=texts.append)
    assert texts == [SUMMARY]


def test_keras_has_the_same_summary_layers_and_names():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except Exception:  # without a back end of its own it raises whatever that raises
        pytest.skip("needs Keras and a back end")
    keras.utils.clear_session()
    theirs, ours, texts = residual_block(keras), residual_block(ac), []
    for length in (None, 90, 133):
        theirs.summary(print_fn=texts.append, line_length=length)
        ours.summary(print_fn=texts.append, line_length=length)
    assert [text.rstrip() for text in texts[::2]] == texts[1::2]
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert (ours.name, ours.output_names) == (theirs.name, theirs.output_names)
    assert (ours.input_shape, ours.output_shape) == (theirs.input_shape, theirs.output_shape)
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    x = images(4, 8, 8, 3)
    ours.set_weights(theirs.get_weights())
    for a, b in zip(ours(x), theirs(x)):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), atol=1e-5)


def test_a_chain_has_the_summary_of_a_chain():
    x = Input((4,))
    texts = []
    Model(x, layers.Dense(2)(layers.Dense(3)(x))).summary(print_fn=texts.append)
    assert "Connected to" not in texts[0]
    assert "input_layer (InputLayer)" in texts[0]


# What a layer does with a symbolic tensor.


def test_a_layer_on_a_symbolic_tensor_is_built_checked_and_computes_nothing():
    class Counts(layers.Layer):
        calls = 0

        def call(self, x):
            Counts.calls += 1
            return x * 2

        def compute_output_shape(self, input_shape):
            return input_shape

    layer = Counts()
    y = layer(Input((5,)))
    assert (y.shape, y.dtype, Counts.calls, layer.built) == ((None, 5), "float32", 0, True)
    conv = layers.Conv2D(4, 3)
    assert conv(Input((None, 8, 3))).shape == (None, None, 6, 4)
    assert conv.kernel.shape == (3, 3, 3, 4)
    with pytest.raises(ValueError, match="to have value 3"):
        conv(Input((8, 8, 2)))


def test_layer_input_and_output():
    x, layer = Input((5,), name="features"), layers.Dense(3)
    with pytest.raises(AttributeError, match=r"'dense' has never been called .* no defined output"):
        _ = layer.output
    y = layer(x)
    assert layer.input is x
    assert layer.output is y
    layer(Input((5,)))
    assert layer.output is y  # of its first call
    add = layers.Add()
    total = add([x, x])
    assert add.input == [x, x]
    assert add.output is total


def test_a_symbolic_tensor_has_no_values():
    x = Input((5,))
    for use in (np.asarray, bool, float, int, list, len, lambda x: x.numpy()):
        with pytest.raises(TypeError, match="is symbolic: it has a shape and a dtype, but no values"):
            use(x)
    assert layers.Add()([x, np.ones((2, 5))]).shape == (2, 5)  # an array is a constant beside it, as in Keras


@pytest.mark.parametrize(("expression", "shape"), [
    (lambda x: 2 - x / 4 + 3 * x, (None, 6, 6, 2)), (lambda x: 1 / (x * x + 1.0), (None, 6, 6, 2)),
    (lambda x: np.array([1.0, 2.0], "float32") * x - x, (None, 6, 6, 2)), (lambda x: -x ** 2, (None, 6, 6, 2)),
    (lambda x: x[:, 1:, ::2], (None, 5, 3, 2)), (lambda x: x[..., 0], (None, 6, 6)),
    (lambda x: x.reshape(-1, 72), (None, 72)), (lambda x: x.mean((1, 2)), (None, 2)),
    (lambda x: x.max(axis=3, keepdims=True), (None, 6, 6, 1)), (lambda x: x.transpose(0, 2, 1, 3), (None, 6, 6, 2)),
    (lambda x: x @ np.ones((2, 5), "float32"), (None, 6, 6, 5)), (lambda x: x.exp().log(), (None, 6, 6, 2)),
    (lambda x: F.relu(x), (None, 6, 6, 2)), (lambda x: F.max_pool2d(x, 3, strides=1), (None, 4, 4, 2)),
    (lambda x: F.flatten(x), (None, 72)), (lambda x: F.concatenate([x, x[..., :1]], axis=-1), (None, 6, 6, 3)),
    (lambda x: F.maximum(x, 0.5), (None, 6, 6, 2)), (lambda x: F.where(x > 0, x, 0.1 * x), (None, 6, 6, 2)),
    (lambda x: F.clip(abs(x), 0.1, 0.9), (None, 6, 6, 2)), (lambda x: F.split(x, 2, axis=-1)[1], (None, 6, 6, 1)),
    (lambda x: F.stack([x, x], axis=1), (None, 2, 6, 6, 2)), (lambda x: F.softmax(x, axis=1), (None, 6, 6, 2)),
])
def test_arithmetic_and_functions_on_symbolic_tensors_are_those_on_tensors(expression, shape, tmp_path):
    x = Input((6, 6, 2))
    model, array = Model(x, expression(x)), images(3, 6, 6, 2)
    assert model.output_shape == shape
    assert model.outputs[0].shape == shape
    expected = expression(ac.tensor(array)).numpy()
    np.testing.assert_array_equal(model(array).numpy(), expected)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(models.load_model(tmp_path / "model.safetensors")(array).numpy(), expected)


@pytest.mark.parametrize(("merge", "function", "expected"), [
    (layers.Add, layers.add, lambda a, b: a + b), (layers.Subtract, layers.subtract, lambda a, b: a - b),
    (layers.Multiply, layers.multiply, lambda a, b: a * b), (layers.Average, layers.average, lambda a, b: (a + b) / 2),
    (layers.Maximum, layers.maximum, np.maximum), (layers.Minimum, layers.minimum, np.minimum),
])
def test_the_merges(merge, function, expected):
    a, b = images(3, 4, 5), images(3, 1, 5)
    np.testing.assert_allclose(merge()([a, b]).numpy(), expected(a, b), rtol=1e-6)
    x, y = Input((4, 5)), Input((1, 5))
    model = Model([x, y], function([x, y], name="merged"))
    assert model.output_names == ["merged"]
    np.testing.assert_allclose(model([a, b]).numpy(), expected(a, b), rtol=1e-6)
    flat = images(3, 5)
    np.testing.assert_allclose(merge()([a, flat]).numpy(), expected(a, flat[:, None]), rtol=1e-6)  # as Keras


def test_concatenate_along_any_axis():
    a, b = images(2, 3, 4), images(2, 3, 1)
    assert (layers.Concatenate()([a, b]).numpy() == np.concatenate([a, b], -1)).all()
    assert layers.concatenate([Input((3, 4)), Input((None, 4))], axis=1).shape == (None, None, 4)
    assert layers.Concatenate(axis=1).compute_output_shape([(None, 3, 4), (None, 2, 4)]) == (None, 5, 4)
    assert (layers.Concatenate(axis=0)([a, a[:1]]).numpy() == np.concatenate([a, a[:1]])).all()
    with pytest.raises(ValueError, match="axis must be an integer"):
        layers.Concatenate(axis="channels")


# Models.


def two_by_two():
    """Two inputs, two outputs, by name."""
    a, b = Input((4,), name="a"), Input((3,), name="b")
    hidden = layers.Concatenate()([layers.Dense(5, "tanh", name="left")(a), b])
    outputs = {"kind": layers.Dense(2, "softmax", name="kind")(hidden), "size": layers.Dense(1, name="size")(hidden)}
    return Model({"a": a, "b": b}, outputs, name="pair")


def test_inputs_and_outputs_by_name():
    model, a, b = two_by_two(), images(6, 4), images(6, 3)
    found = model({"b": b, "a": a})
    assert {name: y.shape for name, y in found.items()} == {"kind": (6, 2), "size": (6, 1)}
    assert (model.input_names, model.output_names) == (["a", "b"], ["kind", "size"])
    assert [x.shape for x in model.inputs] == model.input_shape == [(None, 4), (None, 3)]
    assert [y.shape for y in model.outputs] == model.output_shape == [(None, 2), (None, 1)]
    again = model([a, b])
    assert (again["size"].numpy() == found["size"].numpy()).all()


def test_a_list_of_inputs_takes_a_dict_by_their_names_and_a_tuple_comes_back_as_one():
    a, b = Input((4,), name="a"), Input((4,), name="b")
    model = Model([a, b], (layers.Subtract()([a, b]), layers.Add()([a, b])))
    one, other = images(2, 4), images(2, 4)
    found = model({"b": other, "a": one})
    assert isinstance(found, tuple)
    assert (found[0].numpy() == one - other).all()


def test_one_layer_called_twice_has_its_weights_once_and_both_gradients():
    a, b, shared = Input((4,)), Input((4,)), layers.Dense(3, use_bias=False)
    model = Model([a, b], layers.Add()([shared(a), shared(b)]))
    assert len(model.weights) == 1
    assert model.count_params() == 12
    x, y = images(5, 4), images(5, 4)
    model([x, y]).sum().backward()
    np.testing.assert_allclose(shared.kernel.grad, np.tile((x + y).sum(0)[:, None], (1, 3)), rtol=1e-5)


def test_feature_maps_are_a_model_of_the_layers_outputs():
    for model in (residual_block(ac), models.Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"),
                                                         layers.MaxPooling2D(), layers.Flatten()])):
        maps, x = Model(model.inputs, [layer.output for layer in model.layers]), images(2, 8, 8, 3)
        found = maps(x)
        assert len(found) == len(model.layers)
        assert all(y.shape[1:] == layer.output.shape[1:] for y, layer in zip(found, model.layers))
        outputs = model(x)
        assert (found[-1].numpy() == (outputs[0] if isinstance(outputs, list) else outputs).numpy()).all()
        assert maps.weights == [] or maps.weights[0] is model.weights[0]


def test_a_convolution_whose_output_is_asked_for_is_not_fused_away():
    model = models.Sequential([Input((8, 8, 1)), layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D()])
    convolved, pooled = Model(model.inputs, [layer.output for layer in model.layers])(images(2, 8, 8, 1))
    assert (convolved.shape, pooled.shape) == ((2, 6, 6, 3), (2, 3, 3, 3))
    x = Input((8, 8, 1))
    y = layers.Conv2D(3, 3, activation="relu")(x)
    branching = Model(x, layers.Add()([layers.MaxPooling2D()(y), layers.MaxPooling2D()(y)]))
    assert branching(images(1, 8, 8, 1)).shape == (1, 3, 3, 3)


def test_the_first_layers_of_a_model_make_a_model():
    model, x = models.Sequential([Input((6,)), layers.Dense(4, "relu"), layers.Dense(3), layers.Dense(2)]), images(5, 6)
    first = models.Sequential(model.layers[:2])
    expected = model.layers[1](model.layers[0](x)).numpy()
    np.testing.assert_allclose(first(x).numpy(), expected, atol=1e-6)
    assert first.layers[0] is model.layers[0]
    model.layers[0].kernel.assign(model.layers[0].kernel.numpy() * 2)
    assert (first(x).numpy() != expected).any()


def test_a_model_outlives_the_chain_it_was_made_of(tmp_path):
    chain = models.Sequential([Input((4,)), layers.Dense(3), layers.Dense(2)])
    maps, x = Model(chain.inputs, [layer.output for layer in chain.layers]), images(2, 4)
    expected = [y.numpy() for y in maps(x)]
    chain.pop()
    chain.build((None, 4))
    maps.save(tmp_path / "m.safetensors")
    maps.summary(print_fn=[].append)
    for found in (maps(x), models.load_model(tmp_path / "m.safetensors")(x)):
        assert all((a.numpy() == b).all() for a, b in zip(found, expected))
    assert Model(chain.inputs, [layer.output for layer in chain.layers])(x).shape == (2, 3)


def test_a_model_may_begin_within_another():
    model, x = residual_block(ac), images(2, 8, 8, 3)
    first, second = model.get_layer("conv2d"), model.get_layer("dense")
    head, tail = Model(model.input, first.output), Model(first.output, second.output)
    np.testing.assert_allclose(tail(head(x)).numpy(), model(x)[0].numpy(), atol=1e-6)
    assert tail.layers[0].name == "conv2d_input"
    assert "conv2d/kernel" not in [name for name in tail.named_weights() if first.kernel is tail.named_weights()[name]]
    again = Model.from_config(tail.get_config())
    again.set_weights(tail.get_weights())
    np.testing.assert_allclose(again(head(x)).numpy(), tail(head(x)).numpy(), atol=1e-6)


def test_models_within_models_share_their_weights():
    encoder_input = Input((6,))
    encoder = Model(encoder_input, layers.Dense(3, "tanh")(encoder_input), name="encoder")
    left, right = Input((6,), name="left"), Input((6,), name="right")
    distance = layers.Subtract()([encoder(left), encoder(right)])
    model = Model([left, right], distance * distance)
    x = images(4, 6)
    assert (model([x, x]).numpy() == 0).all()
    assert len(model.weights) == 2
    assert list(model.named_weights()) == ["functional/dense/kernel", "functional/dense/bias"]
    assert model.get_layer("encoder") is encoder
    chain = models.Sequential([Input((6,)), encoder, layers.Dense(2)])
    assert (chain.output_shape, chain.weights[0] is encoder.weights[0]) == ((None, 2), True)
    encoder.trainable = False
    assert len(chain.trainable_weights) == 2


def test_a_model_of_several_outputs_within_another():
    inner = two_by_two()
    x = Input((4,), name="x")
    found = inner({"a": x, "b": x[:, :3]})
    model, array = Model(x, layers.Concatenate()([found["kind"], found["size"]])), images(3, 4)
    expected = inner([array, array[:, :3]])
    np.testing.assert_allclose(model(array).numpy()[:, :2], expected["kind"].numpy(), atol=1e-6)
    again = Model.from_config(model.get_config())
    assert again.get_config() == model.get_config()


def test_images_of_any_size():
    x = Input((None, None, 3))
    y = layers.Add()([layers.Conv2D(4, 3, padding="same")(x), layers.Conv2D(4, 1)(x)])
    model = Model(x, layers.GlobalAveragePooling2D()(y * 2))
    assert [model(images(2, n, n + 1, 3)).shape for n in (5, 9)] == [(2, 4), (2, 4)]
    assert model.compute_output_shape((7, 5, 5, 3)) == (7, 4)
    assert Model(x, y * 2).compute_output_shape((7, 5, 6, 3)) == (7, 5, 6, 4)


def test_a_value_is_let_go_after_the_last_layer_that_reads_it():
    seen, alive = [], []

    class Watches(layers.Layer):
        def call(self, x):
            alive.append([ref() is not None for ref in seen])
            seen.append(weakref.ref(x))
            return x * 1

        def compute_output_shape(self, input_shape):
            return input_shape

    a, b, c, d = (Watches() for _ in range(4))
    x = Input((3,))
    first = a(x * 1)
    second = b(first)
    model = Model(x, d(c(second) + first))
    with ac.no_grad():
        model(images(2, 3))
    assert alive == [[], [False], [False, True], [False, False, False]]


def test_training_reaches_the_layers_and_a_call_may_fix_it():
    x = Input((8,))
    model = Model(x, [layers.Dropout(0.5)(x), layers.Dropout(0.5)(x, training=False), layers.Dropout(0.5)(
        x, training=True)])
    ones = np.ones((4, 8), np.float32)
    for training, zeros in ((False, [False, False, True]), (True, [True, False, True])):
        assert [bool((y.numpy() == 0).any()) for y in model(ones, training=training)] == zeros


def test_float64_comes_from_the_input_or_the_first_layer():
    x = Input((4,))
    model = Model(x, layers.Dense(2, dtype="float64")(x))
    assert (model.dtype, model.inputs[0].dtype, model(np.ones((1, 4))).dtype) == ("float64", "float64", np.float64)
    assert layers.ReLU()(Input((4,), dtype="float64")).dtype == "float64"


def test_one_input_and_output_are_trained():
    ac.utils.set_random_seed(2)
    model, x = residual_block(ac), images(64, 8, 8, 3)
    y = np.arange(64) % 3
    x[..., 0] += y[:, None, None]
    model = Model(model.input, model.output[0])
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(x, y, 16, 12, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert model.evaluate(x, y, verbose=0)[0] < history["loss"][0]
    assert model.predict(x, verbose=0).shape == (64, 3)


def test_an_inception_block_trains():
    """Szegedy et al.: "Going deeper with convolutions", CVPR 2015, figure 2b."""
    x = inputs = Input((12, 12, 3))
    for _ in range(2):
        x = layers.Concatenate()([
            layers.Conv2D(4, 1, activation="relu")(x),
            layers.Conv2D(6, 3, padding="same", activation="relu")(layers.Conv2D(3, 1, activation="relu")(x)),
            layers.Conv2D(2, 5, padding="same", activation="relu")(layers.Conv2D(2, 1, activation="relu")(x)),
            layers.Conv2D(2, 1, activation="relu")(layers.MaxPooling2D(3, strides=1, padding="same")(x)),
        ])
        x = layers.MaxPooling2D()(x)
    model = Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(x)))
    assert model.get_layer("concatenate").output.shape == (None, 12, 12, 14)
    images_of = images(48, 12, 12, 3)
    labels = np.arange(48) % 2
    images_of[labels == 1] *= 0.3
    model.compile(ac.optim.Adam(0.01), "sparse_categorical_crossentropy")
    losses_seen = model.fit(images_of, labels, 16, 15, verbose=0).history["loss"]
    assert losses_seen[-1] < 0.5 * losses_seen[0]


def test_a_saved_model_comes_back(tmp_path):
    for model in (residual_block(ac), two_by_two()):
        given = [images(2, *x.shape[1:]) for x in model.inputs]
        model.save(tmp_path / "m.safetensors")
        again = models.load_model(tmp_path / "m.safetensors")
        assert type(again) is type(model) is models.Functional
        assert again.get_config() == model.get_config()
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        for a, b in zip(flat(model(given)), flat(again(given))):
            assert (a.numpy() == b.numpy()).all()
        again.load_weights(tmp_path / "m.safetensors")


def flat(found):
    return list(found.values()) if isinstance(found, dict) else found


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_a_model_of_its_own(duplicate):
    chain = models.Sequential([Input((8, 8, 3)), *(layers.Conv2D(2, 1) for _ in range(120)), layers.Flatten()])
    for model in (residual_block(ac), chain):
        x = images(2, 8, 8, 3)
        again = duplicate(model)
        before = [y.numpy() for y in flat_list(again(x))]
        assert all((a.numpy() == b).all() for a, b in zip(flat_list(model(x)), before))
        model.set_weights([w + 1 for w in model.get_weights()])
        assert all((a.numpy() == b).all() for a, b in zip(flat_list(again(x)), before))
        assert again.get_config() == model.get_config()


def flat_list(found):
    return found if isinstance(found, list) else [found]


def test_get_layer():
    model = two_by_two()
    assert model.get_layer("left").name == model.get_layer(index=model.layers.index(model.get_layer("left"))).name
    for arguments, message in (
        ({"name": "lefd"}, r"No such layer: 'lefd'. Existing layers are: \['a'"),
        ({"index": 9}, "at index 9 but model only has 6 layers"),
        ({}, "either a layer name or a layer index"), ({"name": "left", "index": 1}, "either a layer name or"),
    ):
        with pytest.raises(ValueError, match=message):
            model.get_layer(**arguments)


def test_moving_a_model_names_every_layer_of_it():
    model = two_by_two()
    assert model.to("cpu") is model
    assert {layer.device.name for layer in model._walk()} == {"cpu"}


# Classes of one's own.


class Branching(Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(units, "relu"), layers.Dense(units)

    def call(self, x, training=False):
        return self.left(x) * self.right(x)


def test_a_class_with_a_call_of_its_own_is_built_by_its_first_data():
    model, x = Branching(3), images(20, 5)
    assert not model.built
    with pytest.raises(ValueError, match=r"not known\. Call it on data"):
        _ = model.output_shape
    with pytest.raises(AttributeError, match="one with a call of its own has no graph"):
        _ = model.inputs
    model.compile("adam", "mse")
    history = model.fit(x, x[:, :3], epochs=2, verbose=0).history
    assert len(history["loss"]) == 2
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, 3))
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    assert next(iter(model.named_weights())) == "dense/kernel"
    texts = []
    model.summary(print_fn=texts.append, line_length=80)
    assert [line.split("│")[1:4] for line in texts[0].splitlines() if "dense (Dense)" in line] == [
        [" dense (Dense)                     ", " (None, 3)                ", "            18 "]]


def test_a_class_of_one_s_own_is_a_layer_and_is_saved_by_its_arguments(tmp_path):
    inner, x = Branching(3, name="inner"), Input((5,))
    model, array = Model(x, layers.Dense(2)(inner(x))), images(4, 5)
    assert model.output_shape == (None, 2)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Branching": Branching})
    assert (again(array).numpy() == model(array).numpy()).all()
    alone = Branching(3)
    alone.build((None, 5))
    alone.save(tmp_path / "alone.safetensors")
    again = models.load_model(tmp_path / "alone.safetensors", custom_objects={"Branching": Branching})
    assert (again(array).numpy() == alone(array).numpy()).all()


def test_a_class_may_pass_its_graph_on(tmp_path):
    class Net(Model):
        def __init__(self, units, **kwargs):
            x = Input((4,))
            super().__init__(x, layers.Dense(units)(x), **kwargs)

    model = Net(3, name="net")
    assert (type(model), model.output_shape, model.name) == (Net, (None, 3), "net")
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Net": Net})
    assert type(again) is Net
    assert (again(np.ones((2, 4))).numpy() == model(np.ones((2, 4))).numpy()).all()


def test_a_layer_of_several_inputs_gets_them_in_a_list():
    class Weighted(layers.Layer):
        def build(self, input_shape):
            self.factor = self.add_weight((len(input_shape), input_shape[0][-1]), "ones", name="factor")

        def call(self, inputs):
            a, b = inputs
            return a * self.factor[0] + b * self.factor[1]

    a, b = Input((4,)), Input((4,))
    layer = Weighted()
    model = Model([a, b], layer([a, b]))
    assert (layer.factor.shape, model.output_shape) == ((2, 4), (None, 4))
    assert (model([np.ones((2, 4)), np.ones((2, 4))]).numpy() == 2).all()


def test_a_model_without_a_call_says_so():
    class Empty(Model):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define call"):
        Empty()(np.ones((2, 3)))


# What cannot be.


def other_model():
    x = Input((4,), name="theirs")
    return Model(x, layers.Dense(2)(x))


X = Input((4,), name="x")
WRONG = {
    "an input that is missing": (lambda: Model(X, layers.Add()([X, Input((4,), name="forgotten")])), ValueError,
                                 r"Graph disconnected: output 0 \('add'\) is not connected to `inputs`.* 'forgotten'"),
    "another model's output": (lambda: Model(X, [layers.Dense(2)(X), other_model().output]), ValueError,
                               r"Graph disconnected: output 1 .*the input 'theirs'.*inputs are \['x'\]"),
    "no tensor": (lambda: Model(X, layers.Dense(2)), ValueError, "All `outputs` values must be symbolic tensors"),
    "an array": (lambda: Model(np.ones(3), X), ValueError, "All `inputs` values must be symbolic tensors"),
    "no outputs": (lambda: Model(X), TypeError, "needs both inputs and outputs"),
    "nothing": (lambda: Model([], []), ValueError, "`inputs` argument cannot be empty"),
    "one name twice": (lambda: Model(X, [layers.Dense(2, name="d")(X), layers.Dense(2, name="d")(X)]), ValueError,
                       'The name "d" is used 2 times'),
    "one input to a merge": (lambda: layers.Add()(X), ValueError, "should be called on a list of inputs"),
    "an empty list": (lambda: layers.Add()([]), ValueError, "list of"),
    "three to subtract": (lambda: layers.Subtract()([X, X, X]), ValueError, "exactly 2 inputs"),
    "two inputs to a layer of one": (lambda: layers.Dense(2)([X, X]), ValueError,
                                     r"\"dense\" expects 1 input\(s\), but it received 2 input tensors"),
    "arrays to a layer of one": (lambda: layers.Flatten()([np.ones((1, 2)), np.ones((1, 2))]), ValueError,
                                 r"\"flatten\" expects 1 input\(s\), but it received 2"),
    "shapes that do not add": (lambda: layers.Add()([X, Input((5,))]), ValueError,
                               r"'add' cannot merge .*incompatible shapes. Received shapes \(4,\) and \(5,\)"),
    "shapes that do not add up": (lambda: X + Input((5,)), ValueError, "incompatible shapes"),
    "batches that differ": (lambda: layers.Add()([np.ones((2, 3)), np.ones((3, 3))]), ValueError,
                            r"different batch sizes.*\[\(2, 3\), \(3, 3\)\]"),
    "shapes that do not concatenate": (lambda: layers.Concatenate()([Input((4, 2)), Input((5, 2))]), ValueError,
                                       "matching shapes except for the concatenation axis"),
    "ranks that do not concatenate": (lambda: layers.Concatenate()([X, Input((4, 2))]), ValueError, "of the same rank"),
    "an axis that is not there": (lambda: layers.Concatenate(axis=3)([X, X]), ValueError,
                                   "`axis` must be one of their axes"),
    "one input of two": (lambda: two_by_two()(np.ones((1, 4))), ValueError,
                         r"expects 2 input\(s\) \(a, b\), but it received 1 input tensors"),
    "three inputs of two": (lambda: two_by_two()([np.ones((1, 4))] * 3), ValueError, "but it received 3"),
    "a name that is missing": (lambda: two_by_two()({"a": np.ones((1, 4))}), ValueError,
                               r"Missing data for input 'b' of model 'pair'.*keys \['a'\]"),
    "a wrong shape": (lambda: two_by_two()([np.ones((1, 4)), np.ones((1, 5))]), ValueError,
                      r"'pair' needs input 'b' of shape \(None, 3\). Received shape \(1, 5\)"),
    "a wrong symbolic shape": (lambda: two_by_two()([X, X]), ValueError, r"input 'b' of shape \(None, 3\)"),
    "a parameter that would not learn": (lambda: F.dense(X, ac.Variable(np.ones((4, 2), "float32"))), TypeError,
                                         "would not be trained"),
    "an Input's name again": (lambda: models.Sequential([X, layers.Dense(2, name="x")]), ValueError, "different names"),
    "a tensor within a chain": (lambda: models.Sequential([layers.Dense(2)(X)]), ValueError, "can contain only layers"),
}


@pytest.mark.parametrize(("make", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused_when_it_is_built(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_model_that_would_be_its_own_layer_is_refused():
    inner = models.Sequential([layers.Dense(3)])
    outer = models.Sequential([inner])
    with pytest.raises(ValueError, match="cannot be a layer of itself"):
        inner.add(outer)


def test_a_config_with_a_cycle_is_refused():
    config = two_by_two().get_config()
    left = next(entry for entry in config["layers"] if entry["name"] == "left")
    left["inbound_nodes"][0]["args"] = [{"tensor": ["kind", 0, 0]}]
    with pytest.raises(ValueError, match=r"loops or disconnected nodes. .*\['concatenate', 'kind', 'left', 'size'\]"):
        Model.from_config(config)


@pytest.mark.parametrize("change", [
    lambda config: config["output_layers"]["dict"].update(kind={"tensor": ["kind", 7, 0]}),
    lambda config: config["output_layers"]["dict"].update(kind={"tensor": ["knid", 0, 0]}),
    lambda config: config["layers"][0].update(inbound_nodes=[{"args": [{"tensor": ["b", 9, 9]}], "kwargs": {}}]),
])
def test_a_config_that_names_what_is_not_there_is_refused(change):
    config = two_by_two().get_config()
    change(config)
    with pytest.raises(ValueError, match=r"Unknown layer|not among its nodes|disconnected nodes"):
        Model.from_config(config)


@pytest.mark.parametrize("value", [{}, None, "1", 1j, [None]])
def test_arithmetic_with_what_is_no_number_is_refused_when_it_is_written_down(value):
    with pytest.raises(TypeError, match="symbolic tensor must be a number, a numeric array or a tensor"):
        layers.Input((3,)) + value
