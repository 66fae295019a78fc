"""`fit` warns once if training fails, and names the likeliest cause; it does not warn about training that works."""

import re
import warnings

import numpy as np
import pytest

from autoconv import callbacks, layers, losses, models, optimizers, utils
from autoconv.datasets import digits

CROSSENTROPY = "sparse_categorical_crossentropy"


@pytest.fixture(scope="module")
def images():
    (x, y), _ = digits.load_data()
    return x[:4000, ..., None].astype("float32") / 255, y[:4000]


def classifier(optimizer="adam", *first):
    utils.set_random_seed(1)
    model = models.Sequential([
        layers.Input((28, 28, 1)), *first, layers.Conv2D(4, 3, strides=2, activation="relu"), layers.Flatten(),
        layers.Dense(10, "softmax")])
    model.compile(optimizer, CROSSENTROPY, metrics=["accuracy"])
    return model


def regression(optimizer="adam", loss="mse"):
    utils.set_random_seed(1)
    model = models.Sequential([layers.Input((4,)), layers.Dense(16, "relu"), layers.Dense(1)])
    model.compile(optimizer, loss)
    return model


def points(n=2000):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype("float32")
    return x, x.sum(1)


def warnings_of(model, *data, epochs=3, **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data, epochs=epochs, verbose=0, **arguments)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(("rate", "cause"), [
    (1.0, "learning rate 1, which is 1,000 times the default of Adam. Try 0.001"),
    (1e-9, "learning rate 1e-09, which is far below the default of Adam"),
    (optimizers.schedules.CosineDecay(1.0, 375), "learning rate 1, which is 1,000 times"),
])
def test_a_net_that_learns_nothing_is_named_once_with_its_learning_rate(images, rate, cause):
    message, = warnings_of(classifier(optimizers.Adam(rate)), *images)
    assert message.startswith("After epoch 1: the net is no better than one that ignores x. Its loss is ")
    assert cause in message


def test_a_loss_that_falls_from_a_huge_value_to_that_of_guessing_is_no_success(images):
    messages = warnings_of(classifier(optimizers.RMSprop(10.0)), images[0][:2000], images[1][:2000], epochs=2)
    assert len(messages) == 1
    assert "10,000 times the default of RMSprop" in messages[0]


def test_the_warning_is_a_userwarning_that_names_the_line_of_the_user(images):
    with pytest.warns(UserWarning, match="no better") as caught:
        classifier(optimizers.Adam(1.0)).fit(*images, verbose=0)
    assert caught[0].filename == __file__


def test_images_up_to_255_are_the_cause_unless_the_net_scales_them(images):
    x, y = images[0] * 255, images[1]
    message, = warnings_of(classifier(optimizers.SGD(0.1)), x, y)
    assert "x contains values up to 255. Divide x by 255, or add layers.Rescaling(1 / 255)" in message
    assert warnings_of(classifier(optimizers.SGD(0.1), layers.Rescaling(1 / 255)), x, y) == []


def test_images_that_do_not_depend_on_the_labels_show_no_cause(images):
    message, = warnings_of(classifier(optimizers.SGD(1e-3)), np.zeros_like(images[0]), images[1])
    assert "show no cause. Check that y[i] belongs to x[i]" in message


def test_targets_far_from_1_are_a_cause():
    x, y = points()
    message, = warnings_of(regression(), x, 200_000 + 50_000 * y, epochs=5)
    assert message.startswith("After epoch 3")
    assert "y contains values up to" in message


def test_a_loss_that_explodes_is_named():
    x, y = points()
    explode = callbacks.LearningRateScheduler(lambda epoch: 0.001 if epoch == 0 else 500.0)
    message, = warnings_of(regression(), x, y, callbacks=[explode], epochs=4)
    assert "After epoch 2: the loss rose from" in message
    assert "learning rate 500" in message


def test_a_loss_that_keeps_rising_above_that_of_a_constant_is_named():
    x, y = points()
    rise = callbacks.LearningRateScheduler(lambda epoch: [0.01, 0.1, 0.2, 0.6, 2.0, 6.0][epoch])
    message, = warnings_of(regression(optimizers.Adam(0.01)), x, y, callbacks=[rise], epochs=6)
    assert "the loss has risen for two epochs to" in message


@pytest.mark.parametrize("name", ["x", "y", "sample_weight"])
def test_the_first_sample_with_nan_is_named(name):
    x, y = points()
    data = {"x": x, "y": y, "sample_weight": np.ones(len(x))}
    data[name][[123, 700]] = np.nan
    with pytest.warns(RuntimeWarning, match=rf"became nan.* number in {name}, first in sample 123\."):
        regression().fit(**data, verbose=0)


