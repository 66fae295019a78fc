"""The readers (IDX, npz, CIFAR's two versions, pickles), `path`, and the order of the places on this computer."""

import gzip
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from autoconv import datasets
from autoconv.datasets import DatasetCorrupt, DatasetNotFound, cifar_set, known_sets, safe_pickle
from autoconv.datasets.idx import read_idx
from autoconv.datasets.idx_set import STEMS

REAL = os.environ.get("AUTOCONV_DATA", "")


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No data of this computer, an empty cache and a mirror that refuses."""
    monkeypatch.delenv("AUTOCONV_DATA", raising=False)
    monkeypatch.setenv("AUTOCONV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AUTOCONV_MIRRORS", "http://127.0.0.1:9/")


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def make_set(folder, seed=0, gz=True, side=28, classes=10):
    """Writes a set of 30 + 10 random images; returns (x_train, y_train, x_test, y_test)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for count in (30, 10):
        arrays += [rng.integers(0, 256, (count, side, side), np.uint8), (np.arange(count) % classes).astype(np.uint8)]
    for stem, array in zip(STEMS, arrays, strict=True):
        raw = idx_bytes(array)
        (folder / (stem + ".gz" * gz)).write_bytes(gzip.compress(raw, mtime=0) if gz else raw)
    return arrays


def assert_same(loaded, arrays):
    (x_train, y_train), (x_test, y_test) = loaded
    for got, want in zip((x_train, y_train, x_test, y_test), arrays, strict=True):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, want)


# --- IDX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_a_folder_of_idx_files_plain_or_gzipped(tmp_path, gz):
    arrays = make_set(tmp_path / "set", gz=gz)
    assert_same(datasets.mnist.load_data(tmp_path / "set"), arrays)
    assert_same(datasets.fashion_mnist.load_data(str(tmp_path / "set")), arrays)


def test_gzip_is_told_by_the_first_bytes_not_by_the_name(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain.gz").write_bytes(idx_bytes(array))
    (tmp_path / "packed").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz", 3), array)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed", 3), array)


GOOD = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
PACKED = gzip.compress(GOOD, mtime=0)  # the time would be in the names of tests
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"abc"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (GOOD[:-1], r"promises 60 bytes of data\. Received: only 59 bytes \(the file is truncated\)"),
        (GOOD + b"x", r"promises 60 bytes of data\. Received: more bytes"),
        (GOOD[:9], r"must have a header of 16 bytes\. Received: 9 bytes"),
        (b"", "an empty file"),
        (b"\x00\x00\x08\x01" + GOOD[4:], r"must begin with the bytes 00 00 08 03\. Received: 00 00 08 01"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], "Received: 00 00 0d 03"),
        (b"\n <!DOCTYPE html><html>", r"Received: a web page \(HTML\)"),
        (HUGE, "Received: only 3 bytes"),
        (PACKED[:-12], r"must decompress without errors\. Received: a truncated or damaged file"),
        (PACKED[:-1], "must decompress without errors"),
        (PACKED[:20] + bytes([PACKED[20] ^ 255]) + PACKED[21:], "must decompress without errors"),
        (PACKED[:-6] + bytes([PACKED[-6] ^ 255]) + PACKED[-5:], "CRC"),
        (PACKED + b"rubbish", "must decompress without errors"),
        (PACKED + PACKED, "Received: more bytes"),
        (gzip.compress(GOOD[:-1], mtime=0), "Received: only 59 bytes"),
        (gzip.compress(b"<html>", mtime=0), "Received: 3c 68 74 6d"),
    ],
)
def test_a_bad_idx_file_is_named_with_rule_find_and_remedy(tmp_path, raw, found):
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(raw)
    with pytest.raises(DatasetCorrupt, match=found) as caught:
        read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ")
    assert "fresh copy" in str(caught.value)
    assert caught.value.file == file


