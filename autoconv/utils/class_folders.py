"""Lists and splits the files of a folder with one subfolder per class, in Keras's order."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")  # Keras's formats, and .webp
PICTURES = (  # suffixes of pictures, including formats that not every Pillow version reads
    *FORMATS, ".arw", ".avif", ".cr2", ".cr3", ".dib", ".dng", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe",
    ".jxl", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".raf", ".rw2", ".svg", ".tga", ".tif",
    ".tiff")


class Files(NamedTuple):
    """The paths of N files, with labels (N,) and class names, which may be None."""

    paths: list[str]
    labels: np.ndarray | None
    class_names: list[str] | None

    def rows(self, start: int, stop: int) -> "Files":
        """Returns the files with indices from `start` to `stop` - 1."""
        return Files(self.paths[start:stop], None if self.labels is None else self.labels[start:stop], self.class_names)


def is_keras_picture(name: str) -> bool:
    """Whether Keras treats a file of this name as a picture. Also accepts .webp files."""
    return name.lower().endswith(FORMATS)


def is_picture(name: str) -> bool:
    """Whether a file name has the suffix of any picture format and is not hidden."""
    return name[0] != "." and name.lower().endswith(PICTURES)


def list_classes(directory: str | os.PathLike) -> list[str]:
    """Returns the sorted names of a folder's subfolders, without hidden subfolders."""
    return sorted(entry.name for entry in Path(directory).iterdir() if entry.is_dir() and entry.name[0] != ".")


def find(directory: str | os.PathLike, labels: Any, class_names: Sequence[str] | None,
         follow_links: bool, accepts: Callable[[str], bool] = is_keras_picture) -> Files:
    """Returns the files under a folder, sorted by class and path. Raises ValueError if the labels
    or class names do not match the folder.
    """
    if labels != "inferred":
        if class_names is not None:
            raise ValueError("class_names can only be given with labels='inferred'. Leave out class_names.")
        paths = list(_files(Path(directory), follow_links, accepts))
        if labels is None:
            return Files(paths, None, None)
        if len(labels) != len(paths):
            raise ValueError("Expected the lengths of `labels` to match the number of files in the "
                             f"target directory. len(labels) is {len(labels)} while we found "
                             f"{len(paths)} files in directory {directory}.")
        return Files(paths, np.array(labels, "int32"), [str(label) for label in sorted(set(labels))])
    folders = list_classes(directory)
    if class_names is not None and not set(class_names) <= set(folders):
        raise ValueError("The `class_names` passed did not match the names of the subdirectories of the target "
                         f"directory. Expected: {folders} (or a subset of it), but received: class_names={class_names}")
    names = folders if class_names is None else list(class_names)
    groups = [list(_files(Path(directory, name), follow_links, accepts)) for name in names]
    return Files([path for group in groups for path in group],
                 np.repeat(np.arange(len(names), dtype="int32"), [len(group) for group in groups]), names)


def shuffle_files(files: Files, seed: int) -> Files:
    """Returns the files in a shuffled order, the same as Keras's order for this seed."""
    order = np.arange(len(files.paths))
    np.random.RandomState(seed).shuffle(order)
    return Files([files.paths[i] for i in order], None if files.labels is None
                 else files.labels[order], files.class_names)


def split(files: Files, directory: str | os.PathLike, fraction: float | None, subset: str | None,
          shuffle: bool, seed: int) -> list[Files]:
    """Returns the requested subset of a folder's files in a list, or [training, validation] for "both". Raises
    ValueError if a subset is empty.
    """
    files = shuffle_files(files, seed) if shuffle else files
    parts = [files]
    if fraction:
        cut = len(files.paths) - int(fraction * len(files.paths))
        both = {"training": files.rows(0, cut), "validation": files.rows(cut, len(files.paths))}
        parts = list(both.values()) if subset == "both" else [both[subset or ""]]
    for part, kind in zip(parts, ("training ", "validation ") if subset == "both" else ("",)):
        if not part.paths:
            count = len(files.paths)
            hint = f"Allowed formats: {FORMATS}"
            if count:
                larger = f", or raise validation_split to {-(-100 // count) / 100:g} or more" if count > 1 else ""
                hint = f"Received: validation_split={fraction} with {count} files. Add files{larger}."
            raise ValueError(f"No {kind}images found in directory {directory}. {hint}")
    return parts


def describe(files: Files, parts: list[Files], subset: str | None) -> str:
    """Returns the message that Keras prints about the files found."""
    classes = "" if files.class_names is None else f" belonging to {len(files.class_names)} classes"
    text = f"Found {len(files.paths)} files{classes}.\n"
    names = ("training", "validation") if subset == "both" else (subset,)
    return text + "".join(f"Using {len(part.paths)} files for {name}.\n" for part, name in zip(parts, names) if name)


def _files(folder: Path, follow_links: bool, accepts: Callable[[str], bool]) -> Iterator[str]:
    for root, _, files in sorted(os.walk(folder, followlinks=follow_links)):
        for name in sorted(files):
            if accepts(name):
                yield os.path.join(root, name)
