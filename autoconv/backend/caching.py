"""Where compiled kernels are kept on disk, for both twins, and how a process a core fills that folder."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path


def user_cache() -> Path:
    """AUTOCONV_CACHE_DIR, else the user's cache folder for autoconv."""
    if os.environ.get("AUTOCONV_CACHE_DIR"):
        return Path(os.environ["AUTOCONV_CACHE_DIR"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "autoconv"


def source_hash(sources: Path, *versions: str) -> str:
    """A hash over all sources in a folder and the versions of what compiles them: a cache of others is never read.

    Numba finds a kernel by where its source lies and when it was written, so these count too: else a list of what was
    compiled would promise what is not found.
    """
    digest = hashlib.sha256(" ".join([*versions, sys.version]).encode())
    for path in sorted(sources.glob("*.py")):
        digest.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def made_folder(name: str) -> Path | None:
    """A folder of that name for compiled kernels, made when missing; None (with a warning) where it is not writable."""
    folder = user_cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        warnings.warn(
            f"The cache folder {folder} cannot be written ({error.strerror}), so every run compiles its kernels anew. "
            "Set AUTOCONV_CACHE_DIR to a folder that can be written.", stacklevel=3,
        )
        return None


def state(folder: Path | None, count: int) -> str:
    """How much is in a cache folder, in words; `count` kernels are."""
    if folder is None:
        return "not writable"
    if count == 0:
        return "empty"
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return f"{count} kernel{'s' if count != 1 else ''}, {size / 1e6:.1f} MB"


def compile_in_processes(module: str, arguments: list[str], names: list[str],
                         report: Callable[[int, int], None]) -> None:
    """Fills the disk cache with kernels, a process a core: Numba compiles one at a time, and the memory it took goes
    with them. What a process could not compile is left to this one, which then says why.

    Each process runs `module` with `arguments`, reads names from its input, a line each, and answers each with a line
    once it is compiled.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", module, *arguments]
    waiting, lock, done = list(reversed(names)), threading.Lock(), 0

    def feed(process: subprocess.Popen) -> None:
        """Hands one kernel after the other to a process."""
        nonlocal done
        with contextlib.suppress(OSError):  # the process ended
            while True:
                with lock:
                    if not waiting:
                        return
                    name = waiting.pop()
                print(name, file=process.stdin, flush=True)
                if not process.stdout.readline():  # type: ignore[union-attr]
                    return
                with lock:
                    done += 1
                    report(done, len(names))

    processes: list[subprocess.Popen] = []
    try:
        with contextlib.suppress(OSError):  # no process can be started here
            for _ in range(min(os.cpu_count() or 1, len(names))):
                processes.append(subprocess.Popen(
                    command, env={**os.environ, "PYTHONPATH": path}, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                ))
        threads = [threading.Thread(target=feed, args=(process,), daemon=True) for process in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