def rewrite(folder, stem, array):
    (folder / f"{stem}.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))


def test_images_and_labels_must_agree_in_number(tmp_path):
    make_set(tmp_path)
    rewrite(tmp_path, STEMS[3], np.zeros(9, np.uint8))
    with pytest.raises(DatasetCorrupt, match=r"t10k-labels.*10 images and 9 labels"):
        datasets.mnist.load_data(tmp_path)


def test_an_empty_set_is_refused(tmp_path):
    make_set(tmp_path)
    rewrite(tmp_path, STEMS[0], np.zeros((0, 28, 28), np.uint8))
    rewrite(tmp_path, STEMS[1], np.zeros(0, np.uint8))
    with pytest.raises(DatasetCorrupt, match="0 images and 0 labels"):
        datasets.mnist.load_data(tmp_path)


def test_training_and_test_images_must_be_of_one_size(tmp_path):
    make_set(tmp_path)
    rewrite(tmp_path, STEMS[2], np.zeros((10, 28, 20), np.uint8))
    with pytest.raises(DatasetCorrupt, match=r"t10k-images.*28 x 28 pixels.*Received: images of 28 x 20 pixels"):
        datasets.mnist.load_data(tmp_path)


def test_a_path_is_taken_as_it_is_with_its_own_size_and_classes(tmp_path):
    arrays = make_set(tmp_path, side=5, classes=26)
    arrays[3][:] = 25
    rewrite(tmp_path, STEMS[3], arrays[3])
    assert_same(datasets.mnist.load_data(tmp_path), arrays)
    arrays[3][2] = 26  # a class which training has not seen
    rewrite(tmp_path, STEMS[3], arrays[3])
    with pytest.raises(DatasetCorrupt, match=r"t10k-labels.*with 26 classes, a label must be at most 25\. "
                                             r"Received: a label of 26"):
        datasets.mnist.load_data(tmp_path)


def test_a_named_set_must_have_its_shape_and_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path))
    make_set(tmp_path / "mnist", side=5)
    with pytest.raises(DatasetCorrupt, match=r"train-images.*28 x 28 pixels.*Received: images of 5 x 5 pixels"):
        datasets.mnist.load_data()
    make_set(tmp_path / "mnist", classes=11)
    with pytest.raises(DatasetCorrupt, match=r"train-labels.*with 10 classes, a label must be at most 9\. "
                                             r"Received: a label of 10"):
        datasets.mnist.load_data()


# --- npz --------------------------------------------------------------------------------------------------------------


def test_kerass_npz_as_a_file_and_in_a_folder(tmp_path):
    arrays = make_set(tmp_path / "idx")
    file = tmp_path / "npz" / "mnist.npz"
    file.parent.mkdir()
    np.savez(file, x_train=arrays[0], y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    assert_same(datasets.mnist.load_data(file), arrays)
    assert_same(datasets.mnist.load_data(file.parent), arrays)
    assert datasets.locate("mnist", file) == file


@pytest.mark.parametrize("kind", ["html", "truncated", "missing", "float", "pickled"])
def test_a_bad_npz_is_refused(tmp_path, kind):
    good = {"x_train": np.zeros((3, 28, 28), np.uint8), "y_train": np.zeros(3, np.uint8),
            "x_test": np.zeros((2, 28, 28), np.uint8), "y_test": np.zeros(2, np.uint8)}
    if kind == "missing":
        del good["y_test"]
    if kind == "float":
        good["x_train"] = good["x_train"].astype(np.float32)
    if kind == "pickled":
        good["y_test"] = np.array([{}, {}], object)
    file = tmp_path / "mnist.npz"
    np.savez(file, **good)
    if kind == "html":
        file.write_bytes(b"<html>")
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(DatasetCorrupt, match=r"mnist\.npz: an \.npz data set must contain the uint8 arrays x_train"):
        datasets.mnist.load_data(file)


# --- Places -----------------------------------------------------------------------------------------------------------


def test_path_is_exclusive_even_in_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "data"))
    make_set(tmp_path / "data" / "mnist")
    make_set(tmp_path / "cache" / "datasets" / "mnist")
    with pytest.raises(DatasetNotFound, match="does not exist") as caught:
        datasets.mnist.load_data(tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    assert "only place searched" in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)
    assert datasets.locate("mnist", tmp_path / "absent") is None
    with pytest.raises(DatasetNotFound, match=r"neither a folder nor an \.npz"):
        datasets.mnist.load_data(next((tmp_path / "data" / "mnist").iterdir()))
    (tmp_path / "data" / "mnist" / f"{STEMS[2]}.gz").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetNotFound, match=f"lacks {STEMS[2]} "):
        datasets.mnist.load_data(tmp_path / "data" / "mnist")
    with pytest.raises(DatasetNotFound, match="only place searched"):
        datasets.digits.load_data(tmp_path / "absent")


def test_the_order_is_path_then_autoconv_data_then_cache(tmp_path, monkeypatch):
    given = make_set(tmp_path / "given", seed=1)
    data = make_set(tmp_path / "data" / "mnist", seed=2)
    cache = make_set(tmp_path / "cache" / "datasets" / "mnist", seed=3)
    assert_same(datasets.mnist.load_data(), cache)
    assert datasets.locate("mnist") == tmp_path / "cache" / "datasets" / "mnist"
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "data"))
    assert_same(datasets.mnist.load_data(), data)
    assert_same(datasets.load("mnist"), data)
    assert datasets.locate("mnist") == tmp_path / "data" / "mnist"
    assert_same(datasets.load("mnist", tmp_path / "given"), given)
    (tmp_path / "data" / "mnist" / f"{STEMS[0]}.gz").unlink()  # an incomplete set is no set
    assert_same(datasets.mnist.load_data(), cache)


