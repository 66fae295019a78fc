"""Layers of augmentation, Resizing and CenterCrop: Keras's values, fresh draws in each step, none in inference."""

import copy

import numpy as np
import pytest
from autoconv.tensor import tensor

from autoconv import functional as F
from autoconv import layers, models, nets, utils
from autoconv.kernels import device

RNG = np.random.default_rng(0)
PHOTOS = RNG.uniform(0, 255, (6, 9, 7, 3)).astype("float32")

RANDOM = {
    "flip": lambda **options: layers.RandomFlip(**options),
    "rotation": lambda **options: layers.RandomRotation(0.2, **options),
    "translation": lambda **options: layers.RandomTranslation(0.3, 0.2, **options),
    "zoom": lambda **options: layers.RandomZoom(0.3, **options),
    "contrast": lambda **options: layers.RandomContrast(0.5, **options),
    "brightness": lambda **options: layers.RandomBrightness(0.2, **options),
    "crop": lambda **options: layers.RandomCrop(5, 6, **options),
    "erasing": lambda **options: layers.RandomErasing((1, 1), **options),
}
each_random = pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)

# What Keras 3.15.1 on TensorFlow (for bicubic and lanczos on JAX) makes of this image: of the layer, its two numbers,
# the result in scan order.
IMAGE = np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]], "float32").reshape(1, 3, 4, 1)
OF_KERAS = [
    (layers.RandomRotation(0.5, fill_mode="constant", fill_value=7.0), (33.0, 33.0),
     "5.081 3.334 3.149 6.227 3.148 6.476 3.184 6.864 5.605 5.323 4.11 6.532"),
    (layers.RandomTranslation(1.0, 1.0, fill_mode="constant", fill_value=7.0), (-0.4, 0.3),
     "7 5.4 7.24 3.64 7 5.72 4.12 5.08 7 7 7 7"),
    (layers.RandomZoom(0.9, 0.9, fill_mode="constant", fill_value=7.0, interpolation="nearest"), (1.7, 0.6),
     "7 7 7 7 9 9 2 2 7 7 7 7"),
    (layers.RandomRotation(0.5, fill_mode="nearest"), (33.0, 33.0),
     "1.427 2.876 3.149 5.891 3.148 6.476 3.184 6.864 5 5.323 3.749 5.64"),
    (layers.RandomTranslation(1.0, 1.0, fill_mode="nearest"), (-0.4, 0.3),
     "5 5 7.24 3.64 5 5 3.4 4.6 5 5 3.4 4.6"),
    (layers.RandomZoom(0.9, 0.9, fill_mode="nearest", interpolation="nearest"), (1.7, 0.6),
     "1 1 4 4 9 9 2 2 3 3 5 5"),
    (layers.RandomRotation(0.5, fill_mode="reflect"), (33.0, 33.0),
     "1.427 2.876 3.149 5.891 3.148 6.476 3.184 6.864 5 5.323 3.749 5.64"),
    (layers.RandomTranslation(1.0, 1.0, fill_mode="reflect"), (-0.4, 0.3),
     "5.56 5 7.24 3.64 4.6 5 3.4 4.6 4.84 5 4.36 4.36"),
    (layers.RandomZoom(0.9, 0.9, fill_mode="reflect", interpolation="nearest"), (1.7, 0.6),
     "1 1 4 4 9 9 2 2 3 3 5 5"),
    (layers.RandomRotation(0.5, fill_mode="wrap"), (33.0, 33.0),
     "3.427 4.251 3.149 4.957 3.148 6.476 3.184 6.864 6.043 5.323 2.124 3.36"),
    (layers.RandomTranslation(1.0, 1.0, fill_mode="wrap"), (-0.4, 0.3),
     "5.64 6.4 7.24 3.64 1.6 1 1.4 3.4 2.32 2 2.76 3.4"),
    (layers.RandomZoom(0.9, 0.9, fill_mode="wrap", interpolation="nearest"), (1.7, 0.6),
     "3 3 5 5 9 9 2 2 1 1 4 4"),
    (layers.RandomZoom(0.9), (1.4, 1.4),
     "3 1.4 3.4 1 5 8.2 2.8 6 5 3.4 5.6 8"),
    (layers.RandomContrast(0.9, (0, 8)), (1.6, 1.6),
     "2.2 0 3.8 0 5.4 8 0.6 7 5.4 2.2 5.4 8"),
    (layers.RandomBrightness(0.9, (0, 8)), (-2.5, -2.5),
     "0.5 0 1.5 0 2.5 6.5 0 3.5 2.5 0.5 2.5 5.5"),
    (layers.RandomCrop(2, 2), (1, 2),
     "2 6 5 8"),
    (layers.RandomErasing(fill_value=300), (1.0, 0.5, 3.0, 2.5),
     "3 1 4 1 5 255 255 6 5 255 255 8"),
    (layers.RandomErasing(fill_value=7.0), (0.5, 2.0, 0.5, 3.0),
     "3 1 4 1 5 9 2 6 5 3 5 8"),
    (layers.RandomFlip("horizontal"), (1.0, 0.2),
     "1 4 1 3 6 2 9 5 8 5 3 5"),
    (layers.RandomFlip("vertical"), (0.5, 1.0),
     "5 3 5 8 5 9 2 6 3 1 4 1"),
    (layers.RandomFlip("horizontal_and_vertical"), (0.1, 0.1),
     "8 5 3 5 6 2 9 5 1 4 1 3"),
    (layers.Resizing(2, 3), None,
     "3.417 3.25 2.458 4.917 4.375 6.958"),
    (layers.Resizing(5, 3, interpolation="nearest"), None,
     "3 4 1 3 4 1 5 2 6 5 5 8 5 5 8"),
    (layers.Resizing(4, 4, crop_to_aspect_ratio=True), None,
     "3 1.75 2.125 4 4.25 5.344 4.781 2.75 5 6.094 5.391 3.125 5 3.75 3.75 5"),
    (layers.Resizing(4, 4, pad_to_aspect_ratio=True, fill_value=7.0), None,
     "3 1 4 1 4.25 6 2.75 4.125 5 6.75 3.125 6.75 5 3 5 8"),
    (layers.Resizing(5, 3, interpolation="bicubic"), None,
     "2.529 2.341 1.065 3.754 3.674 2.711 5.532 5.5 5.468 5.15 4.455 7.088 4.692 3.551 7.847"),
    (layers.Resizing(4, 2, interpolation="lanczos3"), None,
     "1.236 2.722 5.665 2.627 6.903 4.957 3.576 7.126"),
    (layers.Resizing(2, 6, interpolation="lanczos5"), None,
     "3.446 3.004 3.069 3.515 2.506 1.448 5.116 5.327 4.403 3.818 6.37 8.571"),
    (layers.Resizing(4, 4, interpolation="bicubic", crop_to_aspect_ratio=True), None,
     "3.016 1.198 1.734 4.288 4.14 5.894 5.133 2.332 5.026 6.812 5.854 2.753 5.121 3.377 3.446 5.286"),
    (layers.Resizing(2, 3, interpolation="area"), None,
     "3.667 3.5 2.833 5 4.5 6.5"),
    (layers.CenterCrop(2, 2), None,
     "1 4 9 2"),
    (layers.CenterCrop(5, 5), None,
     "3 2.2 1 2.8 4 3.8 3.96 4.2 3.6 3.2 5 6.6 9 4.8 2 5 5.16 5.4 4.44 3.8 5 4.2 3 4.2 5"),
]


