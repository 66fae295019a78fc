"""Layers: what they compute, what they hold, and what they say to arguments that cannot be."""

import re

import numpy as np
import pytest

import autoconv as ac
from autoconv import functional as F
from autoconv import initializers, layers, models
from autoconv.arguments import names
from autoconv.layers import parts

RNG = np.random.default_rng(0)

LAYERS = {
    "Conv2D": lambda: layers.Conv2D(5, 3),
    "Conv2D same": lambda: layers.Conv2D(6, (3, 2), strides=(2, 1), padding="same", dilation_rate=1, groups=2),
    "Conv2D numbers": lambda: layers.Conv2D(5, 3, padding=((1, 0), (2, 1)), dilation_rate=2, use_bias=False),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(3, 3, strides=2),
    "Conv2DTranspose same": lambda: layers.Conv2DTranspose(3, 3, strides=(2, 1), padding="same"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
    "MaxPooling2D": lambda: layers.MaxPooling2D(),
    "MaxPooling2D same": lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    "AveragePooling2D": lambda: layers.AveragePooling2D((2, 3), padding="same"),
    "GlobalAveragePooling2D": lambda: layers.GlobalAveragePooling2D(),
    "GlobalMaxPooling2D": lambda: layers.GlobalMaxPooling2D(keepdims=True),
    "ZeroPadding2D": lambda: layers.ZeroPadding2D(((1, 2), (3, 0))),
    "Flatten": lambda: layers.Flatten(),
    "Dense": lambda: layers.Dense(7, "tanh"),
    "Dropout": lambda: layers.Dropout(0.5),
    "Activation": lambda: layers.Activation("sigmoid"),
    "ReLU": lambda: layers.ReLU(),
    "Softmax": lambda: layers.Softmax(),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "CenterCrop": lambda: layers.CenterCrop(5, 12),
    "RandomBrightness": lambda: layers.RandomBrightness((-0.1, 0.3), (0, 1)),
    "RandomContrast": lambda: layers.RandomContrast(0.3, seed=1),
    "RandomCrop": lambda: layers.RandomCrop(5, 4),
    "RandomErasing": lambda: layers.RandomErasing((0.5, 1), 0.3, 2.0, (0, 1), seed=1),
    "RandomFlip": lambda: layers.RandomFlip("vertical"),
    "RandomRotation": lambda: layers.RandomRotation(0.1, fill_mode="wrap", interpolation="nearest"),
    "RandomTranslation": lambda: layers.RandomTranslation(0.1, (0.2, 0.3), seed=2),
    "RandomZoom": lambda: layers.RandomZoom(0.1, fill_mode="constant", fill_value=0.5),
    "Resizing": lambda: layers.Resizing(5, 12, "nearest", crop_to_aspect_ratio=True),
    "Rescaling": lambda: layers.Rescaling(1 / 255, offset=[0.0, 1.0, 2.0, 3.0]),
}


def images(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_the_announced_output_shape_is_the_real_one(make):
    layer = make()
    y = layer(images(2, 9, 8, 4))
    assert (None, *y.shape[1:]) == layer.compute_output_shape((None, 9, 8, 4))
    assert y.dtype == np.float32


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_config_makes_an_equal_layer(make):
    x, layer = images(2, 9, 8, 4), make()
    y = layer(x, training=False)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again(x, training=False)
    again.set_weights(layer.get_weights())
    assert (again(x, training=False).numpy() == y.numpy()).all()


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_sizes_that_are_not_known_stay_unknown(make):
    layer = make()
    if not isinstance(layer, layers.Dense) and not hasattr(layer, "height"):
        shape = layer.compute_output_shape((None, None, 8, 4))
        assert shape[0] is None
        assert len(shape) != 4 or shape[1] in (None, 1)


# What each layer computes.


@pytest.mark.parametrize(("layer", "function"), [
    (layers.DepthwiseConv2D(3, 2, "same", 2, activation="relu", bias_initializer="ones"),
     lambda w, x: F.relu(F.depthwise_conv2d(x, w.kernel, w.bias, 2, "same"))),
    (layers.DepthwiseConv2D(3, dilation_rate=2, use_bias=False), lambda w, x: F.depthwise_conv2d(
        x, w.kernel, None, 1, "valid", 2)),
    (layers.Conv2DTranspose(3, (3, 2), 2, "same", activation="tanh", bias_initializer="ones"),
     lambda w, x: F.tanh(F.conv2d_transpose(x, w.kernel, w.bias, 2, "same"))),
    (layers.Conv2DTranspose(3, 3, dilation_rate=2), lambda w, x: F.conv2d_transpose(
        x, w.kernel, w.bias, 1, "valid", 2)),
    (layers.MaxPooling2D(3, 2, "same"), lambda w, x: F.max_pool2d(x, 3, 2, "same")),
    (layers.AveragePooling2D(3, 2, "same"), lambda w, x: F.avg_pool2d(x, 3, 2, "same")),
    (layers.GlobalMaxPooling2D(), lambda w, x: x.max((1, 2))),
    (layers.GlobalAveragePooling2D(keepdims=True), lambda w, x: x.mean((1, 2), keepdims=True)),
    (layers.Softmax(axis=1), lambda w, x: F.softmax(x, 1)),
    (layers.BatchNormalization(epsilon=0.5), lambda w, x: x * 1.5**-0.5),
], ids=lambda v: v.name if isinstance(v, layers.Layer) else "")
def test_a_layer_is_its_function_with_all_its_arguments(layer, function):
    x = ac.tensor(images(2, 9, 8, 4))
    assert layer(x).numpy() == pytest.approx(function(layer, x).numpy(), abs=1e-6)


def test_conv2d_is_the_function_with_the_layer_s_weights_and_activation():
    layer = layers.Conv2D(6, 3, strides=2, padding="same", groups=2, activation="relu", bias_initializer="ones")
    x = images(2, 8, 8, 4)
    y = layer(x)
    assert (layer.kernel.shape, layer.bias.shape) == ((3, 3, 2, 6), (6,))
    assert (y.numpy() == F.relu(F.conv2d(x, layer.kernel, layer.bias, 2, "same", 1, 2)).numpy()).all()
    assert layer.activation is F.relu


def test_depthwise_convolves_each_channel_by_itself():
    layer = layers.DepthwiseConv2D(1, depth_multiplier=2, depthwise_initializer="ones")
    x = images(1, 2, 2, 3)
    assert layer(x).numpy() == pytest.approx(np.repeat(x, 2, axis=-1))


def test_a_transposed_convolution_spreads_each_pixel():
    layer = layers.Conv2DTranspose(1, 2, strides=2, kernel_initializer="ones")
    y = layer(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1))
    assert layer.kernel.shape == (2, 2, 1, 1)
    assert (y.numpy()[0, :, :, 0] == np.kron([[1, 2], [3, 4]], np.ones((2, 2)))).all()


def test_dense_takes_the_last_axis_of_larger_inputs():
    layer = layers.Dense(5)
    x = images(2, 3, 4, 6)
    assert layer(x).numpy() == pytest.approx(x @ layer.kernel.numpy() + layer.bias.numpy(), abs=1e-5)


def test_average_pooling_at_the_edge_divides_by_real_pixels_only():
    y = layers.AveragePooling2D(2, padding="same")(np.ones((1, 3, 3, 1)))
    assert (y.numpy() == 1).all()


def test_dropout_works_in_training_only_and_keeps_the_mean():
    layer, x = layers.Dropout(0.25), np.ones((100, 100), np.float32)
    assert (layer(x).numpy() == x).all()
    y = layer(x, training=True).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.05)


