"""Files that appear at one stroke: written under another name in the same folder, flushed to the disk, then renamed.

Whoever reads such a file sees all of it, or the one that was there before. Links stay: the file that they lead to is
replaced. Devices and FIFOs are written to.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"  # of unfinished files; their names begin with a dot


def unfinished(path: Path) -> Path:
    """A name beside `path` that nobody else uses. It has the process's number, and a random one: numbers come again."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}")


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Gives the name under which the new file is written. It becomes `path` when the block ends well, else it vanishes.

    `durable` files are on the disk when the block ends, so that a failing machine leaves no empty file. Raises OSError
    for a device or a FIFO.
    """
    path = _end_of_links(path)
    if _is_stream(path):
        raise OSError(errno.EINVAL, "a device or a FIFO is not replaced: name a file", str(path))
    part = unfinished(path)
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
    """Writes a file at one stroke, or into the device or the FIFO at `path`; text in UTF-8. Raises
    OSError, and leaves what was there, where that fails.
    """
    data = data.encode() if isinstance(data, str) else data
    if _is_stream(_end_of_links(path)):
        with open(path, "ab") as stream:
            stream.write(data)
        return
    with replacing(path, durable) as part:
        part.write_bytes(data)


def check_writable(path: Path) -> None:
    """Raises OSError where no file can be written at `path`."""
    end = _end_of_links(path)
    if _is_stream(end):
        if not os.access(end, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    part = unfinished(end)
    try:
        part.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    part.unlink()


def _end_of_links(path: Path) -> Path:
    """Where links lead; one to an open file, as /dev/stdout is, stays. Raises OSError for links in a circle."""
    with contextlib.suppress(FileNotFoundError):
        path.stat()
    while path.is_symlink() and not path.parent.resolve().is_relative_to("/proc"):
        path = path.parent / os.readlink(path)
    return path


def _is_stream(path: Path) -> bool:
    """Whether the end of links is a device, a FIFO or a file that a process has open, which take what is written."""
    return path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir())


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of files, is on the disk; does nothing where folders cannot be asked."""
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
