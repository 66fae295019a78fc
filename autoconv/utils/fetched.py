"""Downloads a file to a cache and unpacks it there (`get_file`)."""

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from ..files import atomic, regular

PATIENCE = 60.0  # maximum seconds without data from a server


def get_file(fname: str | os.PathLike[str] | None = None, origin: str | None = None,
             untar: bool = False, md5_hash: str | None = None, file_hash: str | None = None,
             cache_subdir: str = "datasets", hash_algorithm: str = "auto", extract: bool = False,
             archive_format: str | list[str] | None = "auto",
             cache_dir: str | os.PathLike[str] | None = None, force_download: bool = False) -> str:
    """Downloads the file at the URL `origin` (http, https or file) if it is not cached, and returns
    its path in the cache.

    The file is stored in cache_dir/cache_subdir under the name `fname`, by default the URL's last
    part; `cache_dir` is by default KERAS_HOME or ~/.keras. file_hash: the expected SHA-256 or MD5;
    a different hash raises ValueError. extract, untar: whether to unpack an archive into a folder
    called `fname`, and return the folder's path. The archive stays as `<fname>_archive`. Nothing
    is unpacked outside the folder. archive_format: "tar", "zip", a list of these, or "auto".
    """
    name = _name(fname, origin)
    digest = file_hash or md5_hash
    if hash_algorithm not in ("auto", "md5", "sha256"):
        raise ValueError(f"hash_algorithm must be 'auto', 'md5' or 'sha256'. Received: {hash_algorithm!r}.")
    if md5_hash and file_hash is None:
        hash_algorithm = "md5"
    elif hash_algorithm == "auto":
        hash_algorithm = "md5" if digest is not None and len(digest) == 32 else "sha256"
    target = _cache(cache_dir) / cache_subdir / name
    extracts = extract or untar
    archive = target.with_name(f"{name}_archive") if extracts else target
    is_valid = archive.is_file() and (digest is None or _digest(archive, hash_algorithm) == digest.lower())
    if force_download or not is_valid:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(archive) as part:
            _fetch(str(origin), part)
            if digest is not None and _digest(part, hash_algorithm) != digest.lower():
                raise ValueError(f"Incomplete or corrupted file detected. The {hash_algorithm} "
                                 f"hash of {origin} is not {digest}.")
    if extracts and (force_download or not is_valid or not target.exists()):
        _unpack(archive, target, "tar" if untar else archive_format)
    return str(target)


def _name(fname: str | os.PathLike[str] | None, origin: str | None) -> str:
    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    name = str(fname) if fname else PurePath(unquote(urlsplit(origin).path)).name
    if not name:
        raise ValueError(f"Can't parse the file name from the origin provided: {origin!r}. Please "
                         "specify the `fname` argument.")
    if PurePath(name).name != name:
        raise ValueError("Paths are no longer accepted as the `fname` argument. To specify the file's parent "
                         f"directory, use the `cache_dir` argument. Received: fname={fname}")
    return name


def _cache(directory: str | os.PathLike[str] | None) -> Path:
    """Returns the cache folder, or a temporary folder if the cache is not writable."""
    folder = Path(directory or os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    ancestor = next(each for each in (folder, *folder.parents) if each.exists())
    return folder if os.access(ancestor, os.W_OK) else Path(tempfile.gettempdir()) / ".keras"


def _digest(path: Path, algorithm: str) -> str:
    with regular.open_file(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _fetch(origin: str, part: Path) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError(f"origin must be an http, https or file URL. Received: {origin!r}.")
    from urllib.error import URLError
    from urllib.request import url2pathname, urlopen

    try:
        if parts.scheme == "file":
            regular.open_file(url2pathname(parts.path)).close()
        with urlopen(origin, timeout=PATIENCE) as source, part.open("xb") as out:
            shutil.copyfileobj(source, out)
    except (FileNotFoundError, URLError) as error:
        raise OSError(f"URL fetch failure on {origin}: {getattr(error, 'reason', error)}") from error


def _unpack(archive: Path, folder: Path, formats: str | list[str] | None) -> None:
    import tarfile
    import zipfile

    unpackers: dict[str, tuple[Callable, Callable]] = {"tar": (tarfile.is_tarfile, _untar), "zip": (
        zipfile.is_zipfile, lambda file, to: shutil.unpack_archive(file, to, "zip"))}
    names = [] if formats is None else list(unpackers) if formats == "auto" else (
        [formats] if isinstance(formats, str) else list(formats))
    if unknown := [each for each in names if each not in unpackers]:
        raise NotImplementedError("archive_format must be 'auto', 'tar', 'zip', or a list of "
                                  f"'tar' and 'zip'. Received: {unknown}.")
    for is_format, unpack in (unpackers[each] for each in names):
        if is_format(archive):
            new = atomic.temporary_path(folder)
            try:
                unpack(archive, new)
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            return
    warnings.warn(f"Could not extract archive {archive}: it has none of the formats {names}.", stacklevel=3)


def _untar(archive: Path, folder: Path) -> None:
    import tarfile

    message = (f"The archive {archive} cannot be extracted, because a member would be outside the "
               "target folder or is neither a file nor a folder")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            try:
                tar.extractall(folder, filter="data")
            except tarfile.FilterError as error:
                raise ValueError(f"{message}: {error}") from error
            return
        for member in tar:  # Python before 3.11.4 has no extraction filter
            is_inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
            if not is_inside or not (member.isfile() or member.isdir()):
                raise ValueError(f"{message}: {member.name!r}")
            member.mode = 0o755 if member.isdir() else 0o644
        tar.extractall(folder)