def test_a_dropout_layer_with_a_seed_draws_a_new_mask_each_time_and_the_same_ones_in_every_run():
    x = np.ones((8, 64), np.float32)
    first, second = layers.Dropout(0.5, seed=7), layers.Dropout(0.5, seed=7)
    a, b = first(x, training=True).numpy(), first(x, training=True).numpy()
    assert (a != b).any()
    assert (a == second(x, training=True).numpy()).all()
    assert (b == second(x, training=True).numpy()).all()


def test_batch_normalization_follows_the_batches_and_freezes():
    layer, x = layers.BatchNormalization(momentum=0.9), images(64, 3) * 2 + 5
    y = layer(x, training=True).numpy()
    assert y.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert layer.moving_mean.numpy() == pytest.approx(0.1 * x.mean(axis=0), rel=1e-4)
    assert layer.moving_variance.numpy() == pytest.approx(0.9 + 0.1 * x.var(axis=0), rel=1e-4)
    before = layer.moving_mean.numpy()
    layer.trainable = False
    frozen = layer(x, training=True).numpy()
    assert (layer.moving_mean.numpy() == before).all()
    assert (frozen == layer(x, training=False).numpy()).all()


def test_batch_normalization_without_gamma_and_beta():
    layer = layers.BatchNormalization(center=False, scale=False)
    layer.build((None, 3))
    assert [w.name for w in layer.weights] == ["moving_mean", "moving_variance"]
    assert layer(images(4, 3), training=True).shape == (4, 3)


