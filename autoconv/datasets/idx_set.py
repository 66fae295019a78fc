"""Reads a data set in MNIST's format: four IDX files in a folder, or Keras's .npz file."""

from pathlib import Path

import numpy as np

from ..files import npy, regular
from .idx import check_growth, read_idx
from .known_sets import Entry
from .not_found import DatasetCorrupt, DatasetNotFound

Part = tuple[np.ndarray, np.ndarray]

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def locate(path: Path) -> list[Path]:
    """Returns the files of the data set at `path`: the four IDX files in the order of STEMS, or one
    `.npz` file.

    path: a folder, or the .npz file. A plain file is preferred to a .gz file. `mnist.npz` is used
    only if an IDX file is missing. Raises DatasetNotFound, which names the missing files.
    """
    if path.is_file() and path.suffix == ".npz":
        return [path]
    if not path.is_dir():
        kind = "is neither a folder nor an .npz file" if path.exists() else "does not exist"
        raise DatasetNotFound(f"{path} {kind}")
    candidates = [next((p for p in (path / stem, path / f"{stem}.gz") if p.is_file()), None) for stem in STEMS]
    files = [file for file in candidates if file]
    if len(files) == len(STEMS):
        return files
    if (path / "mnist.npz").is_file():
        return [path / "mnist.npz"]
    missing = ", ".join(stem for stem, file in zip(STEMS, candidates, strict=True) if not file)
    raise DatasetNotFound(f"{path} lacks {missing} (uncompressed or as .gz)")


def load(path: Path, entry: Entry, custom: bool) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`: uint8 (N, height, width) and uint8 (N,).

    custom: whether the set may have another image shape and other classes than `entry`.
    Raises DatasetNotFound for a missing file, DatasetCorrupt for an invalid file.
    """
    files = locate(path)
    if len(files) == 1:
        arrays = _read_npz(files[0])
        files = files * 4
    else:
        arrays = [read_idx(file, 3 if "images" in file.name else 1) for file in files]
    _check_pair(arrays[0], arrays[1], files[1])
    _check_pair(arrays[2], arrays[3], files[3])
    _check_shapes(arrays, files, None if custom else entry.shape)
    _check_labels(arrays, files, len(entry.classes), custom)
    x_train, y_train, x_test, y_test = arrays
    return (x_train, y_train), (x_test, y_test)


def _read_npz(path: Path) -> list[np.ndarray]:
    """Returns the arrays x_train, y_train, x_test, y_test of Keras's mnist.npz."""
    import zipfile

    rule = f"an .npz data set must contain the uint8 arrays {', '.join(ARRAYS)} (images with 3 axes, labels with 1)"
    try:
        with regular.open_file(path) as stream, zipfile.ZipFile(stream) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in ARRAYS]
            check_growth(sum(member.file_size for member in members), path)
            arrays = []
            for member in members:
                with archive.open(member) as file:
                    arrays.append(npy.read_array(file, member.file_size))
    except DatasetCorrupt:
        raise
    except Exception as error:  # damaged archives raise many exception types
        raise DatasetCorrupt(path, rule, f"a file that cannot be read ({error})") from error
    for name, array in zip(ARRAYS, arrays, strict=True):
        if array.dtype != np.uint8 or array.ndim != (3 if name[0] == "x" else 1):
            raise DatasetCorrupt(path, rule, f"{name} with dtype {array.dtype} and shape {array.shape}")
    return arrays


def _check_pair(images: np.ndarray, labels: np.ndarray, file: Path) -> None:
    if len(images) != len(labels) or not len(images):
        raise DatasetCorrupt(file, "there must be one label per image, and at least one image",
                             f"{len(images)} images and {len(labels)} labels")


def _check_shapes(arrays: list[np.ndarray], files: list[Path], shape: tuple[int, ...] | None) -> None:
    """Raises DatasetCorrupt unless all images have this shape, or the same shape if it is None."""
    for images, file in ((arrays[0], files[0]), (arrays[2], files[2])):
        size = shape or arrays[0].shape[1:]
        if images.shape[1:] != size or 0 in size:
            raise DatasetCorrupt(file, f"each image must have {' x '.join(map(str, size))} pixels, "
                                       "and no side may be 0",
                                 f"images of {' x '.join(map(str, images.shape[1:]))} pixels")


def _check_labels(arrays: list[np.ndarray], files: list[Path], classes: int, custom: bool) -> None:
    """Raises DatasetCorrupt for an unknown label. With `custom`, each training label is valid."""
    if custom:
        classes = max(classes, int(arrays[1].max()) + 1)
    for labels, file in ((arrays[1], files[1]), (arrays[3], files[3])):
        if labels.max() >= classes:
            raise DatasetCorrupt(file, f"with {classes} classes, a label must be at most {classes - 1}",
                                 f"a label of {labels.max()}")
