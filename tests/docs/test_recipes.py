"""The recipes in docs/extending.md do what they say: each code block is put where its first comment says, and run."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from autoconv.tensor import apply, tensor

from autoconv import functional as F
from autoconv import layers, losses, metrics, models, optimizers, utils
from autoconv.kernels.cuda import driver
from autoconv.operators.registry import OPS, op

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# (\S+\.py)(?:, (after|in) (\w+))?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RNG = np.random.default_rng(0)


def block(path):
    """The names that a block of its own defines."""
    (source,) = (text for name, _, _, text in BLOCKS if name == path)
    names = {"__name__": path.removesuffix(".py")}
    exec(compile(source, path, "exec"), names)
    return names


def put(text, how, name, source):
    """The block within a file: behind a function, or as the first items of a list or of an import's names."""
    for node in ast.parse(source).body:
        if name in (getattr(node, "name", None), getattr(node, "module", None),
                    *(getattr(target, "id", None) for target in (*getattr(node, "targets", ()),
                                                                 getattr(node, "target", None)))):
            lines = source.splitlines(keepends=True)
            at = node.lineno if how == "in" else node.end_lineno
            return "".join([*lines[:at], *(["\n\n"] if how == "after" else []), text, *lines[at:]])
    raise AssertionError(f"The recipe names {name}, which is not there.")