def test_rescaling_of_bytes_gives_floats():
    x = np.array([[0, 255]], np.uint8)
    assert (layers.Rescaling(2 / 255, offset=-1)(x).numpy() == np.array([[-1, 1]], np.float32)).all()


def test_zero_padding_puts_zeros_where_it_says():
    y = layers.ZeroPadding2D(((1, 0), (0, 2)))(np.ones((1, 1, 1, 1))).numpy()[0, :, :, 0]
    assert (y == [[0, 0, 0], [1, 0, 0]]).all()


def test_an_activation_may_be_a_name_a_function_or_none():
    x = images(2, 3)
    assert (layers.Activation("relu")(x).numpy() == np.maximum(x, 0)).all()
    assert (layers.Activation(lambda t: t * 2)(x).numpy() == x * 2).all()
    assert (layers.Activation(None)(x).numpy() == x).all()
    assert layers.Activation("softmax")(x).numpy().sum(axis=1) == pytest.approx(np.ones(2), abs=1e-6)


# Weights, names, dtypes.


def test_weights_have_keras_order_and_names():
    layer = layers.BatchNormalization()
    layer.build((None, 4, 4, 3))
    assert [w.name for w in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]
    assert [w.name for w in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]
    assert layer.count_params() == 12


@pytest.mark.parametrize(("kind", "name"), [
    ("Conv2D", "conv2d"), ("MaxPooling2D", "max_pooling2d"), ("Conv2DTranspose", "conv2d_transpose"),
    ("ReLU", "re_lu"), ("GlobalAveragePooling2D", "global_average_pooling2d"), ("Dense", "dense"),
])
def test_automatic_names_are_keras_names(kind, name):
    assert names.snake_case(kind) == name


def test_automatic_names_are_numbered_per_class(monkeypatch):
    monkeypatch.setattr(parts, "_name_counts", parts.Counter())
    made = [layers.Flatten(), layers.ReLU(), layers.Flatten(), layers.Flatten(name="mine"), layers.Flatten()]
    assert [layer.name for layer in made] == ["flatten", "re_lu", "flatten_1", "mine", "flatten_2"]


def test_set_weights_changes_nothing_when_one_does_not_fit():
    layer = layers.Dense(2)
    layer.build((None, 3))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"2 weights of shapes \[\(3, 2\), \(2,\)\]. Received: 2 arrays of shapes"):
        layer.set_weights([np.ones((3, 2)), np.ones(3)])
    with pytest.raises(ValueError, match="Received: 1 arrays of shapes"):
        layer.set_weights([np.ones((3, 2))])
    assert all((a == b).all() for a, b in zip(before, layer.get_weights()))


def test_equal_fingerprints_mean_equal_bits():
    layer, other = layers.Dense(2), layers.Dense(2)
    for each in (layer, other):
        each.build((None, 3))
    other.set_weights(layer.get_weights())
    assert re.fullmatch("[0-9a-f]{64}", layer.fingerprint())
    assert other.fingerprint() == layer.fingerprint()
    other.bias.assign([-0.0, 0.0])  # one bit, although -0.0 == 0.0
    assert other.fingerprint() != layer.fingerprint()


