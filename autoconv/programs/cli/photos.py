"""Loads training and test photos from a folder that has a subfolder for each class."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import click
import numpy as np

from ...arguments.names import printable
from ...files.json_text import JsonObject
from ...utils import ImageDataset
from ...utils.class_folders import Files, find, is_picture, list_classes, split
from ...utils.pixels import COLOR_MODES, Decoding, UnreadableImage, pillow
from .data import Feeds, describe_counts
from .lines import echo

TESTS = ("test", "val", "valid", "validation")  # allowed names of the test folder next to train/


class Photos(NamedTuple):
    """The training, test and validation pictures of a folder, and the folder that holds the test classes."""

    folder: Path
    split: str
    tests: Path
    train: ImageDataset
    test: ImageDataset
    validation: ImageDataset | None

    def describe(self) -> str:
        size = " x ".join(map(str, self.train.image_shape))
        numbers = describe_counts((len(self.train.file_paths), len(self.test.file_paths)),
                                  0 if self.validation is None else len(self.validation.file_paths))
        return (f"{self.folder}, {len(self.train.class_names or ())} classes, {numbers}, resized to {size}\n"
                f"       {self.split}")

    def feeds(self, model: str, batch_size: int) -> Feeds:
        """Returns the shape of an image and the keyword arguments of `fit` and `evaluate`."""
        self.train.batch_size = self.test.batch_size = batch_size
        train: JsonObject = {"x": self.train}
        if self.validation is not None:
            self.validation.batch_size = batch_size
            train["validation_data"] = self.validation
        return Feeds(self.train.image_shape, train, {"x": self.test})

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def classes(self) -> Sequence[str]:
        return self.train.class_names or ()

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of training and test images."""
        return count_readable(self.train), count_readable(self.test)

    @property
    def validation_count(self) -> int:
        """The number of pictures on which the net is tested after each epoch."""
        return 0 if self.validation is None else count_readable(self.validation)

    def run_entries(self) -> JsonObject:
        """Returns the data set's entries in run.json, with the names of all test pictures."""
        files = [Path(path).relative_to(self.tests).as_posix() for path in self.test.file_paths]
        return {"folder": str(self.folder.absolute()), "split": self.split,
                "held_out": {"in": self.tests.relative_to(self.folder).as_posix(), "files": files},
                "image_size": list(self.train.image_shape[:2]), "channels": self.train.image_shape[2],
                "skipped": skipped_files(self.train, self.test, *filter(None, [self.validation]))}


def load(folder: Path, image_shape: tuple[int, int, int], share: float | None, seed: int,
         strict: bool, validate: float = 0.0) -> Photos:
    """Returns the photos of a folder. Uses its train/ and test/ (or val/, valid/, validation/) if
    they exist. Otherwise a random `share` of the pictures, by default a fifth, is held out for the
    test. Of the other pictures, the fraction `validate` is held out for validation. Raises a ClickException
    for an unusable folder, and with `strict` for an unreadable file.
    """
    size = image_shape[:2]
    channels = image_shape[2]
    own = next((name for name in TESTS if (folder / "train").is_dir() and (folder / name).is_dir()), None)
    if own is None and (folder / "train").is_dir() and list_classes(folder / "train"):
        raise click.ClickException(f"{folder} has a train/ folder but no test folder. Add a test folder with one of "
                                   f"the names {', '.join(TESTS)}, or train on {folder / 'train'}.")
    if own is None:
        share = 0.2 if share is None else share
        classes = _classes(folder)
        train, *validation, test = _datasets(folder, size, channels, classes, seed, share, validate=validate)
        split = f"{share:.0%} of the pictures, drawn by the seed, held out for the test (--validation-split)"
    elif share is not None:
        raise click.UsageError(f"--validation-split applies only to folders that are not already split. {folder} has "
                               f"train/ and {own}/. Leave out --validation-split.")
    else:
        classes = _classes(folder / "train")
        _check_classes(folder / own, classes)
        train, *validation = _datasets(folder / "train", size, channels, classes, seed, validate=validate)
        test, = _datasets(folder / own, size, channels, classes, seed, shuffle=False)
        split = f"trained on train/, tested on {own}/"
    _prepare(folder, {"train": train, "test": test, **dict(zip(["validate"], validation))}, strict)
    return Photos(folder, split, folder / (own or ""), train, test, validation[0] if validation else None)


