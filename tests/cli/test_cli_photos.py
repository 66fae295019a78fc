"""`autoconv train FOLDER`, and what evaluate and predict do with its runs."""

import json
import os
import shutil
import warnings

import pytest
from click.testing import CliRunner

pytest.importorskip("PIL", reason="pictures need the extra images")

from photo_files import BROKEN, add_broken, add_odd, make, make_turned
from PIL import Image

from autoconv import models
from autoconv.programs.cli import main, photos

QUICK = ("--image-size", "20x24", "--epochs", "3", "--seed", "1")


def autoconv_(*args, code=0):
    """Runs a command in this process; what it printed on stdout and stderr, after a look at its exit code."""
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("cli") / "colors", each=20)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("cli") / "spoiled", each=10)
    add_odd(folder / "red")
    add_broken(folder / "green")
    return folder


def test_a_folder_is_learned_tested_and_recognised(folder, tmp_path):
    out = autoconv_("train", folder, *QUICK, "--out", tmp_path / "run", "--json", tmp_path / "r.json")
    results = json.loads((tmp_path / "r.json").read_text())
    for text in ("3 classes, 44 training, 4 validation (--validate) and 12 test images, resized to 20 x 24 x 3",
                 "20% of the pictures, drawn", "--validation-split", "photos,", "test accuracy 1.0000"):
        assert text in out.stdout
    wanted = {"model": "photos", "optimizer": "adam", "batch_size": 32, "train_images": 44, "test_images": 12,
              "classes": ["blue", "green", "red"], "test_accuracy": 1.0, "skipped": [], "image_size": [20, 24]}
    assert {key: results[key] for key in wanted} == wanted
    tested = json.loads(autoconv_("evaluate", tmp_path / "run", "--json", "-").stdout)
    assert tested["test_images"] == 12
    assert tested["test_loss"] == results["test_loss"]
    assert "60 test images" in autoconv_("evaluate", tmp_path / "run", folder).stdout
    lines = autoconv_("predict", tmp_path / "run", folder / "red" / "00.png", folder / "blue" / "01.jpg").stdout
    assert [line.split()[1] for line in lines.splitlines()] == ["red", "blue"]


def test_a_seed_repeats_a_run(folder, tmp_path):
    losses = [json.loads(autoconv_("train", folder, *QUICK, "--epochs", "1", "--json", "-").stdout)["test_loss"]
              for _ in range(2)]
    assert losses[0] == losses[1]


def test_the_pictures_for_validation_are_training_pictures(folder):
    whole, part = (photos.load(folder, (20, 24, 3), None, 1, True, validate) for validate in (0.0, 0.25))
    assert whole.validation is None
    assert part.test.file_paths == whole.test.file_paths
    assert sorted(part.train.file_paths + part.validation.file_paths) == sorted(whole.train.file_paths)
    assert len(part.validation.file_paths) == 12


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_split_of_the_folders_own(name, tmp_path):
    make(tmp_path / "set" / "train", each=8)
    make(tmp_path / "set" / name, each=3)
    out = autoconv_("train", tmp_path / "set", *QUICK, "--epochs", "1", "--augment", "--out", tmp_path / "run").stdout
    assert "22 training, 2 validation (--validate) and 9 test images" in out
    assert f"tested on {name}/" in out
    assert "photos with augmentation" in out
    assert "9 test images" in autoconv_("evaluate", tmp_path / "run").stdout
    assert f"has train/ and {name}/" in autoconv_(
        "train", tmp_path / "set", "--validation-split", "0.5", code=2).output


def test_pictures_of_all_formats_are_read_or_named(tmp_path):
    folder = make(tmp_path / "colors", each=4)
    for name, color in (("a.tif", "red"), ("b.PPM", "red"), ("c.tga", "blue")):
        Image.new("RGB", (24, 20), color).save(folder / color / name)
    (folder / "red" / "d.heic").write_bytes(b"....ftypheic no decoder knows what follows")
    for name in ("notes.txt", "labels.json", "Thumbs.db", ".e.jpg"):
        (folder / "red" / name).write_text("no picture")
    result = autoconv_("train", folder, *QUICK, "--epochs", "1", "--out", tmp_path / "run")
    results = json.loads((tmp_path / "run" / "run.json").read_text())
    assert results["train_images"] + results["validation_images"] + results["test_images"] == 15
    assert results["skipped"] == [str(folder / "red" / "d.heic")]
    assert f"skipped {folder / 'red' / 'd.heic'}: its format is unknown to Pillow" in result.stderr
    assert "1 picture could not be read" in result.stderr
    assert "d.heic cannot be read" in autoconv_("train", folder, *QUICK, "--strict", code=1).stderr
    seen = autoconv_("predict", tmp_path / "run", folder / "red", code=1)
    assert "a.tif" in seen.stdout
    assert "d.heic" in seen.stderr
    assert ".e.jpg" not in seen.output