def test_freezing_a_layer_stops_its_gradients():
    layer = layers.Dense(2, trainable=False)
    assert not layer(images(4, 3)).requires_grad
    assert (layer.trainable_weights, len(layer.non_trainable_weights)) == ([], 2)
    layer.trainable = True
    assert layer(images(4, 3)).requires_grad
    assert len(layer.trainable_weights) == 2


def test_a_layer_in_float64_computes_in_float64():
    layer = layers.Dense(2, dtype="float64")
    assert layer(images(4, 3)).dtype == np.float64
    assert layer.kernel.dtype == np.float64


def test_a_tensor_of_another_dtype_is_converted_unless_its_gradient_would_be_lost():
    layer = layers.Dense(2)
    assert layer(ac.tensor(images(4, 3, dtype=np.float64))).dtype == np.float32
    with pytest.raises(TypeError, match="dtype='float64'"):
        layer(ac.tensor(images(4, 3, dtype=np.float64), requires_grad=True))
    assert layer(ac.tensor(np.ones((4, 3), np.int64))).dtype == np.float32


def test_building_again_makes_new_weights_for_the_new_shape():
    layer = layers.Dense(2)
    layer.build((None, 3))
    layer.build((None, 5))
    assert [w.shape for w in layer.weights] == [(5, 2), (2,)]


def test_names_of_weights_are_the_same_in_every_process():
    layers.Conv2D(1, 1)  # takes a number
    model = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Conv2D(2, 3), layers.Dense(3)])
    assert list(model.named_weights()) == [
        "conv2d/kernel", "conv2d/bias", "conv2d_1/kernel", "conv2d_1/bias", "dense/kernel", "dense/bias",
    ]


# Layers of one's own.


