"""Keras's files, both ways. What real Keras wrote lies in data/keras, with what it went on to do (keras_files.py)."""

import importlib.util
import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import keras_files
import numpy as np
import pytest

import autoconv
from autoconv import layers, models, ops
from autoconv.formats import hdf5

h5py = pytest.importorskip("h5py")

WRITTEN = Path(__file__).parents[1] / "data" / "keras"
EXPECTED = {name: found for path in WRITTEN.glob("*.json") for name, found in json.loads(path.read_text()).items()}
TARGETS = {"chain": keras_files.LABELS, **dict.fromkeys(("branching", "nadam", "scaled"), keras_files.TARGETS)}


def compare(found, expected):
    np.testing.assert_allclose(found["predictions"], expected["predictions"], atol=1e-5)
    if "losses" in found:
        np.testing.assert_allclose(found["losses"], expected["losses"], atol=1e-4)


@pytest.mark.parametrize("file", sorted(path.name for path in WRITTEN.glob("*") if path.suffix != ".json"))
def test_a_file_of_keras_predicts_and_goes_on_training_as_in_keras(file):
    name, _, suffix = file.partition(".")
    if suffix == "weights.h5":
        model = next(model for each, model, _ in keras_files.nets(autoconv) if each == name)
        model.load_weights(WRITTEN / file)
        compare({"predictions": model.predict(keras_files.X, verbose=0)}, EXPECTED[name])
        return
    predictions, losses = keras_files.goes_on(models.load_model(WRITTEN / file), TARGETS[name])
    compare({"predictions": predictions, "losses": losses}, EXPECTED[name])