def test_a_very_large_picture_is_named_and_read(tmp_path):
    for part in ("train", "test"):
        make(tmp_path / "set" / part, each=2)
    vast = tmp_path / "set" / "test" / "blue" / "0.png"  # the first: it is read before the training, too
    Image.new("1", (10_000, 9_000)).save(vast)
    with open(vast, "ab") as file:
        file.write(bytes(1_000_000))  # without these, it would have far more pixels than such a file can show
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        result = autoconv_("train", tmp_path / "set", *QUICK, "--epochs", "2", "--json", "-")
    assert result.stderr == f"note: {vast} is very large, 90 million pixels: reading it takes a long time.\n"
    assert json.loads(result.stdout)["skipped"] == []


def test_digits_are_not_mirrored(folder, tmp_path):
    few = ("--epochs", "1", "--augment", "--out")
    autoconv_("train", "digits", "--limit", "64", *few, tmp_path / "digits")
    autoconv_("train", folder, "--image-size", "20x24", *few, tmp_path / "photos")
    kinds = [[type(layer).__name__ for layer in models.load_model(tmp_path / run / "model.safetensors").layers]
             for run in ("digits", "photos")]
    assert kinds[0][:2] == ["RandomRotation", "RandomZoom"]
    assert kinds[1][:3] == ["RandomFlip", "RandomRotation", "RandomZoom"]


def test_augmentation_helps_where_few_pictures_are_upright_and_those_to_test_on_are_not(tmp_path):
    make_turned(tmp_path / "shapes")
    how = ("--image-size", "32", "--epochs", "25", "--batch-size", "16", "--seed", "1", "--json", "-")
    plain, augmented = (json.loads(autoconv_("train", tmp_path / "shapes", *how, *more).stdout)["test_accuracy"]
                        for more in ((), ("--augment",)))
    assert augmented > plain + 0.1, (plain, augmented)  # 0.60 and 0.85; with the seeds 2 to 4 they are as far apart


def test_pictures_that_cannot_be_read_are_named_and_counted(spoiled, tmp_path):
    for how in ((), ("--quiet",)):
        result = autoconv_("train", spoiled, *QUICK, "--epochs", "2", "--json", tmp_path / "r.json", *how)
        for name in BROKEN:
            assert result.stderr.count(f"skipped {spoiled / 'green' / name}: ") == 1
        results = json.loads((tmp_path / "r.json").read_text())
        assert (f"4 pictures could not be read and were skipped; {results['train_images']} training, "
                f"{results['validation_images']} validation (--validate) and {results['test_images']} test images "
                "remain") in result.stderr
    assert results["skipped"] == [str(spoiled / "green" / name) for name in sorted(BROKEN)]
    assert results["train_images"] + results["validation_images"] + results["test_images"] == 36
    said = autoconv_("train", spoiled, *QUICK, "--strict", code=1).stderr
    assert "cannot be read as a picture" in said
    assert "leave out --strict" in said
    assert "Epoch" not in said


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_part_that_cannot_be_read_is_found_before_the_training(part, tmp_path):
    for name in ("train", "val"):
        make(tmp_path / "set" / name, each=2)
    for path in (tmp_path / "set" / part).rglob("*.*"):
        path.write_bytes(b"")
    result = autoconv_("train", tmp_path / "set", *QUICK, "--out", tmp_path / "run", code=1)
    what = "test" if part == "val" else "train"
    assert f"At least one picture to {what} on must be readable. Received: 6 unreadable files" in result.stderr
    assert "the file is empty. Replace the files" in result.stderr
    assert "Epoch" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("error", "code"), [(ValueError("There is no batch."), 1), (KeyboardInterrupt(), 130)])
