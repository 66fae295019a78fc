"""The names that a Keras user types: each is there, or the answer says what is near or why it is not."""

import numpy as np
import pytest

import autoconv as keras
from autoconv import backend as K

THERE = [
    "Sequential", "Model", "Input", "layers", "activations", "regularizers", "constraints", "optimizers", "losses",
    "metrics", "callbacks", "datasets", "utils", "ops", "saving", "initializers", "config", "models",
    "layers.Dense", "layers.Conv2D", "layers.MaxPooling2D", "layers.AveragePooling2D", "layers.Flatten",
    "layers.Dropout", "layers.Input", "layers.InputLayer", "layers.Activation", "layers.BatchNormalization",
    "layers.GlobalAveragePooling2D", "layers.GlobalMaxPooling2D", "layers.ReLU", "layers.LeakyReLU", "layers.PReLU",
    "layers.ELU", "layers.Softmax", "layers.Add", "layers.Concatenate", "layers.Multiply", "layers.Average",
    "layers.Maximum", "layers.Minimum", "layers.Subtract", "layers.Reshape", "layers.Permute",
    "layers.RepeatVector", "layers.ZeroPadding2D", "layers.Cropping2D", "layers.UpSampling2D",
    "layers.Conv2DTranspose", "layers.DepthwiseConv2D", "layers.SeparableConv2D", "layers.GaussianNoise",
    "layers.GaussianDropout", "layers.SpatialDropout2D", "layers.AlphaDropout", "layers.LayerNormalization",
    "layers.GroupNormalization", "layers.UnitNormalization", "layers.Rescaling", "layers.Resizing",
    "layers.RandomFlip", "layers.RandomRotation", "layers.RandomZoom", "layers.RandomTranslation",
    "layers.RandomContrast", "layers.Layer", "layers.add", "layers.concatenate", "activations.relu",
    "activations.softmax", "activations.sigmoid", "activations.tanh", "activations.gelu", "activations.silu",
    "activations.swish", "activations.elu", "activations.selu", "activations.softplus", "activations.leaky_relu",
    "activations.linear", "optimizers.Adam", "optimizers.SGD", "optimizers.RMSprop", "optimizers.AdamW",
    "optimizers.Adagrad", "optimizers.Adadelta", "optimizers.Adamax", "optimizers.Nadam", "optimizers.Ftrl",
    "optimizers.Lion", "optimizers.schedules.ExponentialDecay", "optimizers.schedules.CosineDecay",
    "optimizers.schedules.PiecewiseConstantDecay", "optimizers.schedules.PolynomialDecay",
    "losses.CategoricalCrossentropy", "losses.SparseCategoricalCrossentropy", "losses.BinaryCrossentropy",
    "losses.MeanSquaredError", "losses.MeanAbsoluteError", "losses.Huber", "losses.KLDivergence", "losses.Hinge",
    "losses.CosineSimilarity", "losses.Dice", "metrics.Accuracy", "metrics.CategoricalAccuracy",
    "metrics.SparseCategoricalAccuracy", "metrics.BinaryAccuracy", "metrics.Precision", "metrics.Recall",
    "metrics.AUC", "metrics.F1Score", "metrics.TopKCategoricalAccuracy", "metrics.MeanSquaredError",
    "metrics.MeanIoU", "metrics.Mean", "callbacks.EarlyStopping", "callbacks.ModelCheckpoint",
    "callbacks.ReduceLROnPlateau", "callbacks.LearningRateScheduler", "callbacks.CSVLogger",
    "callbacks.TerminateOnNaN", "callbacks.LambdaCallback", "callbacks.BackupAndRestore", "callbacks.History",
    "callbacks.Callback", "callbacks.SwapEMAWeights", "regularizers.l2", "regularizers.L1", "regularizers.L1L2",
    "constraints.MaxNorm", "constraints.NonNeg", "utils.to_categorical", "utils.plot_model",
    "utils.set_random_seed", "utils.load_img", "utils.img_to_array", "utils.image_dataset_from_directory",
    "utils.normalize", "utils.clear_session", "datasets.mnist.load_data", "datasets.fashion_mnist.load_data",
    "datasets.cifar10.load_data", "models.load_model", "models.Sequential", "models.Model", "saving.load_model",
    "saving.save_model", "saving.register_keras_serializable", "saving.custom_object_scope", "ops.add",
    "ops.matmul", "ops.mean", "ops.sum", "ops.relu", "ops.softmax", "ops.one_hot", "ops.convert_to_tensor",
    "ops.convert_to_numpy", "ops.cast", "ops.reshape", "ops.transpose", "ops.concatenate", "ops.stack", "ops.conv",
    "ops.max_pool", "ops.nn.relu", "ops.numpy.mean", "ops.image.resize", "initializers.HeNormal",
    "initializers.GlorotUniform", "initializers.RandomNormal", "initializers.Zeros", "config.floatx",
    "config.image_data_format", "backend.clear_session", "backend.floatx",
]