@pytest.mark.parametrize(("layer", "numbers", "expected"), OF_KERAS,
                         ids=[f"{type(layer).__name__} {i}" for i, (layer, *_) in enumerate(OF_KERAS)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_those_of_keras(layer, numbers, expected, dtype):
    image = tensor(IMAGE, dtype=dtype)
    y = layer(image) if numbers is None else layer.transform_images(image, np.array(numbers, dtype)[:, None])
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy().ravel(), [float(v) for v in expected.split()], atol=2e-3)


@pytest.mark.filterwarnings("ignore")
def test_draws_of_ours_in_keras():
    """Each layer's numbers, given to the layer of that name in Keras where it is installed, give the same images."""
    keras = pytest.importorskip("keras")
    n, h, w, _ = PHOTOS.shape
    zero, one = np.zeros(n, "float32"), np.ones(n, "float32")

    def rotation(layer, d):
        return {"rotation_matrix": layer._compute_affine_matrix(0.5, 0.5, d[0], zero, zero, one, zero, zero, h, w)}

    table = [
        ("RandomRotation", (0.5,), rotation),
        ("RandomTranslation", (1.0, 1.0), lambda layer, d: {"translations": np.stack([d[1] * w, d[0] * h], 1)}),
        ("RandomZoom", (0.9, 0.8), lambda layer, d: {"height_zoom": d[0][:, None], "width_zoom": d[1][:, None]}),
        ("RandomContrast", (0.8,), lambda layer, d: {"contrast_factor": d[0].reshape(-1, 1, 1, 1)}),
        ("RandomBrightness", (0.8,), lambda layer, d: {"rgb_delta": d[0].reshape(-1, 1, 1, 1)}),
    ]
    moved = [{"fill_mode": mode, "interpolation": way, "fill_value": 9.0}
             for mode in ("constant", "nearest", "reflect", "wrap") for way in ("nearest", "bilinear")]
    for name, arguments, transformation in table:
        for options in [{}] if name in ("RandomContrast", "RandomBrightness") else moved:
            ours = getattr(layers, name)(*arguments, seed=1, **options)
            theirs = getattr(keras.layers, name)(*arguments, **options)
            d = ours.get_random_transformation(PHOTOS).numpy()
            expected = np.asarray(theirs.transform_images(PHOTOS, transformation(theirs, d), training=True))
            np.testing.assert_allclose(ours.transform_images(PHOTOS, d).numpy(), expected, atol=0.02)


# Where it acts, and what it draws.


@each_random
def test_in_training_and_in_a_call_by_itself(make):
    """As in Keras, where `call` has training=True: what nobody told is changed, also in a model that nobody told."""
    layer = make()
    for of in (layer, models.Sequential([layer]), models.Sequential([models.Sequential([layers.ReLU(), layer])])):
        assert not np.array_equal(of(PHOTOS, training=True).numpy(), of(PHOTOS, training=True).numpy())
        assert not np.array_equal(of(PHOTOS).numpy(), of(PHOTOS).numpy())
        assert np.array_equal(of(PHOTOS, training=False).numpy(), of(PHOTOS, training=False).numpy())
        if not isinstance(layer, layers.RandomCrop):
            assert np.array_equal(of(PHOTOS, training=False).numpy(), PHOTOS)
    model = models.Sequential([layer])
    assert np.array_equal(model.predict(PHOTOS, verbose=0), model(PHOTOS, training=False).numpy())


class Told(layers.Layer):
    """A layer of a user's around another one, which does not pass `training` on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


class ToldFalse(Told):
    def call(self, x, training=False):
        return self.inner(x)


class ToldNone(Told):
    def call(self, x, training=None, **others):
        return self.inner(x)


@pytest.mark.parametrize(("around", "changed"), [(Told, True), (ToldNone, True), (ToldFalse, False)])
def test_the_default_of_the_outermost_call_counts(around, changed):
    """What Keras 3.15.1 does on PyTorch: a layer whose own default is False tells the layers within."""
    assert np.array_equal(around(layers.RandomBrightness(0.5))(PHOTOS).numpy(), PHOTOS) is not changed
    assert around(layers.Dropout(0.5))(PHOTOS).numpy().all()
    inputs = layers.Input(PHOTOS.shape[1:])
    model = models.Model(inputs, layers.BatchNormalization()(around(layers.RandomBrightness(0.5))(inputs)))
    assert np.array_equal(model(PHOTOS).numpy(), model(PHOTOS, training=False).numpy()) is not changed
    assert not model.layers[-1].moving_mean.numpy().any()


def test_shapes_are_found_without_a_draw():
    layer = layers.RandomFlip(seed=1)
    before = layer.seed_generator.state.numpy()
    ToldNone(layer)(layers.Input(PHOTOS.shape[1:]))
    assert np.array_equal(layer.seed_generator.state.numpy(), before)


def test_a_crop_in_inference_is_the_largest_middle_part_resized():
    """As Keras documents it; Keras 3.15.1 itself passes the images on as they are."""
    y = layers.RandomCrop(3, 3)(PHOTOS, training=False).numpy()
    np.testing.assert_allclose(y, F.resize(PHOTOS[:, 1:8], (3, 3)).numpy(), rtol=1e-6)


@each_random
def test_a_seed_and_a_number_of_threads(make):
    """The same seed gives the same bits, whatever computes them; another seed others."""
    def drawn(threads=2, seed=4):
        layer = make(seed=seed)
        before = device.get_num_threads()
        device.set_num_threads(min(threads, before))
        try:
            return np.stack([layer(PHOTOS, training=True).numpy() for _ in range(3)])
        finally:
            device.set_num_threads(before)

    assert np.array_equal(drawn(), drawn())
    assert np.array_equal(drawn(1), drawn(2))
    assert not np.array_equal(drawn(), drawn(seed=5))
    utils.set_random_seed(7)
    first = make()(PHOTOS, training=True).numpy()
    utils.set_random_seed(7)
    assert np.array_equal(make()(PHOTOS, training=True).numpy(), first)


def test_the_numbers_of_a_sample_do_not_depend_on_the_others():
    whole, part = (layers.RandomRotation(0.5, seed=1).get_random_transformation(x).numpy()
                   for x in (PHOTOS, PHOTOS[:2]))
    assert np.array_equal(whole[:, :2], part)


def test_the_range_of_what_is_drawn():
    """Evenly over the range, its ends within reach: of 20,000 numbers the mean, the ends, the share below a fifth."""
    many = np.zeros((20_000, 4, 4, 1), "float32")
    for layer, one, other in [
        (layers.RandomRotation(0.1), (-36, 36), (-36, 36)), (layers.RandomRotation((0.1, 0.2)), (36, 72), (36, 72)),
        (layers.RandomTranslation(0.3, (-0.1, 0.2)), (-0.3, 0.3), (-0.1, 0.2)),
        (layers.RandomZoom((-0.2, 0.1), 0.5), (0.8, 1.1), (0.5, 1.5)),
        (layers.RandomZoom(0.3), (0.7, 1.3), (0.7, 1.3)), (layers.RandomContrast(0.4), (0.6, 1.4), (0.6, 1.4)),
        (layers.RandomContrast((0.1, 0.4)), (0.9, 1.4), (0.9, 1.4)),
        (layers.RandomBrightness(0.2, (0, 10)), (-2, 2), (-2, 2)), (layers.RandomCrop(2, 4), (0, 3), (0, 1)),
    ]:
        numbers = layer.get_random_transformation(many).numpy()
        for drawn, (low, high) in zip(numbers, (one, other)):
            share = (drawn - low) / (high - low)
            assert -1e-6 <= share.min() < 0.001
            assert 0.999 < share.max() <= 1 + 1e-6
            assert abs(share.mean() - 0.5) < 0.01
            assert abs((share < 0.2).mean() - 0.2) < 0.01
        assert (one != other) or np.array_equal(*numbers)
    flips = layers.RandomFlip().get_random_transformation(many).numpy() <= 0.5
    assert all(abs((flips[0] == a).mean() - 0.5) < 0.02 and abs((flips[1][flips[0] == a]).mean() - 0.5) < 0.02
               for a in (True, False))
    assert not (layers.RandomFlip("horizontal").get_random_transformation(many).numpy()[0] <= 0.5).any()


def test_rectangles_of_random_erasing():
    many = np.full((20000, 10, 6, 1), 100, "float32")
    for factor, probability in (((1, 1), 1.0), ((0.25, 0.25), 0.25), (1.0, 0.5), (0.5, 0.25)):
        layer = layers.RandomErasing(factor, (0.1, 0.4), value_range=(0, 1))
        top, left, bottom, right = layer.get_random_transformation(many).numpy()
        is_erased = bottom > top
        assert abs(is_erased.mean() - probability) < 0.01
        for low, high, side in ((top, bottom, 10), (left, right, 6)):
            fractions = ((high - low)[is_erased] / side) ** 2  # uniform in `scale`
            assert 0.099 < fractions.min() < fractions.max() < 0.401
            assert abs(fractions.mean() - 0.25) < 0.005
            assert low.min() >= 0
            assert high.max() <= side + 1e-4
    images = layer(many, training=True).numpy()
    photos = np.full((20, 8, 8, 3), 100, "float32")
    colours = layers.RandomErasing((1, 1), fill_value=[1, 2, 300])(photos, training=True)
    assert {tuple(pixel) for pixel in colours.numpy().reshape(-1, 3)} == {(1, 2, 255), (100, 100, 100)}
    noise = images[images != 100]
    assert noise.min() == 0  # half of the normal numbers are clipped to 0
    assert noise.max() == 1
    assert abs((noise == 0).mean() - 0.5) < 0.01
    assert abs(noise.size / images.size - 0.25 * 0.49**2) < 0.02


# In models.


def photo_net():
    utils.set_random_seed(2)
    model = models.Sequential([
        layers.Input((9, 7, 3)), layers.Resizing(10, 8),
        *(make() for name, make in RANDOM.items() if name != "crop"), layers.RandomCrop(8, 6),
        layers.CenterCrop(6, 6), layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
        layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_every_step_is_recorded_and_draws_anew():
    model, x = photo_net(), PHOTOS.astype("uint8")
    model.optimizer.learning_rate = 1e-30
    history = model.fit(x, np.arange(6) % 3, batch_size=3, epochs=4, verbose=0).history
    assert all(reason is None for phases in model.recording_report().values() for reason in phases.values())
    assert len(set(history["loss"])) == 4
    eager, recorded = photo_net(), photo_net()
    eager.recordable = False
    losses = []
    for each in (recorded, eager):
        utils.set_random_seed(3)
        losses.append(each.fit(x, np.arange(6) % 3, batch_size=3, epochs=3, verbose=0).history["loss"])
    assert losses[0] == losses[1]


def test_a_saved_model_has_them(tmp_path):
    model = photo_net()
    model.save(tmp_path / "net.safetensors")
    again = models.load_model(tmp_path / "net.safetensors")
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]
    assert np.array_equal(again.predict(PHOTOS, verbose=0), model.predict(PHOTOS, verbose=0))
    lines = []
    again.summary(print_fn=lines.append)
    assert "random_zoom" in "\n".join(map(str, lines))
    assert np.array_equal(copy.deepcopy(model).predict(PHOTOS, verbose=0), model.predict(PHOTOS, verbose=0))


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu_somewhere")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gpu_draws_the_same():
    """In the steps that run layer by layer, in those that are recorded and in those that are replayed."""
    x, losses = PHOTOS[:4, :5, :4].astype("float64"), []
    for where in ("cpu", "cuda"):
        utils.set_random_seed(2)
        model = models.Sequential([
            layers.Input((5, 4, 3)),
            *(make(dtype="float64", seed=1) for name, make in RANDOM.items() if name != "crop"),
            layers.RandomCrop(4, 3, dtype="float64"), layers.Resizing(3, 3, dtype="float64"),
            layers.Flatten(dtype="float64"), layers.Dense(2, "softmax", dtype="float64")]).to(where)
        model.compile("sgd", "sparse_categorical_crossentropy")
        losses.append(model.fit(x, np.arange(4) % 2, batch_size=2, epochs=3, verbose=0).history["loss"])
        assert all(reason is None for reason in model.recording_report()["train"].values())
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_the_usual_augmentation():
    model = models.Sequential([layers.Input((9, 7, 3)), *nets.augmentation()])
    assert np.array_equal(model.predict(PHOTOS, verbose=0), PHOTOS)
    assert not np.array_equal(model(PHOTOS, training=True).numpy(), PHOTOS)


# The functions.


def test_a_gradient_goes_back_to_the_images():
    x = tensor(PHOTOS, requires_grad=True)
    layers.RandomRotation(0.2, "constant")(x, training=True).sum().backward()
    assert x.grad.shape == PHOTOS.shape
    assert 0 < x.grad.min() + 1 < x.grad.max() + 1


def test_pixels_that_are_no_numbers_stay_where_they_are():
    x = PHOTOS.copy()
    x[:, 4, 3] = np.nan
    y = layers.RandomFlip()(x, training=True).numpy()
    assert np.isnan(y).sum() == 18
    y = F.affine_transform(x, np.full(8, np.nan), fill_value=3.0).numpy()
    assert (y == 3).all()
    for mode in ("nearest", "reflect", "wrap"):  # nothing outside of the images is read
        assert F.affine_transform(x, np.full(8, 1e30), fill_mode=mode).shape == x.shape


WRONG = [
    (lambda: layers.RandomFlip("diagonal"), "Unknown mode: 'diagonal'"),
    (lambda: layers.RandomRotation(1.5), "factor must be a number or a pair of numbers from -1 to 1. Received: 1.5"),
    (lambda: layers.RandomRotation("a lot"), "factor must be"),
    (lambda: layers.RandomRotation(0.1, fill_mode="mirror"), "Unknown fill_mode: 'mirror'"),
    (lambda: layers.RandomRotation(0.1, interpolation="bicubic"), "Unknown interpolation: 'bicubic'"),
    (lambda: layers.RandomRotation(0.1, fill_value=None), "fill_value must be a finite number"),
    (lambda: layers.RandomTranslation((0.1, 0.2, 0.3), 0), "height_factor must be a number or a pair"),
    (lambda: layers.RandomTranslation(0.1, np.nan), "width_factor must be"),
    (lambda: layers.RandomZoom(-1), "larger than -1"),
    (lambda: layers.RandomZoom(0.1, (-1.0, 0.5)), "width_factor must be larger than -1"),
    (lambda: layers.RandomContrast(-0.1), "factor must be a number or a pair of numbers from 0 to 1"),
    (lambda: layers.RandomBrightness(0.1, value_range=3), "value_range must be a pair of numbers"),
    (lambda: layers.RandomBrightness(0.1, seed=-1), "A seed must be"),
    (lambda: layers.RandomErasing(1.5), "factor must be a number or a pair of numbers from 0 to 1"),
    (lambda: layers.RandomErasing(fill_value="noise"), "fill_value must be a finite number"),
    (lambda: layers.RandomErasing(fill_value=[1, None, 2]), "fill_value must be a finite number"),
    (lambda: layers.RandomFlip(data_format="channels_first"), "channels_last"),
    (lambda: layers.RandomFlip(bounding_box_format="xyxy"), "supports only bounding_box_format=None"),
    (lambda: layers.RandomCrop(0, 3), "`height`. Expected a strictly positive value of type int. Received: 0"),
    (lambda: layers.Resizing(3, 2.5), "`width`. Expected a strictly positive value of type int"),
    (lambda: layers.Resizing(3, 3, "cubic"), "Unknown interpolation"),
    (lambda: layers.Resizing(3, 3, antialias=True), "supports only antialias=False"),
    (lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "Only one of"),
    (lambda: layers.RandomFlip()(PHOTOS[0, 0], training=True), "needs images of shape"),
    (lambda: layers.RandomFlip().transform_images(PHOTOS, np.zeros((2, 5))), "The transformation must have shape"),
    (lambda: layers.RandomFlip().transform_images(PHOTOS, tensor(np.zeros((2, 6)), True)), "no gradient for transform"),
    (lambda: F.affine_transform(PHOTOS, np.zeros((5, 8))), "The transform must have shape"),
    (lambda: F.affine_transform(PHOTOS, tensor(np.zeros(8), requires_grad=True)), "no gradient for transform"),
    (lambda: F.affine_transform(PHOTOS, np.zeros(8), size=(0, 3)), "size must be two positive integers"),
    (lambda: F.affine_transform(PHOTOS, np.zeros(8), fill_value="0"), "fill_value must be a number"),
    (lambda: F.resize(PHOTOS, 3), "size must be two positive integers"),
    (lambda: F.resize(PHOTOS, (3, 3), "cubic"), "Unknown interpolation"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be(make, message):
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")):
        make()