# An op.


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project in which the op was added."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("autoconv", "tests", "datasets", "ptx"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    added = [entry for entry in BLOCKS if entry[1]]
    assert len(added) == 8
    assert len({path for path, *_ in added}) == 7
    for path, how, name, text in added:
        file = folder / path
        file.write_text(put(text, how, name, file.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def run(copy, *command):
    """Runs Python in the copy; its output where it ends well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), *sys.path]),
                   "AUTOCONV_CACHE_DIR": str(copy / "cache")}
    done = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


USE = '''
import numpy as np
from autoconv import Sequential, functional as F, layers, models, utils

utils.set_random_seed(0)

x = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
inputs = layers.Input((6,))
model = models.Model(inputs, F.two_slopes(inputs, 0.25))
np.testing.assert_allclose(model.predict(x, batch_size=4, verbose=0), np.where(x > 0, x, 0.25 * x), rtol=1e-6)
print(model.recording_report()["predict"])
model = Sequential([layers.Input((6,)), layers.Dense(5, activation=F.two_slopes), layers.Dense(1)])
model.compile("adam", "mse")
history = model.fit(x, x[:, :1], batch_size=4, epochs=30, verbose=0).history["loss"]
assert history[-1] < history[0] / 2, history
print(model.recording_report()["train"])
'''


@pytest.mark.timeout(900)
def test_an_op_that_was_added_works_and_is_recorded(copy):
    """In predict from the second batch on, and in training."""
    for report in run(copy, "-c", USE).splitlines():
        assert set(ast.literal_eval(report).values()) == {None}


@pytest.mark.timeout(900)
def test_an_op_that_was_added_passes_the_tests_that_the_recipe_names(copy):
    files = ["tests/operators/test_operators.py", "tests/train/test_recording.py",
             "tests/kernels/test_device.py", "tests/engine/test_no_silent_gradients.py"]
    said = run(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", *files, "-k",
               "two_slopes or twins or every_op or has_a_row")
    passed = re.findall(r"(tests/[\w/]+)\.py::.*two_slopes.* PASSED", said)
    assert set(passed) == {file.removesuffix(".py") for file in files if "test_device" not in file}
    assert "test_every_op_has_a_row PASSED" in said


ONNX = '''
import numpy as np
from autoconv import formats, functional as F, layers, models

x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
inputs = layers.Input((6,))
model = models.Model(inputs, F.two_slopes(inputs, 0.25))
formats.to_onnx(model, "two_slopes.onnx")
again = formats.from_onnx("two_slopes.onnx")
np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
'''


@pytest.mark.timeout(900)
def test_an_op_that_was_added_is_exported_to_onnx(copy):
    pytest.importorskip("onnx")
    run(copy, "-c", ONNX)


@pytest.mark.gpu
@pytest.mark.timeout(900)
@pytest.mark.skipif(not driver.is_installed(), reason="numba-cuda is not installed: pip install 'autoconv[cuda]'")
def test_an_op_that_was_added_runs_on_a_gpu(copy):
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cuda/test_cuda.py", "-k", "two_slopes")
    assert re.search(r"\d passed", said)


@pytest.fixture
def cube():
    """The layer of the recipe's op, which is in the list of ops during the test alone."""
    yield block("cube.py")["Cube"]
    del OPS["cube"]


def test_an_op_by_numpy_runs_eagerly_and_is_right(cube):
    x = RNG.normal(size=(10, 6)).astype("float32")
    model = models.Sequential([layers.Input((6,)), cube()])
    np.testing.assert_allclose(model.predict(x, batch_size=4, verbose=0), x**3, rtol=1e-6)
    assert model.recording_report()["predict"]["forward"] == "the op cube recorded nothing"
    t = tensor(x, requires_grad=True)
    cube()(t).sum().backward()
    np.testing.assert_allclose(t.grad, 3 * x**2, rtol=1e-5)


@pytest.fixture
def mixed():
    @op(kernels="pointwise")
    def mixed(k, x):
        y = k.empty(x.shape, x.dtype)
        k.relu(x.reshape(-1), y.reshape(-1))
        np.add(y, x.mean(), out=y)
        return y, lambda dy, needs: (dy,)

    yield mixed
    del OPS["mixed"]


def test_an_op_of_kernels_and_numpy_is_wrong_from_the_second_batch_on(mixed):
    """The table of the recipe says so. That it is recorded all the same is what makes it wrong."""
    class Mixed(layers.Layer):
        recordable = True

        def call(self, x):
            return apply(mixed, x)

    x = RNG.normal(size=(8, 6)).astype("float32")
    model = models.Sequential([layers.Input((6,)), Mixed()])
    found = model.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(found[:4], np.maximum(x[:4], 0) + x[:4].mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[4:], np.maximum(x[4:], 0))
    assert model.recording_report()["predict"]["forward"] is None


# A layer, a loss, a metric, a callback, an optimizer.


def test_a_layer_with_a_weight(tmp_path):
    kind = block("scale.py")["Scale"]
    x = RNG.normal(size=(20, 4, 3)).astype("float32")
    model = models.Sequential([layers.Input((4, 3)), kind()])
    model.compile(optimizers.SGD(0.1), "mse")
    assert [weight.tolist() for weight in model.get_weights()] == [[1, 1, 1]]
    model.fit(x, x * [1, 2, 3], batch_size=8, epochs=100, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], [1, 2, 3], atol=0.05)
    assert set(model.recording_report()["train"].values()) == {None}
    model.save(tmp_path / "net.safetensors")
    again = models.load_model(tmp_path / "net.safetensors", custom_objects={"Scale": kind})
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_layer(tmp_path):
    kind = block("squeeze.py")["SqueezeExcite"]
    x, y = RNG.normal(size=(20, 6, 6, 8)).astype("float32"), RNG.integers(0, 3, 20)
    model = models.Sequential([layers.Input((6, 6, 8)), kind(ratio=2, name="weighed"), layers.Flatten(),
                               layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, batch_size=8, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights()))
    assert set(model.recording_report()["train"].values()) == {None}
    weighed = model.layers[0](x).numpy()
    means = np.maximum(x.mean((1, 2)) @ model.get_weights()[0] + model.get_weights()[1], 0)
    gates = 1 / (1 + np.exp(-(means @ model.get_weights()[2] + model.get_weights()[3])))
    np.testing.assert_allclose(weighed, x * gates[:, None, None, :], rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "net.safetensors")
    again = models.load_model(tmp_path / "net.safetensors", custom_objects={"SqueezeExcite": kind})
    assert again.layers[0].ratio == 2
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def trained(loss="mse", metric="mae", optimizer="sgd"):
    utils.set_random_seed(1)
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    model.compile(optimizer, loss, metrics=[metric])
    x = np.random.default_rng(2).normal(size=(20, 4)).astype("float32")
    history = model.fit(x, x[:, 1:3] * 3, batch_size=8, epochs=20, verbose=0).history
    return model, x, history


def test_a_loss():
    names = block("huber.py")
    for loss, recorded in ((names["Huber"](delta=0.5), True), (names["straight"], False)):
        model, x, history = trained(loss)
        assert history["loss"][-1] < history["loss"][0]
        assert (model.recording_report()["train"]["loss"] is None) == recorded
        error = np.abs(model.predict(x, verbose=0) - x[:, 1:3] * 3)
        near = np.minimum(error, 0.5)
        wanted = 0.5 * near**2 + 0.5 * (error - near) if recorded else error
        assert model.evaluate(x, x[:, 1:3] * 3, verbose=0)[0] == pytest.approx(wanted.mean(), rel=1e-5)
    assert isinstance(names["Huber"](), losses.Loss)


def test_a_metric():
    names = block("within.py")
    for metric, recorded in ((names["within_tenth"], False), (names["MeanError"]("bias"), True)):
        model, x, _ = trained(metric=metric)
        off = model.predict(x, verbose=0) - x[:, 1:3] * 3
        wanted = off.mean() if recorded else (np.abs(off) < 0.1).mean()
        assert model.evaluate(x, x[:, 1:3] * 3, verbose=0)[1] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert ("score" not in model.recording_report()["test"]) == recorded
    assert names["MeanError"]()(np.zeros((2, 2)), np.ones((2, 2))) == 1
    assert issubclass(names["MeanError"], metrics.Metric)


def test_a_loss_that_is_one_number_is_multiplied_by_the_mean_weight():
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    model.compile("sgd", lambda y_true, y_pred: abs(y_pred - y_true).mean())
    x, weights = RNG.normal(size=(6, 4)).astype("float32"), np.array([1, 0, 2, 0.5, 1, 3], "float32")
    plain, weighted = (model.evaluate(x, x[:, :2], sample_weight=given, verbose=0) for given in (None, weights))
    assert weighted == pytest.approx(plain * weights.mean(), rel=1e-6)


def test_a_metric_that_is_not_a_mean():
    metric = block("largest.py")["LargestError"]()
    model, x, history = trained(metric=metric)
    wanted = np.abs(model.predict(x, verbose=0) - x[:, 1:3] * 3).max()
    assert model.evaluate(x, x[:, 1:3] * 3, verbose=0)[1] == pytest.approx(wanted, rel=1e-5)
    assert history["largest_error"][-1] < history["largest_error"][0]
    assert metric.variables[0].name == "largest"


def test_a_callback():
    kind = block("watch.py")["LargestWeight"]
    model = models.Sequential([layers.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True) * 5
    history = model.fit(x, y, epochs=50, callbacks=kind(limit=2.0), verbose=0).history
    assert len(history["loss"]) < 50
    assert history["largest_weight"][-1] > 2 >= history["largest_weight"][-2]


def test_an_optimizer():
    names, found = block("signs.py"), []
    for kind, recorded in ((names["SignSGD"], False), (names["RecordedSignSGD"], True)):
        model, _, history = trained(optimizer=kind(optimizers.schedules.CosineDecay(0.05, 60), weight_decay=0.01))
        assert history["loss"][-1] < history["loss"][0] / 2
        assert (model.recording_report()["train"]["update"] is None) == recorded
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_all_of_them_together(tmp_path):
    """The script that uses them prints what the page says."""
    for path, how, _, text in BLOCKS:
        if not how:
            (tmp_path / path).write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (printed,) = re.findall(r"^```python\n# train\.py\n.*?^```\n\n```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert done.stdout == printed


def test_all_blocks_are_run():
    own = {path for path, how, _, _ in BLOCKS if not how}
    assert own == {"cube.py", "huber.py", "largest.py", "scale.py", "signs.py", "squeeze.py", "train.py", "watch.py",
                   "within.py"}
    assert len(BLOCKS) == PAGE.count("```python")
    assert "two_slopes" not in F.__all__  # else the recipe needs another example