OUTSIDE = [
    "layers.LSTM", "layers.GRU", "layers.SimpleRNN", "layers.Embedding", "layers.Bidirectional",
    "layers.TimeDistributed", "layers.Attention", "layers.MultiHeadAttention", "layers.TextVectorization",
    "layers.Conv1D", "layers.Conv3D", "layers.MaxPooling1D", "layers.GlobalAveragePooling1D", "layers.Masking",
    "layers.StringLookup", "layers.Discretization", "datasets.imdb", "datasets.reuters",
    "datasets.california_housing", "applications", "mixed_precision", "utils.text_dataset_from_directory",
    "utils.pad_sequences", "utils.FeatureSpace", "losses.CTC", "callbacks.RemoteMonitor",
    "optimizers.LossScaleOptimizer",
]

MISTYPED = {
    "layers.Conv2d": "Conv2D", "layers.MaxPool2d": "MaxPool2D", "layers.Maxpooling2D":
    "MaxPooling2D", "layers.BatchNorm": "BatchNormalization", "layers.DropOut": "Dropout", "layers.flatten": "Flatten",
    "optimizers.adam": "Adam", "optimizers.RMSProp": "RMSprop", "losses.SparseCategoricalCrossEntropy":
    "SparseCategoricalCrossentropy", "callbacks.Earlystopping": "EarlyStopping", "metrics.Acuracy": "Accuracy",
    "activations.Relu": "relu", "utils.to_catagorical": "to_categorical", "model": "Model", "sequential": "Sequential",
}


def found(name):
    thing = keras
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", THERE)
def test_it_is_there(name):
    assert found(name) is not None


@pytest.mark.parametrize("name", OUTSIDE)
def test_it_is_said_why_it_is_not_there(name):
    with pytest.raises(AttributeError, match="out of scope"):
        found(name)


@pytest.mark.parametrize(("name", "near"), MISTYPED.items())
def test_the_nearest_name_is_said(name, near):
    with pytest.raises(AttributeError, match=f"Did you mean '{near}'"):
        found(name)


@pytest.mark.parametrize(("name", "near"), {
    "sumary": "summary", "compil": "compile",  "evalute": "evaluate",
    "load_weight": "load_weights", "get_layers": "get_layer", "trainable_variable": "trainable_variables"}.items())
def test_methods(name, near):
    with pytest.raises(AttributeError, match=f"Did you mean '{near}'"):
        getattr(keras.Sequential(), name)


def test_what_listings_call_of_backend():
    keras.layers.Dense(1)
    K.clear_session()
    assert keras.layers.Dense(1).name == "dense"
    assert (K.backend(), K.image_data_format(), K.floatx(), K.epsilon()) == ("autoconv", "channels_last", "float32",
                                                                             1e-7)
    assert K.int_shape(keras.Input((4, 3))) == (None, 4, 3)
    assert (K.is_float_dtype("float64"), K.is_float_dtype("int8"), K.is_int_dtype("uint8")) == (True, False, True)
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    K.set_value(layer.bias, [1, 2])
    np.testing.assert_array_equal(K.get_value(layer.bias), [1, 2])
    with pytest.raises(TypeError, match=r"can assign only to a weight or a Variable\. Received: 3"):
        K.set_value(3, 4)
    for name, instead in {"mean": r"ops\.mean", "dropout": r"functional\.dropout", "pow": r"ops\.power"}.items():
        with pytest.raises(AttributeError, match=rf"backend has no function '{name}'\. Use {instead} instead\."):
            getattr(K, name)
    with pytest.raises(AttributeError, match="Did you mean 'clear_session'"):
        K.clear_sesion  # noqa: B018


