"""Where compiled kernels are kept on disk, for both twins: a file for each kernel, types of its arguments and target.

A kernel's file begins with the SHA-256 of its name and the rest. It is checked before anything in the file is used:
what is damaged, or another kernel's, counts as missing, so it is compiled anew and written again.
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

KERNEL = ".kernel"  # the end of a file's name
DIGEST = hashlib.sha256().digest_size
FORMULAS = Path(__file__).parent / "formulas"
LAYOUT = "2"  # of the files; 1 did not have their names in the digest
LEAST = 1 << 24  # bytes that must be free where processes are to fill the folder

_said: set[str] = set()  # the notes that this process gave


def source_hash(sources: Path, *versions: str) -> str:
    """A hash over all sources in a folder, the formulas beside it and the versions of what compiles them: a cache of
    others is never read.

    Neither their place nor their dates are in it, nor when Python was built: kernels may be carried to other machines.
    """
    python = [sys.implementation.name, *map(str, sys.version_info), getattr(sys, "abiflags", "")]
    digest = hashlib.sha256(" ".join([LAYOUT, *versions, *python]).encode())
    for path in (*sorted(sources.glob("*.py")), *sorted(FORMULAS.glob("*.py"))):
        digest.update(f" {path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def made_folder(name: str) -> Path | None:
    """A folder of that name for compiled kernels, made when missing; None (with a warning) where it is not writable."""
    folder = user_cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if any(folder.glob(f"*{KERNEL}")):
            return folder  # what is there can be read; what cannot be written is noted then
        _note_unwritable(folder, error)
        return None


def kernel_file(folder: Path | None, name: str, types: tuple, target: object, ending: str = "") -> Path | None:
    """The path of a kernel, for types of its arguments and a target of the compiler; None without a folder."""
    key = hashlib.sha256(f"{types}{target}".encode()).hexdigest()[:16]
    return None if folder is None else folder / f"{name}-{key}{ending}{KERNEL}"


def exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def read(path: Path | None) -> bytes | None:
    """What `write` wrote; None where there is none, and (with a warning) where the file is damaged."""
    if path is None:
        return None
    try:
        data = regular.read(path)
    except OSError:
        return None
    if _digest(path, data[DIGEST:]) == data[:DIGEST]:
        return data[DIGEST:]
    _note(f"The compiled kernel {path} is damaged, so it is compiled anew, as are others that are.", str(path.parent))
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def write(path: Path | None, data: bytes) -> None:
    """Keeps a kernel: whoever reads it sees all of it or nothing. Where it cannot be written a warning says so once."""
    if path is None:
        return
    try:
        atomic.write(path, _digest(path, data) + data, durable=False)
    except OSError as error:
        _note_unwritable(path.parent, error)


def _digest(path: Path, data: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name} ".encode() + data).digest()


def _note_unwritable(folder: Path, error: OSError) -> None:
    _note(f"The cache folder {folder} cannot be written ({error.strerror}), so every run compiles its kernels anew. "
          "Set AUTOCONV_CACHE_DIR to a folder that can be written.", f"unwritable {folder}")


def _note(text: str, about: str) -> None:
    """Warns, once about each thing in a process."""
    if about not in _said:
        _said.add(about)
        warnings.warn(text, stacklevel=4)


def has_space(folder: Path) -> bool:
    """Whether some more kernels fit on the disk: else the work of other processes would be lost."""
    try:
        return shutil.disk_usage(folder).free >= LEAST
    except OSError:
        return False


def state(folder: Path | None) -> str:
    """How much is in a cache folder, in words."""
    if folder is None:
        return "not writable"
    sizes = []
    for file in folder.glob(f"*{KERNEL}"):
        with contextlib.suppress(OSError):  # another process took it away
            sizes.append(file.stat().st_size)
    return f"{len(sizes)} kernel{'s' if len(sizes) != 1 else ''}, {sum(sizes) / 1e6:.1f} MB" if sizes else "empty"
