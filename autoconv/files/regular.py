"""Opens untrusted files safely. All code in the package that reads such files uses this module."""

import errno
import os
import stat
from io import BufferedReader
from typing import IO


def open_file(path: str | bytes | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a link to one, for reading bytes. Raises OSError if the file
    cannot be opened, or is a FIFO or a device, because reading from these may never end.
    """
    mask = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # do not wait for a writer
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | mask))  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    kind = "FIFO" if stat.S_ISFIFO(mode) else "device"
    raise OSError(errno.EINVAL, f"only regular files can be read, and this is a {kind} (copy its "
                                "contents to a regular file)",
                  os.fsdecode(path))


def read_file(path: str | bytes | os.PathLike[str], limit: int = -1) -> bytes:
    """Returns a file's first `limit` bytes, by default all. Raises OSError as in `open_file`."""
    with open_file(path) as file:
        return file.read(limit)


def size(file: IO[bytes]) -> int:
    """Returns the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size