def test_an_import_says_it_too():
    with pytest.raises(ImportError, match=r"Sequences are out of scope: autoconv has no recurrent"):
        from autoconv.layers import LSTM  # noqa: F401
    with pytest.raises(ImportError, match="Did you mean 'Conv2D'"):
        from autoconv.layers import Conv2d  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"'autoconv\.preprocessing'\..*utils\.load_img to read pictures"):
        from autoconv.preprocessing.image import load_img  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"'autoconv\.applications'\..*autoconv downloads no weights"):
        from autoconv.applications import VGG16  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="Did you mean 'optimizers'"):
        from autoconv.optimizer import Adam  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'autoconv\.nothing'$"):
        import autoconv.nothing  # noqa: F401


def test_arguments():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 2))
    with pytest.raises(TypeError, match="Did you mean 'epochs'"):
        model.fit(x, x[:, :1], epoch=3)
    with pytest.raises(TypeError, match="Did you mean 'padding'"):
        keras.layers.Conv2D(8, 3, pading="same")
    with pytest.raises(TypeError, match="Did you mean 'learning_rate'"):
        keras.optimizers.Adam(lr=0.1)


class TestOps:
    X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)

    @pytest.mark.parametrize(("name", "arguments"), [
        *((name, ()) for name in (
            "square", "sign", "reciprocal", "negative", "ravel", "isnan", "absolute", "exp", "expm1", "zeros_like",
            "ones_like", "logical_not", "transpose", "flip", "any", "all")),
        *((name, ({"axis": axis, "keepdims": keep},)) for name in (
            "sum", "mean", "max", "min", "var", "std", "amax", "amin")
          for axis, keep in ((None, False), (1, True), ((0, 2), False))),
        ("argmin", ({"axis": 1},)), ("argmax", ({"axis": -1},)), ("swapaxes", (0, 2)), ("moveaxis", (0, -1)),
        ("moveaxis", ((0, 1), (1, 0))), ("reshape", ((4, 6),)), ("flip", (1,)), ("power", (2,)), ("add", (X,)),
        ("subtract", (1.5,)), ("multiply", (X,)), ("divide", (2.0,)), ("logical_and", (X > 0,)),
        ("logical_or", (X > 1,)),
        ("full_like", (2.5,)), ("size", ()), ("ndim", ()), ("any", (1,)), ("all", (1,)), ("greater", (0,)),
    ])
    def test_as_in_numpy(self, name, arguments):
        options = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        arguments = () if options else arguments
        ours = np.asarray(keras.ops.convert_to_numpy(getattr(keras.ops, name)(self.X, *arguments, **options)))
        expected = np.asarray(getattr(np, name)(self.X, *arguments, **options))
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)

    def test_made(self):
        for ours, expected in (
                (keras.ops.zeros((2, 3)), np.zeros((2, 3))), (keras.ops.ones((2,)), np.ones(2)),
                (keras.ops.full((2,), 3), np.full(2, 3)), (keras.ops.eye(3), np.eye(3)),
                (keras.ops.arange(4), np.arange(4)), (keras.ops.linspace(0, 1, 5), np.linspace(0, 1, 5)),
                (keras.ops.broadcast_to(np.ones((3, 1), np.float32), (3, 2)), np.ones((3, 2))),
                (keras.ops.matmul(np.eye(2, dtype=np.float32), np.ones((2, 3), np.float32)), np.ones((2, 3))),
                (keras.ops.one_hot(np.array([0, 2, 5]), 3), np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]]))):
            np.testing.assert_allclose(ours.numpy(), expected)

    def test_of_nets(self):
        rng = np.random.default_rng(1)
        x, w = rng.normal(size=(2, 6, 6, 3)).astype(np.float32), rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
        ops, F = keras.ops, keras.functional
        np.testing.assert_array_equal(ops.conv(x, w, 2, "same").numpy(), F.conv2d(x, w, None, 2, "same").numpy())
        np.testing.assert_array_equal(ops.max_pool(x, 2).numpy(), F.max_pool2d(x, 2).numpy())
        np.testing.assert_array_equal(ops.average_pool(x, 2, 1, "same").numpy(), F.avg_pool2d(x, 2, 1, "same").numpy())
        mean, variance = ops.moments(x, (0, 1, 2))
        normal = ops.batch_normalization(x, mean, variance, -1, np.ones(3, np.float32), np.full(3, 2, np.float32))
        np.testing.assert_allclose(normal.numpy().mean((0, 1, 2)), 1, atol=1e-5)
        np.testing.assert_allclose(normal.numpy().std((0, 1, 2)), 2, rtol=1e-2)
        with pytest.raises(ValueError, match="channels_last"):
            ops.conv(x, w, data_format="channels_first")

    def test_gradients_go_through(self):
        x = keras.tensor(self.X, requires_grad=True)
        keras.ops.sum(keras.ops.square(keras.ops.std(keras.ops.swapaxes(x, 0, 1), axis=(0, 2)))).backward()
        assert np.abs(x.grad).max() > 0
        keras.ops.sum(keras.ops.stop_gradient(x) * x).backward()

    def test_on_symbolic_tensors(self):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.ops.mean(keras.ops.square(inputs - 1), axis=1, keepdims=True))
        x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
        np.testing.assert_allclose(model.predict(x, verbose=0)[:, 0], ((x - 1) ** 2).mean(1), rtol=1e-5)

    def test_a_cast_carries_the_gradient(self):
        x = keras.tensor(self.X, requires_grad=True)
        y = keras.ops.cast(x, "float64")
        assert (keras.ops.dtype(y), keras.ops.dtype(keras.ops.cast(self.X > 0, "float32"))) == ("float64", "float32")
        (y * y).sum().backward()
        np.testing.assert_allclose(x.grad, 2 * self.X, rtol=1e-6)
        assert not keras.ops.cast(x, "int32").requires_grad


