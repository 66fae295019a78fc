"""Files that appear at one stroke: written under another name in the same folder, flushed to the disk, then renamed.

Whoever reads such a file sees all of it, or the one that was there before.
"""

import contextlib
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

    `durable` files are on the disk when the block ends, so that a failing machine leaves no empty file.
    """
    part = unfinished(path)
    try:
        yield part
        if durable:
            flush(part)
        os.replace(part, path)
        if durable:
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write(path: Path, data: bytes | str, durable: bool = True) -> None:
    """Writes a file at one stroke; text in UTF-8. Raises OSError, and leaves what was there, where that fails."""
    with replacing(path, durable) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def check_writable(path: Path) -> None:
    """Raises OSError where no file can be written at `path`."""
    part = unfinished(path)
    part.touch(exist_ok=False)
    part.unlink()


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
