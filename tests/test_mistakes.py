"""A newcomer's mistakes in Python: each works, or raises an error with the rule, the received value and a remedy."""

import re
import subprocess
import sys

import numpy as np
import pytest

from autoconv import Tensor, callbacks, engine, gradcheck, layers, losses, models, pictures, utils

X = np.random.default_rng(0).random((8, 6, 6, 1), dtype=np.float32)
Y = np.arange(8) % 3
TEXT = np.array(["cat", "dog", "elk"])[Y]


def net(loss="sparse_categorical_crossentropy", **options):
    model = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(),
                               layers.Dense(3, activation="softmax")])
    model.compile("adam", loss, **options)
    return model


def fit(x=X, y=Y, *, loss="sparse_categorical_crossentropy", **options):
    return net(loss).fit(x, y, verbose=0, **options)


def behind(layer, *before):
    return models.Sequential([layers.Input((6, 6, 1)), *before, layer])


class Returnless(layers.Layer):
    def call(self, x):
        x + 1


SYMBOLIC = layers.Input((6, 6, 1))
SCORES = np.full((8, 3), 1 / 3)
MISTAKES = [  # what the user writes, and the error's words, in order
    (lambda: layers.Input(28, 28, 1), "one tuple of sizes", "shape=28, batch_size=28, dtype=1", "Input((28, 28, 1))"),
    (lambda: layers.Dense(3, input_shape=28), "must be a tuple", "input_shape=28", "(28,)"),
    (lambda: layers.Flatten(X), "accepts no data", "shape (8, 6, 6, 1)", "call it on the data: Flatten(...)(x)"),
    (lambda: layers.Dense(10, SYMBOLIC), "accepts no data", "shape (None, 6, 6, 1)", "Dense(...)(x)"),
    (lambda: layers.Add([SYMBOLIC, SYMBOLIC]), "accepts no data", "Add(...)(x)"),
    (lambda: layers.ReLU(Tensor(X)), "accepts no data", "ReLU(...)(x)"),
    (lambda: models.Sequential(layers.Flatten(), layers.Dense(3)), "one list of layers",
     "Received: Sequential(<Flatten", "Sequential([Flatten(...), Dense(...)])"),
    (lambda: behind(layers.Conv2D(2, 3), layers.Flatten()), "ndim=4", "(None, 36)", "must come before Flatten"),
    (lambda: fit([[1, 2], [3]], Y[:2]), "in x must have the same shape", "list of 2 items", "Pad, crop or resize"),
    (lambda: net().predict([X[0], X[1][:4]], verbose=0), "in x must have the same shape", "Pad, crop or resize"),
    (lambda: net()([[1, 2], [3]]), "must have the same shape", "list of 2 items", "Pad, crop or resize"),
    (lambda: fit(y=TEXT), "array of numbers", "dtype <U3", "classes, y = np.unique(y, return_inverse=True)"),
    (lambda: fit(y=TEXT.astype(object)), "array of numbers", "dtype object", "np.unique(y, return_inverse=True)"),
    (lambda: fit(X.astype(str)), "x must be an array of numbers", "np.asarray(x, 'float32')"),
    (lambda: fit(loss="mse"), "(N, 3)", "shape (8,)", "utils.to_categorical"),
    (lambda: fit(y=Y[:, None] * 1.0, loss="mae"), "(N, 3)", "shape (8, 1)", "utils.to_categorical"),
    (lambda: fit("digits.npy"), "x must be arrays", "'digits.npy'", "np.load"),
    (lambda: fit(None), "array of numbers", "Received: None."),
    (lambda: fit(X[0], Y[0]), "along its first axis", "x[None], and np.array([label]) as y"),
    (lambda: net().predict((X, Y), verbose=0), "same shape", "tuple of 2 items", "without other arrays in a tuple"),
    (lambda: fit(y=Y + 0.5), "Labels must be integers", "[0.5 1.5 2.5 0.5 1.5]", "use a loss such as mse"),
    (lambda: fit(y=np.where(Y > 1, np.nan, Y)), "Labels must be integers", "nan", "Remove the samples without a label"),
    (lambda: layers.Conv2D(3, 3, "relu"), "`strides`", "'relu'", "activation='relu'"),
    (lambda: layers.Conv2D(3, kernal_size=3), "'kernel_size'", "Did you mean 'kernel_size'?"),
    (lambda: layers.Reshape(8, 8), "takes 2 positional arguments", "The arguments of Reshape are target_shape"),
    (lambda: net().compile("adma", "mse"), "'adma'", "Did you mean 'adam'?"),
    (lambda: models.Sequential([layers.Input((None, 6, 6, 1)), layers.Conv2D(2, 3)]), "ndim=4", "excludes the batch",
     "Input((6, 6, 1))"),
    (lambda: models.Sequential([layers.Input((6, 6)), layers.Conv2D(2, 3)]), "ndim=4", "Input((6, 6, 1))"),
    (lambda: models.Sequential([layers.Input(X.shape), layers.Flatten()])(X), "(None, 8, 6, 6, 1)", "Input((6, 6, 1))"),
    (lambda: models.Sequential().add(layers.Dense(3), layers.Dense(2)), "one layer", "<Dense", "add() for each layer"),
    (lambda: Tensor([1.0, 2.0]), "requires an array", "[1.0, 2.0]", "autoconv.tensor(data)"),
    (lambda: pictures.saliency_map(X[0], net()), "first argument must be a model", "ndarray"),
    (lambda: callbacks.LearningRateScheduler(0.1), "must be a function", "0.1", "learning_rate to the optimizer"),
    (lambda: models.load_model("no.keras"), "no model file 'no.keras'", "current folder is"),
    (lambda: Returnless()(SYMBOLIC), "must return tensors", "Received: None", "return statement"),
    (lambda: fit(y=Y.astype(str)), "array of numbers", "np.asarray(y, 'float32')"),
    (lambda: fit(np.array([X[0], X[1][:4]], object), Y[:2]), "array of numbers", "dtype object", "np.stack(x)"),
    (lambda: fit(loss=lambda y_true, y_pred: None), "must return a tensor", "Received: None", "return statement"),
    (lambda: losses.MeanSquaredError(X, X), "accepts no data", "ndarray", "MeanSquaredError()(y_true, y_pred)"),
    (lambda: layers.Dense(3)(layers.Dense(4)), "should be tensors", "Got <Dense", "put both layers into a Sequential"),
    (lambda: models.Sequential([layers.Dense(3)]).load_weights("a.weights.h5"), "built model", "build((None, *shape))"),
    (lambda: pictures.activations(X[0], net()), "first argument must be a model", "ndarray"),
    (lambda: pictures.filters("conv2d", net()), "first argument must be a model", "str"),
    (lambda: utils.img_to_array("a.png"), "Pillow Image", "'a.png'", "utils.load_img(path)"),
    (lambda: utils.save_img("a.foo", X[0]), "a format that Pillow writes", "'foo'"),
    (lambda: gradcheck(lambda x: x * x, np.ones(3)), "needs tensors", "ndarray", "requires_grad=True"),
    (lambda: callbacks.ModelCheckpoint("{epoch:xyz}.keras"), "valid format", "'{epoch:xyz}.keras'"),
    (lambda: callbacks.ModelCheckpoint("best-{}.keras"), "have a name", "'best-{}.keras'", "positional"),
    (lambda: pictures.worst_mistakes(SCORES, Y), "fractions in y_true", "Pass the labels first"),
    (lambda: pictures.worst_mistakes(SCORES, np.eye(3)[Y]), "fractions in y_true", "Pass the labels first"),
    (lambda: pictures.worst_mistakes(Y, X), "(N, classes)", "scores of shape (8, 6, 6, 1)", "Pass the labels first"),
    (lambda: pictures.worst_mistakes(X, SCORES), "integer labels", "(8, 6, 6, 1)", "Pass the labels first"),
]


