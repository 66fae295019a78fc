"""Reads a file in MNIST's IDX format (http://yann.lecun.com/exdb/mnist/), plain or gzipped.

A file consists of the bytes 00 00 08 n, n sizes as big-endian integers of four bytes, and one byte
per element.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ..files import regular
from .not_found import DatasetCorrupt

GZIP_MAGIC = b"\x1f\x8b"
BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
CHUNK = 1 << 20
SMALL = 1 << 26  # unpacked bytes allowed for any packed file
GROWTH = 50  # unpacked bytes allowed per packed byte of a larger file


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Reads the uint8 array with `ndim` axes in an IDX file, which may be gzipped under any name.

    Raises DatasetCorrupt if the file is truncated, too long or damaged, or has another type or
    another number of axes. Raises FileNotFoundError if the file is missing.
    """
    with regular.open_file(path) as file:
        start = file.read(CHUNK)
        file.seek(0)
        if start[:2] != GZIP_MAGIC:
            return _read_stream(file, path, ndim, start, regular.size(file))
        try:
            return _read_stream(gzip.GzipFile(fileobj=file), path, ndim, b"", None)
        except BAD_GZIP as error:
            raise DatasetCorrupt(path, "a .gz file must decompress without errors",
                                 f"a truncated or damaged file ({error})") from error


def looks_like_html(start: bytes) -> bool:
    """Whether a file that begins with the bytes `start` seems to be a web page."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def check_growth(size: int, path: Path) -> None:
    """Raises DatasetCorrupt if `size`, the unpacked bytes of a packed file, exceeds the limit."""
    most = max(SMALL, GROWTH * path.stat().st_size)
    if size > most:
        raise DatasetCorrupt(path, "a compressed file of this size may decompress to at most "
                                   f"{most:,} bytes", f"{size:,} bytes")


def _read_stream(file: IO[bytes] | gzip.GzipFile, path: Path, ndim: int, start: bytes,
                 length: int | None) -> np.ndarray:
    """Reads an IDX stream. start: its first bytes. length: its size in bytes, None if packed."""
    header = file.read(4 + 4 * ndim)
    magic = bytes([0, 0, 8, ndim])
    if header[:4] != magic:
        contents = "a web page (HTML)" if looks_like_html(start) else f"{header[:4].hex(' ') or 'an empty file'}"
        raise DatasetCorrupt(path, f"an IDX file with {ndim} axes must begin with the bytes {magic.hex(' ')}", contents)
    if len(header) < 4 + 4 * ndim:
        raise DatasetCorrupt(path, f"an IDX file with {ndim} axes must have a header of {4 + 4 * ndim} bytes",
                             f"{len(header)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    count = math.prod(shape)
    rule = f"the header with shape {shape} promises {count} bytes of data"
    if length is None:
        check_growth(count, path)
    elif length < len(header) + count:
        raise DatasetCorrupt(path, rule, f"only {length - len(header)} bytes (the file is truncated)")
    body = _take(file, count + 1)
    if len(body) != count:
        contents = "more bytes" if len(body) > count else f"only {len(body)} bytes (the file is truncated)"
        raise DatasetCorrupt(path, rule, contents)
    return np.frombuffer(body, np.uint8).reshape(shape)


def _take(file: IO[bytes] | gzip.GzipFile, count: int) -> bytearray:
    """Reads at most `count` bytes in chunks, so that a wrong count allocates no excess memory."""
    body = bytearray()
    while len(body) < count and (piece := file.read(min(CHUNK, count - len(body)))):
        body += piece
    return body
