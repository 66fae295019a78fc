"""Opens untrusted files, for all readers of the package."""

import errno
import os
import stat
from io import BufferedReader
from typing import IO


def open_file(path: str | bytes | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a link to one, for reading bytes. Raises OSError if it cannot be
    opened, or if it is a FIFO, which may wait for a writer, or a device, which may be endless.
    """
    mask = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # opens without waiting
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | mask))  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    kind = "FIFO" if stat.S_ISFIFO(mode) else "device"
    raise OSError(errno.EINVAL, f"only regular files are read, and this is a {kind}: copy its contents to a file",
                  os.fsdecode(path))


def read_file(path: str | bytes | os.PathLike[str], limit: int = -1) -> bytes:
    """Returns a file's first `limit` bytes, by default all. Raises OSError like `open_file`."""
    with open_file(path) as file:
        return file.read(limit)


def size(file: IO[bytes]) -> int:
    """Returns the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size