def test_sorted_labels_with_validation_split_are_named(images):
    order = np.argsort(images[1], kind="stable")
    message, = warnings_of(classifier(), images[0][order], images[1][order], validation_split=0.1)
    assert "100% of the validation samples have classes that no training sample has: 9. Shuffle x and y" in message


def test_labels_of_one_class_are_named(images):
    message, = warnings_of(classifier(), images[0], np.full(len(images[0]), 3))
    assert "all labels in y are the class 3" in message


def test_the_loss_of_an_iterable_is_judged_too(images):
    rows = np.argsort(images[1], kind="stable").reshape(-1, 40)  # the first batch has only one class
    shuffled = np.random.default_rng(0).permutation(4000).reshape(-1, 40)

    def batches():
        yield images[0][rows[0]], images[1][rows[0]]
        while True:
            yield from ((images[0][some], images[1][some]) for some in shuffled)

    assert "learning rate 1" in warnings_of(classifier(optimizers.Adam(1.0)), batches(), steps_per_epoch=100)[0]
    assert warnings_of(classifier(), batches(), steps_per_epoch=100) == []


# Training that works, or about which nothing is known.


@pytest.mark.parametrize("rate", [1e-5, 1e-4])
def test_slow_learning_is_learning(images, rate):
    assert warnings_of(classifier(optimizers.Adam(rate)), *images, epochs=4) == []


def test_few_steps_and_few_samples_are_no_failure(images):
    x, y = images
    labels = np.random.default_rng(0).integers(0, 10, 20)
    assert warnings_of(classifier(), x[:20], labels, epochs=30) == []
    assert warnings_of(classifier(optimizers.SGD(1e-3)), x[:1000], y[:1000], epochs=2) == []


def test_continued_and_converged_training_is_no_failure():
    x, y = points(200)
    model = regression()
    assert warnings_of(model, x, y, epochs=100) == []
    assert warnings_of(model, x, y, epochs=120, initial_epoch=100) == []
    assert warnings_of(model, x, y, epochs=50) == []
    assert warnings_of(regression(), x, np.zeros(200), epochs=400) == []
    assert warnings_of(regression(optimizers.SGD(1e-30)), x, np.zeros(200), epochs=20) == []  # no guess is worse
    assert warnings_of(regression(loss="mae"), x, y, epochs=100) == []


def test_labels_with_much_noise_and_penalties_are_no_failure(images):
    x, y = images
    soft = np.full((len(y), 10), 0.095)
    soft[np.arange(len(y)), y] = 0.145  # no net has a loss below 2.293; guessing has 2.303
    model = classifier()
    model.compile("adam", "categorical_crossentropy")
    assert warnings_of(model, x, soft, epochs=5) == []
    model.compile("adam", losses.CategoricalCrossentropy(label_smoothing=0.9))
    assert warnings_of(model, x, utils.to_categorical(y, 10), epochs=5) == []

    class Penalized(layers.Flatten):
        def call(self, x):
            self.add_loss(0 * x.mean() + 100.0)
            return super().call(x)

    penalized = models.Sequential([layers.Input((28, 28, 1)), Penalized(), layers.Dense(10, "softmax")])
    penalized.compile("adam", CROSSENTROPY)
    assert warnings_of(penalized, x, y) == []


def test_a_rare_class_is_no_failure(images):
    rare = (images[1] == 9) & (np.arange(len(images[1])) % 10 == 0)
    model = models.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    assert warnings_of(model, images[0] * 255, rare.astype("float32"), epochs=4) == []


def test_nothing_is_known_about_the_loss_of_a_custom_step():
    class Own(models.Sequential):
        def train_step(self, data):
            return {"loss": 1000.0}

    model = Own([layers.Input((4,)), layers.Dense(1)])
    model.compile("adam", "mse")
    assert warnings_of(model, *points(4000)) == []


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_an_autoencoder_is_no_failure(images, loss):
    x = images[0].reshape(-1, 784)
    model = models.Sequential([layers.Input((784,)), layers.Dense(16, "relu"), layers.Dense(784, "sigmoid")])
    model.compile("adam", loss)
    assert warnings_of(model, x, x, epochs=3) == []