def test_the_cache_follows_the_systems_variables(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    assert datasets.finding.cache_place("mnist") == tmp_path / "cache" / "datasets" / "mnist"
    monkeypatch.delenv("AUTOCONV_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert datasets.finding.cache_place("mnist") == tmp_path / "xdg" / "autoconv" / "datasets" / "mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert datasets.finding.cache_place("mnist") == tmp_path / "home" / ".cache" / "autoconv" / "datasets" / "mnist"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert datasets.finding.cache_place("mnist") == tmp_path / "local" / "autoconv" / "datasets" / "mnist"


def test_unknown_names_get_a_suggestion():
    for call in (datasets.load, datasets.locate, datasets.info):
        with pytest.raises(ValueError, match=r"'mnits'.*Did you mean 'mnist'"):
            call("mnits")


def test_the_registry_is_whole():
    assert set(datasets.NAMES) == set(known_sets.entries())
    for name in datasets.NAMES:
        entry = datasets.info(name)
        assert len(entry.classes) == 10
        assert entry.built_in == (name == "digits") == (not entry.files)
        for digest in entry.files.values():
            assert digest.over in ("contents", "archive")
            assert len(bytes.fromhex(digest.md5)) == 16
            assert digest.source
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in entry.mirrors)


@pytest.mark.mnist
@pytest.mark.skipif(not Path(REAL, "mnist").is_dir(), reason="AUTOCONV_DATA holds no MNIST")
def test_the_real_mnist(monkeypatch):
    monkeypatch.setenv("AUTOCONV_DATA", REAL)
    (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data()
    assert x_train.shape == (60_000, 28, 28)
    assert x_test.shape == (10_000, 28, 28)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def python2_pickle(images, labels):
    """A batch as Python 2's cPickle wrote it: protocol 2, byte strings, an array by its three NumPy names."""

    def text(raw):
        return b"T" + struct.pack("<I", len(raw)) + raw

    def whole(number):
        return b"J" + struct.pack("<i", number)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
    dtype += b"NNN" + whole(-1) * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01"
    array += whole(images.shape[0]) + whole(images.shape[1]) + b"\x86" + dtype
    array += b"\x89" + text(images.tobytes()) + b"tb"
    listed = b"](" + b"".join(whole(int(label)) for label in labels) + b"e"
    return (b"\x80\x02}(" + text(b"batch_label") + text(b"batch 1 of 5") + text(b"labels") + listed
            + text(b"data") + array + text(b"filenames") + b"](" + text(b"a.png") + b"e" + b"u.")


@pytest.fixture
def batches(monkeypatch):
    """Six batches of 20 images each: name -> (planes (20, 3072), labels (20,))."""
    monkeypatch.setattr(cifar_set, "RECORDS", 20)
    rng = np.random.default_rng(5)
    return {name: (rng.integers(0, 256, (20, 3072), np.uint8), rng.integers(0, 10, 20).astype(np.uint8))
            for name in cifar_set.PYTHON}


def as_files(batches, version):
    if version == "python":
        return {name: python2_pickle(*batch) for name, batch in batches.items()}
    return {f"{name}.bin": np.concatenate([labels[:, None], planes], 1).tobytes()
            for name, (planes, labels) in batches.items()}


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def write_tar(path, files, prefix="cifar-10-batches-py/"):
    with tarfile.open(path, "w:gz") as tar:
        for name, raw in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def assert_cifar(loaded, batches):
    (x_train, y_train), (x_test, y_test) = loaded
    assert x_train.shape == (100, 32, 32, 3)
    assert y_train.shape == (100, 1)
    assert {x_train.dtype, y_train.dtype, x_test.dtype, y_test.dtype} == {np.dtype(np.uint8)}
    planes, labels = batches["data_batch_2"]
    assert x_train[20 + 3, 7, 11].tolist() == [planes[3, channel * 1024 + 7 * 32 + 11] for channel in range(3)]
    np.testing.assert_array_equal(y_train[20:40, 0], labels)
    np.testing.assert_array_equal(x_test[19, :, :, 2].ravel(), batches["test_batch"][0][19, 2048:])
    np.testing.assert_array_equal(y_test[:, 0], batches["test_batch"][1])


@pytest.mark.parametrize("version", ["python", "binary"])
def test_cifar_from_a_folder_a_subfolder_and_an_archive(tmp_path, monkeypatch, batches, version):
    files = as_files(batches, version)
    sub = "cifar-10-batches-py" if version == "python" else "cifar-10-batches-bin"
    assert_cifar(datasets.cifar10.load_data(write_files(tmp_path / "flat", files)), batches)
    write_files(tmp_path / "nested" / sub, files)
    assert_cifar(datasets.cifar10.load_data(tmp_path / "nested"), batches)
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    archive = write_tar(tmp_path / "data" / "cifar10" / f"cifar-10-{version}.tar.gz", files)
    assert_cifar(datasets.cifar10.load_data(archive), batches)
    assert_cifar(datasets.cifar10.load_data(archive.parent), batches)
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "data"))
    assert_cifar(datasets.load("cifar10"), batches)


