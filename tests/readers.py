"""Every reader there is, in one table: how to write a sample, how to read it, which traps there are for it.

A format that comes later joins by a row of `READERS`. `python readers.py NAME COUNT` prints what became of so many
damaged files.
"""

import contextlib
import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mutations
import numpy as np
from mutations import Mutant
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

SECONDS, MEGABYTES = 2.0, 200.0  # that no file takes, above what a sound one does
ALLOWED = (ValueError, OSError)


def no_traps() -> Iterator[Mutant]:
    return iter(())


class Reader(NamedTuple):
    """One way to read a file.

    sample: the bytes of a sound file; place: puts a file where `read` gets it; read: reads the file in this folder,
    and uses what it read, so that what is read wrong shows; traps: files made to do harm; mutants: how to damage it.
    """

    name: str
    sample: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    traps: Callable[[], Iterator[Mutant]] = no_traps
    mutants: Callable[[bytes, int, int], Iterator[Mutant]] = mutations.mutants
    around: Callable[[Path], None] = lambda folder: None  # what else must lie in the folder
    slow: bool = False  # whether one file takes more than 10 ms, so that the quick test draws fewer


# Data sets.

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
        for _ in range(256):
            file.write(ZEROS)
    yield "256 MB", data.getvalue()


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
    yield "a shape of tuples", (start + b"}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R" + shape
                                + b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtbs.")


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


# Models and weights.


def small_model() -> Any:
    from autoconv import initializers, layers, models

    zeros = {"kernel_initializer": "zeros"}
    x = layers.Input((12, 12, 3), name="x")
    y = layers.Rescaling(1 / 255)(x)
    y = layers.RandomFlip("horizontal")(y)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", **zeros)(y)
    z = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer="ones")(y)
    y = layers.Concatenate()([y, layers.Add()([y, z]), y * 0.5 + 1.0, y[:, :, :, 1:]])
    y = layers.BatchNormalization(momentum=0.9)(y)
    y = layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(y))
    y = layers.Conv2DTranspose(3, 3, strides=2, **zeros)(y)
    y = models.Sequential([layers.Input((15, 15, 3)), layers.Conv2D(2, 3, **zeros), layers.ReLU()], name="inner")(y)
    y = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(y))
    y = layers.Dense(5, "softmax", kernel_initializer=initializers.Constant(0.1))(y)
    return models.Model(x, y, name="net")


def chain() -> Any:
    from autoconv import layers, models

    return models.Sequential([
        layers.Input((12, 12, 1)), layers.Conv2D(3, 3, activation="tanh"), layers.AveragePooling2D(2), layers.Flatten(),
        layers.Dense(4, "softmax", name="answer"),
    ], name="small")