@pytest.mark.parametrize(("mistake", "words"), [(first, rest) for first, *rest in MISTAKES])
def test_the_error_states_the_rule_the_received_value_and_the_remedy(mistake, words):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=".*".join(map(re.escape, words))) as caught:
        mistake()
    assert len(str(caught.value)) < 500


def test_a_scale_may_be_an_array():
    np.testing.assert_array_equal(layers.Rescaling(np.full((1, 1, 1), 0.5))(X).numpy(), X / 2)


def test_gradcheck_accepts_a_list_of_tensors():
    tensors = [Tensor(np.array([1.0, 2.0]), requires_grad=True), Tensor(np.array([3.0, 4.0]), requires_grad=True)]
    gradcheck(lambda a, b: a * b, tensors)
    with pytest.raises(engine.gradcheck.GradientMismatch):
        gradcheck(lambda a, b: (a * b).detach() + a, tuple(tensors))


@pytest.mark.parametrize("values", [np.full((3, 3, 1, 2), 0.25), Tensor(np.full((3, 3, 1, 2), 0.25)),
                                    np.full((3, 3, 1, 2), 0.25).tolist()])
def test_an_array_set_as_a_weight_is_assigned_and_stays_trainable(values):
    model = net()
    model.fit(X, Y, verbose=0)  # the step is recorded before the change
    layer, kernel = model.layers[0], model.layers[0].kernel
    layer.kernel = values
    assert layer.kernel is kernel
    assert layer.trainable_weights[0] is kernel
    np.testing.assert_array_equal(kernel.numpy(), 0.25)
    expected = models.clone_model(model)
    expected.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X, verbose=0), expected.predict(X, verbose=0))
    model.fit(X, Y, verbose=0)
    assert np.any(kernel.numpy() != 0.25)
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 3, 1, 2\)\. Received a value of shape \(3, 3\)"):
        layer.kernel = np.ones((3, 3))


