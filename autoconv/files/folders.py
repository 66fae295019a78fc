"""Locates the cache folder, and replaces the files of a folder without mixing old and new files.

A new folder is written next to the old folder, then one system call (Linux's renameat2) exchanges
the two. If that fails, the new folder is moved into the old folder as `.replacement`. From then on
readers use its files instead of the old ones, and the next writer moves them into the old folder.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import atomic

try:
    import fcntl
except ImportError:  # on Windows, leftover folders of ended processes are not removed
    fcntl = None  # type: ignore[assignment]

REPLACEMENT = ".replacement"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # constants of Linux's renameat2
ATTEMPTS = 20  # maximum attempts at an operation that another process may disturb


def user_cache() -> Path:
    """Returns AUTOCONV_CACHE_DIR, by default the folder `autoconv` in the user's cache folder."""
    if os.environ.get("AUTOCONV_CACHE_DIR"):
        return Path(os.environ["AUTOCONV_CACHE_DIR"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "autoconv"


@contextmanager
def replacing(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yields an empty folder for new files called `names`. If the block succeeds, they replace the
    files in `folder` in one step; otherwise they are deleted. Other files in `folder` stay.

    Raises OSError if `folder` cannot be written. Removes unfinished folders of ended processes.
    """
    folder = folder.resolve()
    sweep(folder)
    part, hold = _begin(folder)
    with hold:
        try:
            yield part
            atomic.flush(part)
            _install(part, folder, names)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def place(folder: Path, name: str) -> Path:
    """Returns a file's current path in a folder, even if `replacing` was interrupted there."""
    new = folder / REPLACEMENT / name
    return new if new.is_file() else folder / name


def stamp(folder: Path, names: Sequence[str]) -> tuple:
    """Returns a value that differs after a change of any of the files `names` in `folder`."""
    stamps: list[tuple[int, ...]] = []
    for name in names:
        try:
            status = place(folder, name).stat()
            stamps.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append(())
    return tuple(stamps)


def finish(folder: Path, names: Sequence[str]) -> None:
    """Moves the files of an interrupted replacement into `folder`. Raises OSError if that fails."""
    new = folder / REPLACEMENT
    if not new.is_dir():
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # the file was moved earlier
            os.replace(new / name, folder / name)
    with contextlib.suppress(OSError):  # another process removed or refilled the folder
        new.rmdir()


def sweep(folder: Path) -> None:
    """Removes unfinished folders next to or in `folder` that no running process has locked."""
    if fcntl is None:
        return
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)(-[0-9a-f]+)?{re.escape(atomic.SUFFIX)}")
    for parent in (folder.parent, folder):
        with contextlib.suppress(OSError):
            for path in list(parent.iterdir()):
                match = pattern.fullmatch(path.name)
                # names without a random number (match[2]) are from autoconv 0.1, without locks
                if match and path.is_dir() and (match[2] or not is_running(int(match[1]))):
                    with contextlib.suppress(OSError):
                        lock = _lock(path)
                        if lock is not None:
                            shutil.rmtree(path, ignore_errors=True)
                            os.close(lock)


class Hold:
    """Creates a folder if it is missing and locks it until `close`.

    Raises BlockingIOError if another process has locked the folder. On Windows and on file systems
    without locks the folder is only created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._lock = None
        for _ in range(ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = _lock(self._folder)
                return
        raise OSError(errno.ENOENT, "other processes keep removing this folder", str(folder))

    def is_there(self) -> bool:
        """Whether the locked folder still exists at its path."""
        try:
            status = self._folder.stat()
        except FileNotFoundError:
            return False
        return self._lock is None or os.path.samestat(status, os.fstat(self._lock))

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.close()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:  # another user's process cannot be signalled, but it is alive
        return not isinstance(error, ProcessLookupError)
    return True


def _lock(path: Path) -> int | None:
    """Locks a folder and returns the lock's descriptor, or None if locks are not supported. Raises
    BlockingIOError if another process has locked the folder, FileNotFoundError if it was removed.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(errno.ENOENT, "the folder was removed and created again", str(path))
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _begin(folder: Path) -> tuple[Path, Hold]:
    """Creates and locks an empty folder next to or in `folder`. Returns its path and its lock."""
    inside = folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK))
    for _ in range(ATTEMPTS):
        part = atomic.temporary_path(folder)
        part = folder / part.name if inside else part
        with contextlib.suppress(BlockingIOError):  # another process is removing `part`
            return part, Hold(part)
    raise OSError(errno.EBUSY, "other processes keep removing the temporary folders for this folder", str(folder))


def _install(part: Path, folder: Path, names: Sequence[str]) -> None:
    """Replaces the files in `folder` with the files in `part`, in one step if possible."""
    if not folder.exists():
        try:
            os.rename(part, folder)
            atomic.flush(folder.parent)
            return
        except OSError:
            if not folder.exists():  # if it exists, another process has created it
                raise
    finish(folder, names)
    other_names = set(os.listdir(folder)) - {*names, part.name}
    if not other_names and part.parent == folder.parent:
        with contextlib.suppress(OSError):
            shutil.copymode(folder, part)
        if _exchange(part, folder):
            atomic.flush(folder.parent)
            return
    for attempt in range(ATTEMPTS):
        try:
            os.rename(part, folder / REPLACEMENT)
            break
        except OSError as error:  # another process's .replacement exists, or existed a moment ago
            if attempt == ATTEMPTS - 1 or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            finish(folder, names)
    atomic.flush(folder)
    finish(folder, names)


def _exchange(a: Path, b: Path) -> bool:
    """Exchanges two folders in one step. Returns False if the system does not support it."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0