def held_out(results: JsonObject) -> ImageDataset:
    """Returns the pictures that a run was tested on, in the same order. Missing files are reported
    and left out. Runs of version 0.1 do not list their test pictures, so these are drawn again by
    the run's seed, with a note if the number of pictures in the folder has changed.
    """
    folder = Path(results["folder"])
    share = results["validation_split"]
    size = tuple(results["image_size"])
    channels = results.get("channels", 3)  # older runs do not state it
    if not folder.is_dir():
        raise click.ClickException(f"The folder {folder}, which the run was trained on, does not "
                                   "exist. Pass another folder of photos to test on.")
    if "held_out" in results:
        files = _existing_files(folder, results["held_out"], results["classes"])
        dataset = _dataset(files, size, channels, False, results["seed"])
        _prepare(folder, {"test": dataset}, strict=False)
        return dataset
    photos = load(folder, (*size, channels), share, results["seed"], strict=False)
    now = len(photos.train.file_paths) + len(photos.test.file_paths)
    then = results["train_images"] + results.get("test_images", 0) + len(results["skipped"])
    if "test_images" in results and now != then:
        echo(f"{folder} has {now:,} pictures, but had {then:,} when the net was trained. The run does not list its "
             "held-out pictures, so some test pictures may have been used in training.", err=True)
    return photos.test


def _existing_files(folder: Path, held_out: JsonObject, classes: Sequence[str]) -> Files:
    """Returns the existing test pictures of run.json. Raises a ClickException if none exists."""
    names = {name: PurePosixPath(held_out["in"], name) for name in held_out["files"]}
    gone = [str(path) for path in names.values() if not (folder / path).is_file()]
    if gone:
        some = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
        text = (f"{len(gone):,} of the {len(names):,} pictures that the net was tested on "
                f"{'is' if len(gone) == 1 else 'are'} gone from {folder}: {some}")
        if len(gone) == len(names):
            raise click.ClickException(f"{printable(text)}. Restore the pictures, or pass another folder of photos.")
        echo(printable(f"{text}; the test uses the remaining pictures"), err=True)
    lost = set(gone)
    there = [name for name, path in names.items() if str(path) not in lost]
    labels = [classes.index(PurePosixPath(name).parts[0]) for name in there]
    return Files([str(folder / names[name]) for name in there], np.array(labels, "int32"), list(classes))


def load_tests(folder: Path, shape: tuple[int, int, int], classes: Sequence[str]) -> ImageDataset:
    """Returns the pictures of a folder, or of its test folder, as a test set for these classes."""
    tests = next((folder / name for name in TESTS if (folder / "train").is_dir() and (folder / name).is_dir()), folder)
    _check_classes(tests, classes)
    dataset, = _datasets(tests, shape[:2], shape[2], classes, 0, shuffle=False)
    _prepare(tests, {"test": dataset}, strict=False)
    return dataset


def count_readable(dataset: ImageDataset) -> int:
    """Returns the number of the data set's readable pictures."""
    return len(dataset.file_paths) - len(dataset.skipped_files)


def skipped_files(*datasets: ImageDataset) -> list[str]:
    """Returns the files that could not be read."""
    return sorted(path for dataset in datasets for path in dataset.skipped_files)


def report_skipped(paths: Sequence[str], remaining: str) -> None:
    """Prints the number of skipped pictures, if any, followed by the text `remaining`."""
    if paths:
        echo(f"{len(paths)} picture{'s' * (len(paths) > 1)} could not be read and "
                   f"{'were' if len(paths) > 1 else 'was'} skipped; {remaining}", err=True)