def test_a_checkpoint_that_needs_validation_data_fails_before_the_first_epoch(tmp_path):
    saving, epochs = callbacks.ModelCheckpoint(tmp_path / "{val_loss:.2f}.keras"), []
    counting = callbacks.LearningRateScheduler(lambda epoch, rate: epochs.append(epoch) or rate)
    with pytest.raises(ValueError, match=r"contains val_loss, but fit has no validation data.*validation_split to fit"):
        fit(callbacks=[counting, saving])
    assert not epochs
    fit(callbacks=[counting, saving], validation_split=0.25)
    assert len(list(tmp_path.iterdir())) == len(epochs) == 1
    measuring = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=98))
    fit(callbacks=[measuring, saving])
    assert (tmp_path / "98.00.keras").exists()


@pytest.mark.parametrize("suffix", ["keras", "safetensors"])
def test_layers_added_to_a_loaded_model_have_new_names(suffix, tmp_path):
    x = layers.Input((4,))
    hidden = layers.Dense(3, name="dropout_1")(x)
    models.Model(x, hidden + layers.Dense(3, name="flatten")(hidden)).save(tmp_path / f"graph.{suffix}")
    models.Sequential([x, layers.Flatten(name="dense"), layers.Dense(2, name="dense_1"), layers.Dense(2, name="last")]
                      ).save(tmp_path / f"chain.{suffix}")
    script = f"""
from autoconv import layers, models, utils
graph = models.load_model(r"{tmp_path}/graph.{suffix}")
hidden = graph.get_layer("dropout_1").output
models.Model(graph.input, layers.Dropout(0.1)(layers.Flatten()(graph.output + hidden)))
for restart in (lambda: None, utils.clear_session):
    chain = models.load_model(r"{tmp_path}/chain.{suffix}")
    restart()
    chain.pop()
    chain.add(layers.Dense(3))
    chain.add(layers.Dense(3))
    assert len(dict.fromkeys(layer.name for layer in chain.layers)) == 4, chain.layers
try:
    chain.add(layers.Dense(3, name="dense_1"))
except ValueError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout == "Layers of a model must have different names. Received a second layer named 'dense_1'.\n", (
        answer.stderr)


def test_a_gray_picture_of_fractions_can_be_written(tmp_path):
    for seed in range(20):  # rounding took the largest value above 255 for some pictures
        utils.save_img(tmp_path / "a.png", np.random.default_rng(seed).random((5, 5, 1), dtype=np.float32))
        assert utils.img_to_array(utils.load_img(tmp_path / "a.png", color_mode="grayscale")).max() >= 254
