"""Opens untrusted files: every reader of the package opens its files here."""

import errno
import os
import stat
from io import BufferedReader
from typing import IO


def open_file(path: str | bytes | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a link to one, for reading bytes. Raises OSError for a FIFO, which
    would wait for a writer, for a device, which may be endless, and as `open` does.
    """
    mask = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # never waits
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | mask))  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    kind = "FIFO" if stat.S_ISFIFO(mode) else "device"
    raise OSError(errno.EINVAL, f"only regular files are read, and this is a {kind}: copy its contents to a file",
                  os.fsdecode(path))


def read_file(path: str | bytes | os.PathLike[str], limit: int = -1) -> bytes:
    """Returns the bytes of a regular file, at most `limit`. Raises OSError as `open_file` does."""
    with open_file(path) as file:
        return file.read(limit)


def size(file: IO[bytes]) -> int:
    """Returns the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size
