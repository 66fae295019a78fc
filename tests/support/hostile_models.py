"""Models, weights and runs: sound files, hostile ones, and what reads them, for the table in readers.py."""

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mutations
import numpy as np
from mutations import ALLOWED, Mutant
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

FILE = "m.safetensors"


def graph() -> Any:
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
def file_of(make: Callable[[], Any]) -> bytes:
    from autoconv import initializers

    for draw in (initializers.RandomUniform(), initializers.RandomNormal()):
        draw((2, 2), "float64")  # compiled here: that time is not the file's
        draw((2, 2), "float32")
    with tempfile.TemporaryDirectory() as folder:
        model = make()
        model.class_names = [f"class {i}" for i in range(model.output_shape[-1])]
        model.save(Path(folder, FILE))
        return Path(folder, FILE).read_bytes()


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
    from autoconv import models, no_grad
    from autoconv.kernels import trace

    model = models.load_model(folder / FILE)
    model.summary(print_fn=str)
    shapes = [tensor.shape for tensor in model.inputs]
    if max(np.prod([n or 16 for n in shape]) for shape in shapes) > 1e6:
        return
    given = [np.zeros([n or 16 for n in shape], tensor.dtype) for shape, tensor in zip(shapes, model.inputs)]
    with no_grad(), trace.DryRun().record():  # all but the kernels
        model(given if len(given) > 1 else given[0], training=True)
        model(given if len(given) > 1 else given[0])


def compiled() -> Any:
    """A model with a training: a short one, so that the optimizer has slots."""
    model = chain()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(np.zeros((2, 12, 12, 1), np.float32), np.eye(4, dtype=np.float32)[:2])
    return model


def trainings(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """What the file says of the training is damaged, the architecture is not."""
    metadata = header(sample)["__metadata__"]
    tensors = load_tensors(sample)
    for name, text in mutations.of_json(json.loads(metadata["training"]), count, seed):
        yield name, save_tensors(tensors, {**metadata, "training": text})


def weights_file() -> bytes:
    from autoconv import utils

    utils.set_random_seed(0)
    return save_tensors({name: weight.numpy() for name, weight in chain().named_weights().items()}, {"autoconv": "0.2"})


def read_weights(folder: Path) -> None:
    model = chain()
    before = model.get_weights()
    try:
        model.load_weights(folder / FILE)
    except ALLOWED:
        assert all((a == b).all() for a, b in zip(before, model.get_weights()))
        raise
    assert [w.dtype for w in model.get_weights()] == [w.dtype for w in before]


def model_traps() -> Iterator[Mutant]:
    sample = file_of(chain)
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
    for count in (9000, 20_000):
        named = [{"class_name": "ReLU", "config": {"name": f"relu_{i}"}} for i in range(count)]
        yield f"{count} layers", changed(lambda whole, named=named: whole["config"].update(layers=named))
    yield "many layers of a name", changed(lambda whole: whole["config"].update(layers=[relu] * 3000))
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
    yield "names of 40 MB", with_architecture(sample, json.dumps(described), class_names=json.dumps(["x" * 10**7] * 4))
    for letters in ("", "x" * 30):
        yield f"a million names of {len(letters)} letters", with_architecture(
            sample, json.dumps(described), class_names=json.dumps([letters] * 10**6))
    yield "a long header", struct.pack("<Q", 2**62) + sample[8:]
    for number in (490_000, 3_000_000):
        long = f'{{"__metadata__":{{"a":"{"[]," * (number // 2)}"}}}}'
        yield f"a header of {number} values", struct.pack("<Q", len(long)) + long.encode() + sample[8:]
    for number in (1000, 50_000, 900_000):
        tensors = ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(number))
        yield f"{number} tensors", struct.pack("<Q", len(tensors) + 2) + f"{{{tensors}}}".encode()
    net = json.loads(header(file_of(graph))["__metadata__"]["model"])
    for function, args in (("functional.pad", [{"tensor": ["x", 0, 0]}, [[0, 0], [2**20, 2**20], [2**20, 0], [0, 0]]]),
                           ("functional.resize", [{"tensor": ["x", 0, 0]}, [2**15, 2**15]]),
                           ("functional.zero_padding2d", [{"tensor": ["x", 0, 0]}, 2**14])):
        large = json.loads(json.dumps(net))
        large["config"]["layers"].append({
            "layer": {"class_name": "Function", "config": {"function": function, "name": "f"}}, "name": "f",
            "inbound_nodes": [{"args": args, "kwargs": {}}]})
        large["config"]["output_layers"] = {"tensor": ["f", 0, 0]}
        yield function, with_architecture(file_of(graph), json.dumps(large))