def _prepare(folder: Path, datasets: dict[str, ImageDataset], strict: bool) -> None:
    """Raises a ClickException if a data set has no readable picture or, with `strict`, if it has an
    unreadable picture.
    """
    for part, dataset in datasets.items():
        dataset.on_unreadable = _report
        try:
            dataset.check() if strict else dataset.check_readable()
        except UnreadableImage as error:
            raise click.ClickException(
                f"{error} Replace the file, or leave out --strict to train without it." if strict else
                f"At least one picture to {part} on must be readable. Received: {len(dataset.file_paths):,} "
                f"unreadable files in {folder}. {error} Replace the files, or pass another folder.") from error


def _report(path: str, reason: str) -> None:
    """Prints the path of a skipped file. On a terminal this overwrites the progress line."""
    echo(printable(f"skipped {path}: {reason}"), err=True, overwrite=True)


def _datasets(folder: Path, size: tuple[int, int], channels: int, classes: Sequence[str], seed: int,
              share: float | None = None, shuffle: bool = True, validate: float = 0.0) -> list[ImageDataset]:
    """Returns a folder's pictures as one data set or, if `share` is given, as a training and a test set. Of the first
    set, the fraction `validate` follows as a separate set, unless it is empty.
    """
    pillow("Image")
    files = find(folder, "inferred", classes, follow_links=False, accepts=is_picture)
    try:
        parts = split(files, folder, share, None if share is None else "both", shuffle, seed)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if int(validate * len(parts[0].paths)):
        parts[:1] = split(parts[0], folder, validate, "both", False, seed)
    return [_dataset(part, size, channels, shuffle and i == 0, seed) for i, part in enumerate(parts)]


def _dataset(files: Files, size: tuple[int, int], channels: int, shuffle: bool,
             seed: int) -> ImageDataset:
    return ImageDataset(files, Decoding(size, COLOR_MODES[channels], "BILINEAR"), "categorical", 32, shuffle, seed)


def _classes(folder: Path) -> list[str]:
    """Returns a folder's classes. Raises a ClickException if there are fewer than two, or if one
    has no pictures.
    """
    names = list_classes(folder)
    if len(names) < 2:
        raise click.ClickException(f"{folder} must contain a folder of pictures for each of "
                                   f"at least two classes, such as {folder / 'cats'} and "
                                   f"{folder / 'dogs'}. Received: {_contents(folder)}.")
    for name in names:
        if not any(is_picture(path.name) for path in (folder / name).rglob("*")):
            raise click.ClickException(f"The class {name!r} has no pictures (.jpg, .png and others) in "
                                       f"{folder / name}. Remove the folder, or add pictures.")
    return names


def _check_classes(folder: Path, classes: Sequence[str]) -> None:
    """Raises a ClickException unless the test folder has the same classes as the net."""
    found = list_classes(folder)
    unknown = sorted(set(found) - set(classes))
    missing = [name for name in classes if name not in found]
    remedies = [f"Rename or remove these folders: {', '.join(unknown)}."] * bool(unknown) + [
        f"Add these folders: {', '.join(missing)}. A class without test pictures needs an empty "
        "folder."] * bool(missing)
    if remedies:
        raise click.ClickException("The test folder must contain one folder for each class of the "
                                   f"net: {', '.join(classes)}. Received: {folder} with "
                                   f"{_contents(folder)}. {' '.join(remedies)}")


def _contents(folder: Path) -> str:
    """Describes a folder in a message by its subfolders or its number of pictures outside them."""
    names = list_classes(folder)
    loose = sum(is_picture(path.name) for path in folder.iterdir() if path.is_file())
    pictures = f"{loose:,} picture{'s' * (loose != 1)} in no folder"
    if not names:
        return pictures if loose else "no folder and no picture"
    return f"only one folder, {names[0]!r}" if len(names) == 1 else ", ".join(names)
