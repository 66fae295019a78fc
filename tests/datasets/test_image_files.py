"""Pictures from files: alone, and as data sets that threads decode."""

import io
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need the extra images")

from photo_files import BROKEN, ODD, add_broken, add_odd, halves, make
from PIL import Image

from autoconv import layers, losses, models, utils
from autoconv.utils.pixels import Decoding

SIZE = (10, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 12 pictures; odd ones among them, but none that is broken."""
    return make(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("photos") / "spoiled", each=8)
    add_odd(folder / "green")
    add_broken(folder / "green")
    return folder


def dataset(folder, **kwargs):
    return utils.image_dataset_from_directory(folder, **{"image_size": SIZE, "verbose": False, "seed": 1, **kwargs})


def joined(data):
    """All batches of an epoch in one."""
    batches = list(data)
    if isinstance(batches[0], tuple):
        return [np.concatenate(parts) for parts in zip(*batches)]
    return np.concatenate(batches)


def test_batches_labels_and_names(folder, capsys):
    data = dataset(folder, batch_size=16, shuffle=False, verbose=True)
    assert capsys.readouterr().out == "Found 36 files belonging to 3 classes.\n"
    assert data.class_names == ["blue", "green", "red"]
    assert len(data) == 3
    batches = list(data)
    assert [(x.shape, x.dtype, y.shape, y.dtype) for x, y in batches] == [
        ((n, 10, 12, 3), "float32", (n,), "int32") for n in (16, 16, 4)]
    x, y = joined(data)
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2], 12))
    assert [path.split("/")[-2:] for path in data.file_paths[:2]] == [["blue", "00.png"], ["blue", "01.jpg"]]
    np.testing.assert_array_equal(x.mean((1, 2)).argmax(1), 2 - y)  # blue, green and red are what the names say


@pytest.mark.parametrize(("kwargs", "like"), [
    ({"label_mode": "categorical"}, np.eye(3, dtype="float32")[np.repeat([0, 1, 2], 12)]),
    ({"label_mode": "binary", "class_names": ["red", "blue"]}, np.repeat([[0], [1]], 12, 0).astype("float32")),
    ({"labels": list(range(36))}, np.arange(36)),
])
def test_label_modes(folder, kwargs, like):
    _, y = joined(dataset(folder, shuffle=False, **kwargs))
    np.testing.assert_array_equal(y, like)
    assert y.dtype == np.asarray(like).dtype or y.dtype == "int32"


def test_without_labels_and_without_batches(folder):
    x, _ = joined(dataset(folder, shuffle=False))
    np.testing.assert_array_equal(joined(dataset(folder, shuffle=False, labels=None)), x)
    np.testing.assert_array_equal(joined(dataset(folder, shuffle=False, label_mode=None)), x)
    single = dataset(folder, shuffle=False, batch_size=None)
    assert len(single) == 36
    np.testing.assert_array_equal([image for image, label in single], x)
    for mode, channels in (("grayscale", 1), ("rgba", 4)):
        assert next(iter(dataset(folder, color_mode=mode)))[0].shape == (32, 10, 12, channels)


def test_the_order_is_a_function_of_the_seed_and_the_epoch(folder):
    def epochs(workers, **kwargs):
        data = dataset(folder, batch_size=5, **kwargs)
        data.workers = workers
        return [joined(data)[0] for _ in range(2)]

    one, three, other = epochs(1), epochs(3), epochs(2, seed=2)
    np.testing.assert_array_equal(one, three)
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()
    np.testing.assert_array_equal(np.sort(one[0], axis=None), np.sort(one[1], axis=None))
    later = dataset(folder, batch_size=5)
    later.epoch = 1
    np.testing.assert_array_equal(joined(later)[0], one[1])


def test_the_parts_of_a_split_are_those_of_the_seed(folder):
    train, test = dataset(folder, validation_split=0.3, subset="both")
    assert (len(train.file_paths), len(test.file_paths)) == (26, 10)
    assert not set(train.file_paths) & set(test.file_paths)
    for subset, both in (("training", train), ("validation", test)):
        assert dataset(folder, validation_split=0.3, subset=subset).file_paths == both.file_paths
    np.testing.assert_array_equal(joined(test)[0], joined(test)[0])  # not shuffled


def test_splits_and_pixels_are_keras_own(folder):
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for how in ({}, {"validation_split": 0.25, "subset": "training"}, {"class_names": ["red", "blue"]}):
            theirs = keras.utils.image_dataset_from_directory(folder, seed=1, image_size=SIZE, verbose=False, **how)
            assert dataset(folder, **how).file_paths == list(theirs.file_paths)
        for how in ({}, {"crop_to_aspect_ratio": True}, {"interpolation": "nearest"}):
            size = (8, 16) if "nearest" in how.values() else (33, 40)  # others shrink a picture in another way
            theirs = keras.utils.image_dataset_from_directory(
                folder, shuffle=False, image_size=size, verbose=False, **how)
            theirs = np.concatenate([np.asarray(x) for x, _ in theirs])
            np.testing.assert_allclose(joined(dataset(folder, shuffle=False, image_size=size, **how))[0][::2],
                                       theirs[::2], atol=2)  # every other file is a PNG: JPEG decoders differ


def test_less_common_pictures_come_out_as_they_look(tmp_path):
    (tmp_path / "all").mkdir()
    add_odd(tmp_path / "all")
    data = dataset(tmp_path, image_size=(24, 32), shuffle=False)
    assert [path.rpartition("/")[2] for path in data.file_paths] == sorted(ODD)
    for path, image in zip(data.file_paths, joined(data)[0]):
        like = np.asarray(halves().convert("L").convert("RGB") if "deep" in path else halves(), "float32")
        loaded = utils.img_to_array(utils.load_img(path))
        for half in (slice(0, 8), slice(16, 24)):  # between them JPEG and WebP blur the edge
            np.testing.assert_allclose(image[half], like[half], atol=12, err_msg=path)
            np.testing.assert_allclose(loaded[half], like[half], atol=12, err_msg=path)


def test_transparent_pixels_are_white_unless_there_is_alpha(tmp_path):
    pixels = np.full((8, 8, 4), 60, "uint8")
    pixels[:4, :, 3], pixels[4:, :, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    rgb = utils.img_to_array(utils.load_img(tmp_path / "x.png"))
    assert (rgb[:4] == 255).all()
    assert (rgb[4:] == 60).all()
    np.testing.assert_array_equal(utils.img_to_array(utils.load_img(tmp_path / "x.png", "rgba")), pixels)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    y, x = np.mgrid[:800, :1200]
    pixels = np.stack([x * 255 / 1199, y * 255 / 799, 128 + 0 * x], -1).astype("uint8")
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "x.jpg", quality=95)
    image = next(iter(dataset(tmp_path, image_size=(40, 60), labels=None)))[0]
    like = np.asarray(Image.fromarray(pixels).resize((60, 40), Image.Resampling.BOX))
    np.testing.assert_allclose(image, like, atol=4)
    cropped = next(iter(dataset(tmp_path, image_size=(40, 40), labels=None, crop_to_aspect_ratio=True)))[0]
    like = np.asarray(Image.fromarray(pixels[:, 200:1000]).resize((40, 40), Image.Resampling.BOX))
    np.testing.assert_allclose(cropped, like, atol=4)
    padded = next(iter(dataset(tmp_path, image_size=(60, 60), labels=None, pad_to_aspect_ratio=True)))[0]
    like = np.asarray(Image.fromarray(pixels).resize((60, 40), Image.Resampling.BOX))
    np.testing.assert_allclose(padded, np.pad(like, ((10, 10), (0, 0), (0, 0))), atol=4)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(16, 16), (9, 30), (30, 9)])
def test_pictures_are_padded_to_the_shape_as_by_the_layer(tmp_path, size, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 7, 3)).astype("uint8")
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "x.png")
    image = next(iter(dataset(tmp_path, image_size=size, labels=None, pad_to_aspect_ratio=True,
                              interpolation=interpolation)))[0]
    layer = layers.Resizing(*size, interpolation=interpolation, pad_to_aspect_ratio=True)
    np.testing.assert_allclose(image, layer(pixels[None].astype("float32"))[0], atol=1)




@pytest.mark.parametrize(("name", "mode", "size"), [
    ("scan.png", "1", (5000, 4000)), ("scan.tif", "1", (5000, 4000)), ("flat.png", "L", (5000, 4000)),
    ("a4.png", "1", (4960, 7016)),
])
def test_large_flat_scans_are_pictures(name, mode, size, tmp_path):
    (tmp_path / "red").mkdir()
    page = Image.new(mode, size, 1 if mode == "1" else 255)
    page.paste(0, (0, 0, size[0] // 2, size[1]))
    page.save(tmp_path / "red" / name, **({"compression": "group4"} if name.endswith("tif") else {}))
    assert (tmp_path / "red" / name).stat().st_size < 100_000  # less than a byte for 100 pixels
    found = np.asarray(utils.load_img(tmp_path / "red" / name, target_size=(4, 4)))
    assert (found.shape, found[:, 0].max(), found[:, -1].min()) == ((4, 4, 3), 0, 255)
    if name != "scan.tif":
        images, _ = next(iter(dataset(tmp_path, shuffle=False, image_size=(4, 4))))
        assert (images[0, :, 0].max(), images[0, :, -1].min()) == (0, 255)
    if name != "a4.png":
        assert utils.load_img(tmp_path / "red" / name).size == size


@pytest.mark.parametrize("kind", ["L", "1"])
@pytest.mark.parametrize("mode", ["grayscale", "rgb", "rgba"])
@pytest.mark.parametrize("size", [(7, 9), (40, 50), None])
def test_gray_pictures_get_colours_where_they_are_small(kind, mode, size, tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (20, 30), "uint8")).convert(kind)
    picture.save(tmp_path / "x.png")
    coloured = picture.convert("L").convert({"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}[mode])
    wanted = coloured if size is None else coloured.resize(size[::-1], Image.Resampling.BICUBIC)
    found = utils.load_img(tmp_path / "x.png", mode, size, "bicubic")
    assert found.mode == coloured.mode
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_a_file_that_cannot_be_read_is_named(spoiled):
    with pytest.raises(utils.UnreadableImage, match=r"green/\w+\.\w+ cannot be read as a picture: "):
        joined(dataset(spoiled))
    with pytest.raises(utils.UnreadableImage, match="cut"):
        dataset(spoiled, shuffle=False).check()
    for name in BROKEN:
        with pytest.raises(utils.UnreadableImage, match=name):
            utils.load_img(spoiled / "green" / name)
    with pytest.raises(FileNotFoundError):
        utils.load_img(spoiled / "green" / "nobody.jpg")


def test_files_that_cannot_be_read_can_be_left_out(spoiled):
    data, said = dataset(spoiled, batch_size=8), []
    data.on_unreadable = lambda path, reason: said.append((path.rpartition("/")[2], reason))
    assert len(data) == 5  # of 34 files
    assert [len(x) for x, _ in data] == [8, 8, 8, 6]  # the next ones fill a batch, in the first epoch too
    first, second = joined(data), joined(data)
    assert sorted(name for name, _ in said) == sorted(BROKEN)
    assert dict(said)["empty.png"] == "the file is empty"
    assert "more pixels than Pillow allows, 179 million" in dict(said)["huge.png"]
    assert len(data) == 4
    assert [len(x) for x, _ in data] == [8, 8, 8, 6]
    for x, y in (first, second):
        assert len(x) == 30
        np.testing.assert_array_equal(np.bincount(y), [8, 14, 8])


def test_what_is_left_out_leaves_the_others_in_their_order_with_their_labels(tmp_path):
    make(tmp_path, each=9)
    add_broken(tmp_path / "green")
    for size in (1, 5, 8, None):
        data = dataset(tmp_path, batch_size=size, shuffle=False)
        data.on_unreadable = lambda path, reason: None
        x, y = joined(data) if size else (np.array(part) for part in zip(*data))
        np.testing.assert_array_equal(y, np.repeat([0, 1, 2], 9))
        np.testing.assert_array_equal(x.mean((1, 2)).argmax(1), 2 - y)


def test_where_a_data_set_stands_does_not_depend_on_how_its_folder_is_named(spoiled, monkeypatch):
    monkeypatch.chdir(spoiled.parent)
    first, second = (dataset(folder, batch_size=8) for folder in (spoiled.name, spoiled))
    for data in (first, second):
        data.on_unreadable = lambda path, reason: None
    joined(first)
    second.set_state(first.get_state())
    assert len(second) == len(first)
    assert sorted(second.skipped_files) == sorted(str(spoiled.parent / path) for path in first.skipped_files)
    for one, other in zip(joined(first), joined(second)):
        np.testing.assert_array_equal(one, other)


def test_whether_any_file_can_be_read(spoiled, tmp_path):
    dataset(spoiled, class_names=["green"], shuffle=False).check_readable()
    (tmp_path / "all").mkdir()
    for name in BROKEN:
        (tmp_path / "all" / name).write_bytes((spoiled / "green" / name).read_bytes())
    with pytest.raises(utils.UnreadableImage, match="cut"):
        dataset(tmp_path, shuffle=False).check_readable()


def test_decoding_stops_with_who_takes_the_batches(folder):
    def threads():
        return {t for t in threading.enumerate() if t.name.startswith("autoconv-decode")} - others

    others = set()  # of iterations that another test broke off, in whose traceback they still are
    others = threads()
    batches = iter(dataset(folder, batch_size=2))
    next(batches)
    assert threads()
    batches.close()
    assert not threads()


@pytest.mark.slow
def test_a_net_learns_from_files(folder):
    utils.set_random_seed(0)
    train, test = dataset(folder, validation_split=0.25, subset="both", batch_size=8)
    model = models.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
                               layers.Dense(3)])
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(train, validation_data=test, epochs=8, verbose=0).history
    assert history["val_accuracy"][-1] == 1
    assert model.evaluate(test, verbose=0)[1] == 1
    assert (model.predict(test, verbose=0).argmax(1) == joined(test)[1]).all()


@pytest.mark.parametrize(("kwargs", "message"), [
    ({"labels": "none"}, "labels.*inferred"),
    ({"labels": [1, 2]}, r"len\(labels\) is 2 while we found 36"),
    ({"labels": None, "class_names": ["red"]}, "class_names"),
    ({"label_mode": "one-hot"}, "label_mode"),
    ({"label_mode": "binary"}, "exactly 2"),
    ({"class_names": ["red", "pink"]}, "did not match.*Expected: \\['blue', 'green', 'red'\\]"),
    ({"color_mode": "cmyk"}, "color_mode"),
    ({"batch_size": 0}, "batch_size"),
    ({"image_size": 0}, "image_size"),
    ({"image_size": (10, 0)}, "image_size"),
    ({"image_size": (10,)}, "image_size"),
    ({"interpolation": "gaussian"}, "interpolation"),
    ({"validation_split": 0.5}, "subset"),
    ({"subset": "both"}, "validation_split"),
    ({"validation_split": 2, "subset": "both"}, "between 0 and 1"),
    ({"validation_split": 0.5, "subset": "test"}, "subset"),
    ({"validation_split": 0.5, "subset": "both", "seed": None}, "seed"),
    ({"validation_split": 0.01, "subset": "both"},
     r"No validation images .*validation_split=0\.01 with 36 files\. "
     r"Add files, or raise validation_split to 0\.03 or more"),
    ({"seed": -1}, "seed"),
    ({"pad_to_aspect_ratio": True, "crop_to_aspect_ratio": True}, "Only one of"),
    ({"format": "grain"}, "format"),
    ({"data_format": "channels_first"}, "data_format"),
])
def test_arguments_that_do_not_fit(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        dataset(folder, **kwargs)


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="No images found"):
        dataset(tmp_path)
    with pytest.raises(FileNotFoundError):
        dataset(tmp_path / "nobody")


def test_pictures_and_arrays(tmp_path):
    pixels = np.arange(24.0).reshape(2, 4, 3)
    assert utils.array_to_img(pixels, scale=False).getpixel((1, 0)) == (3, 4, 5)
    assert utils.img_to_array(utils.array_to_img(pixels)).max() == 255
    utils.save_img(tmp_path / "x.png", pixels, scale=False)
    image = utils.load_img(tmp_path / "x.png")
    np.testing.assert_array_equal(utils.img_to_array(image), pixels)
    assert utils.img_to_array(image, dtype="uint8").dtype == "uint8"
    assert utils.load_img(tmp_path / "x.png", target_size=(5, 6)).size == (6, 5)
    assert utils.img_to_array(utils.load_img(io.BytesIO((tmp_path / "x.png").read_bytes()), "grayscale")).shape == (
        2, 4, 1)
    assert utils.array_to_img(np.full((2, 2, 1), 300.0), scale=False).mode == "I"
    with pytest.warns(UserWarning, match="JPEG"):
        utils.save_img(tmp_path / "x.jpg", np.zeros((4, 4, 4)))
    for wrong in (np.zeros((2, 2)), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match="channels"):
            utils.array_to_img(wrong)
    with pytest.raises(ValueError, match="color_mode"):
        utils.load_img(tmp_path / "x.png", "cmyk")
    with pytest.raises(ValueError, match="channels_last"):
        utils.img_to_array(image, "channels_first")


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(utils.normalize(x), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(utils.normalize(x, axis=0, order=1), [[1, 1], [0, 0]])


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    for function in (lambda: dataset(folder), lambda: utils.load_img("x.png"),
                     lambda: utils.array_to_img(np.zeros((2, 2, 3)))):
        with pytest.raises(ImportError, match=r"autoconv\[images\]"):
            function()


def test_cached_outputs_replace_the_images_in_the_same_batches(spoiled):
    """They are computed once, also if files cannot be read."""
    images, other = (dataset(spoiled, batch_size=7) for _ in range(2))
    calls = []

    def predict(data):
        calls.append(data)
        return np.concatenate([batch.mean((1, 2)) for batch in data])

    for each in (images, other):
        each.on_unreadable = lambda path, reason: None
    cached = other.cache(predict)
    for _ in range(2):
        for (x, y), (means, labels) in zip(images, cached, strict=True):
            np.testing.assert_array_equal(x.mean((1, 2)), means)
            np.testing.assert_array_equal(y, labels)
    assert len(calls) == 1
    assert next(iter(other))[0].shape == (7, *SIZE, 3)


# As in tf.data


def test_take_and_map_in_a_chain(folder):
    data = dataset(folder, batch_size=4, shuffle=False)
    (images, labels), (more, _) = list(data)[:2]
    chain = data.cache().map(lambda x, y: (x / 255, y)).map(lambda x, y: (x, y + 1)).take(2).prefetch(buffer_size=1)
    assert len(chain) == 2
    for _ in range(2):  # decoded, then from memory
        batches = list(chain)
        np.testing.assert_array_equal(batches[0][0], images / 255)
        np.testing.assert_array_equal(batches[0][1], labels + 1)
        np.testing.assert_array_equal(batches[1][0], more / 255)
        assert len(batches) == 2
    assert len(data.take(-1)) == len(data) == len(data.take(1000)) > 2
    with pytest.raises(ValueError, match="count must be -1 or an integer of at least 0"):
        data.take(1.5)


def test_map_without_labels_and_without_batches(folder):
    images = list(dataset(folder, label_mode=None, batch_size=None).map(lambda x: x.mean()).take(3))
    assert np.shape(images) == (3,)
    x, y = next(iter(dataset(folder, batch_size=None).map(lambda x, y: (x[..., :1], y))))
    assert (x.shape, np.shape(y)) == ((*SIZE, 1), ())


def test_layers_in_map_need_no_gradients(folder):
    rescale, convolve = layers.Rescaling(1 / 255), layers.Conv2D(2, 3)
    images, _ = next(iter(dataset(folder).map(lambda x, y: (convolve(rescale(x)), y))))
    assert not images.requires_grad
    assert images.shape[-1] == 2


def test_a_mapped_dataset_trains_and_predicts(folder):
    data = dataset(folder, batch_size=4).map(lambda x, y: (x / 255, y)).cache()
    model = models.Sequential([layers.Input((*SIZE, 3)), layers.Flatten(), layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert len(model.fit(data.take(2), validation_data=data, epochs=2, verbose=0).history["val_loss"]) == 2
    assert len(model.predict(data.take(2), verbose=0)) == 8


def test_each_file_of_a_cached_dataset_is_read_once(folder, monkeypatch):
    reads = []
    read = Decoding.read
    monkeypatch.setattr(Decoding, "read", lambda self, path: (reads.append(path), read(self, path))[1])
    data = dataset(folder, batch_size=4).cache()
    for _ in range(3):
        assert sum(len(labels) for _, labels in data) == len(data.file_paths)
    assert sorted(reads) == sorted(data.file_paths)


def test_a_batch_has_numpy(folder):
    for images, labels in dataset(folder).take(1):
        assert type(images.numpy()) is type(images[0].numpy()) is type(labels.numpy()) is np.ndarray
        np.testing.assert_array_equal(images[0].numpy().astype("uint8"), images.astype("uint8")[0])


@pytest.mark.parametrize(("name", "advice"), {
    "shuffle": "Pass shuffle=True to", "batch": "Pass batch_size to", "repeat": "Pass epochs to fit",
    "as_numpy_iterator": "Use a for loop"}.items())
def test_what_to_use_for_other_methods_of_tf_data(folder, name, advice):
    with pytest.raises(AttributeError, match=rf"'ImageDataset' object has no attribute '{name}'\. {advice}"):
        getattr(dataset(folder), name)