def test_what_happens_in_the_test_does_not_lose_the_training(folder, error, code, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(models.Sequential, "evaluate", fails)
        result = autoconv_("train", folder, *QUICK, "--out", tmp_path / "run", code=code)
    if code == 1:
        assert "it cannot be tested. There is no batch." in result.stderr
        assert f"To test it again, use `autoconv evaluate {tmp_path / 'run'}`" in " ".join(result.stderr.split())
    assert "test accuracy 1.0000" in autoconv_("evaluate", tmp_path / "run").stdout


def test_a_folder_to_test_on_has_the_classes_of_the_training(folder, tmp_path):
    autoconv_("train", folder, *QUICK, "--epochs", "1", "--out", tmp_path / "run")
    make(tmp_path / "test", each=2, classes=("blue", "green"))
    said = autoconv_("evaluate", tmp_path / "run", tmp_path / "test", code=1).stderr
    assert (f"class of the net: blue, green, red. Received: {tmp_path / 'test'} with blue, green. "
            "Add these folders: red. A class") in said
    (tmp_path / "test" / "red").mkdir()
    assert "4 test images" in autoconv_("evaluate", tmp_path / "run", tmp_path / "test").stdout
    (tmp_path / "test" / "pink").mkdir()
    assert "remove these folders: pink." in autoconv_("evaluate", tmp_path / "run", tmp_path / "test", code=1).stderr
    shutil.copytree(folder, tmp_path / "set" / "train")
    shutil.copytree(tmp_path / "test", tmp_path / "set" / "test")
    assert "remove these folders: pink." in autoconv_("train", tmp_path / "set", code=1).stderr


def test_a_run_is_tested_on_the_pictures_that_it_held_out_also_when_the_folder_has_changed(tmp_path):
    folder = make(tmp_path / "colors", each=10)
    autoconv_("train", folder, *QUICK, "--epochs", "1", "--out", tmp_path / "run", "--json", tmp_path / "r.json")
    results = json.loads((tmp_path / "r.json").read_text())
    held = [folder / name for name in results["held_out"]["files"]]
    assert len(held) == results["test_images"] == 6
    shutil.copy(held[0], held[0].with_name("0.png"))
    again = json.loads(autoconv_("evaluate", tmp_path / "run", "--json", "-").stdout)
    assert (again["test_images"], again["test_loss"]) == (6, results["test_loss"])
    held[0].unlink()
    fewer = autoconv_("evaluate", tmp_path / "run")
    gone = held[0].relative_to(folder).as_posix()
    assert f"1 of the 6 pictures that the net was tested on is gone from {folder}: {gone}" in fewer.stderr
    assert "5 test images" in fewer.stdout
    for path in held[1:]:
        path.unlink()
    assert "Restore the pictures" in autoconv_("evaluate", tmp_path / "run", code=1).stderr


def test_an_older_run_says_when_its_folder_has_changed(tmp_path):
    folder = make(tmp_path / "colors", each=10)
    autoconv_("train", folder, *QUICK, "--epochs", "1", "--validate", 0, "--out", tmp_path / "run")
    run = tmp_path / "run" / "run.json"
    results = json.loads(run.read_text())
    del results["held_out"]
    run.write_text(json.dumps(results))
    assert not autoconv_("evaluate", tmp_path / "run").stderr
    shutil.copy(folder / "red" / "00.png", folder / "red" / "0.png")
    said = autoconv_("evaluate", tmp_path / "run").stderr
    assert f"{folder} has 31 pictures, but had 30 when the net was trained" in said


def test_the_name_of_a_data_set_wins_over_a_folder(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    few = ("--epochs", "1", "--json", "-")
    assert json.loads(autoconv_("train", "digits", *few, "--limit", "64").stdout)["classes"][0] == "0"
    assert json.loads(autoconv_("train", os.path.join(".", "digits"), *QUICK, *few).stdout)["classes"][0] == "blue"


@pytest.mark.parametrize(("args", "code", "said"), [
    (("--image-size", "0"), 2, "is not a valid image size"),
    (("--image-size", "20x"), 2, "180x180"),
    (("--validation-split", "1"), 2, "0<x<1"),
    (("--validation-split", "0.001"), 1,
     "validation_split=0.001 with 60 files. Add files, or raise validation_split to 0.02 or more"),
    (("--limit", "5"), 2, "--limit applies only to named data sets"),
    (("--data-dir", "x"), 2, "--data-dir applies only to named data sets"),
    (("--image-size", "4"), 1, "at least 8 x 8 pixels. Received: 4 x 4 pixels. Enlarge the images."),
    (("--image-size", "10", "--model", "lecture"), 1, "Enlarge the images, or use the net cifar10"),
])
def test_options_that_do_not_fit(folder, args, code, said):
    assert said in autoconv_("train", folder, *args, code=code).output


def test_folders_that_are_no_data_set(folder, tmp_path):
    (tmp_path / "one" / "cat").mkdir(parents=True)
    shutil.copytree(folder, tmp_path / "gap")
    (tmp_path / "gap" / "yellow").mkdir()
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "b").mkdir()
    for name in ("bad/a/x.png", "bad/b/x.png", "bad/a/y.png", "bad/b/y.png", "bad/b/z.png"):
        (tmp_path / name).write_bytes(b"")
    for path, code, said in (
        (tmp_path / "one" / "cat", 1, "Received: no folder and no picture"),
        (tmp_path / "one", 1, "only one folder, 'cat'"),
        (tmp_path / "gap", 1, "The class 'yellow' has no pictures"), (tmp_path / "nobody", 2, "There is no folder"),
        (tmp_path / "bad", 1, "must be readable"), (folder / "red", 1, "Received: 20 pictures in no folder"),
    ):
        assert said in autoconv_("train", path, code=code).output
    assert "--image-size applies only to photo" in autoconv_("train", "digits", "--image-size", "20", code=2).output