def test_what_autoconv_wrote_it_reads(tmp_path):
    keras_files.write(autoconv, tmp_path)
    expected = json.loads((tmp_path / "expected.json").read_text())
    for name, found in keras_files.read(autoconv, tmp_path).items():
        np.testing.assert_allclose(found["predictions"], expected[name.partition(".")[0]]["predictions"], atol=1e-6)
        if "losses" in found:
            np.testing.assert_allclose(found["losses"], expected[name.partition(".")[0]]["losses"], rtol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_what_autoconv_wrote_keras_reads(tmp_path):
    keras_files.write(autoconv, tmp_path)
    subprocess.run([sys.executable, keras_files.__file__, "read", tmp_path], check=True)
    expected = json.loads((tmp_path / "expected.json").read_text())
    for name, found in json.loads((tmp_path / "found.json").read_text()).items():
        compare(found, expected[name.partition(".")[0]])


def small():
    model = models.Sequential([layers.Input((6,)), layers.Dense(3, activation="relu"), layers.Dense(2)], name="small")
    model.compile("adam", "mse")
    return model


def changed(path, change):
    """A .keras file with another configuration."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("optimizer", ["missing", None])
def test_a_training_without_an_optimizer(tmp_path, optimizer):
    small().save(tmp_path / "m.keras")
    changed(tmp_path / "m.keras", lambda config: config["compile_config"].pop("optimizer") if optimizer else config[
        "compile_config"].update(optimizer=None))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert not json.loads(archive.read("config.json"))["compile_config"].get("optimizer")
    model = models.load_model(tmp_path / "m.keras")
    assert type(model.optimizer).__name__ == "RMSprop"  # compile()'s default
    assert np.isfinite(model.evaluate(np.ones((2, 6)), np.ones((2, 2)), verbose=0))


class TestRefused:
    @pytest.fixture
    def path(self, tmp_path):
        small().save(tmp_path / "m.keras")
        return tmp_path / "m.keras"

    @pytest.mark.parametrize(("kind", "said"), [
        ("Lambda", "never run"), ("LSTM", "Could not locate class 'LSTM'"),
        ("Conv3D", "Could not locate class 'Conv3D'")])
    def test_layers_that_are_code_or_not_there(self, path, kind, said):
        changed(path, lambda config: config["config"]["layers"][1].update(class_name=kind))
        with pytest.raises(ValueError, match=said):
            models.load_model(path)

    def test_settings_that_autoconv_has_not(self, path):
        of_int8 = {"quantization_config": {"mode": "int8"}}
        changed(path, lambda config: config["config"]["layers"][1]["config"].update(of_int8))
        with pytest.raises(ValueError, match="quantization_config"):
            models.load_model(path)

    def test_other_weights(self, path):
        changed(path, lambda config: config["config"]["layers"][1]["config"].update(units=4))
        with pytest.raises(ValueError, match="are not those of 'small'"):
            models.load_model(path)

    @pytest.mark.parametrize("size", [0, 10, 500, -1, -50])
    def test_a_file_that_is_cut_off(self, path, size):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match="cannot be read"):
            models.load_model(path)

    def test_a_zip_bomb(self, path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", b"[" * 2**27)
            archive.writestr("model.weights.h5", b"")
        with pytest.raises(ValueError, match="claims"):
            models.load_model(path)

    def test_links_to_elsewhere(self, tmp_path):
        model = small()
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["x"] = np.zeros((6, 3), np.float32)
        links = {"external": h5py.ExternalLink(str(tmp_path / "other.h5"), "/x"), "soft": h5py.SoftLink("/elsewhere")}
        for name, link in links.items():
            path = tmp_path / f"{name}.weights.h5"
            model.save_weights(path)
            with h5py.File(path, "a") as file:
                del file["layers/dense/vars/0"]
                file["layers/dense/vars/0"] = link
            with pytest.raises(ValueError, match="not followed"):
                model.load_weights(path)

    @pytest.mark.parametrize("options", [{"compression": "gzip"}, {"external": [("data.bin", 0, 72)]}],
                             ids=["compressed", "external"])
    def test_arrays_that_do_not_lie_in_the_file(self, options, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        model, path = small(), tmp_path / "m.weights.h5"
        model.save_weights(path)
        with h5py.File(path, "a") as file:
            del file["layers/dense/vars/0"]
            file.create_dataset("layers/dense/vars/0", (6, 3), np.float32, **options)
        with pytest.raises(ValueError, match="layers/dense/vars/0"):
            model.load_weights(path)

    def test_what_keras_cannot_have(self, tmp_path):
        with pytest.raises(ValueError, match="ZeroPadding2D"):
            models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3, padding=1)]).save(tmp_path / "m.keras")
        assert not (tmp_path / "m.keras").exists()


def test_names_of_files(tmp_path):
    model = small()
    with pytest.raises(ValueError, match=r"end in \.weights\.h5"):
        model.save_weights(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="contains no model"):
        model.save(tmp_path / "m.weights.h5")


def filled(file, draw):
    """Groups in groups, arrays of all types and texts as attributes; one group has a list of two levels."""
    groups = [file]
    for i in range(20):
        name = draw.choice(["a", "sequential/dense", "Schicht äöü 層"])
        groups.append(draw.choice(groups).create_group(f"{name}{i}"))
    for i in range(200):
        file[f"größe/{i} größe"] = i
    groups.append(file.create_group("many"))
    for i in range(700):
        group = groups[-1] if i > 80 else draw.choice(groups)
        dtype = draw.choice(["<f2", "<f4", "<f8", ">f4", ">f8", "i1", "<i4", ">i8", "u1", "<u4"])
        shape = draw.choice([(), (3,), (0, 2), (2, 3), (1, 2, 3, 4)])
        group[f"array {i}"] = np.asarray(np.random.default_rng(i).uniform(0, 100, shape)).astype(dtype)
        if i % 100 == 0:
            del group[f"array {i}"]
    for group in groups:
        for i in range(draw.choice([0, 3, 30])):
            group.attrs[f"text {i}"] = draw.choice(["", "x", "äöü 層", "long" * 5000, b"bytes", ["one", "two", ""],
                                                    np.array([b"ab", b"c"]), np.array(["x"] * 500, "O")])


def texts(value):
    values = np.asarray(value, object).ravel().tolist()
    return [each.decode() if isinstance(each, bytes) else each for each in values]


@pytest.mark.parametrize("seed", range(3))
def test_arrays_and_texts_are_those_that_h5py_reads(seed):
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        filled(file, random.Random(seed))
    data = written.getvalue()
    with h5py.File(written, "r") as file, hdf5.open_root(data, "here") as root:
        found, wanted, groups = hdf5.arrays(root, len(data)), {}, []
        file.visititems(lambda name, item: wanted.update({name: item[()]}) if isinstance(item, h5py.Dataset)
                        else groups.append(name))
        for name in groups:
            ours = root[name]
            assert {key: ours.texts(key) for key in ours.attrs} == {
                key: texts(value) for key, value in file[name].attrs.items()}
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        name: (array.shape, array.dtype.newbyteorder("=")) for name, array in wanted.items()}
    assert all((found[name] == wanted[name]).all() for name in found)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_files_are_read_without_h5py(suffix, tmp_path, monkeypatch):
    model, path = small(), tmp_path / f"m{suffix}"
    write = model.save_weights if suffix == ".weights.h5" else model.save
    write(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    other = small()
    other.load_weights(path)
    assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
    if suffix != ".weights.h5":
        assert models.load_model(path).count_params() == model.count_params()
    with pytest.raises(ImportError, match="h5py"):
        write(path)


def test_a_newer_format_of_hdf5_is_refused(tmp_path):
    path, model = tmp_path / "m.weights.h5", small()
    with h5py.File(path, "w", libver="latest") as file:
        file["layers/dense/vars/0"] = np.zeros((6, 3), np.float32)
    with pytest.raises(ValueError, match=r"newer HDF5 format than Keras writes\. Write the file "
                                         r"without h5py's argument libver"):
        model.load_weights(path)


def test_an_operation_that_names_huge_sizes_is_refused():
    x = layers.Input((3,))
    text = models.Model(x, ops.tile(x, (1, 2))).to_json()
    assert models.model_from_json(text).output_shape == (None, 6)
    with pytest.raises(ValueError, match=r"must be at most 16,777,216. Received: tile with \[1, 1073741824\]"):
        models.model_from_json(text.replace('"repeats": [1, 2]', '"repeats": [1, 1073741824]'))
