"""The built-in digits: their number, form and size, and that the script beside them draws them."""

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoconv import datasets
from autoconv.datasets import DatasetNotFound, known_sets

FOLDER = datasets.data_folder()
FILES = sorted((FOLDER / "digits").glob("*.gz"))


@pytest.fixture(scope="module")
def digits():
    return datasets.digits.load_data()


@pytest.fixture(scope="module")
def script():
    """The module `datasets/make_digits.py`."""
    spec = importlib.util.spec_from_file_location("make_digits", FOLDER / "make_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_shapes_and_types(digits):
    (x_train, y_train), (x_test, y_test) = digits
    assert x_train.shape == (14_000, 28, 28)
    assert y_train.shape == (14_000,)
    assert x_test.shape == (2_000, 28, 28)
    assert y_test.shape == (2_000,)
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}


def test_the_classes_are_balanced_in_the_whole_and_in_the_first_images(digits):
    (_, y_train), (_, y_test) = digits
    assert np.bincount(y_train).tolist() == [1400] * 10
    assert np.bincount(y_test).tolist() == [200] * 10
    assert sorted(y_train[:10]) == list(range(10))
    assert y_train[:10].tolist() != y_train[10:20].tolist()


def test_the_files_are_mnists_and_small():
    assert [file.name for file in FILES] == [
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    ]
    assert sum(file.stat().st_size for file in FILES) <= 5_000_000


def test_every_image_is_normalised_as_mnists_are(digits):
    """Ink fits 20 x 20 pixels with a faint edge on each side, its longer side fills them, its mass is in the middle."""
    images = np.concatenate([digits[0][0], digits[1][0]]).astype(np.float32)
    spans = []
    for axis in (1, 2):
        extent = (images > 0).any(axis=axis)
        spans.append(28 - extent.argmax(1) - extent[:, ::-1].argmax(1))
        mass = images.sum(axis=axis)
        centre = (mass * (np.arange(28) + 0.5)).sum(1) / mass.sum(1)
        assert np.abs(centre - 14).max() < 1
    longer = np.maximum(*spans)
    assert longer.max() <= 22
    assert longer.min() >= 18
    assert images.max(axis=(1, 2)).min() >= 200


def test_the_script_draws_the_very_images_that_are_shipped(digits, script):
    for split, (images, labels) in zip((script.TRAIN, script.TEST), digits, strict=True):
        for index in (*range(25), len(images) - 1):
            assert script.label(split, index) == labels[index]
            np.testing.assert_array_equal(script.image(split, index), images[index])
        assert script.COUNTS[split] == len(images)


def test_training_and_test_images_are_different_draws(digits):
    (x_train, _), (x_test, _) = digits
    seen = {image.tobytes() for image in x_train}
    assert len(seen) == len(x_train)
    assert not seen & {image.tobytes() for image in x_test}


def test_the_same_array_makes_the_same_file(script):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    packed = script.idx(array)
    assert packed == script.idx(array.copy())
    assert packed[4:8] == bytes(4)  # no time of writing
    assert gzip.decompress(packed) == b"\0\0\x08\x03" + b"\0\0\0\x02\0\0\0\x03\0\0\0\x04" + array.tobytes()


def test_where_and_path(digits):
    assert datasets.locate("digits") == FOLDER / "digits"
    np.testing.assert_array_equal(datasets.load("digits", FOLDER / "digits")[1][0], digits[1][0])


def test_digits_need_no_network_nor_pooch():
    code = (
        "import sys, socket; socket.socket = None\n"
        "from autoconv import datasets; datasets.digits.load_data()\n"
        "assert not {'pooch', 'tqdm', 'requests'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_data_folder_is_found_in_a_wheel_and_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(known_sets, "__file__", str(tmp_path / "autoconv" / "datasets" / "known_sets.py"))
    with pytest.raises(DatasetNotFound, match=r"neither .*_data nor .*datasets contains registry\.json"):
        known_sets.data_folder()
    checkout, wheel = tmp_path / "datasets", tmp_path / "autoconv" / "datasets" / "_data"
    for folder in (checkout, wheel):
        folder.mkdir(parents=True)
        (folder / "registry.json").write_text("{}")
        assert known_sets.data_folder() == folder
