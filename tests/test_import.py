"""What `import autoconv` brings, and what it leaves for later."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import autoconv as ac

ROOT = Path(__file__).parents[1]
HEAVY = ["numba", "llvmlite", "pooch", "tqdm", "PIL", "click", "safetensors"]


def test_import_leaves_out_what_is_not_needed_yet():
    code = "import sys, autoconv; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_modules_that_need_an_extra_are_imported_when_they_are_used():
    code = ("import sys, autoconv as ac; before = set(sys.modules)\n"
            "names = {f'autoconv.{n}' for n in ac._LAZY_MODULES}\n"
            "print(names & before, ac.wrappers.__name__, ac.pictures.__name__, ac.formats.__name__)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["set()", "autoconv.wrappers", "autoconv.pictures", "autoconv.formats"]


def test_a_model_can_be_described_without_the_heavy_modules():
    code = (
        "import sys; from autoconv import layers as L, models\n"
        "m = models.Sequential([L.Conv2D(4, 3, activation='relu', kernel_initializer='zeros')])\n"
        "m.build((None, 8, 8, 1))\n"
        "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()).isdisjoint(HEAVY)


def test_optimizers_is_the_module_optim_under_keras_name():
    from autoconv import optimizers

    assert optimizers is ac.optim
    assert importlib.import_module("autoconv.optimizers") is ac.optim
    assert importlib.import_module("autoconv.optimizers.schedules") is ac.optim.schedules


@pytest.mark.parametrize("name", sorted(ac.__all__))
def test_every_public_name_is_there(name):
    assert getattr(ac, name) is not None


def test_modules_answer_under_the_names_of_version_0_1():
    with pytest.warns(DeprecationWarning, match=r"autoconv\.device is now autoconv\.kernels\.device"):
        assert ac.device.get("cpu").name == "cpu"
    with pytest.raises(AttributeError, match="no attribute 'devise'"):
        ac.devise  # noqa: B018


@pytest.mark.parametrize(("module", "name", "near"), [
    ("autoconv", "Sequental", "Sequential"), ("autoconv.layers", "Conv2d", "Conv2D"),
    ("autoconv.models", "Modle", "Model"), ("autoconv.callbacks", "Earlystopping", "EarlyStopping"),
    ("autoconv.losses", "SparseCrossentropy", "SparseCategoricalCrossentropy"), ("autoconv.optimizers", "adam", "Adam"),
    ("autoconv.datasets", "minst", "mnist"), ("autoconv.datasets.mnist", "loaddata", "load_data"),
    ("autoconv.optimizers.schedules", "Cosine", "CosineDecay"), ("autoconv.utils", "to_categoricl", "to_categorical"),
    ("autoconv.functional", "max_pool", "max_pool2d"), ("autoconv.pictures", "convolv", "convolve"),
])
def test_a_misspelt_name_is_answered_with_the_nearest_one(module, name, near):
    said = rf"'{module}'\. Did you mean '{near}'\? It has: .*{near}"
    with pytest.raises(ImportError, match=rf"cannot import name '{name}' from {said}"):
        exec(f"from {module} import {name}", {})
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'\. Did you mean '{near}'"):
        getattr(importlib.import_module(module), name)
    assert not hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", [m for m in map(ac.__dict__.get, ac.__all__) if inspect.ismodule(m)])
def test_every_public_module_says_what_it_has(module):
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'\..* It has: \w+"):
        module.nothing  # noqa: B018


def test_tensor_is_the_function_and_not_its_module():
    assert ac.tensor([1.0, 2.0]).shape == (2,)
    assert isinstance(ac.tensor(1.0), ac.Tensor)


def test_the_version_is_the_project_s():
    """The wheel has the version that stands in the package: there alone, on one line that hatchling reads."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    source = ROOT / settings["tool"]["hatch"]["version"]["path"]
    assert "version" in settings["project"]["dynamic"]
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+\w*)"$', source.read_text(), re.MULTILINE) == [ac.__version__]


INTERRUPTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def interrupted(tmp_path):
    """Runs Python with these arguments, with Ctrl-C at the import of a module: exit code, output, errors."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    paths = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))

    def run(at, *arguments):
        environment = {**os.environ, "PYTHONPATH": paths, "INTERRUPT_AT": at}
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


POSIX = pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")


@POSIX
@pytest.mark.parametrize("at", ["autoconv.random", "numpy", "autoconv.programs.cli.train", "click"])
def test_ctrl_c_while_the_command_line_starts_is_one_line(interrupted, at, tmp_path):
    script = tmp_path / "autoconv"  # as pip writes it
    script.write_text("from autoconv.programs.cli import main\nmain()\n")
    ways = [["-m", "autoconv"], [str(script)]] if at == "autoconv.random" else [["-P", "-m", "autoconv"]]
    for way in ways:
        assert interrupted(at, *way, "info") == (130, "", "Interrupted.\n")


@POSIX
@pytest.mark.parametrize("at", ["autoconv.engine.tensor", "autoconv.train.trainer"])
def test_an_interrupted_import_is_python_s_own_and_can_be_made_again(interrupted, at):
    code = """
try:
    import autoconv
except KeyboardInterrupt:
    import autoconv
    print(autoconv.tensor([1.0]).sum().item(), autoconv.Sequential.__name__)
"""
    assert interrupted(at, "-c", code) == (0, "1.0 Sequential\n", "")


@POSIX
def test_a_program_that_imports_autoconv_handles_ctrl_c_itself():
    code = ("import signal; before = signal.getsignal(signal.SIGINT); import autoconv.programs.cli; "
            "print(signal.getsignal(signal.SIGINT) is before is signal.default_int_handler)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


def test_a_python_without_its_lock_is_refused():
    code = "import sys; sys._is_gil_enabled = lambda: {}; import autoconv"
    done = subprocess.run([sys.executable, "-c", code.format("False")], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: autoconv needs Python's global interpreter lock. Rec")
    assert subprocess.run([sys.executable, "-c", code.format("True")]).returncode == 0