def test_the_pickle_helper_is_what_numpy_itself_reads(batches):
    planes, labels = batches["test_batch"]
    read = pickle.loads(python2_pickle(planes, labels), encoding="bytes")
    np.testing.assert_array_equal(read[b"data"], planes)
    assert read[b"labels"] == labels.tolist()


@pytest.mark.parametrize("kind", ["short", "long", "label"])
def test_a_bad_binary_batch_is_refused(tmp_path, batches, kind):
    files = as_files(batches, "binary")
    raw = files["data_batch_3.bin"]
    files["data_batch_3.bin"] = {"short": raw[:-1], "long": raw + b"\0", "label": b"\x0a" + raw[1:]}[kind]
    wanted = (r"must be at most 9\. Received: a label of 10" if kind == "label" else
              r"20 records of 3073 bytes\. Received: 614(59|61) bytes")
    with pytest.raises(DatasetCorrupt, match=wanted) as caught:
        datasets.cifar10.load_data(write_files(tmp_path, files))
    assert caught.value.file == tmp_path / "data_batch_3.bin"


def test_a_bad_archive_is_refused_and_named(tmp_path, batches):
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", as_files(batches, "binary"))
    whole = archive.read_bytes()
    for raw in (whole[: len(whole) // 2], b"<html>", b""):
        archive.write_bytes(raw)
        with pytest.raises(DatasetCorrupt, match=r"CIFAR-10's archive must be a tar\.gz") as caught:
            datasets.cifar10.load_data(archive)
        assert caught.value.file == archive
    files = as_files(batches, "binary")
    files["test_batch.bin"] = b"short"
    with pytest.raises(DatasetCorrupt, match=r"test_batch\.bin of the binary version") as caught:
        datasets.cifar10.load_data(write_tar(archive, files))
    assert caught.value.file == archive
    with pytest.raises(DatasetNotFound, match=r"neither the batch files data_batch_1 \.\.\. 5"):
        datasets.cifar10.load_data(write_files(tmp_path / "none", {"readme.html": b""}))


class Evil:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_malicious_pickle_is_refused_before_it_does_anything(tmp_path, batches):
    files = as_files(batches, "python")
    trap = tmp_path / "trap"
    files["data_batch_1"] = pickle.dumps({"data": Evil(os.mkdir, str(trap)), "labels": []}, protocol=2)
    with pytest.raises(DatasetCorrupt, match=r"a reference to (posix|nt)\.mkdir") as caught:
        datasets.cifar10.load_data(write_files(tmp_path / "set", files))
    assert caught.value.file == tmp_path / "set" / "data_batch_1"
    assert not trap.exists()


@pytest.mark.parametrize(
    "raw",
    [
        pickle.dumps(Evil(eval, "1"), protocol=2),
        pickle.dumps(Evil(np.fromfile, "x"), protocol=4),
        pickle.dumps({b"data": np.zeros(3, np.float32), b"labels": []}, protocol=3),
        pickle.dumps({b"data": np.zeros((2, 3072), np.int8), b"labels": [1, 2]}, protocol=3),
        python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2]).replace(b"J\x00\x0c\x00\x00", b"J\x00\x0d\x00\x00"),
        pickle.dumps({b"data": np.array([print], object), b"labels": []}, protocol=3),
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        b"\x80\x02ccopyreg\n_reconstructor\n.",
    ],
)
def test_a_pickle_may_name_nothing_but_uint8_arrays(raw):
    with pytest.raises(safe_pickle.UnsafePickle):
        safe_pickle.load_batch(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({b"labels": [1]}, protocol=3),
        pickle.dumps({b"data": b"abc", b"labels": [1]}, protocol=3),
        python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2])[:-40],
        python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2]).replace(b"J\x01\x00\x00\x00", b"T\x01\x00\x00\x00x"),
    ],
)
def test_a_damaged_pickle_is_refused(raw):
    with pytest.raises(ValueError, match=r"pickle|labels"):
        safe_pickle.load_batch(raw)


def test_a_python_batch_of_the_wrong_size_or_labels_is_refused(tmp_path, batches):
    for planes, labels in ((np.zeros((19, 3072), np.uint8), [0] * 19), (np.zeros((20, 3072), np.uint8), [0] * 19),
                           (np.zeros((20, 3072), np.uint8), [-1] * 20), (np.zeros((20, 3072), np.uint8), [266] * 20)):
        files = {**as_files(batches, "python"), "test_batch": python2_pickle(planes, labels)}
        with pytest.raises(DatasetCorrupt, match="test_batch"):
            datasets.cifar10.load_data(write_files(tmp_path, files))