def test_the_two_nets_of_a_gan_are_no_failure(images):
    rng = np.random.default_rng(0)
    judge = models.Sequential([layers.Input((784,)), layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")])
    maker = models.Sequential([layers.Input((8,)), layers.Dense(32, "relu"), layers.Dense(784, "sigmoid")])
    judge.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    noise = layers.Input((8,))
    both = models.Model(noise, judge(maker(noise)))
    both.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    for _ in range(3):
        fakes = maker.predict(rng.normal(size=(2000, 8)), verbose=0)
        x = np.concatenate([images[0][:2000].reshape(-1, 784), fakes])
        judge.trainable = True
        assert warnings_of(judge, x, np.arange(4000) < 2000, epochs=1) == []
        judge.trainable = False
        assert warnings_of(both, rng.normal(size=(4000, 8)), np.ones(4000), epochs=2) == []


# Outputs that do not fit the loss.


def outputs_of(activation, units, loss, y):
    model = models.Sequential([layers.Input((4,)), layers.Dense(units, activation)])
    model.compile("sgd", loss)
    return warnings_of(model, points(64)[0], y)


LABELS = np.arange(64) % 3
ONE_HOT = np.eye(3)[LABELS]


@pytest.mark.parametrize(("activation", "units", "loss", "y", "message"), [
    (None, 3, CROSSENTROPY, LABELS, r"SparseCategoricalCrossentropy needs probabilities from 0 to 1. Received: outputs "
     r"from -.* Add activation='softmax' to the last layer, or use losses.SparseCategoricalCrossentropy\(from_logits"),
    (None, 1, "binary_crossentropy", LABELS > 0, "Add activation='sigmoid'"),
    ("sigmoid", 3, "categorical_crossentropy", ONE_HOT, "probabilities that sum to 1.*3 outputs of a sigmoid"),
    ("softmax", 3, "binary_crossentropy", ONE_HOT, "independent probability.*3 outputs of a softmax"),
])
def test_outputs_that_do_not_fit_the_loss_are_named_once(activation, units, loss, y, message):
    text, = outputs_of(activation, units, loss, y)
    assert re.search(message, text)


def test_no_other_cause_is_named_for_outputs_that_do_not_fit(images):
    utils.set_random_seed(0)
    model = models.Sequential([
        layers.Input((28, 28, 1)), layers.Conv2D(8, 3, strides=2, activation="relu"), layers.Flatten(),
        layers.Dense(10)])
    model.compile("adam", CROSSENTROPY, metrics=["accuracy"])
    message, = warnings_of(model, images[0][:3000], images[1][:3000], epochs=4)
    assert message.startswith("SparseCategoricalCrossentropy needs probabilities")


@pytest.mark.parametrize(("activation", "units", "loss", "y"), [
    ("softmax", 3, CROSSENTROPY, LABELS), ("softmax", 3, "categorical_crossentropy", ONE_HOT),
    ("sigmoid", 3, "binary_crossentropy", ONE_HOT), ("sigmoid", 1, "binary_crossentropy", LABELS > 0),
    (None, 3, losses.SparseCategoricalCrossentropy(from_logits=True), LABELS), (None, 1, "mse", LABELS),
    ("tanh", 1, "hinge", LABELS > 0),
])
def test_outputs_that_fit_the_loss_are_not_named(activation, units, loss, y):
    assert outputs_of(activation, units, loss, y) == []


def test_a_softmax_over_one_unit_is_refused():
    with pytest.raises(ValueError, match=r"softmax needs at least 2 units.*Received: outputs of shape \(None, 1\)"):
        outputs_of("softmax", 1, "binary_crossentropy", LABELS > 0)


def test_a_learning_rate_below_0_is_refused_and_0_is_named():
    with pytest.raises(ValueError, match=r"learning_rate must be a number of at least 0.*Received: -0\.1"):
        optimizers.SGD(-0.1)
    optimizer = optimizers.SGD(0.0)
    with pytest.raises(ValueError, match="at least 0"):
        optimizer.learning_rate = -1
    with pytest.warns(UserWarning, match="learning rate is 0, so nothing is trained"):
        regression(optimizer).fit(*points(64), verbose=0)


def test_a_slow_net_and_masks_of_two_classes_are_not_named():
    rng = np.random.default_rng(0)
    x = rng.random((2000, 10)).astype("float32")
    slow = models.Sequential([layers.Input((10,)), *(layers.Dense(32, "relu") for _ in range(3)),
                              layers.Dense(5, "softmax")])
    slow.compile(optimizers.SGD(0.01), CROSSENTROPY, metrics=["accuracy"])
    assert warnings_of(slow, x, x[:, :5].argmax(1), epochs=6) == []
    sky = np.arange(16)[None, :, None] < rng.integers(3, 13, (200, 1, 1)) * np.ones((1, 1, 16))
    images = (sky[..., None] + 0.3 * rng.normal(size=(200, 16, 16, 1))).astype("float32")
    segments = models.Sequential([layers.Input((16, 16, 1)), layers.Conv2D(8, 5, padding="same", activation="relu"),
                                  layers.Conv2D(2, 1, activation="softmax")])
    segments.compile("adam", CROSSENTROPY, metrics=["accuracy"])
    assert warnings_of(segments, images, sky.astype(int), epochs=4, batch_size=8) == []
