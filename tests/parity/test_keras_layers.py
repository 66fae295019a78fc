"""What Keras's layers do around the numbers: what they are asked, what they take, what they refuse."""

import copy
import json
import re
import warnings
from abc import ABCMeta

import numpy as np
import pytest
from keras_values import LAYER_FACTS, made, of_each

import autoconv as keras
from autoconv import activations, initializers, layers, losses, metrics, ops, regularizers
from autoconv.arguments import names

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Scaled(layers.Layer):
    """A weight, and an argument beside the input."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, x, factor=1.0):
        return x * self.scale * factor


class Sum(layers.Layer):
    def build(self, a_shape, b_shape):
        self.shapes = a_shape, b_shape

    def call(self, a, b):
        return a + b


class TestCalls:
    def test_arguments_of_ones_own_go_by_name(self):
        x, layer = numbers(2, 3), Scaled()
        np.testing.assert_allclose(layer(x, factor=3.0).numpy(), 3 * x, rtol=1e-6)
        with pytest.raises(ValueError, match="should be passed as a keyword argument"):
            layer(x, 2.0)
        with pytest.raises(TypeError, match="unexpected keyword"):
            layer(x, size=2.0)

    @pytest.mark.parametrize("call", [
        lambda layer, a, b: layer(a, b), lambda layer, a, b: layer(a, b=b), lambda layer, a, b: layer(a=a, b=b)])
    def test_several_tensors(self, call):
        a, b, layer = numbers(2, 3), numbers(2, 3), Sum()
        np.testing.assert_array_equal(call(layer, a, b).numpy(), a + b)
        assert layer.shapes == ((2, 3), (2, 3))
        again = Sum()
        again.build_from_config(layer.get_build_config())
        assert again.built
        assert again.shapes == layer.shapes

    def test_it_is_built_for_the_shape_of_the_first_call(self):
        layer, scaled = layers.Dense(4), Scaled()
        layer(numbers(2, 3))
        scaled.compute_output_shape((None, 3))
        assert layer.get_build_config() == {"input_shape": (2, 3)}
        assert scaled.get_build_config() == {"input_shape": (None, 3)}
        assert layer(numbers(5, 3)).shape == (5, 4)

    def test_several_symbolic_tensors_make_a_model(self):
        a, b = keras.Input((3,)), keras.Input((3,))
        model = keras.Model([a, b], Sum()(a, b))
        x, y = numbers(4, 3), numbers(4, 3)
        np.testing.assert_array_equal(model.predict([x, y], verbose=0), x + y)

    def test_the_input_has_kerass_name(self):
        x = numbers(2, 3)
        assert layers.Dense(4)(inputs=x).shape == (2, 4)
        np.testing.assert_array_equal(layers.Dropout(0.5)(inputs=x).numpy(), x)

    @pytest.mark.parametrize("x", ["text", None])
    def test_what_is_no_tensor_is_refused(self, x):
        with pytest.raises(ValueError, match="should be tensors"):
            layers.Dense(3)(x)

    def test_a_mask_of_softmax(self):
        x, mask = numbers(2, 3), np.array([[True, False, True], [True, True, True]])
        y = layers.Softmax()(x, mask=mask).numpy()
        expected = np.exp(x) * mask
        np.testing.assert_allclose(y, expected / expected.sum(1, keepdims=True), rtol=1e-5)

    def test_a_single_picture(self):
        picture = numbers(6, 5, 1)
        assert layers.Resizing(2, 3)(picture).shape == (2, 3, 1)
        assert layers.CenterCrop(2, 2)(picture).shape == (2, 2, 1)
        np.testing.assert_array_equal(layers.RandomFlip()(picture, training=False).numpy(), picture)
        assert layers.RandomRotation(0.1)(picture, training=True).shape == picture.shape
        assert layers.Resizing(2, 3)(inputs=picture[None]).shape == (1, 2, 3, 1)
        with pytest.raises(ValueError, match="needs images of shape"):
            layers.Resizing(2, 3)(picture[0])


class TestSymbolic:
    def test_a_tensor_of_no_layer(self):
        x = keras.KerasTensor((None, 4), name="x")
        assert (x.shape, x.dtype, x.ndim, x.name) == ((None, 4), "float32", 2, "x")
        assert layers.Dense(3)(x).shape == (None, 3)
        with pytest.raises(ValueError, match="shape"):
            keras.KerasTensor(3)
        for error in (TypeError, ValueError):  # Keras's for __bool__ and for NumPy
            with pytest.raises(error, match="symbolic"):
                np.asarray(x)

    def test_a_model_may_begin_with_one(self):
        x = keras.KerasTensor((None, 4))
        model = keras.Model(x, layers.Dense(3)(x))
        assert model.predict(numbers(2, 4), verbose=0).shape == (2, 3)
        with pytest.raises(ValueError, match="disconnected"):
            keras.Model(keras.Input((4,)), layers.Dense(3)(x))

    @pytest.mark.parametrize(("layer", "shape", "expected"), [
        (layers.Dense(3), (None, 4), (None, 3)), (layers.Conv2D(3, 2), (2, 5, 5, 1), (2, 4, 4, 3)),
        (layers.Flatten(), (None, 3, 4), (None, 12)), (layers.MaxPooling2D(), (None, 4, 4, 2), (None, 2, 2, 2))])
    def test_a_spec_of_the_result_adds_nothing_to_the_graph(self, layer, shape, expected):
        assert layer.compute_output_spec(keras.KerasTensor(shape)).shape == expected
        assert not layer._nodes

    def test_functions_and_arrays_beside_symbolic_tensors(self):
        x, unknown = keras.KerasTensor((2, 3)), keras.KerasTensor((None, 3))
        assert ops.add(numbers(2, 3), x).shape == (2, 3)
        assert ops.maximum(unknown, x).shape == (2, 3)
        assert ops.less(unknown, x).dtype == "bool"
        assert ops.logsumexp(unknown, axis=-1).shape == (None,)

    def test_an_input_of_known_batch_and_of_integers(self):
        assert keras.Input(batch_shape=(2, 3)).shape == keras.Input((3,), batch_size=2).shape == (2, 3)
        with pytest.raises(ValueError, match="both"):
            keras.Input((3,), batch_shape=(2, 3))
        x = keras.Input((2, 2, 1), dtype="uint8")
        assert x.dtype == "uint8"
        model = keras.Model(x, layers.Rescaling(1 / 255)(x))
        pixels = np.array([0, 51, 102, 255], np.uint8).reshape(1, 2, 2, 1)
        np.testing.assert_allclose(model.predict(pixels, verbose=0), pixels / 255, rtol=1e-6)
        config = model.layers[0].get_config()
        assert (config["batch_shape"], config["dtype"]) == ((None, 2, 2, 1), "uint8")


class TestSpecs:
    @pytest.mark.parametrize(("spec", "fits", "message"), [
        ({"ndim": 2}, (2, 3), "expected ndim=2, found ndim=3"), ({"min_ndim": 3}, None, "expected min_ndim=3"),
        ({"max_ndim": 1}, None, "expected max_ndim=1"), ({"shape": (None, 5)}, (2, 5), "expected shape"),
        ({"min_ndim": 2, "axes": {-1: 5}}, (2, 5), "expected axis -1 of input shape to have value 5")])
    def test_a_layer_of_ones_own_says_what_it_takes(self, spec, fits, message):
        class Own(layers.Layer):
            def __init__(self):
                super().__init__()
                self.input_spec = layers.InputSpec(**spec)

            def call(self, x):
                return x

        if fits:
            assert Own()(numbers(*fits)).shape == fits
        with pytest.raises(ValueError, match=message):
            Own()(numbers(2, 3, 4) if "ndim" in spec and spec["ndim"] == 2 else numbers(2, 3))

    def test_an_axis_that_no_input_has(self):
        with pytest.raises(ValueError, match=r"must be in the range \[-2, 1\]\. Received: axes=\{3: 1\}"):
            keras.InputSpec(ndim=2, axes={3: 1})


class TestInputShapes:
    @pytest.mark.parametrize(("make", "remedy"), [
        (lambda: layers.Dense(2, input_shape=(784)), r"Received: input_shape=784. Write a comma .*: \(784,\)"),
        (lambda: layers.Flatten(input_shape=28), r"Received: input_shape=28. Write a comma .*: \(28,\)"),
        (lambda: layers.Dense(2, input_shape="784"), "must be a tuple of sizes"),
        (lambda: keras.Input(784), r"Received: shape=784. Write a comma .*: \(784,\)")])
    def test_a_number_is_no_shape(self, make, remedy):
        with pytest.raises(ValueError, match=remedy):
            make()

    @pytest.mark.parametrize("name", ["input_shape", "batch_input_shape"])
    def test_of_an_input_under_older_names(self, name):
        shape = (4, 3) if name == "batch_input_shape" else (3,)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            layer = layers.InputLayer(**{name: shape})
        assert [str(each.message) for each in given] == (
            ["Argument `input_shape` is deprecated. Use `shape` instead."] if name == "input_shape" else [])
        assert layer.batch_shape == ((4, 3) if name == "batch_input_shape" else (None, 3))
        assert keras.Sequential([layer, layers.Dense(2)]).output_shape == (layer.batch_shape[0], 2)


class TestDtypes:
    def test_under_all_names(self):
        layer = layers.Dense(3, dtype="float64")
        assert {layer.dtype, layer.compute_dtype, layer.variable_dtype} == {"float64"}
        policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float64"}}
        for dtype in (policy, np.float64):
            assert layers.Dense(3, dtype=dtype).dtype == "float64"

    @pytest.mark.parametrize("dtype", ["mixed_float16", "float16", "bfloat16"])
    def test_mixed_precision_is_refused_by_name(self, dtype):
        with pytest.raises(ValueError, match="without mixed precision or quantization"):
            layers.Dense(3, dtype=dtype)
        with pytest.raises(AttributeError, match="quantized"):
            layers.Dense(3).quantize("int8")

    def test_inputs_may_stay_as_they_are(self):
        class Seen(layers.Layer):
            def build(self, input_shape):
                self.w = self.add_weight(shape=(), initializer="ones")

            def call(self, x):
                self.dtype_seen = x.dtype
                return x

        for autocast, expected in ((True, "float32"), (False, "float64")):
            layer = Seen(autocast=autocast)
            layer(np.ones((2, 3)))
            assert layer.dtype_seen == expected


class TestVariables:
    def test_made_of_values_and_of_initializers(self):
        v = keras.Variable([1.0, 2.0], name="v")
        assert (v.name, v.path, v.shape, v.dtype, v.ndim, v.trainable) == ("v", "v", (2,), "float32", 1, True)
        np.testing.assert_array_equal(keras.Variable("ones", shape=(2, 3)).numpy(), np.ones((2, 3)))
        assert keras.Variable([1, 2]).dtype == "int32"
        with pytest.raises(ValueError, match="`shape` argument should be specified"):
            keras.Variable("ones")
        with pytest.raises(ValueError, match="fully-defined"):
            keras.Variable("ones", shape=(None, 2))

    def test_weights_are_variables_under_their_layers_path(self):
        class Outer(layers.Layer):
            def __init__(self, **options):
                super().__init__(**options)
                self.inner = [layers.Dense(2), {"b": layers.Dense(2)}]
                self.own = keras.Variable(np.ones(2), trainable=False, name="own")

            def call(self, x):
                return self.inner[1]["b"](self.inner[0](x))

        keras.utils.clear_session()
        outer = Outer(name="outer")
        outer(numbers(2, 3))
        assert outer.path == "outer"
        paths = [w.path for w in outer.weights]
        assert paths == ["own", "outer/dense/kernel", "outer/dense/bias", "outer/dense_1/kernel", "outer/dense_1/bias"]
        assert all(isinstance(w, keras.Variable) for w in outer.weights)

    def test_one_weight_may_be_frozen(self):
        layer = layers.Dense(3)
        layer.build((None, 4))
        layer.kernel.trainable = False
        assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (1, 1)
        assert [w.name for w in layer.weights] == ["kernel", "bias"]
        layer.trainable = False
        assert not layer.bias.trainable
        layer.trainable = True
        assert layer.kernel.trainable
        assert layer.bias.trainable
        with pytest.raises(ValueError, match="boolean"):
            layers.Dense(3, trainable="yes")

    def test_weights_of_integers_and_of_values(self):
        layer = layers.Layer()
        count = layer.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="count")
        assert count.dtype == "int32"
        np.testing.assert_array_equal(layer.add_weight(shape=(2,), initializer=np.ones(2)).numpy(), 1)
        for shape in (3, (None, 2)):
            with pytest.raises(ValueError, match="shape"):
                layer.add_weight(shape=shape)

    def test_a_copy_keeps_what_it_is(self):
        again = copy.deepcopy(keras.Variable([1.0, 2.0], name="v"))
        assert isinstance(again, keras.Variable)
        np.testing.assert_array_equal(again.numpy(), [1, 2])


class TestStates:
    def test_a_call_with_values_from_outside(self):
        layer = layers.BatchNormalization()
        layer.build((None, 3))
        x = numbers(50, 3)
        y, after = layer.stateless_call([np.full(3, 2.0), np.ones(3)], [np.zeros(3), np.ones(3)], x, training=True)
        np.testing.assert_allclose(y.numpy(), 2 * (x - x.mean(0)) / x.std(0) + 1, atol=0.02)
        np.testing.assert_allclose(after[0].numpy(), 0.01 * x.mean(0), rtol=1e-4)
        np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)
        np.testing.assert_array_equal(layer.gamma.numpy(), 1)
        with pytest.raises(ValueError, match="corresponding 1:1"):
            layer.stateless_call([], [], x)
        with pytest.raises(ValueError, match="must be built"):
            layers.Dense(3).stateless_call([], [], x)

    def test_losses_of_such_a_call(self):
        layer = layers.Dense(2, kernel_regularizer=regularizers.L2(0.5))
        layer.build((None, 3))
        _, _, losses = layer.stateless_call([np.ones((3, 2)), np.zeros(2)], [], numbers(4, 3), return_losses=True)
        assert float(losses[0]) == pytest.approx(3)

    def test_variables_by_number(self):
        layer, other, store = layers.Dense(2), layers.Dense(2), {}
        layer.build((None, 3))
        layer.save_own_variables(store)
        assert sorted(store) == ["0", "1"]
        with pytest.raises(ValueError, match="never built"):
            other.load_own_variables(store)
        other.build((None, 3))
        other.load_own_variables(store)
        np.testing.assert_array_equal(other.kernel.numpy(), layer.kernel.numpy())
        with pytest.raises(ValueError, match="expected 2 variables"):
            other.load_own_variables({})

    def test_random_numbers_have_a_state(self):
        layer = layers.Dropout(0.5, seed=3)
        assert layer.built
        assert [v.name for v in layer.non_trainable_variables] == ["seed_generator_state"]
        assert layer.weights == []
        before = layer.seed_generator.state.numpy()
        layer(numbers(2, 3), training=True)
        assert (layer.seed_generator.state.numpy() != before).any()
        assert not hasattr(layers.Dropout(0.0), "seed_generator")

    @pytest.mark.parametrize("draw", [
        lambda seed: keras.random.normal((4, 5), 1.0, 2.0, seed=seed),
        lambda seed: keras.random.uniform((4, 5), minval=1.0, maxval=3.0, seed=seed),
        lambda seed: keras.random.randint((4, 5), 0, 1000, seed=seed)])
    def test_numbers_by_a_seed(self, draw):
        np.testing.assert_array_equal(draw(3), draw(3))
        generator = keras.random.SeedGenerator(3)
        assert (draw(generator) != draw(generator)).any()
        assert (draw(None) != draw(None)).any()

    def test_integers_within_their_range(self):
        drawn = keras.random.randint((10000,), -2, 3, seed=1)
        assert drawn.dtype == "int32"
        assert sorted(set(drawn.tolist())) == [-2, -1, 0, 1, 2]
        assert np.bincount(drawn + 2).min() > 1800
        with pytest.raises(ValueError, match="maxval"):
            keras.random.randint((3,), 2, 2)

    def test_metrics_within(self):
        class Watched(layers.Layer):
            def __init__(self):
                super().__init__()
                self.mean = keras.metrics.Mean()

            def call(self, x):
                self.mean.update_state(x)
                return x

        layer = Watched()
        layer(np.ones((2, 3)))
        assert layer.metrics == [layer.mean]
        assert layer.metrics_variables == layer.mean.variables
        assert layer.weights == []


class TestNormalization:
    @pytest.mark.parametrize("axis", [1, 2, -2])
    def test_batches_along_any_axis(self, axis):
        x = numbers(20, 3, 4, 5)
        layer = layers.BatchNormalization(axis=axis)
        others = tuple(i for i in range(4) if i != axis % 4)
        expected = (x - x.mean(others, keepdims=True)) / np.sqrt(x.var(others, keepdims=True) + 1e-3)
        np.testing.assert_allclose(layer(x, training=True).numpy(), expected, atol=1e-4)
        assert layer.gamma.shape == (x.shape[axis],)
        with pytest.raises(ValueError, match=f"expected axis {axis} of input shape"):
            layer(numbers(2, 7, 7, 7))

    def test_a_mask_says_what_counts(self):
        x, mask = numbers(6, 3), np.array([True, True, False, True, True, False])
        layer = layers.BatchNormalization(momentum=0.0)
        y = layer(x, training=True, mask=mask).numpy()
        mean, variance = x[mask].mean(0), x[mask].var(0)
        np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3), atol=1e-4)
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, atol=1e-5)
        np.testing.assert_allclose(layer(x, mask=mask).numpy(), layer(x).numpy())

    def test_groups_along_any_axis(self):
        x = numbers(2, 4, 3)
        expected = layers.GroupNormalization(2)(x.transpose(0, 2, 1)).numpy().transpose(0, 2, 1)
        np.testing.assert_array_equal(layers.GroupNormalization(2, axis=1)(x).numpy(), expected)

    def test_a_net_with_other_axes_trains(self):
        model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(axis=1),
                                  layers.ReLU(), layers.Flatten(), layers.Dense(1)])
        model.compile("sgd", "mse")
        history = model.fit(numbers(16, 4, 4, 3), numbers(16, 1), epochs=3, verbose=0).history["loss"]
        assert history[-1] < history[0]


class TestPlainData:
    def test_of_kerass_form(self):
        config = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {
            "units": 3, "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"},
                                  "registered_name": None},
            "kernel_initializer": {"module": "keras.initializers", "class_name": "HeNormal", "config": {"seed": 3},
                                   "registered_name": None}}, "build_config": {"input_shape": [None, 4]}}
        layer = layers.deserialize(config)
        assert (layer.units, layer.kernel_initializer.seed, layer.built) == (3, 3, True)
        assert initializers.get(config["config"]["kernel_initializer"]).seed == 3

    def test_an_unknown_class(self):
        for error in (TypeError, ValueError):  # Keras raises the one, autoconv raised the other
            with pytest.raises(error, match="Nope"):
                layers.deserialize({"class_name": "Nope", "config": {}})

    @pytest.mark.parametrize("layer", [
        layers.Dense(3, activity_regularizer="l2", kernel_initializer="he_normal"), layers.PReLU(shared_axes=(1,)),
        layers.Conv2DTranspose(3, 2, strides=2, output_padding=1), layers.Dropout(0.5, noise_shape=(None, 1), seed=3),
        layers.LayerNormalization(axis=(1, 2)), layers.InputLayer((3,), batch_size=2), layers.Add(),
        layers.ActivityRegularization(0.1, 0.2)],
        ids=lambda layer: layer.name)
    def test_round_trip(self, layer):
        config = json.loads(json.dumps(layer.get_config()))
        again = type(layer).from_config(layer.get_config()).get_config()
        assert json.loads(json.dumps(again)) == config
        assert "input_dim" not in config

    def test_an_unknown_argument_is_both_errors(self):
        for error in (TypeError, ValueError):
            with pytest.raises(error, match="Unrecognized keyword arguments passed to Dense"):
                layers.Dense(3, size=3)


@pytest.mark.parametrize("make", [
    lambda: layers.LayerNormalization(axis="last"), lambda: layers.UnitNormalization(axis={"axis": 1}),
    lambda: layers.BatchNormalization(axis=(1, 2)), lambda: layers.Softmax(axis="last")])
def test_an_axis_of_another_type(make):
    with pytest.raises(TypeError, match="axis"):
        make()


class TestInitializers:
    @pytest.mark.parametrize("name", ["RandomNormal", "GlorotUniform", "HeNormal", "TruncatedNormal", "Orthogonal"])
    def test_seeds(self, name):
        with pytest.raises(ValueError, match="seed"):
            getattr(initializers, name)(seed="one")
        drawn = getattr(initializers, name)(seed=keras.random.SeedGenerator(3))
        assert (drawn((4, 4)) != drawn((4, 4))).any()
        assert getattr(initializers, name)(seed=3).clone().seed == 3

    def test_axes_of_a_scaling(self):
        kind = initializers.VarianceScaling(distribution="uniform", input_axes=[0], output_axes=[1], seed=1)
        assert np.abs(kind((3, 100, 50))).max() == pytest.approx(1, rel=1e-3)  # sqrt(3 / 3)
        assert initializers.VarianceScaling.from_config(kind.get_config()).input_axes == [0]
        assert initializers.VarianceScaling(distribution="normal").distribution == "truncated_normal"

    def test_random_integers_are_refused(self):
        with pytest.raises(ValueError, match="floating"):
            initializers.RandomNormal()((2,), dtype="int32")

    @pytest.mark.parametrize("what", ["initializer", "regularizer", "constraint"])
    def test_an_unknown_name(self, what):
        with pytest.raises(ValueError, match=f"Could not interpret {what} identifier: 'nope'"):
            layers.Dense(3, **{f"kernel_{what}": "nope"})


def test_functions_by_configuration():
    assert activations.deserialize("mine", custom_objects={"mine": activations.tanh}) is activations.tanh
    assert activations.get({"module": "builtins", "class_name": "function", "config": "relu",
                            "registered_name": "function"}) is activations.relu


def test_regularizers_take_arrays():
    for kind in (regularizers.L1(), regularizers.L2(), regularizers.OrthogonalRegularizer()):
        assert float(kind(np.ones((2, 2), np.float32))) > 0
    assert regularizers.l1_l2().get_config() == {"l1": 0.0, "l2": 0.0}


def test_a_slope_under_its_old_name():
    with pytest.warns(UserWarning, match="negative_slope"):
        assert layers.LeakyReLU(alpha=0.1).negative_slope == pytest.approx(0.1)
    with pytest.raises(ValueError, match="negative"):
        layers.LeakyReLU(-1)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.Conv2D(0, 2), "Expected a strictly positive value"),
    (lambda: layers.Conv2D(3, (1, 2, 3)), "argument must be a tuple of 2 integers"),
    (lambda: layers.Conv2D(3, 2, strides=2, dilation_rate=2), "not supported in conjunction with `dilation_rate > 1`"),
    (lambda: layers.Conv2DTranspose(3, 2, strides=2, dilation_rate=2), "not supported in conjunction"),
    (lambda: layers.Conv2D(3, 2, padding="nope"), "`padding` argument must be"),
    (lambda: layers.Conv2D(3, 2, groups=2), "evenly divisible by the number of groups"),
    (lambda: layers.Conv2D(3, 5)(np.zeros((1, 4, 4, 1))), "Computed output size would be zero or negative"),
    (lambda: layers.Dropout(1.5), "Invalid value received for argument `rate`"),
    (lambda: layers.Dropout(0.5, noise_shape=(0, 1)), "Expected all dimensions to be positive"),
    (lambda: layers.Cropping2D(-1), "`cropping` cannot be negative"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), "`padding` should have two elements"),
    (lambda: layers.Flatten(data_format="nope"), "`data_format` argument must be one of"),
    (lambda: layers.Reshape((-2,)), "must be a non-negative integer"),
    (lambda: layers.RepeatVector(0), "should be a positive integer"),
    (lambda: layers.Dense(3)(np.zeros((2, 3, 4))[:, 0, 0]), "incompatible with the layer|wants|last axis"),
])
def test_errors_say_what_kerass_say(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestConfigurations:
    @pytest.mark.parametrize(("layer", "expected"), [
        (layers.Dense(3), {"quantization_config": None}),
        (layers.Conv2D(3, 2), {"activity_regularizer": None}),
        (layers.SeparableConv2D(3, 2), {"activity_regularizer": None}),
        (layers.Conv2DTranspose(3, 2), {"activity_regularizer": None}),
        (layers.DepthwiseConv2D(2), {"activity_regularizer": None}),
        (layers.BatchNormalization(), {"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99}),
        (layers.InputLayer((3,)), {"sparse": False, "ragged": False, "optional": False})])
    def test_accept_what_keras_writes_besides(self, layer, expected):
        config = layer.get_config()
        assert type(layer).from_config({**config, **expected}).get_config() == config

    @pytest.mark.parametrize("base", [layers.Layer, losses.Loss, metrics.Metric])
    def test_a_class_of_ones_own_has_what_it_was_given(self, base):
        class Kept(base, metaclass=ABCMeta):
            def __init__(self, rate, **options):
                super().__init__(**options)
                self.rate = 1 - rate

        made = Kept(0.25)
        assert made.get_config()["rate"] == 0.25
        assert Kept.from_config(made.get_config()).rate == made.rate == 0.75
        made.rate = 0.5  # set since
        assert made.get_config()["rate"] == 0.5

    @pytest.mark.parametrize("layer", [layers.Flatten(), layers.Conv2D(3, 2), layers.RandomFlip(seed=1)])
    def test_channels_are_last(self, layer):
        assert layer.get_config()["data_format"] == layer.data_format == "channels_last"
        with pytest.raises(ValueError, match=r"np\.moveaxis"):
            layer.data_format = "channels_first"

    def test_what_a_layer_takes(self):
        assert layers.Permute((2, 1)).input_spec.ndim == 3
        slope = layers.PReLU(shared_axes=(1,))
        slope.build((2, 3, 4))
        assert (slope.input_spec.ndim, slope.input_spec.axes) == (3, {2: 4})
        with pytest.raises(ValueError, match="incompatible"):
            slope(numbers(2, 3, 5))

    def test_a_normalization_has_no_weights_yet(self):
        layer = layers.BatchNormalization()
        assert (layer.gamma, layer.beta) == (None, None)


class Told(layers.Layer):
    """Remembers what `training` was in its last call."""

    def call(self, x, training=None):
        self.told = training
        return x


class ToldByDefault(Told):
    def call(self, x, training=True):
        return super().call(x, training)


class Around(layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


class TestTraining:
    @pytest.mark.parametrize(("kind", "default"), [(Told, None), (ToldByDefault, True)])
    def test_a_call_by_itself_has_the_default(self, kind, default):
        x, layer, around = numbers(2, 3), kind(), Around(kind())
        layer(x)
        around(x)
        assert layer.told is around.inner.told is default
        around(x, training=not default)
        assert around.inner.told is not default
        model = keras.Sequential([layer])
        model.compile("sgd", "mse")
        model.predict(x, verbose=0)
        assert layer.told is False

    def test_a_dropout_drops_nothing_by_itself(self):
        x = numbers(2, 3)
        np.testing.assert_array_equal(Around(layers.Dropout(0.5))(x).numpy(), x)


@pytest.mark.parametrize("add", [
    lambda layer: layer.add_weight(shape=(2,), name="late"), lambda layer: setattr(layer, "late", layers.Dense(2)),
    lambda layer: setattr(layer, "late", keras.Variable(np.ones(2)))])
def test_a_built_layer_takes_no_new_state(add):
    layer = layers.Dense(3)
    layer.build((2, 4))
    with pytest.raises(ValueError, match="already built"):
        add(layer)
    assert len(layer.weights) == 2
    layer.kernel = keras.Variable(np.ones((4, 3)))  # in the place of one it has
    assert len(layer.weights) == 2


def test_a_layer_is_an_activation_of_another():
    x = numbers(2, 3)
    for layer in (layers.Activation(layers.ReLU()), layers.Dense(3, kernel_initializer="identity",
                                                                 activation=layers.ReLU())):
        np.testing.assert_allclose(layer(x).numpy(), np.maximum(x, 0), rtol=1e-6)
        layer.activation = layers.ReLU(max_value=1)
        np.testing.assert_allclose(layer(x).numpy(), np.clip(x, 0, 1), rtol=1e-6)


class TestIntegers:
    X = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)

    @pytest.mark.parametrize("dtype", ["int32", "uint8"])
    @pytest.mark.parametrize(("layer", "expected"), [
        (layers.Flatten, lambda x: x.reshape(2, -1)), (lambda **k: layers.Reshape((6, 4), **k),
                                                      lambda x: x.reshape(2, 6, 4)),
        (lambda **k: layers.Permute((3, 1, 2), **k), lambda x: x.transpose(0, 3, 1, 2)),
        (layers.Identity, lambda x: x), (layers.ActivityRegularization, lambda x: x),
        (lambda **k: layers.Cropping2D(1, **k), lambda x: x[:, 1:-1, 1:-1]),
        (layers.ZeroPadding2D, lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))),
        (layers.UpSampling2D, lambda x: x.repeat(2, 1).repeat(2, 2)),
        (layers.GlobalMaxPooling2D, lambda x: x.max((1, 2)))])
    def test_stay_what_they_are_where_items_only_move(self, layer, expected, dtype):
        x = self.X.astype(dtype)
        for y in (layer()(x), layer(dtype=dtype)(x)):
            assert y.dtype == dtype
            np.testing.assert_array_equal(y.numpy(), expected(x))
        assert layer(dtype="int32")(keras.Input((3, 4, 2), dtype=dtype)).dtype in ("int32", dtype)

    @pytest.mark.parametrize("kind", [layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum,
                                      layers.Concatenate])
    def test_merged_stay_integers_but_beside_floats(self, kind):
        x = self.X.astype("int32")
        assert kind()([x, x]).dtype == "int32"
        assert kind()([x, numbers(*x.shape)]).dtype == "float32"
        np.testing.assert_array_equal(kind()([x, x]).numpy(), kind()([x.astype("float32")] * 2).numpy())

    def test_of_a_symbolic_call(self):
        x = keras.Input((3, 4, 2), dtype="int32")
        assert layers.Flatten()(x).dtype == "int32"
        assert layers.ZeroPadding2D()(x).dtype == layers.Add()([x, x]).dtype == "float32"

    def test_are_floats_in_a_model(self):
        x = keras.Input((3, 4, 2), dtype="uint8")
        model = keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.ZeroPadding2D()(x))))
        model.compile("sgd", "mse")
        model.fit(self.X.astype("uint8"), np.ones((2, 2)), verbose=0)
        assert model.predict(self.X.astype("uint8"), verbose=0).dtype == np.float32

    def test_are_no_dtype_for_weights(self):
        with pytest.raises(ValueError, match="Unknown dtype"):
            layers.Dense(3, dtype="int32")


@pytest.mark.parametrize(("code", "shape"), LAYER_FACTS.items(), ids=LAYER_FACTS)
class TestEveryLayer:
    """What is asked of each layer alike. How many weights and losses it has is in keras_values.py."""

    def test_its_configuration_makes_an_equal_one(self, code, shape):
        layer = made(keras, code)
        config = layer.get_config()
        again = type(layer).from_config(json.loads(json.dumps(config)))
        plain = json.loads(json.dumps([config, again.get_config()]))
        assert plain[0] == plain[1]
        assert set(dir(layer)) == set(dir(again))
        assert layers.deserialize(layers.serialize(layer)).get_config() == config

    def test_its_name_is_that_of_its_class(self, code, shape):
        layer = made(keras, code)
        assert re.fullmatch(rf"{names.snake_case(type(layer).__name__)}(_\d+)?", layer.name)
        named = type(layer).from_config({**layer.get_config(), "name": "mine"})
        assert named.name == named(of_each(shape, lambda each: keras.Input(each[1:]))).name == "mine"

    def test_it_is_built_as_it_was(self, code, shape):
        layer, again = made(keras, code), made(keras, code)
        layer.build(shape)
        again.build_from_config(json.loads(json.dumps(layer.get_build_config())))
        assert again.built
        assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]

    @pytest.mark.filterwarnings("ignore:The model has no trainable weights")
    def test_it_learns_in_a_model_that_is_saved_and_loaded(self, code, shape, tmp_path):
        x = of_each(shape, lambda each: numbers(*each))
        inputs = of_each(shape, lambda each: keras.Input(each[1:]))
        layer = made(keras, code)
        model = keras.Model(inputs, layer(inputs)) if isinstance(shape, list) else keras.Sequential([layer])
        model.compile("sgd", "mse")
        y = np.zeros(layer.compute_output_shape(shape), np.float32)
        assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])
        expected = model.predict(x, verbose=0)
        assert expected.shape == y.shape
        assert expected.dtype == np.float32
        pytest.importorskip("h5py")
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
        assert loaded.layers[-1].get_config() == layer.get_config()


def test_every_layer_is_asked():
    kinds = {kind for kind in vars(layers).values() if isinstance(kind, type) and issubclass(kind, layers.Layer)}
    asked = {type(made(keras, code)) for code in LAYER_FACTS}
    assert kinds - asked == {layers.Layer, layers.InputLayer, layers.Lambda}


class TestShapesFoundByRunning:
    def test_sizes_that_are_not_known_stay_so(self):
        class Halved(layers.Layer):
            def build(self, input_shape):
                self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

            def call(self, x):
                return {"half": x[:, ::2, :4] * self.scale, "mean": ops.mean(x, axis=(1, 2))}

        layer = Halved()
        shapes = layer.compute_output_shape((None, None, None, 3))
        assert shapes == {"half": (None, None, 4, 3), "mean": (None, 3)}
        assert layer.get_build_config() == {"input_shape": (None, None, None, 3)}
        x = keras.Input((None, 8, 3))
        model = keras.Model(x, Halved()(x)["half"])
        assert model.output_shape == (None, None, 4, 3)
        assert model.predict(numbers(2, 10, 8, 3), verbose=0).shape == (2, 5, 4, 3)

    def test_also_of_several_inputs(self):
        a, b = keras.Input((None, 3)), keras.Input((None, 3))
        assert Sum()(a, b).shape == (None, None, 3)


def test_a_layer_that_is_not_built_says_so():
    layer = layers.Dense(3)
    with pytest.raises(AttributeError, match="You must build the layer before accessing `kernel`"):
        _ = layer.kernel
    with pytest.raises(ValueError, match="You tried to call `count_params`"):
        layer.count_params()
    with pytest.raises(ValueError, match="expected min_ndim=2, found ndim=1"):
        layer(numbers(2))


class TestArraysBesideSymbolicTensors:
    ROW = np.array([[1, 2, 3]], np.float32)

    @pytest.mark.parametrize("suffix", ["safetensors", "keras"])
    @pytest.mark.parametrize("call", [lambda x, row: layers.Add()([x, row]),
                                      lambda x, row: layers.Multiply()([keras.tensor(row), x]), lambda x, row: x + row])
    def test_are_constants_of_the_model_and_of_its_files(self, call, suffix, tmp_path):
        if suffix == "keras":
            pytest.importorskip("h5py")
        inputs, x = keras.Input((3,)), numbers(5, 3)
        model = keras.Model(inputs, layers.Dense(2)(call(inputs, self.ROW)))
        assert model.output_shape == (None, 2)
        dense = model.layers[-1]
        merged = np.asarray(call(keras.tensor(x), np.repeat(self.ROW, 5, 0)))
        np.testing.assert_allclose(model.predict(x, verbose=0), merged @ dense.kernel.numpy(), rtol=1e-5, atol=1e-6)
        model.save(tmp_path / f"model.{suffix}")
        loaded = keras.models.load_model(tmp_path / f"model.{suffix}")
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))

    def test_a_weight_would_never_learn(self):
        with pytest.raises(TypeError, match="would not be trained"):
            layers.Add()([keras.Input((3,)), keras.Variable(self.ROW)])

    @pytest.mark.parametrize("array", [[[1.0, [2.0]], "float32"], [[1.0], "object"], [[1.0]], 3, [[{}], "float32"]])
    def test_what_is_no_array_in_a_file_is_refused(self, array):
        x = keras.Input((3,))
        config = keras.Model(x, layers.Add()([x, self.ROW])).get_config()
        text = json.dumps(config).replace(json.dumps([self.ROW.tolist(), "float32"]), json.dumps(array))
        assert text != json.dumps(config)
        with pytest.raises(ValueError, match=r"array|dtype|sequence"):
            keras.Model.from_config(json.loads(text))


class TestOpsOfIntegers:
    X = np.array([[0, 5], [7, 250]])

    @pytest.mark.parametrize("dtype", ["uint8", "int32"])
    @pytest.mark.parametrize(("name", "expected"), [("min", 0), ("amin", 0), ("argmin", 0), ("abs", X), ("absolute", X),
                                                    ("sign", X > 0)])
    def test_are_those_of_numpy(self, name, expected, dtype):
        y = getattr(ops, name)(self.X.astype(dtype))
        np.testing.assert_array_equal(y.numpy(), expected)
        assert name == "argmin" or y.dtype == dtype

    def test_of_each_column(self):
        x = np.array([[0, 5], [7, 2]], np.uint8)
        np.testing.assert_array_equal(ops.min(x, axis=0).numpy(), [0, 2])
        np.testing.assert_array_equal(ops.argmin(x, axis=0).numpy(), [0, 1])
        np.testing.assert_array_equal(ops.min(x > 0, axis=1, keepdims=True).numpy(), [[False], [True]])

    def test_rounded_they_are_floats(self):
        for function in (ops.floor, ops.ceil):
            assert function(self.X.astype("int32")).dtype == "float32"