class TestSaving:
    def test_a_registered_class_is_found_by_its_name(self, tmp_path):
        @keras.saving.register_keras_serializable(package="Mine")
        class Doubled(keras.layers.Layer):
            def call(self, x):
                return x * 2.0

        try:
            model = keras.Sequential([keras.Input((2,)), Doubled(), keras.layers.Dense(1)])
            model.save(tmp_path / "m.safetensors")
            again = keras.models.load_model(tmp_path / "m.safetensors")
            np.testing.assert_array_equal(again.predict(np.ones((1, 2)), verbose=0),
                                          model.predict(np.ones((1, 2)), verbose=0))
            assert keras.saving.get_registered_name(Doubled) == "Mine>Doubled"
            assert keras.saving.get_registered_object("Mine>Doubled") is Doubled
        finally:
            del keras.saving.get_custom_objects()["Mine>Doubled"]

    def test_within_a_scope(self):
        def double(x):
            return x * 2.0

        with keras.saving.custom_object_scope({"double": double}):
            assert keras.layers.Dense(2, activation="double").activation is double
        with pytest.raises(ValueError, match="activation function identifier: 'double'"):
            keras.layers.Dense(2, activation="double")

    def test_objects_as_plain_data(self):
        config = keras.saving.serialize_keras_object(keras.layers.Dense(3, activation="relu", name="d"))
        again = keras.saving.deserialize_keras_object(config)
        assert (again.units, again.name) == (3, "d")


def test_settings():
    assert keras.config.floatx() == "float32"
    keras.config.set_floatx("float32")
    with pytest.raises(ValueError, match="Pass dtype to the layers"):
        keras.config.set_floatx("float16")
    with pytest.raises(ValueError, match="channels_last"):
        keras.config.set_image_data_format("channels_first")


TENSOR = keras.tensor([1.0], requires_grad=True)


@pytest.mark.parametrize(("owner", "name", "advice"), [
    (keras, "GradientTape", r"Call backward\(\) of the loss"), (keras, "function", "Steps are compiled"),
    (TENSOR, "view", "Use reshape"), (TENSOR, "cuda", r"Use to\('cuda'\)"), (TENSOR, "tanh", r"Use ops\.tanh"),
    (TENSOR, "astype", r"Use ops\.cast"), (TENSOR, "zero_", "A tensor.s values do not change"),
    (TENSOR * 2, "register_hook", "Call retain_grad"), (keras.Variable(1.0), "squeeze", r"Use ops\.squeeze"),
    (keras.Sequential(), "parameters", "Use trainable_weights"), (keras.Sequential(), "train", "Pass training=True"),
    (keras.Sequential(), "state_dict", r"Use formats\.to_torch_state_dict"),
    (keras.optimizers.Adam(), "step", r"Call apply\(gradients, weights\)"),
    (keras.optimizers.Adam(), "learnin_rate", "Did you mean 'learning_rate'")])
def test_names_of_pytorch_and_tensorflow(owner, name, advice):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'\. {advice}"):
        getattr(owner, name)
    assert not hasattr(owner, name)
