"""Writes a file under a temporary name in the same folder, flushes it, then renames it.

A reader sees either the old file or the complete new file. If the path is a symbolic link, the link
stays and its target is replaced. Devices and FIFOs are written to directly.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"  # suffix of unfinished files; their names begin with a dot


def temporary_path(path: Path) -> Path:
    """Returns an unused path next to `path`, named with the process ID and a random number."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}")


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path for the new file. The file is renamed to `path` if the block
    succeeds, and deleted otherwise.

    durable: whether to wait until the file is on the disk. Raises OSError if `path` is a device or
    a FIFO.
    """
    path = _end_of_links(path)
    if _is_stream(path):
        raise OSError(errno.EINVAL, "a device or FIFO cannot be replaced (choose a regular file instead)", str(path))
    part = temporary_path(path)
    try:
        yield part
        if durable:
            flush(part)
        os.replace(part, path)
        if durable:
            flush(path.parent)
    except OSError as error:
        if str(error.filename) != str(part):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write(path: Path, data: bytes | str, durable: bool = True) -> None:
    """Replaces a file in one step, or writes to a device or FIFO. On failure the old file stays."""
    data = data.encode() if isinstance(data, str) else data
    if _is_stream(_end_of_links(path)):
        with open(path, "ab") as stream:
            stream.write(data)
        return
    with replacing(path, durable) as part:
        part.write_bytes(data)


def check_writable(path: Path) -> None:
    """Raises OSError if no file can be written at `path`."""
    end = _end_of_links(path)
    if _is_stream(end):
        if not os.access(end, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    part = temporary_path(end)
    try:
        part.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    part.unlink()


def _end_of_links(path: Path) -> Path:
    """Follows symbolic links up to a link in /proc to an open file, as behind /dev/stdout."""
    with contextlib.suppress(FileNotFoundError):
        path.stat()
    while path.is_symlink() and not path.parent.resolve().is_relative_to("/proc"):
        path = path.parent / os.readlink(path)
    return path


def _is_stream(path: Path) -> bool:
    """Whether `path` is a device, a FIFO or a link in /proc to an open file."""
    return path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir())


def flush(path: Path) -> None:
    """Waits until a file is on the disk. For a folder, tries to wait for its list of files."""
    if not path.is_dir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
