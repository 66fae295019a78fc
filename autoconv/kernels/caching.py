"""Stores compiled kernels on disk, for both devices.

A kernel's file begins with a SHA-256 checksum of the file's name and its other bytes. The checksum
is verified before anything in the file is used. A file that is damaged, or that belongs to another
kernel, counts as missing: the kernel is compiled again and the file is rewritten.
"""

import contextlib
import hashlib
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from ..files import atomic, regular
from ..files.folders import user_cache

KERNEL = ".kernel"  # suffix of a kernel's file name
DIGEST = hashlib.sha256().digest_size
FORMULAS = Path(__file__).parent / "formulas"
LAYOUT = "2"  # version of the file format; in version 1, the digest did not cover the file name
LEAST = 1 << 24  # free bytes that the disk must have before kernels are compiled into the cache

_warned_subjects: set[str] = set()  # subjects that this process has already warned about


def source_hash(sources: Path, *versions: str) -> str:
    """Returns a hash of all sources in a folder, of the formulas, and of the versions of Python and
    the compilers. The hash is part of a cache folder's name, so kernels compiled from other sources
    or by other versions are never loaded.

    The hash does not depend on the folder's path, on file dates or on Python's build date, so
    compiled kernels can be copied to another machine.
    """
    python = [sys.implementation.name, *map(str, sys.version_info), getattr(sys, "abiflags", "")]
    digest = hashlib.sha256(" ".join([LAYOUT, *versions, *python]).encode())
    for path in (*sorted(sources.glob("*.py")), *sorted(FORMULAS.glob("*.py"))):
        digest.update(f" {path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def make_folder(name: str) -> Path | None:
    """Returns the cache folder `name`, which is created if it is missing. If the folder is not
    writable and contains no kernels, warns and returns None.
    """
    folder = user_cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if any(folder.glob(f"*{KERNEL}")):
            return folder  # its kernels can be read; the first failed write of a kernel warns
        _warn_unwritable(folder, error)
        return None


def kernel_file(folder: Path | None, name: str, types: tuple, target: object, ending: str = "") -> Path | None:
    """Returns the path of the file for a kernel compiled for these argument types and this compiler
    target. Returns None if `folder` is None.
    """
    key = hashlib.sha256(f"{types}{target}".encode()).hexdigest()[:16]
    return None if folder is None else folder / f"{name}-{key}{ending}{KERNEL}"


def exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def read(path: Path | None) -> bytes | None:
    """Returns the data that `write` stored in a file. Returns None if the file is missing. If the
    file is damaged, warns, deletes the file and returns None.
    """
    if path is None:
        return None
    try:
        data = regular.read_file(path)
    except OSError:
        return None
    if _digest(path, data[DIGEST:]) == data[:DIGEST]:
        return data[DIGEST:]
    _warn_once(f"The compiled kernel {path} is damaged. autoconv compiles this kernel again, and "
               "any other damaged kernel as well.", str(path.parent))
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def write(path: Path | None, data: bytes) -> None:
    """Stores a kernel's file atomically, so that a reader sees either the complete file or none.
    Warns once per folder if the file cannot be written.
    """
    if path is None:
        return
    try:
        atomic.write(path, _digest(path, data) + data, durable=False)
    except OSError as error:
        _warn_unwritable(path.parent, error)


def _digest(path: Path, data: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name} ".encode() + data).digest()


def _warn_unwritable(folder: Path, error: OSError) -> None:
    _warn_once(f"The cache folder {folder} cannot be written ({error.strerror}), so every run "
               "compiles its kernels again. Set AUTOCONV_CACHE_DIR to a writable folder.", f"unwritable {folder}")


def _warn_once(text: str, subject: str) -> None:
    """Warns with `text`, unless this process has already warned about the same subject."""
    if subject not in _warned_subjects:
        _warned_subjects.add(subject)
        warnings.warn(text, stacklevel=4)


def has_space(folder: Path) -> bool:
    """Returns whether the disk has space for more kernels. On a full disk, kernels that other
    processes compile could not be stored.
    """
    try:
        return shutil.disk_usage(folder).free >= LEAST
    except OSError:
        return False


def state(folder: Path | None) -> str:
    """Returns a text with the number of kernels in a cache folder and their total size."""
    if folder is None:
        return "not writable"
    sizes = []
    for file in folder.glob(f"*{KERNEL}"):
        with contextlib.suppress(OSError):  # raised if another process has deleted the file
            sizes.append(file.stat().st_size)
    return f"{len(sizes)} kernel{'s' if len(sizes) != 1 else ''}, {sum(sizes) / 1e6:.1f} MB" if sizes else "empty"
