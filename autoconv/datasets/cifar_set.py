"""Reads the batches of CIFAR-10's python or binary version, from a folder or a tar.gz archive.

Both versions have five training batches and a test batch, of 10,000 images each. A record of the
binary version is one byte for the label and 3 x 1024 bytes for the red, green and blue pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..files import regular
from .idx import GZIP_MAGIC
from .known_sets import Entry
from .not_found import DatasetCorrupt, DatasetNotFound
from .safe_pickle import UnsafePickle, load_batch

Part = tuple[np.ndarray, np.ndarray]

RECORDS = 10_000
PIXELS = 3 * 32 * 32
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
PYTHON = (*TRAIN, "test_batch")
BINARY = tuple(f"{name}.bin" for name in PYTHON)
FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
LARGEST = RECORDS * (PIXELS + 1) + (1 << 21)  # maximum bytes of a batch file, in either version
MOST = 10 * LARGEST  # maximum bytes of the whole archive, unpacked
HEADERS = 1 << 20  # maximum bytes of the headers in an archive, in total


def locate(path: Path) -> list[Path]:
    """Returns the files of the data set at `path`: the six batch files, or the archive.

    path: the archive, or a folder with the batch files, their usual subfolder or the archive.
    Raises DatasetNotFound, which lists the files that a folder must contain, if files are missing.
    """
    if path.is_file() and path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return [path]
    if not path.is_dir():
        kind = "is neither a folder nor a tar.gz archive" if path.exists() else "does not exist"
        raise DatasetNotFound(f"{path} {kind}")
    for names in (BINARY, PYTHON):
        for folder in FOLDERS:
            files = [path / folder / name for name in names]
            if all(file.is_file() for file in files):
                return files
    for archive in ARCHIVES:
        if (path / archive).is_file():
            return [path / archive]
    raise DatasetNotFound(f"{path} contains neither the batch files data_batch_1 ... 5 and test_batch (with or "
                          f"without the suffix .bin) nor the archive {' or '.join(ARCHIVES)}")


def load(path: Path, entry: Entry, custom: bool) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`: uint8 (N, 32, 32, 3) and uint8 (N, 1).

    Raises DatasetNotFound for a missing file, DatasetCorrupt for an invalid file. `custom`
    has no effect, because the format fixes the images' shape and the classes.
    """
    files = locate(path)
    if len(files) == 1:
        raw = _unpack(files[0])
        files = [files[0] / name for name in raw]
    else:
        raw = {file.name: regular.read_file(file, LARGEST) for file in files}
    parts = [_batch(content, file, len(entry.classes)) for content, file in zip(raw.values(), files, strict=True)]
    x_train = np.concatenate([images for images, _ in parts[:-1]])
    y_train = np.concatenate([labels for _, labels in parts[:-1]])
    return (x_train, y_train), parts[-1]


def _unpack(archive: Path) -> dict[str, bytes]:
    """Reads the six batch files in a tar.gz archive into memory, without writing files."""
    import gzip
    import tarfile

    rule = "CIFAR-10's archive must be a tar.gz with data_batch_1 ... 5 and test_batch (with or without .bin)"
    contents: dict[str, bytes] = {}
    try:
        with regular.open_file(archive) as file:
            is_gzip = file.read(2) == GZIP_MAGIC
            file.seek(0)
            stream = _BoundedFile(gzip.GzipFile(fileobj=file) if is_gzip else file)
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
                for member in tar:
                    name = member.name.rsplit("/", 1)[-1]
                    if member.isreg() and not member.issparse() and name in PYTHON + BINARY and member.size <= LARGEST:
                        stream.budget += member.size
                        contents[name] = tar.extractfile(member).read()  # type: ignore[union-attr]  # a file
    except Exception as error:  # tarfile raises many exception types
        raise DatasetCorrupt(archive, rule, f"an archive that cannot be read ({error})") from error
    for names in (BINARY, PYTHON):
        if all(name in contents for name in names):
            return {name: contents[name] for name in names}
    raise DatasetCorrupt(archive, rule, f"an archive that contains only {', '.join(sorted(contents)) or 'other files'}")


class _BoundedFile:
    """An open file from which at most `budget` more bytes can be read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.tell = file.tell
        self.budget = HEADERS

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.budget:
            raise ValueError(f"a part of the archive has more than {self.budget:,} bytes")
        self.budget -= size
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        if offset > MOST:
            raise ValueError(f"the archive unpacks to more than {MOST:,} bytes")
        return self._file.seek(offset)


def _batch(raw: bytes, file: Path, classes: int) -> Part:
    """Decodes a batch file to uint8 images (RECORDS, 32, 32, 3) and labels (RECORDS, 1). Raises
    DatasetCorrupt, which names `file`, if its contents are invalid.
    """
    labels, planes = _binary(raw, file) if file.suffix == ".bin" else _python(raw, file)
    if labels.max() >= classes:
        rule = f"with {classes} classes, a label in {file.name} must be at most {classes - 1}"
        raise DatasetCorrupt(_disk_path(file), rule, f"a label of {labels.max()}")
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.uint8).reshape(-1, 1)


def _binary(raw: bytes, file: Path) -> Part:
    if len(raw) != RECORDS * (1 + PIXELS):
        rule = f"{file.name} of the binary version must have {RECORDS} records of {1 + PIXELS} bytes"
        raise DatasetCorrupt(_disk_path(file), rule, f"{len(raw)} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(RECORDS, 1 + PIXELS)
    return records[:, 0], records[:, 1:]


def _python(raw: bytes, file: Path) -> Part:
    rule = f"{file.name} of the Python version must be a pickled dict of {RECORDS} images and labels only"
    try:
        planes, labels = load_batch(raw)
    except (UnsafePickle, ValueError) as error:
        raise DatasetCorrupt(_disk_path(file), rule, str(error)) from error
    if planes.shape != (RECORDS, PIXELS) or len(labels) != RECORDS or min(labels) < 0:
        raise DatasetCorrupt(_disk_path(file), rule, f"images of shape {planes.shape} and {len(labels)} labels, the "
                                                     f"smallest of which is {min(labels, default=0)}")
    return np.array(labels), planes


def _disk_path(file: Path) -> Path:
    """Returns the path of a batch file, or of the archive that contains the file."""
    return file if file.is_file() else file.parent