@cache
def model_file(make: Callable[[], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        model = make()
        model.class_names = [f"class {i}" for i in range(model.output_shape[-1])]
        model.save(Path(folder, "m.safetensors"))
        return Path(folder, "m.safetensors").read_bytes()


def header(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def with_architecture(data: bytes, architecture: str, **more: str) -> bytes:
    return save_tensors(load_tensors(data), {**header(data)["__metadata__"], "model": architecture, **more})


def architectures(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """The architecture is damaged, the weights are not."""
    described = json.loads(header(sample)["__metadata__"]["model"])
    for name, text in mutations.of_json(described, count, seed):
        yield name, with_architecture(sample, text)


def headers(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """Half of them have a damaged header, which is JSON, too."""
    yield from mutations.mutants(sample, count // 2, seed)
    length = struct.unpack("<Q", sample[:8])[0]
    for name, text in mutations.of_json(header(sample), count - count // 2, seed):
        yield name, struct.pack("<Q", len(text)) + text.encode() + sample[8 + length :]


def read_model(folder: Path) -> None:
    from autoconv import models
    from autoconv.backend import trace

    model = models.load_model(folder / "m.safetensors")
    model.summary(print_fn=str)
    shapes = [tensor.shape for tensor in model.inputs]
    if max(np.prod([n or 16 for n in shape]) for shape in shapes) > 1e6:
        return
    given = [np.zeros([n or 16 for n in shape], tensor.dtype) for shape, tensor in zip(shapes, model.inputs)]
    with trace.DryRun().record():  # all but the kernels
        model(given if len(given) > 1 else given[0], training=True)
        model(given if len(given) > 1 else given[0])


def weights_file() -> bytes:
    from autoconv import utils

    utils.set_random_seed(0)
    return save_tensors({name: weight.numpy() for name, weight in chain().named_weights().items()}, {"autoconv": "0.2"})


def read_weights(folder: Path) -> None:
    model = chain()
    before = model.get_weights()
    try:
        model.load_weights(folder / "m.safetensors")
    except ALLOWED:
        assert all((a == b).all() for a, b in zip(before, model.get_weights()))
        raise
    assert [w.dtype for w in model.get_weights()] == [w.dtype for w in before]


def model_traps() -> Iterator[Mutant]:
    sample = model_file(chain)
    described = json.loads(header(sample)["__metadata__"]["model"])

    def changed(change: Callable[[Any], Any]) -> bytes:
        copied = json.loads(json.dumps(described))
        change(copied)
        return with_architecture(sample, json.dumps(copied))

    def of(number: int) -> Callable[[Any], Any]:
        return lambda whole: whole["config"]["layers"][number]["config"]

    yield "units", changed(lambda whole: of(3)(whole).update(units=300_000))
    yield "more units", changed(lambda whole: of(3)(whole).update(units=2**40))
    yield "filters", changed(lambda whole: of(0)(whole).update(filters=2**31))
    yield "a large kernel", changed(lambda whole: of(0)(whole).update(kernel_size=[2**15, 2**15], padding="same"))
    yield "a large image", changed(lambda whole: whole["config"].update(build_input_shape=[None, 2**20, 2**20, 1]))
    relu = {"class_name": "ReLU", "config": {}}
    yield "many layers", changed(lambda whole: whole["config"].update(layers=[relu] * 3000))
    dense = {"class_name": "Dense", "config": {"units": 4}}
    yield "many weights", changed(lambda whole: whole["config"].update(layers=[
        {"class_name": "Flatten", "config": {}}, {"class_name": "Dense", "config": {"units": 900}}] + [
            {"class_name": "Dense", "config": {"units": 900}}] * 500))
    within: Any = dense
    for _ in range(60):
        within = {"class_name": "Sequential", "config": {"name": None, "layers": [within], "build_input_shape": None}}
    yield "models in models", changed(lambda whole: whole["config"]["layers"].append(within))
    for depth in (90, 900, 200_000):
        yield f"lists, {depth} deep", with_architecture(sample, "[" * depth + "]" * depth)
        yield f"objects, {depth} deep", with_architecture(sample, '{"config":' * depth + "1" + "}" * depth)
    yield "class_names", with_architecture(sample, json.dumps(described), class_names="[" * 100_000)
    yield "a long header", struct.pack("<Q", 2**62) + sample[8:]
    graph = json.loads(header(model_file(small_model))["__metadata__"]["model"])
    for function, args in (("functional.pad", [{"tensor": ["x", 0, 0]}, [[0, 0], [2**20, 2**20], [2**20, 0], [0, 0]]]),
                           ("functional.resize", [{"tensor": ["x", 0, 0]}, [2**15, 2**15]]),
                           ("functional.zero_padding2d", [{"tensor": ["x", 0, 0]}, 2**14])):
        large = json.loads(json.dumps(graph))
        large["config"]["layers"].append({
            "layer": {"class_name": "Function", "config": {"function": function, "name": "f"}}, "name": "f",
            "inbound_nodes": [{"args": args, "kwargs": {}}]})
        large["config"]["output_layers"] = {"tensor": ["f", 0, 0]}
        yield function, with_architecture(model_file(small_model), json.dumps(large))


# Runs.


@cache
def run_json() -> dict[str, Any]:
    return {"model": "sprint", "dataset": "digits", "data_dir": None, "limit": 20, "takes": "pixels 0..255",
            "classes": [str(i) for i in range(10)], "batch_size": 10, "epochs": 1, "seed": 0, "test_images": 20,
            "train_images": 20, "train_images_per_s": 1000.0, "ms_per_step": 1.5, "epoch_seconds": [1.0],
            "versions": {"autoconv": "0.2"}, "skipped": [], "optimizer": "rmsprop", "test_accuracy": 0.5}


HISTORY = b"epoch,accuracy,loss\r\n0,0.5,1.25\r\n1,0.75,nan\r\n"


@cache
def run_model() -> bytes:
    from autoconv import layers, models

    def make() -> Any:
        return models.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, "softmax")])

    return model_file(make)


def others_of_run(folder: Path) -> None:
    for name, data in (("model.safetensors", run_model()), ("history.csv", HISTORY),
                       ("run.json", json.dumps(run_json()).encode())):
        if not (folder / name).exists():
            (folder / name).write_bytes(data)


def command(*arguments: Any) -> int:
    """Runs a command of autoconv's in this process. Whatever it raises but its exit code is raised here."""
    from click.testing import CliRunner

    from autoconv.cli import main

    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"a traceback: {result.exception!r}") from result.exception
    if result.exit_code not in (0, 1, 2) or "Traceback" in result.output:
        raise AssertionError(f"exit code {result.exit_code}: {result.output[-500:]}")
    return result.exit_code


def read_run(folder: Path) -> None:
    if command("evaluate", folder):
        raise ValueError("refused")


def report_run(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        page = Path(out, "page.html")
        refused = command("report", folder, "--out", page)
        assert bool(refused) != page.exists()
        assert len(list(Path(out).iterdir())) == page.exists()
        if refused:
            raise ValueError("refused")


def run_mutants(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    yield from mutations.mutants(sample, count // 4, seed)
    for name, text in mutations.of_json(json.loads(sample), count - count // 4, seed):
        yield name, text.encode()


def run_traps() -> Iterator[Mutant]:
    for text in ("[" * 200_000, '{"a":' * 200_000, "1" * 10_000, "null", '"' + "x" * 1_000_000, "\ud800".encode(
            "utf-8", "surrogatepass").decode("latin-1")):
        yield text[:20], text.encode()
    folder = {**run_json(), "folder": "/nowhere", "image_size": [2**31, 2**31]}
    yield "large images", json.dumps(folder).encode()
    yield "no list", json.dumps({**folder, "image_size": [8, 8], "held_out": {"in": "..", "files": ["/etc/x"]}}).encode()


def history_traps() -> Iterator[Mutant]:
    yield "a long field", b"epoch,loss\r\n0," + b"1" * 1_000_000
    yield "many columns", b"a," * 100_000 + b"a\r\n"
    yield "a quote", b'epoch,loss\r\n0,"1\r\n'
    yield "zeros", bytes(1000)


# Pictures.


@cache
def picture(kind: str) -> bytes:
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = (rng.normal(0, 20, (30, 40, 3)) + np.linspace(0, 200, 40)[None, :, None]).clip(0, 255).astype("uint8")
    data, image = io.BytesIO(), Image.fromarray(pixels)
    if kind == "PNG":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGBA").save(data, kind, exif=exif)
    else:
        image.save(data, kind)
    return data.getvalue()


def suffixes() -> dict[str, str]:
    from PIL import Image, features

    Image.init()
    found = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif",
             "PPM": ".ppm", "TGA": ".tga", "PCX": ".pcx", "JPEG2000": ".jp2", "AVIF": ".avif"}
    return {kind: suffix for kind, suffix in found.items()
            if kind in Image.SAVE and (kind != "AVIF" or features.check("avif"))}


def read_picture(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from autoconv import utils
        from autoconv.pictures import reading

        refused = []
        for look in (lambda path: np.asarray(utils.load_img(path)),
                     lambda path: reading.read(path, (16, 16, 3), "photo")[0].pixels,
                     lambda path: reading.read(path, (28, 28, 1), "digit")[0].pixels,
                     lambda path: reading.read(path, (28, 28, 1), "figure")[0].pixels):
            try:
                pixels = look(folder / name)
                assert pixels.ndim == 3
                assert pixels.dtype == np.uint8
            except OSError as error:
                assert type(error) is utils.UnreadableImage, repr(error)
                refused.append(error)
        if refused:
            raise refused[0]

    return read


def png(width: int, height: int, bits: int, kind: int, data: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def picture_traps() -> Iterator[Mutant]:
    yield "50,000 x 50,000", png(50_000, 50_000, 1, 0, zlib.compress(bytes(1 << 24), 9))
    yield "13,000 x 13,000", png(13_000, 13_000, 8, 2, zlib.compress(bytes(1 << 24), 9))
    yield "4096 x 4096", png(4096, 4096, 8, 6, zlib.compress(bytes(4096 * (4 * 4096 + 1)), 9))
    yield "3000 x 3000", png(3000, 3000, 8, 6, zlib.compress(bytes(3000 * (4 * 3000 + 1)), 1))
    yield "wide", png(2**31 - 1, 1, 8, 6, zlib.compress(bytes(1000)))
    yield "a text of 100 MB", picture("PNG")[:33] + ztxt(100) + picture("PNG")[33:]
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    yield "GIF 65,535 x 65,535", picture("GIF").replace(struct.pack("<HH", 40, 30), struct.pack("<HH", 65535, 65535))
    yield "PPM", b"P6 60000 60000 255\n" + bytes(100)
    yield "a PPM of many digits", b"P6 " + b"9" * 100_000
    yield "BMP", picture("BMP")[:18] + struct.pack("<ii", 2**15, 2**15) + picture("BMP")[26:]
    yield "TGA", struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65535, 65535, 32, 0) + b"\xff" * 2000
    yield "TIFF", picture("TIFF").replace(struct.pack("<HHII", 256, 4, 1, 40), struct.pack("<HHII", 256, 4, 1, 2**31 - 1))


def ztxt(megabytes: int) -> bytes:
    packed = zlib.compressobj(1)
    data = b"a\0\0" + b"".join(packed.compress(ZEROS) for _ in range(megabytes)) + packed.flush()
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


# Compiled kernels.


def kernel_file() -> bytes:
    from autoconv.backend import caching

    with tempfile.TemporaryDirectory() as folder:
        caching.write(Path(folder, "k.kernel"), b"machine code" * 100)
        return Path(folder, "k.kernel").read_bytes()


def read_kernel(folder: Path) -> None:
    from autoconv.backend import caching

    path = folder / "k.kernel"
    whole = path.read_bytes() == kernel_file()
    found = caching.read(path)
    assert (found is not None) == whole, "a damaged kernel would be executed"
    if not whole:
        raise ValueError("refused")


def pictures() -> list[Reader]:
    return [Reader(f"picture {suffix}", lambda kind=kind: picture(kind), f"x{suffix}", read_picture(f"x{suffix}"),  # type: ignore[misc]
                   picture_traps if kind == "PNG" else no_traps) for kind, suffix in suffixes().items()]


READERS: list[Reader] = [
    Reader("idx", lambda: idx(SMALL), "train-images-idx3-ubyte", read_idx_set, idx_traps, around=others_of_idx),
    Reader("idx labels", lambda: idx(LABELS), "train-labels-idx1-ubyte", read_idx_set, around=others_of_idx),
    Reader("idx gzipped", lambda: gzip.compress(idx(SMALL)), "train-images-idx3-ubyte.gz", read_idx_set, gzip_traps,
           inside_gzip, others_of_idx),
    Reader("npz", npz_sample, "mnist.npz", read_idx_set, npz_traps),
    Reader("cifar python", cifar_pickle, "test_batch", read_cifar, pickle_traps,
           around=others_of_cifar(cifar_pickle, "")),
    Reader("cifar binary", cifar_binary, "test_batch.bin", read_cifar, around=others_of_cifar(cifar_binary, ".bin")),
    Reader("cifar tar", cifar_tar, "cifar-10-python.tar.gz", read_cifar, tar_traps, inside_gzip),
    Reader("npy", npy_sample, "x.npy", read_npy, npy_traps),
    Reader("safetensors weights", weights_file, "m.safetensors", read_weights, mutants=headers),
    Reader("safetensors model", lambda: model_file(chain), "m.safetensors", read_model, model_traps, headers),
    Reader("architecture chain", lambda: model_file(chain), "m.safetensors", read_model, mutants=architectures),
    Reader("architecture graph", lambda: model_file(small_model), "m.safetensors", read_model, mutants=architectures),
    Reader("run.json", lambda: json.dumps(run_json()).encode(), "run.json", read_run, run_traps, run_mutants,
           others_of_run, slow=True),
    Reader("run.json report", lambda: json.dumps(run_json()).encode(), "run.json", report_run, no_traps, run_mutants,
           others_of_run, slow=True),
    Reader("history.csv", lambda: HISTORY, "history.csv", report_run, history_traps, around=others_of_run, slow=True),
    *pictures(),
    Reader("kernel", kernel_file, "k.kernel", read_kernel),
]


# What became of them.


class Outcome(NamedTuple):
    """Of one file: what was done to it, whether it was read, and what is wrong with that."""

    mutant: str
    read: bool
    seconds: float
    megabytes: float
    wrong: str


def tried(reader: Reader, count: int, seed: int = 0) -> Iterator[Outcome]:
    """Reads a sound file, then all traps and so many damaged ones."""
    sample = reader.sample()
    with tempfile.TemporaryDirectory() as folder:
        sound = attempt(reader, Path(folder, "sound"), "sound", sample)
        if not sound.read:
            raise AssertionError(f"{reader.name} does not read its own sample: {sound.wrong}")
        floor = sound.megabytes
        for number, (name, data) in enumerate([*reader.traps(), *reader.mutants(sample, count, seed)]):
            found = attempt(reader, Path(folder, "x"), f"{number} {name}", data)
            found = found._replace(megabytes=max(found.megabytes - floor, 0.0))
            if not found.wrong and found.seconds > SECONDS:
                found = found._replace(wrong=f"took {found.seconds:.1f} s")
            if not found.wrong and found.megabytes > MEGABYTES:
                found = found._replace(wrong=f"took {found.megabytes:.0f} MB")
            yield found


def attempt(reader: Reader, folder: Path, name: str, data: bytes) -> Outcome:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / reader.file).write_bytes(data)
    reader.around(folder)
    before, wrong, read = sorted(folder.iterdir()), "", False
    start, begun = memory(reset=True), time.process_time()  # other programs do not count
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
        read = True
    except ALLOWED as error:
        if not str(error):
            wrong = f"{type(error).__name__} says nothing"
    except Exception:
        wrong = traceback.format_exc()
    seconds, used = time.process_time() - begun, memory() - start
    left = sorted(path.name for path in set(folder.iterdir()) - set(before))
    if left:
        wrong = wrong or f"leaves {', '.join(left)}"
    return Outcome(name, read, seconds, used, wrong)


def memory(reset: bool = False) -> float:
    """The most megabytes that this process held since the last reset; with `reset` those that it holds now."""
    if sys.platform != "linux":
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    wanted = "VmRSS" if reset else "VmHWM"
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(wanted))
    return int(line.split()[1]) / 1024


def main(names: list[str], count: int, seed: int = 0) -> None:
    """Prints a line of JSON for each reader, and one before each, so that a crash is known by name."""
    for reader in READERS:
        if names and reader.name not in names:
            continue
        print(json.dumps({"begins": reader.name}), flush=True)
        begun, outcomes = time.perf_counter(), list(tried(reader, count if not reader.slow else min(
            count, max(count // 6, 2000 if count >= 2000 else 1)), seed))
        wrong = [outcome for outcome in outcomes if outcome.wrong]
        print(json.dumps({
            "name": reader.name, "files": len(outcomes), "read": sum(outcome.read for outcome in outcomes),
            "slowest": round(max(outcome.seconds for outcome in outcomes), 3),
            "largest": round(max(outcome.megabytes for outcome in outcomes), 1),
            "seconds": round(time.perf_counter() - begun, 1), "wrong": len(wrong),
            "first": [(outcome.mutant, outcome.wrong[-1500:]) for outcome in wrong[:5]],
            "kinds": sorted({outcome.wrong.strip().splitlines()[-1][:150] for outcome in wrong})[:40]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1].split(",") if sys.argv[1] else [], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
