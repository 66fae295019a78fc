"""The command line: what it prints and writes, and how it says what cannot be done."""

import gzip
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

import autoconv
from autoconv import datasets, formats, layers, models, utils
from autoconv.kernels import device
from autoconv.programs.cli import Commands, data, main, runs
from autoconv.programs.cli.clock import Stopwatch, seconds_since_start
from autoconv.train import checkpoint

DIGITS = datasets.data_folder() / "digits"
QUICK = ("--limit", "256", "--epochs", "2", "--seed", "7")
RUN = ["checkpoints", "history.csv", "model.safetensors", "run.json"]
KEYS = {
    "dataset", "train_images", "epochs", "batch_size", "model", "params", "device", "threads", "seed", "test_accuracy",
    "test_loss", "train_images_per_s", "epoch_seconds", "time_to_first_step_s", "compile_s", "versions",
}


def autoconv_(*args, code=0):
    """Runs a command in this process; its output, after a look at its exit code."""
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with `run`, `results.json` and what was printed. Kernels are compiled from here on."""
    folder = tmp_path_factory.mktemp("trained")
    printed = autoconv_("train", "digits", *QUICK, "--out", folder / "run", "--json", folder / "results.json")
    (folder / "printed").write_text(printed, encoding="utf-8")
    return folder


@pytest.fixture
def offline(trained, monkeypatch, tmp_path):
    """No data but the built-in ones, and mirrors where nobody listens."""
    monkeypatch.delenv("AUTOCONV_DATA", raising=False)
    monkeypatch.setenv("AUTOCONV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AUTOCONV_MIRRORS", "http://127.0.0.1:9/nobody")


@pytest.fixture(scope="module")
def digits():
    """Three test images (28, 28) of bytes."""
    return datasets.load("digits")[1][0][:3]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


class TestTrain:
    def test_json_says_what_was_trained_how_well_and_how_fast(self, trained):
        results = read(trained / "results.json")
        assert results.keys() >= KEYS
        wanted = {"dataset": "digits", "train_images": 231, "validation_images": 25, "epochs": 2, "batch_size": 64,
                  "model": "lecture", "params": 93322, "device": "cpu", "threads": device.get_num_threads(), "seed": 7}
        assert {key: results[key] for key in wanted} == wanted
        assert len(results["epoch_seconds"]) == 2
        assert results["train_images_per_s"] == pytest.approx(231 / np.mean(results["epoch_seconds"]))  # median of two
        assert 0 <= results["test_accuracy"] <= 1
        assert 0 <= results["compile_s"] < results["time_to_first_step_s"]
        assert results["versions"]["autoconv"] == autoconv.__version__

    def test_prints_the_data_the_epochs_and_the_results(self, trained):
        printed, results = (trained / "printed").read_text(encoding="utf-8"), read(trained / "results.json")
        for text in ("231 training, 25 validation (--validate) and 256 test images of 28 x 28 x 1", str(DIGITS),
                     "93,322 parameters", "Epoch 2/2", "val_accuracy", "better on new images",
                     f"test accuracy {results['test_accuracy']:.4f}", "images/s", "ms/step", "s in total",
                     str(trained / "run"), str(trained / "results.json")):
            assert text in printed

    def test_out_holds_the_model_the_results_and_the_history(self, trained):
        assert sorted(p.name for p in (trained / "run").iterdir()) == RUN
        assert read(trained / "run" / "run.json") == read(trained / "results.json")
        rows = (trained / "run" / "history.csv").read_text().splitlines()
        assert rows[0] == "epoch,accuracy,loss,val_accuracy,val_loss"
        assert [row.split(",")[0] for row in rows[1:]] == ["0", "1"]
        net = autoconv.models.load_model(trained / "run" / "model.safetensors")
        assert (net.input_shape, net.count_params()) == ((None, 28, 28, 1), 93322)
        assert net.fingerprint() == read(trained / "results.json")["weights_sha256"]

    def test_what_is_no_regular_file_stays_what_it_is(self, trained, tmp_path):
        null = tmp_path / "null.safetensors"
        try:
            os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            null.write_bytes(b"")
        except (AttributeError, OSError):
            pytest.skip("only root can make a device")
        (tmp_path / "link").symlink_to("real")  # which is made
        (tmp_path / "results.json").symlink_to(tmp_path / "elsewhere.json")
        autoconv_("train", "digits", "--limit", "64", "--epochs", "1", "--json", null, "--out", tmp_path / "link")
        autoconv_("evaluate", tmp_path / "link", "--json", tmp_path / "results.json")
        autoconv_("export", tmp_path / "link", "--to", "torch", "--out", null)
        net = autoconv.models.load_model(tmp_path / "real")
        net.save(null)
        net.save_weights(null)
        assert stat.S_ISCHR(null.lstat().st_mode)
        assert sorted(path.name for path in (tmp_path / "real").iterdir()) == RUN
        assert read(tmp_path / "elsewhere.json")["test_images"] == 64
        assert all((tmp_path / name).is_symlink() for name in ("link", "results.json"))

    def test_a_seed_repeats_the_run_bit_for_bit_on_any_number_of_threads(self, trained, tmp_path):
        threads = device.get_num_threads()
        try:
            autoconv_("train", "digits", *QUICK, "--threads", 1, "--json", tmp_path / "again.json")
        finally:
            device.set_num_threads(threads)
        again, before = read(tmp_path / "again.json"), read(trained / "results.json")
        assert again["threads"] == 1
        assert again["test_loss"] == before["test_loss"]

    def test_options_reach_the_training(self, tmp_path):
        autoconv_("train", "digits", "--limit", 100, "--epochs", 1, "--batch-size", 50, "--optimizer", "sgd", "--lr",
                  "0.5", "--model", "photos", "--json", tmp_path / "results.json")
        results = read(tmp_path / "results.json")
        assert [results[k] for k in ("epochs", "batch_size", "optimizer", "learning_rate", "model")] == [
            1, 50, "sgd", 0.5, "photos"]
        assert results["ms_per_step"] == pytest.approx(results["epoch_seconds"][0] * 1e3 / 2)

    def test_the_learning_rate_falls_unless_it_is_told_to_stay(self, tmp_path):
        losses = {}
        for schedule in ("cosine", "constant"):
            autoconv_("train", "digits", *QUICK, "--schedule", schedule, "--json", tmp_path / "results.json")
            results = read(tmp_path / "results.json")
            assert (results["schedule"], results["learning_rate"]) == (schedule, pytest.approx(1e-3))
            losses[schedule] = results["test_loss"]
        assert losses["cosine"] != losses["constant"]

    def test_a_recipe_sets_what_was_not_given(self, tmp_path):
        def settings(*given, also=()):
            autoconv_("train", "digits", "--limit", 100, *given, "--json", tmp_path / "results.json")
            results = read(tmp_path / "results.json")
            return [results[k] for k in ("recipe", "epochs", "schedule", "learning_rate", *also)]

        assert settings("--epochs", 1) == ["careful", 1, "cosine", pytest.approx(1e-3)]
        assert settings("--recipe", "fast") == ["fast", 1, "one-cycle", pytest.approx(5e-3)]
        assert settings("--epochs", 1, "--recipe", "lecture") == ["lecture", 1, "constant", pytest.approx(1e-3)]
        assert settings("--recipe", "fast", "--schedule", "cosine", "--lr", 0.01) == ["fast", 1, "cosine", 0.01]
        also = ("model", "batch_size", "optimizer")
        assert settings("--recipe", "best", "--epochs", 1, also=(*also, "label_smoothing")) == [
            "best", 1, "one-cycle", 0.006, "best", 128, "adam", 0.05]
        assert settings("--recipe", "sprint", also=(*also, "label_smoothing")) == [
            "sprint", 1, "one-cycle", 0.012, "sprint", 96, "adam", 0.1]
        assert settings("--model", "lecture", "--recipe", "best", "--epochs", 1, also=also)[4] == "lecture"

    def test_the_recipes_of_cifar10(self, tmp_path):
        rng = np.random.default_rng(0)
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            rows = rng.integers(0, 256, (40, 3073), np.uint8)
            rows[:, 0] %= 10
            (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
            os.truncate(tmp_path / f"{name}.bin", 10000 * 3073)  # the rest are black images
        run = tmp_path / "run"
        for recipe in ("best", "sprint"):
            autoconv_("train", "cifar10", "--data-dir", tmp_path, "--recipe", recipe, "--epochs", 1,
                      "--limit", 40, "--out", run, "--json", tmp_path / "results.json")
            results = read(tmp_path / "results.json")
            keys = ("model", "optimizer", "batch_size", "schedule", "label_smoothing")
            assert [results[key] for key in keys] == ["cifar10", "muon", 1000, "cosine", 0.2]
        net = models.load_model(run / "model.safetensors", compile=False)
        kernel = net.get_layer("whitening").kernel.numpy()
        np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
        x = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), np.uint8)
        average = (net.predict(x) + net.predict(x[:, :, ::-1])) / 2
        np.testing.assert_array_equal(runs.with_mirror_images(net).predict(x), average)
        again = tmp_path / "again.json"
        for option, key in (("--mirror", "mirror_accuracy"), ("--quiet", "test_accuracy")):
            autoconv_("evaluate", run, option, "--json", again)
            assert read(again)["test_accuracy"] == results[key]

    def test_smoothed_labels_are_for_training_alone(self, tmp_path):
        tested = []
        for share in (0, 0.6):
            autoconv_("train", "digits", "--limit", 640, "--epochs", 2, "--seed", 1, "--label-smoothing", share,
                      "--out", tmp_path / "run")
            trained = read(tmp_path / "run" / "run.json")
            assert trained["label_smoothing"] == share
            autoconv_("evaluate", tmp_path / "run", "--json", tmp_path / "tested.json")
            tested.append(trained["test_loss"])
            assert read(tmp_path / "tested.json")["test_loss"] == pytest.approx(tested[-1])
        assert tested[1] > 1.2 * tested[0]  # it has learned to be less certain
        assert "0<=x<1" in autoconv_("train", "digits", "--label-smoothing", 1, code=2)

    def test_dash_prints_json_and_nothing_else(self):
        assert json.loads(autoconv_("train", "digits", "--limit", 64, "--epochs", 1, "--json", "-")).keys() >= KEYS

    def test_quiet_prints_only_the_results(self):
        lines = autoconv_("train", "digits", "--limit", 64, "--epochs", 1, "--quiet").splitlines()
        assert [line.split()[0] for line in lines[:1]] == ["test"]
        assert len(lines) == 2

    @pytest.mark.filterwarnings("default")
    def test_processes_that_train_each_by_itself_are_noted(self, monkeypatch):
        monkeypatch.setenv("PMI_SIZE", "4")
        printed = autoconv_("train", "digits", *QUICK)
        assert "note: mpiexec started 4 processes, each of which now trains by itself. Add --distributed" in printed

    @pytest.mark.filterwarnings("default")
    def test_a_loss_that_is_no_number_is_noted_and_null_in_json(self, tmp_path):
        printed = autoconv_("train", "digits", "--limit", 640, "--epochs", 2, "--lr", "1e12", "--seed", 0,
                            "--model", "photos", "--quiet", "--json", tmp_path / "results.json")
        assert "note: The loss became" in printed
        assert read(tmp_path / "results.json")["test_loss"] is None

    def test_an_earlier_run_is_replaced_and_other_folders_are_left_alone(self, trained, tmp_path):
        shutil.copytree(trained / "run", tmp_path / "run")
        autoconv_("train", "digits", "--limit", 64, "--epochs", 1, "--out", tmp_path / "run")
        assert read(tmp_path / "run" / "run.json")["epochs"] == 1
        assert sorted(p.name for p in (tmp_path / "run").iterdir()) == RUN
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "letter.txt").write_text("dear")
        assert "other files" in autoconv_("train", "digits", "--out", tmp_path / "other", code=1)
        assert [p.name for p in (tmp_path / "other").iterdir()] == ["letter.txt"]

    def test_a_run_whose_replacement_was_cut_off_is_the_new_one(self, trained, tmp_path):
        shutil.copytree(trained / "run", tmp_path / "run")
        autoconv_("train", "digits", "--limit", 64, "--epochs", 1, "--out", tmp_path / "new")
        expected = read(tmp_path / "new" / "run.json")
        shutil.rmtree(tmp_path / "new" / "checkpoints")
        (tmp_path / "new").rename(tmp_path / "run" / ".replacement")
        (tmp_path / "run" / ".replacement" / "model.safetensors").replace(tmp_path / "run" / "model.safetensors")
        autoconv_("evaluate", tmp_path / "run", "--json", tmp_path / "tested.json")
        assert read(tmp_path / "tested.json")["test_loss"] == expected["test_loss"]
        assert sorted(p.name for p in (tmp_path / "run").iterdir()) == RUN
        assert read(tmp_path / "run" / "run.json") == expected

    def test_a_folder_with_other_files_beside_a_run_keeps_them(self, trained, tmp_path):
        shutil.copytree(trained / "run", tmp_path / "run")
        (tmp_path / "run" / "notes.txt").write_text("dear")
        autoconv_("train", "digits", "--limit", 64, "--epochs", 1, "--out", tmp_path / "run")
        assert read(tmp_path / "run" / "run.json")["epochs"] == 1
        assert (tmp_path / "run" / "notes.txt").read_text() == "dear"
        assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted([*RUN, "notes.txt"])

    @pytest.mark.parametrize("option", ["--out", "--json"])
    def test_what_cannot_be_written_is_found_before_the_training(self, option, tmp_path):
        (tmp_path / "file").write_text("")
        printed = autoconv_("train", "digits", option, tmp_path / "file" / "deeper", code=1)
        assert "cannot be written" in printed
        assert "data" not in printed

    def test_small_images_are_enlarged_for_the_large_net(self):
        image = np.array([[[1, 2], [3, 4]]], np.uint8)[..., None]
        assert data.enlarge(image, (6, 5))[0, :, :, 0].tolist() == [
            [0, 0, 0, 0, 0],
            [1, 1, 2, 2, 0],
            [1, 1, 2, 2, 0],
            [3, 3, 4, 4, 0],
            [3, 3, 4, 4, 0],
            [0, 0, 0, 0, 0],
        ]
        assert data.adapt_images(np.zeros((2, 28, 28, 1), np.uint8), "lecture-large").shape == (2, 150, 150, 1)


class TestWhichData:
    def test_a_named_set_is_never_replaced(self, offline):
        printed = autoconv_("train", "mnist", code=1)
        for text in ("AUTOCONV_DATA", "127.0.0.1:9", "autoconv train digits", "--data-dir"):
            assert text in printed
        assert "Epoch" not in printed

    def test_without_a_name_the_digits_stand_in_for_mnist_and_it_says_why(self, offline):
        printed = autoconv_("train", "--limit", 64, "--epochs", 1)
        assert "Digits, 58 training" in printed
        assert "MNIST is not on this computer and could not be downloaded" in printed

    def test_without_a_name_mnist_where_it_is_present(self, offline, monkeypatch, tmp_path):
        shutil.copytree(DIGITS, tmp_path / "sets" / "mnist")
        monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "sets"))
        printed = autoconv_("train", "--limit", 64, "--epochs", 1)
        assert "MNIST, 64 training" in printed
        assert "MNIST is on this computer" in printed

    def test_a_folder_is_exclusive(self, offline, tmp_path):
        assert "MNIST, 64 training" in autoconv_("train", "--data-dir", DIGITS, "--limit", 64, "--epochs", 1)
        assert str(tmp_path) in autoconv_("train", "--data-dir", tmp_path, code=1)

    def test_a_damaged_file_is_named(self, tmp_path):
        shutil.copytree(DIGITS, tmp_path / "set")
        file = tmp_path / "set" / "train-labels-idx1-ubyte.gz"
        file.write_bytes(gzip.compress(b"<html>log in</html>"))
        assert str(file) in autoconv_("train", "mnist", "--data-dir", tmp_path / "set", code=1)


class TestExport:
    @pytest.mark.parametrize(("form", "name"), [("keras", "net.keras"), ("safetensors", "net.safetensors")])
    def test_the_net_predicts_as_the_run(self, trained, tmp_path, form, name):
        printed = autoconv_("export", trained / "run", "--to", form, "--out", tmp_path / name)
        assert name in printed
        x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
        expected = autoconv.models.load_model(trained / "run").predict(x, verbose=0)
        again = autoconv.models.load_model(tmp_path / name)
        np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=1e-5)

    def test_a_file_of_onnx(self, trained, tmp_path):
        pytest.importorskip("onnx")
        autoconv_("export", trained / "run", "--to", "onnx", "--out", tmp_path / "net.onnx")
        x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
        expected = autoconv.models.load_model(trained / "run").predict(x, verbose=0)
        found = formats.from_onnx(tmp_path / "net.onnx").predict(x, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_weights_under_pytorchs_names(self, trained, tmp_path):
        autoconv_("export", trained / "run", "--to", "torch", "--out", tmp_path / "net.safetensors")
        with safe_open(tmp_path / "net.safetensors", framework="numpy") as file:
            shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
        assert any(name.endswith(".weight") and len(shape) == 4 and shape[2:] == (3, 3)
                   for name, shape in shapes.items())

    def test_mistakes(self, trained, tmp_path):
        assert "Did you mean 'keras'" in autoconv_("export", trained / "run", "--to", "kears", code=2)
        wrong = autoconv_("export", trained / "run", "--to", "keras", "--out", tmp_path / "a.h5", code=2)
        assert "must have the suffix .keras" in wrong
        assert "is not a run" in autoconv_("export", tmp_path, "--to", "keras", "--out", tmp_path / "a.keras", code=1)


class TestEvaluate:
    def test_gives_the_numbers_of_the_end_of_training(self, trained, tmp_path):
        printed = autoconv_("evaluate", trained / "run", "--json", tmp_path / "tested.json")
        tested, before = read(tmp_path / "tested.json"), read(trained / "results.json")
        assert (tested["test_accuracy"], tested["test_loss"]) == (before["test_accuracy"], before["test_loss"])
        assert f"test accuracy {before['test_accuracy']:.4f}" in printed

    def test_says_which_classes_are_taken_for_which(self, trained, tmp_path):
        printed = autoconv_("evaluate", trained / "run", "--json", tmp_path / "tested.json")
        tested = read(tmp_path / "tested.json")
        counts = np.array(tested["confusion_matrix"])
        assert counts.sum() == tested["test_images"]
        assert np.trace(counts) / counts.sum() == pytest.approx(tested["test_accuracy"])
        for i, each in enumerate(tested["classes"]):
            assert each["recall"] == pytest.approx(counts[i, i] / max(counts[i].sum(), 1))
            assert each["precision"] == pytest.approx(counts[i, i] / max(counts[:, i].sum(), 1))
            assert re.search(rf"^{each['name']} +{each['precision']:.4f} +{each['recall']:.4f}", printed, re.MULTILINE)
        mistakes = counts - np.diag(np.diag(counts))
        listed = re.findall(r"(\d) taken for (\d) \((\d+)\)", printed)
        assert [int(count) for _, _, count in listed] == sorted(mistakes.ravel()[mistakes.ravel() > 0])[:-6:-1]
        assert all(mistakes[int(i), int(j)] == int(count) for i, j, count in listed)

    def test_the_folder_of_the_training_is_remembered(self, offline, tmp_path):
        autoconv_("train", "mnist", "--data-dir", DIGITS, "--limit", 64, "--epochs", 1, "--out", tmp_path / "run")
        assert f"MNIST, 64 training and 64 test images of 28 x 28 x 1, from {DIGITS}" in autoconv_(
            "evaluate", tmp_path / "run")

    def test_a_run_of_version_0_1_predicts_as_before(self, tmp_path):
        run = Path(__file__).parents[1] / "data" / "run-0.1"  # its file has no layer that scales the pixels
        autoconv_("evaluate", run, "--json", tmp_path / "tested.json")
        tested, before = read(tmp_path / "tested.json"), read(run / "run.json")
        assert tested["test_accuracy"] == before["test_accuracy"]
        assert tested["test_loss"] == pytest.approx(before["test_loss"], rel=1e-5)

    def test_on_another_set(self, trained):
        printed = autoconv_("evaluate", trained / "run", "mnist", "--data-dir", DIGITS, "--limit", 100, "--quiet")
        assert printed.startswith("test accuracy")

    def test_a_set_of_other_images_is_refused(self, trained, monkeypatch, tmp_path):
        rng = np.random.default_rng(1)
        arrays = {"x_train": rng.integers(0, 255, (9, 20, 20)), "y_train": np.arange(9) % 3,
                  "x_test": rng.integers(0, 255, (9, 20, 20)), "y_test": np.arange(9) % 3}
        np.savez(tmp_path / "mnist.npz", **{name: a.astype(np.uint8) for name, a in arrays.items()})
        printed = autoconv_("evaluate", trained / "run", "mnist", "--data-dir", tmp_path, code=1)
        assert "(None, 28, 28, 1)" in printed
        assert "20, 20, 1" in printed

    def test_what_is_no_run_or_a_damaged_one_is_said(self, trained, tmp_path):
        assert "is not a run" in autoconv_("evaluate", tmp_path, code=1)
        shutil.copytree(trained / "run", tmp_path / "run")
        model = tmp_path / "run" / "model.safetensors"
        model.write_bytes(model.read_bytes()[:1000])
        assert "cannot be read" in autoconv_("evaluate", tmp_path / "run", code=1)
        (tmp_path / "run" / "run.json").write_text('{"model": "lecture"}')
        assert "lacks these entries: dataset" in autoconv_("evaluate", tmp_path / "run", code=1)


class TestPredict:
    @pytest.mark.parametrize("padding", [2, [[0, 2000000], [0, 0]]])
    def test_a_model_file_with_a_window_that_leaves_its_image_is_refused(self, trained, digits, tmp_path, padding):
        shutil.copytree(trained / "run", tmp_path / "run")
        net = autoconv.models.Sequential([
            layers.Input((28, 28, 1)), layers.MaxPooling2D(2, padding="valid"), layers.Flatten(), layers.Dense(10)])
        file = tmp_path / "run" / "model.safetensors"
        net.save(file)
        with safe_open(file, "numpy") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata()
        assert '"padding": "valid"' in metadata["model"]
        metadata["model"] = metadata["model"].replace('"padding": "valid"', f'"padding": {padding}')
        file.write_bytes(to_bytes(weights, metadata))
        np.save(tmp_path / "one.npy", digits[0])
        printed = autoconv_("predict", tmp_path / "run", tmp_path / "one.npy", code=1)
        assert "padding must be smaller than pool_size" in printed

    def test_arrays_one_or_several(self, trained, digits, tmp_path):
        np.save(tmp_path / "three.npy", digits)
        np.save(tmp_path / "one.npy", digits[1])
        lines = autoconv_("predict", trained / "run", tmp_path / "three.npy", tmp_path / "one.npy").splitlines()
        net = autoconv.models.load_model(trained / "run" / "model.safetensors")
        outputs = net.predict(digits[..., None], verbose=0)[[0, 1, 2, 1]]  # it takes pixels, as it was trained
        assert [line.split()[1] for line in lines] == [str(row.argmax()) for row in outputs]
        np.testing.assert_allclose([float(line.split()[2]) for line in lines], outputs.max(1), atol=1e-4)
        assert lines[2].startswith(f"{tmp_path / 'three.npy'}[2]")

    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_a_file_of_kerass_is_seen_with(self, suffix, trained, digits, tmp_path):
        pytest.importorskip("h5py")
        net = autoconv.models.load_model(trained / "run")
        net.save(tmp_path / f"own{suffix}")
        np.save(tmp_path / "some.npy", digits)
        printed = autoconv_("predict", tmp_path / f"own{suffix}", tmp_path / "some.npy")
        assert printed == autoconv_("predict", trained / "run", tmp_path / "some.npy")
        net.save_weights(tmp_path / "own.weights.h5")
        assert "contains no model" in autoconv_("predict", tmp_path / "own.weights.h5", tmp_path / "some.npy", code=1)
        assert "There is no model file" in autoconv_("predict", tmp_path / "no.keras", tmp_path / "some.npy", code=1)

    def test_logits_become_probabilities(self, digits, tmp_path):
        autoconv_("train", "digits", *QUICK, "--model", "photos", "--out", tmp_path / "run")
        np.save(tmp_path / "one.npy", digits[0])
        logits = autoconv.models.load_model(tmp_path / "run" / "model.safetensors").predict(
            digits[:1, ..., None], verbose=0)[0].astype(float)
        _, digit, probability, *_ = autoconv_("predict", tmp_path / "run", tmp_path / "one.npy").split()
        assert digit == str(logits.argmax())
        assert float(probability) == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(), abs=1e-4)

    def test_a_picture_is_resized_and_inverted_where_its_border_is_bright(self, trained, digits, tmp_path):
        image = pytest.importorskip("PIL.Image")
        image.fromarray(digits[0]).save(tmp_path / "dark.png")
        image.fromarray(255 - digits[0]).save(tmp_path / "bright.png")
        image.fromarray(255 - digits[0].repeat(9, 0).repeat(9, 1)).convert("RGB").save(tmp_path / "large.png")
        transparent = np.zeros((28, 28, 4), np.uint8)
        transparent[..., 3] = digits[0]  # black ink on nothing
        image.fromarray(transparent).save(tmp_path / "ink.png")
        names = ("dark", "bright", "ink", "large")
        lines = autoconv_("predict", trained / "run", "--as-is", *(tmp_path / f"{n}.png" for n in names)).splitlines()
        answers = [line.split()[1:] for line in lines]
        assert answers == [answers[0]] * 4

    def test_what_cannot_be_seen_is_said(self, trained, digits, tmp_path):
        np.save(tmp_path / "wide.npy", np.zeros((28, 30)))
        assert "(28, 28, 1)" in autoconv_("predict", trained / "run", tmp_path / "wide.npy", code=1)
        (tmp_path / "text.png").write_text("no picture")
        pytest.importorskip("PIL")
        assert "text.png" in autoconv_("predict", trained / "run", tmp_path / "text.png", code=1)
        assert "none.png" in autoconv_("predict", trained / "run", tmp_path / "none.png", code=1)

    def test_without_pillow_the_extra_is_named(self, trained, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        assert "autoconv[images]" in autoconv_("predict", trained / "run", tmp_path / "x.png", code=1)


class TestInfoAndWarmup:
    def test_info_shows_what_a_report_of_a_fault_needs(self, trained):
        printed, facts = autoconv_("info"), json.loads(autoconv_("info", "--json"))
        for name in ("python", "numpy", "numba", "llvmlite", "cpu_name", "cpu_features", "threads", "threading_layer",
                     "cache_folder", "cache_state", "device_cpu", "device_cuda"):
            assert facts[name] or name == "cpu_features"  # a plain x86-64 has none
            assert re.search(rf"^{name.replace('_', ' ')} ", printed, re.MULTILINE)

    def test_warmup_compiles_all_kernels_for_both_types(self, monkeypatch):
        compiled = []

        def prepare(self, found, report):
            compiled.append({(kernel.name, str(dtype)) for kernel, dtype in found})
            report(0, 3)
            report(3, 3)

        monkeypatch.setattr(device.CpuDevice, "prepare", prepare)
        assert "kernels" in autoconv_("warmup")
        assert [{dtype for _, dtype in found} for found in compiled] == [{"float32"}, {"float64"}]
        assert {name for name, _ in compiled[0]} >= {"conv._forward", "norm.moments", "update.adam", "random.dropout"}


EVIL = ["\x1b]0;title\x07cat", "\u202egod\u200f", "a\nError: b", "\x9b31m", "\x7f\x08"]  # what would steer a terminal


@pytest.fixture
def renamed_run(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    results = read(trained / "run" / "run.json")
    results["classes"][:5] = EVIL
    (tmp_path / "run" / "run.json").write_text(json.dumps(results), encoding="utf-8")
    return tmp_path / "run"


def shown(text):
    """What was printed, if it cannot steer a terminal."""
    assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    assert "\nError: b" not in text
    return text


def test_classes_of_a_run_are_printed_escaped_and_written_as_they_are(renamed_run, digits, tmp_path):
    np.save(tmp_path / "some.npy", digits)
    printed = shown(autoconv_("evaluate", renamed_run))
    assert "\\x1b]0;titl" in printed
    assert "\\u202egod" in printed
    shown(autoconv_("predict", renamed_run, tmp_path / "some.npy"))
    shown(autoconv_("inspect", renamed_run, tmp_path / "some.npy", "--out", tmp_path / "page.html"))
    printed = shown(autoconv_("evaluate", renamed_run, "--json", "-"))
    assert [each["name"] for each in json.loads(printed)["classes"]][:5] == EVIL
    net = autoconv.models.load_model(renamed_run)
    net.class_names = tuple(EVIL + EVIL)
    net.save(tmp_path / "net.safetensors")
    assert "\\" in shown(autoconv_("predict", tmp_path / "net.safetensors", tmp_path / "some.npy"))
    printed = shown(autoconv_("predict", tmp_path / "net.safetensors", tmp_path / "some.npy", "--json", "-"))
    assert {choice["class"] for each in json.loads(printed) for choice in each["top"]} <= set(EVIL)


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("where", ["tensor", "activation", "class"])
def test_errors_quote_names_escaped(trained, where, evil, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    file = tmp_path / "run" / "model.safetensors"
    with safe_open(file, "numpy") as opened:
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata()
    if where == "tensor":
        weights[evil] = np.zeros(3, np.float32)
        weights[f"{evil} of integers"] = np.zeros(3, np.int32)
    else:
        old = {"activation": '"relu"', "class": '"Conv2D"'}[where]
        assert old in metadata["model"]
        metadata["model"] = metadata["model"].replace(old, json.dumps(evil))
    file.write_bytes(to_bytes(weights, metadata))
    for command in (("predict", tmp_path / "run", DIGITS), ("evaluate", tmp_path / "run"),
                    ("predict", file, DIGITS), ("summary", file, "--no-time")):
        shown(autoconv_(*command, code=1))
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        autoconv.models.load_model(file)
    for error in (raised.value, raised.value.__cause__, raised.value.__context__):
        assert all(c.isprintable() or c == "\n" for c in str(error)), repr(str(error))


def test_tables_and_progress_show_names_escaped(capsys):
    net = autoconv.models.Sequential([layers.Input((3,)), layers.Dense(2, name=EVIL[0])], name=EVIL[1])
    net.compile("sgd", "mse", metrics=[autoconv.metrics.MeanSquaredError(name=EVIL[3])])
    net.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=2)
    net.summary()
    sys.stdout.write(f"{net.profile(measure=False)}\n")
    net.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=1)
    said = shown(capsys.readouterr().out)
    for text in ("\\x1b]0;title\\x07cat", "\\u202egod", "\\x9b31m: "):
        assert text in said


def test_an_error_of_several_lines_keeps_them():
    @click.command("fails")
    def fails():
        raise ValueError("first:\n  - second \x1b[2J")

    done = CliRunner().invoke(Commands(commands=[fails]), ["fails"])
    assert done.exit_code == 1
    assert "Error: first:\n  - second \\x1b[2J\n" in done.output


def test_commands_print_in_one_place():
    printing = {path.name for path in Path(autoconv.programs.cli.__file__).parent.glob("*.py")
                if re.search(r"click\.s?echo\(|\bprint\(|stdout\.write", path.read_text(encoding="utf-8"))}
    assert printing == {"lines.py", "result_files.py", "bench.py"}  # JSON, and a line of the nets' own names


class TestErrors:
    @pytest.mark.parametrize(("args", "said"), [
        (("train", "digits", "--threads", "0"), "--threads"),
        (("train", "digits", "--epochs", "-1"), "--epochs"),
        (("train", "digits", "--epochs", "0"), "--epochs"),
        (("train", "digits", "--batch-size", "0"), "--batch-size"),
        (("train", "digits", "--limit", "0"), "--limit"),
        (("train", "digits", "--seed", "-1"), "--seed"),
        (("train", "digits", "--lr", "0"), "--lr"),
        (("train", "digits", "--lr", "nan"), "--lr"),
        (("train", "digits", "--threads", "100000"), "100000"),
        (("train", "mnits"), "Did you mean 'mnist'?"),
        (("train", "digits", "--model", "lectur"), "Did you mean 'lecture'?"),
        (("train", "digits", "--optimizer", "rmsporp"), "Did you mean 'rmsprop'?"),
        (("trian",), "Did you mean 'train'?"),
        (("predict", "run"), "IMAGE"),
    ])
    def test_wrong_usage_exits_2_and_says_what(self, args, said, trained):
        assert said in autoconv_(*args, code=2)

    def test_cuda_without_cuda_says_what_to_do(self, monkeypatch):
        def missing(name="auto"):
            raise device.DeviceError("there is no CUDA here: use --device cpu")

        monkeypatch.setattr(device, "get", missing)
        assert "use --device cpu" in autoconv_("train", "digits", "--device", "cuda", code=1)


class TestValidation:
    def test_a_fraction_of_the_training_images_is_drawn_by_the_seed(self):
        whole = data.load("digits", None, 300)
        first, again, other = (data.load("digits", None, 300, 0.1, seed) for seed in (7, 7, 8))
        assert len(whole.x_validation) == 0
        assert (len(first.x_train), len(first.x_validation), len(first.x_test)) == (270, 30, 300)
        assert np.array_equal(first.x_validation, again.x_validation)
        assert not np.array_equal(first.x_validation, other.x_validation)
        images = [image.tobytes() for image in whole.x_train]
        assert len(set(images)) == 300
        trained = [images.index(image.tobytes()) for image in first.x_train]
        tested = [images.index(image.tobytes()) for image in first.x_validation]
        assert sorted(trained + tested) == list(range(300))
        assert np.array_equal(whole.y_train[trained], first.y_train)
        assert np.array_equal(whole.y_train[tested], first.y_validation)

    def test_named_sets_are_trained_on_whole_unless_the_option_is_given(self, trained, tmp_path):
        how = ("train", "mnist", "--data-dir", DIGITS, *QUICK)
        assert "256 training and 256 test images" in autoconv_(*how, "--out", tmp_path / "run")
        assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,accuracy,loss\n")
        assert read(tmp_path / "run" / "run.json")["validate"] == 0
        autoconv_("train", "digits", *QUICK, "--validate", 0, "--out", tmp_path / "whole")
        assert [(tmp_path / name / "history.csv").read_text() for name in ("run", "whole")] == [
            (tmp_path / "run" / "history.csv").read_text()] * 2
        autoconv_(*how, "--validate", 0.1, "--out", tmp_path / "part")  # the same images as by default of digits
        assert (tmp_path / "part" / "history.csv").read_text() == (trained / "run" / "history.csv").read_text()

    def test_the_last_row_is_what_the_validation_images_give(self, trained):
        held_out = data.load("digits", None, 256, 0.1, 7)
        net = autoconv.models.load_model(trained / "run")
        loss, accuracy = net.evaluate(held_out.x_validation, utils.to_categorical(held_out.y_validation, 10), verbose=0)
        row = (trained / "run" / "history.csv").read_text().splitlines()[-1].split(",")
        assert [float(value) for value in row[-2:]] == pytest.approx([accuracy, loss], rel=1e-5)

    def test_a_state_of_an_earlier_version_is_resumed_without_validation(self, tmp_path):
        autoconv_("train", "digits", *QUICK, "--validate", 0, "--out", tmp_path / "run")
        path, = (tmp_path / "run" / "checkpoints").glob("*.safetensors")
        state = checkpoint.read(path)
        del state.metadata["belongs_to"]["arguments"]["validate"]
        path.write_bytes(checkpoint.to_bytes(state))
        printed = autoconv_("train", "digits", "--epochs", 3, "--out", tmp_path / "run", "--resume")
        assert "256 training and 256 test images" in printed
        assert "val_loss" not in printed

    @pytest.mark.parametrize("share", ["1", "-0.1", "nan"])
    def test_a_wrong_fraction_is_refused(self, share):
        assert "--validate" in autoconv_("train", "digits", "--validate", share, code=2)

    def test_the_seconds_of_an_epoch_are_without_validation(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr("time.perf_counter", lambda: now[0])
        watch = Stopwatch()
        watch.on_epoch_begin(0)
        now[0] = 5.0
        watch.on_test_begin()
        now[0] = 8.0
        watch.on_test_end()
        watch.on_epoch_end(0)
        assert watch.epoch_seconds == [5.0]


class TestStopwatch:
    def test_the_first_step_is_over_when_the_second_begins_or_the_epoch_ends(self):
        for after_first_step in (lambda w: w.on_train_batch_begin(1), lambda w: w.on_epoch_end(0)):
            watch = Stopwatch()
            watch.on_epoch_begin(0)
            watch.on_train_batch_begin(0)
            assert watch.first_step is None
            before = seconds_since_start()
            after_first_step(watch)
            assert before <= watch.first_step <= seconds_since_start()

    def test_the_first_step_of_a_training_that_goes_on_is_this_processs(self):
        watch = Stopwatch()
        watch.on_train_batch_begin(6)
        assert watch.first_step is None
        watch.on_train_batch_begin(7)
        assert watch.first_step <= seconds_since_start()

    def test_the_process_began_before_this_module_was_imported(self):
        assert seconds_since_start() > 0.1


class TestProcess:
    def test_the_command_line_imports_nothing_heavy(self):
        code = ("import sys, autoconv.programs.cli; "
                "print([m for m in ('numba', 'PIL', 'pooch', 'tqdm', 'safetensors') if m in sys.modules])")
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"

    def test_python_m_autoconv(self):
        done = subprocess.run([sys.executable, "-m", "autoconv", "--version"], capture_output=True, text=True)
        assert done.stdout.split()[-1] == autoconv.__version__

    @pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
    def test_ctrl_c_exits_130_and_leaves_nothing(self, trained, tmp_path):
        command = [sys.executable, "-u", "-m", "autoconv", "train", "digits", "--limit", "128", "--epochs", "100000",
                   "--json", str(tmp_path / "results.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("Epoch 3"):
                    process.send_signal(signal.SIGINT)
                    break
            process.stdout.read()
            assert process.stderr.read() == "Interrupted.\n"
        assert process.returncode == 130
        assert list(tmp_path.iterdir()) == []