# Keras's files.


def many_letters() -> Any:
    """Names beyond ASCII: HDF5 keeps more than eight of them in another way."""
    from autoconv import layers, models

    return models.Sequential([layers.Input((2,)), *(layers.Dense(2, name=f"ä{i}") for i in range(50))])


@cache
def keras_file(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder, f"m{suffix}"), many_letters() if suffix == "ä.h5" else compiled()
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
        return path.read_bytes()


def keras_configs(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """The configuration in a .keras file is damaged, the weights are not."""
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, text in mutations.of_json(json.loads(parts["config.json"]), count, seed):
        yield name, zipped({**parts, "config.json": text.encode()})


def zipped(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def keras_traps() -> Iterator[Mutant]:
    """Small archives that unpack to much JSON, or to many parts."""
    with zipfile.ZipFile(io.BytesIO(keras_file(".keras"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for number in (400_000, 7_000_000, 21_000_000):
        for value in ("[]", "{}", '"a"'):
            text = b'{"class_name":"Sequential","config":[' + value.encode() + f",{value}".encode() * number + b"]}"
            yield f"{number} values {value}", zipped({**parts, "config.json": text})
            if number < 10**6:  # not compressed
                yield f"{number} values {value} in a large file", zipped({
                    **parts, "config.json": text, "x": np.random.default_rng(0).bytes(10**6)})
    yield "200,000 parts", zipped(parts | {str(i): b"" for i in range(200_000)})
    yield "weights of zeros", zipped({**parts, "model.weights.h5": parts["model.weights.h5"] + bytes(2**28)})


def read_keras(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from autoconv import models

        if name.endswith(".weights.h5"):
            model = chain()
            model.load_weights(folder / name)
        else:
            model = models.load_model(folder / name)
        model.summary(print_fn=str)

    return read


# Runs.


@cache
def run_json() -> dict[str, Any]:
    return {"model": "sprint", "dataset": "digits", "data_dir": None, "limit": 20, "takes": "pixels 0..255",
            "classes": [str(i) for i in range(10)], "batch_size": 10, "epochs": 1, "seed": 0, "test_images": 20,
            "train_images": 20, "train_images_per_s": 1000.0, "ms_per_step": 1.5, "epoch_seconds": [1.0],
            "versions": {"autoconv": "0.2"}, "skipped": [], "optimizer": "rmsprop", "test_accuracy": 0.5}


def run_text() -> bytes:
    return json.dumps(run_json()).encode()


HISTORY = b"epoch,accuracy,loss\r\n0,0.5,1.25\r\n1,0.75,nan\r\n"


@cache
def run_model() -> bytes:
    from autoconv import layers, models

    def make() -> Any:
        return models.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, "softmax")])

    return file_of(make)


def others_of_run(folder: Path) -> None:
    for name, data in (("model.safetensors", run_model()), ("history.csv", HISTORY),
                       ("run.json", run_text())):
        if not (folder / name).exists():
            (folder / name).write_bytes(data)


def command(*arguments: Any) -> int:
    """Runs a command of autoconv's in this process. Whatever it raises but its exit code is raised here."""
    from click.testing import CliRunner

    from autoconv.programs.cli import main

    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"a traceback: {result.exception!r}") from result.exception
    if result.exit_code not in (0, 1, 2) or "Traceback" in result.output:
        raise AssertionError(f"exit code {result.exit_code}: {result.output[-500:]}")
    return result.exit_code


def evaluate_run(folder: Path) -> None:
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
    held = {"in": "..", "files": ["/etc/x"]}
    yield "files elsewhere", json.dumps({**folder, "image_size": [8, 8], "held_out": held}).encode()


def history_traps() -> Iterator[Mutant]:
    yield "a long field", b"epoch,loss\r\n0," + b"1" * 1_000_000
    yield "many columns", b"a," * 100_000 + b"a\r\n"
    yield "a quote", b'epoch,loss\r\n0,"1\r\n'
    yield "zeros", bytes(1000)