class Residual(layers.Layer):
    """relu(x + conv(conv(x)))."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.convs = [layers.Conv2D(filters, 3, padding="same", activation=a) for a in ("relu", None)]
        self.norm = layers.BatchNormalization()

    def call(self, x):
        y = x
        for conv in self.convs:
            y = conv(y)
        return F.relu(x + self.norm(y))


def test_a_residual_block_in_fifteen_lines_trains():
    block = Residual(4)
    x = images(2, 6, 6, 4)
    y = block(x, training=True)
    assert y.shape == x.shape
    assert len(block.weights) == 8
    assert len(block.trainable_weights) == 6
    y.sum().backward()
    assert all(w.grad is not None and np.any(w.grad) for w in block.trainable_weights)
    moved = block.norm.moving_variance.numpy()
    assert (moved != 1).all()  # `training` reached the layer within
    block(x)
    assert (block.norm.moving_variance.numpy() == moved).all()


def test_a_block_in_a_model_is_built_counted_saved_and_frozen_with_it():
    model = models.Sequential([layers.Input((6, 6, 4)), Residual(4), layers.Flatten(), layers.Dense(2)])
    assert model.output_shape == (None, 2)
    assert model.count_params() == 2 * (9 * 16 + 4) + 16 + 144 * 2 + 2
    assert "residual/conv2d_1/kernel" in model.named_weights()
    config = model.get_config()
    again = models.Sequential.from_config(config, custom_objects={"Residual": Residual})
    assert again.get_config() == config
    model.trainable = False
    assert model.layers[0].convs[0].trainable is False
    assert model.trainable_weights == []


def test_a_layer_with_weights_of_its_own():
    class Scale(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],), initializer=initializers.Constant(3.0), name="scale")

        def call(self, x, training=False):
            return x * self.scale

    layer = Scale()
    assert (layer(np.ones((2, 4))).numpy() == 3).all()
    assert layer.built
    assert list(layer.named_weights()) == ["scale"]
    assert Scale.from_config(layer.get_config()).name == layer.name


def test_a_layer_shared_by_two_others_counts_once():
    shared = layers.Dense(3)
    shared.build((None, 3))

    class Twice(layers.Layer):
        def __init__(self):
            super().__init__()
            self.pair, self.by_name = (shared, layers.ReLU()), {"same": shared}

        def call(self, x):
            return self.by_name["same"](self.pair[0](x))

    assert Twice()(np.ones((2, 3))).shape == (2, 3)
    assert len(Twice().weights) == 2


def test_a_weight_shared_by_two_layers_counts_once():
    first, second = layers.Dense(3), layers.Dense(3)
    first.build((None, 3))
    second.build((None, 3))
    second.kernel = second._weights[0] = first.kernel
    model = models.Sequential([layers.Input((3,)), first, second])
    assert list(model.named_weights()) == ["dense/kernel", "dense/bias", "dense_1/bias"]
    assert model.count_params() == 9 + 3 + 3


def test_a_block_that_announces_its_shape_is_built_with_the_model():
    class Known(Residual):
        def compute_output_shape(self, input_shape):
            return input_shape

    model = models.Sequential([layers.Input((6, 6, 4)), Known(4)])
    assert len(model.weights) == 8


def test_forgetting_super_init_is_explained():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.units = 3

    with pytest.raises(AttributeError, match=r"must call super\(\).__init__\(\) first"):
        Forgetful()(np.ones((2, 3)))


def test_forgetting_call_is_explained():
    class Empty(layers.Layer):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define call"):
        Empty()(np.ones((2, 3)))


# Arguments and inputs that cannot be.


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.Dense(0), "`units`. Expected a strictly positive value of type int. Received: 0"),
    (lambda: layers.Dense(2.5), "`units`. Expected a strictly positive value of type int. Received: 2.5"),
    (lambda: layers.Dense(True), "`units`. Expected a strictly positive value of type int"),
    (lambda: layers.Dropout(1.5), "Expected a float value between 0 and 1. Received: rate=1.5"),
    (lambda: layers.Dropout(-0.1), "Received: rate=-0.1"),
    (lambda: layers.Dropout(0.5, seed=-1), "seed"),
    (lambda: layers.Dropout(0.5, noise_shape=3), "noise_shape"),
    (lambda: layers.Conv2D(0, 3), "`filters`. Expected a strictly positive value of type int. Received: 0"),
    (lambda: layers.Conv2D(4, 0), "`kernel_size` argument must be a tuple of 2 integers of at least 1"),
    (lambda: layers.Conv2D(4, (3, 3, 3)), "`kernel_size` argument must be a tuple of 2 integers, or one integer."),
    (lambda: layers.Conv2D(4, 3, strides=0), "`strides` argument must be a tuple of 2 integers of at least 1"),
    (lambda: layers.Conv2D(4, 3, dilation_rate=0), "2 integers of at least 1"),
    (lambda: layers.Conv2D(4, 3, groups=3), "divisible by the number of groups. Received: groups=3, filters=4"),
    (lambda: layers.Conv2D(4, 3, padding="smae"), "'same' or 'valid'. Received: padding='smae'. Did you mean 'same'?"),
    (lambda: layers.Conv2D(4, 3, padding=-1), "`padding` argument must be a tuple of 2 integers of at least 0"),
    (lambda: layers.Conv2D(4, 3, activation="rleu"), "activation function identifier: 'rleu'. Did you mean 'relu'?"),
    (lambda: layers.Conv2D(4, 3, kernel_initializer="he_norml"), "Did you mean 'he_normal'?"),
    (lambda: layers.Conv2D(4, 3, data_format="channels_first"), "np.moveaxis"),
    (lambda: layers.Conv2D(4, 3, kernel_regularizer="l3"), "regularizer identifier: 'l3'"),
    (lambda: layers.Conv2DTranspose(4, 3, padding=1), "must be 'same' or 'valid'. Received: padding=1"),
    (lambda: layers.Conv2DTranspose(4, 3, output_padding=1), "`output_padding` must be strictly less than `strides`"),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0), "`depth_multiplier`. Expected a strictly positive value"),
    (lambda: layers.MaxPooling2D(0), "`pool_size` argument must be a tuple of 2 integers of at least 1"),
    (lambda: layers.MaxPooling2D(2, strides=0), "`strides` argument must be a tuple of 2 integers of at least 1"),
    (lambda: layers.MaxPooling2D(data_format="channels_first"), "data_format must be 'channels_last'"),
    (lambda: layers.ZeroPadding2D("same"), "should be an integer, "),
    (lambda: layers.ReLU(max_value=-1), "max_value"),
    (lambda: layers.BatchNormalization(momentum=2), "momentum must be between 0 and 1"),
    (lambda: layers.BatchNormalization(epsilon=0), "epsilon must be positive"),
    (lambda: layers.BatchNormalization(renorm=True), "supports only renorm=False"),
    (lambda: layers.Rescaling("1/255"), "scale must be a number"),
    (lambda: layers.Dense(2, dtype="float16"), "without mixed precision or quantization"),
    (lambda: layers.Dense(2, name="a/b"), "cannot contain character `/`"),
    (lambda: layers.Input(28), "shape must be a tuple"),
    (lambda: layers.Input((28, 0, 1)), "`shape`. Expected a strictly positive value of type int"),
    (lambda: layers.Input((28, 28, 1), batch_size=0), "`batch_size`. Expected a strictly positive value"),
])
def test_bad_arguments_are_refused_where_they_are_given(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        make()
    assert message in str(caught.value)


def test_a_misspelt_argument_is_answered_with_the_nearest_one():
    with pytest.raises(TypeError, match=r"Dense has no argument 'activaton'\. Did you mean 'activation'\?"):
        layers.Dense(2, activaton="relu")


def test_arguments_of_keras_are_accepted_at_their_defaults():
    layers.Conv2D(4, 3, kernel_regularizer=None, activity_regularizer=None, data_format="channels_last")
    layers.BatchNormalization(synchronized=False)
    layers.Dense(4, lora_rank=None)


@pytest.mark.parametrize(("layer", "shape", "message"), [
    (lambda: layers.Conv2D(4, 3), (60000, 784), r"needs images of shape \(N, H, W, C\). Received shape \(60000, 784\)"),
    (lambda: layers.Conv2D(4, 3), (60000, 784), "must come before Flatten"),
    (lambda: layers.Conv2D(4, 3), (8, 28, 28),
     r"Add an axis with x\[\.\.\., None\] for images of one channel, or with x\[None\]"),
    (lambda: layers.Conv2D(4, 3), (8, 2, 2, 1), "must fit into the padded image"),
    (lambda: layers.Conv2D(4, 3, groups=2), (8, 9, 9, 3), "input channels must be evenly divisible"),
    (lambda: layers.MaxPooling2D(), (8, 28, 28), "needs images"),
    (lambda: layers.MaxPooling2D(4), (8, 3, 3, 1), "must fit into the padded image"),
    (lambda: layers.GlobalAveragePooling2D(), (8, 28), "needs images"),
    (lambda: layers.Dense(4), (8,), "at least 2 axes, including the batch axis"),
    (lambda: layers.BatchNormalization(axis=4), (8, 9, 9, 3), "axis must be an axis of the input"),
])
def test_inputs_that_do_not_fit_are_refused(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer()(np.zeros(shape, np.float32))


def test_other_channels_than_at_the_first_call_are_refused():
    for layer in (layers.Conv2D(4, 3), layers.Dense(4), layers.BatchNormalization(), layers.DepthwiseConv2D(3)):
        layer(images(1, 5, 5, 3))
        with pytest.raises(ValueError, match=r"to have value 3, but received input with shape \(1, 5, 5, 2\)"):
            layer(images(1, 5, 5, 2))


def test_weights_of_a_layer_that_is_not_built():
    with pytest.raises(ValueError, match="isn't built"):
        layers.Dense(2).count_params()
    with pytest.raises(ValueError, match="The layer is not built yet"):
        layers.Dense(2).set_weights([np.ones((3, 2)), np.ones(2)])
