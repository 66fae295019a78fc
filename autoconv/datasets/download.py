"""Downloads the files of a data set from the first working mirror, and checks their digests.

Pooch, which only this module imports, receives the bytes in a separate thread, because time-outs
stop neither slow host name look-ups nor downloads of one byte per second. The calling thread
checks that bytes keep arriving, and gives up if they stop.
"""

import contextlib
import gzip
import hashlib
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from ..files import atomic, regular
from .idx import BAD_GZIP, GZIP_MAGIC, looks_like_html
from .known_sets import Digest, Entry, mirrors

PATIENCE = 20.0  # maximum seconds in total to wait for mirrors that send nothing
STALL = 6.0  # maximum seconds to wait for one mirror that sends nothing
CHUNK = 1 << 14  # bytes per write; a mirror that sends less in STALL seconds counts as silent
STALE = 3600.0  # seconds after which a killed download's leftovers are removed


class MirrorError(OSError):
    """A mirror sent no file, or a file that differs from the published file."""


def fetch(entry: Entry, folder: Path, patience: float) -> list[str]:
    """Downloads the files of a data set that `folder` lacks. Returns one line per failed mirror, or
    [] if `folder` now has all files.

    A file is moved to `folder` after its digest is checked. patience: the maximum seconds to wait,
    in total, for mirrors that send nothing. A download that makes progress may take any time.
    """
    failures: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(f".*{atomic.SUFFIX}"):  # leftovers of killed downloads
            with contextlib.suppress(FileNotFoundError):  # another process removed it first
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()
    except OSError as error:
        return [f"{folder} cannot be written: {error}"]
    remaining = patience
    for mirror in mirrors(entry):
        if remaining <= 0:
            failures.append(f"{mirror}: not tried, because the {patience:g} s for waiting were used up")
            continue
        wait = min(STALL, remaining)
        start = time.monotonic()
        try:
            for name, digest in entry.files.items():
                if not (folder / name).is_file():
                    with atomic.replacing(folder / name) as part:
                        _transfer(mirror + name, part, wait)
                        verify(part, name, digest)
            return []
        except MirrorError as error:
            failures.append(f"{mirror}: {error}")
            remaining -= min(time.monotonic() - start, wait)
        except OSError as error:
            return [*failures, f"{folder} cannot be written: {error}"]
    return failures


class _Sink:
    """The file to which Pooch writes. It records the time at which the last bytes arrived."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = path.open("xb")
        self.last = time.monotonic()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)  # a closed file raises ValueError, which ends an abandoned download
        self.last = time.monotonic()

    def flush(self) -> None:
        """Does nothing. Pooch calls `flush` after each chunk, but closing the file flushes it."""


def _transfer(url: str, part: Path, wait: float) -> None:
    """Downloads `url` to `part`. Raises MirrorError if no data arrive for `wait` seconds."""
    from pooch import HTTPDownloader

    responses: list = []
    download = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK, timeout=wait,
                              headers={"Accept-Encoding": "identity"},
                              hooks={"response": lambda response, **_: responses.append(response)})
    sink = _Sink(part)
    errors: list[Exception] = []

    def work() -> None:
        try:
            download(url, sink, None)
        except Exception as error:  # the calling thread reports it
            errors.append(error)
        finally:
            for response in responses:  # Pooch leaves failed responses open
                response.close()

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if thread.is_alive() and time.monotonic() - sink.last > wait:
                raise MirrorError(f"{url.rsplit('/', 1)[-1]}: the mirror sent no data for {wait:g} s")
    finally:
        sink.file.close()
    if errors:
        error = errors[0]
        reason = error.strerror if isinstance(error, OSError) else None
        if not reason:  # Requests wraps the reason in several exceptions
            inner = error.args[0] if error.args else error
            reason = str(getattr(inner, "reason", inner)).rsplit("(Caused by ", 1)[-1][:200]
        raise MirrorError(f"{url.rsplit('/', 1)[-1]}: {reason}")


def verify(part: Path, name: str, digest: Digest) -> None:
    """Raises MirrorError unless `part`, or its unzipped contents, have the published MD5."""
    md5 = hashlib.md5(usedforsecurity=False)
    with regular.open_file(part) as file:
        start = file.read(512)
        if looks_like_html(start):
            raise MirrorError(f"{name}: the server sent a web page (HTML) instead of the file, "
                              "perhaps because the network requires a log-in")
        file.seek(0)
        unpack = digest.over == "contents" and start[:2] == GZIP_MAGIC
        source = gzip.GzipFile(fileobj=file) if unpack else file
        try:
            while block := source.read(1 << 20):
                md5.update(block)
        except BAD_GZIP as error:
            raise MirrorError(f"{name}: the .gz file is truncated or damaged ({error})") from error
    if md5.hexdigest() != digest.md5:
        raise MirrorError(f"{name}: the MD5 of the {digest.over} must be {digest.md5}, but it is {md5.hexdigest()}")


def discard_unsound(entry: Entry, folder: Path) -> None:
    """Removes the data set's files in `folder` that differ from the published files."""
    for name, digest in entry.files.items():
        try:
            verify(folder / name, name, digest)
        except FileNotFoundError:
            continue
        except MirrorError:
            (folder / name).unlink()
