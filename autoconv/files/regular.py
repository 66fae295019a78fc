"""Opens files that other people made: every reader of the package opens such a file here."""

import errno
import os
import stat
from io import BufferedReader
from typing import IO


def opened(path: str | bytes | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a link to one, for reading bytes. Raises OSError for a FIFO, which
    would wait for a writer, and for a device, which may have no end; else as `open`.
    """
    own = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # without waiting
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | own))  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    kind = "FIFO" if stat.S_ISFIFO(mode) else "device"
    raise OSError(errno.EINVAL, f"only regular files are read, and this is a {kind}: copy its contents to a file",
                  os.fsdecode(path))


def read(path: str | bytes | os.PathLike[str]) -> bytes:
    """Returns the bytes of a regular file. Raises OSError as `opened` does."""
    with opened(path) as file:
        return file.read()


def size(file: IO[bytes]) -> int:
    """Returns the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size
