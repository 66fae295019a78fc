"""Data sets and arrays: sound files, hostile ones, and what reads them, for the table in readers.py."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mutations
import numpy as np
from mutations import Mutant

SMALL = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.uint8([3, 1, 2])
ZEROS = bytes(1 << 20)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def bomb(head: bytes = b"") -> bytes:
    """A gzipped file that unpacks to `head` and 2 GB of zeros."""
    return gzip.compress(head) + 32 * gzip.compress(64 * ZEROS, 1)


def read_idx_set(folder: Path) -> None:
    from autoconv import datasets

    for images, labels in datasets.mnist.load_data(folder):
        assert images.dtype == labels.dtype == np.uint8
        assert images.ndim == 3
        assert len(images) == len(labels)


def others_of_idx(folder: Path) -> None:
    for name, data in {"train-images-idx3-ubyte": SMALL, "train-labels-idx1-ubyte": LABELS,
                       "t10k-images-idx3-ubyte": SMALL, "t10k-labels-idx1-ubyte": LABELS}.items():
        if not (folder / f"{name}.gz").exists() and not (folder / name).exists():
            (folder / name).write_bytes(idx(data))


def idx_traps() -> Iterator[Mutant]:
    for sizes in ((2**31, 28, 28), (2**32 - 1,) * 3, (0, 28, 28), (3, 0, 0)):
        yield f"IDX {sizes}", bytes([0, 0, 8, 3]) + np.array(sizes, ">u4").tobytes() + SMALL.tobytes()


def gzip_traps() -> Iterator[Mutant]:
    yield "2 GB", bomb(bytes([0, 0, 8, 3]) + np.array((2**21, 32, 32), ">u4").tobytes())
    yield "2 GB of nothing", bomb()
    yield "twice gzipped", gzip.compress(gzip.compress(idx(SMALL)))


def npz(**arrays: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()


def npz_sample() -> bytes:
    return npz(x_train=SMALL, y_train=LABELS, x_test=SMALL, y_test=LABELS)


def npz_traps() -> Iterator[Mutant]:
    for count in (2**31, 2**40):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                archive.writestr(f"{name}.npy", npy_header("|u1", (count // 784, 28, 28)) + 300 * ZEROS[: 1 << 18])
        yield f"an array of {count} bytes", data.getvalue()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train.npy", "w") as file:
        file.write(npy_header("|u1", (2**20, 32, 32)))
        for _ in range(128):
            file.write(ZEROS)
    yield "128 MB", data.getvalue()


def small_batches() -> None:
    from autoconv.datasets import cifar_set

    cifar_set.RECORDS = 4


def cifar_pickle(count: int = 4) -> bytes:
    small_batches()
    return pickle.dumps({b"batch_label": b"testing batch", b"labels": [1, 2, 3, 0], b"filenames": [b"a.png"] * count,
                         b"data": np.arange(count * 3072, dtype=np.uint8).reshape(count, 3072)}, protocol=3)


def cifar_binary() -> bytes:
    small_batches()
    return b"".join(bytes([label]) + bytes(3072) for label in (1, 2, 3, 0))


def others_of_cifar(sample: Callable[[], bytes], suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for i in range(1, 6):
            (folder / f"data_batch_{i}{suffix}").write_bytes(sample())

    return write


def read_cifar(folder: Path) -> None:
    from autoconv import datasets

    archive = folder / "cifar-10-python.tar.gz"
    for images, labels in datasets.cifar10.load_data(archive if archive.exists() else folder):
        assert images.shape[1:] == (32, 32, 3)
        assert images.dtype == labels.dtype == np.uint8
        assert labels.max() < 10


def pickle_traps() -> Iterator[Mutant]:
    start = b"\x80\x02"
    yield "a memo of 2^30", start + b"Nr" + struct.pack("<I", 2**30) + b"."
    yield "2^40 bytes", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."
    yield "2 GB", b"\x80\x05\x96" + struct.pack("<Q", 2**31) + b"."
    yield "many None", start + b"(" + b"N" * 20_000_000 + b"t."
    yield "tuples in tuples", start + b"}" + b"N" + b"\x85" * 190_000 + b"Ns."
    yield "each twice the last", start + b"N" + b"q\x00h\x00\x86" * 60 + b"."
    yield "a function", start + b"cos\nsystem\nU\x04exit\x85R."
    yield "a state for a function", start + b"cnumpy.core.multiarray\n_reconstruct\n}U\x01aK\x01sb."
    shape = b"(K\x01" + b"N" + b"\x85J" + struct.pack("<i", 2**31 - 1) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R"
    yield "a shape of tuples", start + b"}U\x04data" + array + shape + b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtbs."


def tar(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def cifar_tar() -> bytes:
    return tar({name: cifar_pickle() for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")})


def inside_gzip(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """Half of them are damaged within the gzip: its checksum would hide the rest."""
    yield from mutations.mutants(sample, count // 2, seed)
    for name, data in mutations.mutants(gzip.decompress(sample), count - count // 2, seed):
        yield f"inside: {name}", gzip.compress(data, 1)


def tar_traps() -> Iterator[Mutant]:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE):
        member = tarfile.TarInfo("test_batch")
        member.type, member.size = kind, 2**31
        yield f"2 GB as {kind!r}", bomb(member.tobuf(tarfile.GNU_FORMAT))
    yield "links", tar({"test_batch": b"x"}) + tar({"../../x": b"x"})


# Arrays.


def npy_header(descr: str, shape: Any) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npy_sample() -> bytes:
    data = io.BytesIO()
    np.save(data, np.arange(2 * 28 * 28, dtype=np.float32).reshape(2, 28, 28))
    return data.getvalue()


def read_npy(folder: Path) -> None:
    from autoconv.pictures import reading

    for picture in reading.read(folder / "x.npy", (28, 28, 1), "digit"):
        assert picture.pixels.shape == (28, 28, 1)
        with np.errstate(all="ignore"):
            (picture.pixels * np.float32(1 / 255)).astype(np.float32)


def npy_traps() -> Iterator[Mutant]:
    for shape in ((2**31, 28, 28), (2**40, 28, 28), (-1, 28, 28), (2**63, 2**63), (True, 28, 28), (0, 28, 28)):
        yield str(shape), npy_header("<f4", shape) + bytes(28 * 28 * 4)
    for descr in ("O", "|V0", "<U100000000", "<f16", "<c8", "M8[s]", [("a", "O")]):
        yield str(descr), npy_header(descr, (28, 28)) + bytes(28 * 28 * 16)  # type: ignore[arg-type]
    yield "deep", b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000
    yield "a long header", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 100
