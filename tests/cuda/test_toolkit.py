"""CUDA's compiler in a toolkit instead of wheels, as in images made for PyTorch: found by itself, or by CUDA_HOME."""

import ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoconv.kernels.cuda import libraries

REPOSITORY = Path(__file__).resolve().parents[2]


class Machine:
    """A machine where cuda-pathfinder finds these parts in wheels, in `prefix`, and what is loaded from a toolkit."""

    def __init__(self, prefix, *wheels):
        self.found = {part: prefix / "lib" / "site-packages" / "nvidia" / "cu13" / "lib" / f"lib{part}.so"
                      for part in wheels}
        if "nvvm" in wheels:
            put(self.found["nvvm"].parents[1] / libraries.LIBDEVICE)

    def loaded(self, part):
        return SimpleNamespace(abs_path=str(self.found[part])) if part in self.found else None

    def load(self, path, mode):
        self.found[Path(path).name.removeprefix("lib").partition(".")[0]] = Path(path)


def put(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def toolkit(folder, *, nvvm="nvvm/lib64/libnvvm.so.4", nvrtc=None):
    put(folder / libraries.LIBDEVICE, *(folder / part for part in (nvvm, nvrtc) if part))
    return folder


@pytest.fixture
def missing(monkeypatch, tmp_path):
    """What is missing on a machine, whose system has toolkits in `tmp_path` alone."""
    def asked(*wheels, home=None):
        machine = Machine(tmp_path / "env", *wheels)
        monkeypatch.setattr(libraries, "load_library", machine.loaded)
        monkeypatch.setattr(ctypes, "CDLL", machine.load)
        for name in libraries.VARIABLES:
            monkeypatch.delenv(name, raising=False)
        if home is not None:
            monkeypatch.setenv("CUDA_HOME", str(home))
        return libraries.missing_part.__wrapped__()

    monkeypatch.setattr(libraries, "PLACES", (str(tmp_path / "cuda"), str(tmp_path / "cuda-*")))
    monkeypatch.setattr(libraries, "DEFAULT", str(tmp_path / "cuda"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(os, "environ", dict(os.environ))  # what is set stays here
    return asked


def test_wheels_suffice(missing, tmp_path):
    toolkit(tmp_path / "cuda")
    assert missing("nvrtc", "nvvm") is None
    assert libraries.variable() is None


@pytest.mark.parametrize("nvvm", ["nvvm/lib64/libnvvm.so.4", "lib/libnvvm.so.4"])
def test_a_toolkit_that_has_what_the_wheels_lack(missing, tmp_path, nvvm):
    toolkit(tmp_path / "cuda", nvvm=nvvm)
    assert missing("nvrtc") is None
    assert os.environ["CUDA_HOME"] == str(tmp_path / "cuda")


def test_a_toolkit_alone(missing, tmp_path):
    toolkit(tmp_path / "cuda", nvrtc="lib64/libnvrtc.so.13")
    assert missing() is None


def test_the_newest_toolkit_is_taken(missing, tmp_path):
    for version in ("12.8", "13.0", "9.2"):
        toolkit(tmp_path / f"cuda-{version}")
    put(tmp_path / "cuda-13.1" / "lib64" / "libcudart.so")  # one for running programs alone
    assert missing("nvrtc") is None
    assert os.environ["CUDA_HOME"] == str(tmp_path / "cuda-13.0")


def test_the_toolkit_of_the_nvcc_on_the_path_comes_first(missing, tmp_path):
    toolkit(tmp_path / "cuda")
    put(toolkit(tmp_path / "opt" / "13") / "bin" / "nvcc")
    (tmp_path / "opt" / "13" / "bin" / "nvcc").chmod(0o755)
    (tmp_path / "bin").symlink_to(tmp_path / "opt" / "13" / "bin")
    assert missing("nvrtc") is None
    assert os.environ["CUDA_HOME"] == str(tmp_path / "opt" / "13")


def test_what_cuda_home_names_is_taken_and_nothing_else(missing, tmp_path):
    toolkit(tmp_path / "cuda")
    mine = toolkit(tmp_path / "mine", nvvm="lib/libnvvm.so.4")
    assert missing("nvrtc", home=mine) is None
    assert missing("nvrtc", home=tmp_path / "nothing") == "nvvm"
    assert libraries.remedy("nvvm").startswith(f"CUDA_HOME is {str(tmp_path / 'nothing')!r}, and no such part")


def test_no_toolkit_has_it(missing, tmp_path):
    put(tmp_path / "cuda" / "lib64" / "libnvrtc.so.13", tmp_path / "cuda" / "nvvm" / "lib64" / "libnvvm.so.4")
    assert missing("nvrtc") == "nvvm"  # nor is one without libdevice of any use
    assert libraries.variable() is None
    assert libraries.remedy("nvvm").startswith("Set CUDA_HOME to the folder of a CUDA toolkit that has nvvm/libdevice/")
    assert missing() == "nvrtc"
    assert "CUDA_HOME" not in libraries.remedy("nvrtc")


def test_a_toolkit_that_the_system_s_linker_knows(missing, tmp_path, monkeypatch):
    """numba-cuda finds NVVM there, but looks for libdevice by CUDA_HOME."""
    elsewhere = toolkit(tmp_path / "elsewhere")
    monkeypatch.setattr(Machine, "loaded", lambda machine, part: SimpleNamespace(
        abs_path=str(elsewhere / "nvvm" / "lib64" / f"lib{part}.so.4")))
    assert missing() is None
    assert os.environ["CUDA_HOME"] == str(elsewhere)


# The real thing: an environment as such an image has it. It takes some minutes, and PyPI.

WHEELS = ("numba-cuda", "nvidia-cuda-nvrtc==13.0.*", "nvidia-nvjitlink==13.0.*", "nvidia-cuda-runtime==13.0.*",
          "numpy<2.5")  # numba-cuda without its extra `cu13`
TESTS = ("tests/cuda/test_cuda_cache.py", "tests/cuda/test_cubin.py", "-k", "not assembles or pointwise")

# Files that are no libraries: what the system has under these names is not found behind them.
HIDING = ("libnvvm.so", "libnvvm.so.4", "libcudart.so", "libcudart.so.12", "libcudart.so.13")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An environment without NVVM, and a toolkit that has it: (the environment's Python, the toolkit's folder)."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"

    def pip(*words):
        subprocess.run([python, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"], check=True)

    pip("install", *WHEELS, str(REPOSITORY), "pytest", "pytest-benchmark", "pytest-timeout")
    pip("uninstall", "--yes", "autoconv")  # the tests use the checkout
    pip("download", "--no-deps", "--dest", str(folder), "nvidia-nvvm==13.0.*")
    with zipfile.ZipFile(next(folder.glob("nvidia_nvvm*.whl"))) as wheel:
        wheel.extractall(folder)
    made, unpacked = folder / "toolkit", folder / "nvidia" / "cu13"
    shutil.copytree(unpacked / "nvvm", made / "nvvm")
    shutil.copytree(unpacked / "lib", made / "nvvm" / "lib64")
    put(made / "bin" / "nvcc")
    (made / "bin" / "nvcc").chmod(0o755)
    (folder / "no toolkit").mkdir()
    for name in HIDING:
        (folder / "no toolkit" / name).write_text("no library")
    return python, made


def within(image, *command, **settings):
    """Runs a command of Python in the environment, which sees no toolkit but the one of the settings."""
    python, made = image
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA", "PYTHON", "AUTOCONV"))}
    own = {"PYTHONPATH": str(REPOSITORY), "AUTOCONV_CACHE_DIR": str(made.parent / "cache"),
           "LD_LIBRARY_PATH": str(made.parent / "no toolkit")}
    return subprocess.run([python, *command], cwd=REPOSITORY, env={**kept, **own, **settings}, capture_output=True,
                          text=True)


ASKED = ("-c", "from autoconv.kernels.cuda import libraries\nlibraries.PLACES = libraries.PLACES[2:]\n"
         "print(libraries.missing_part(), libraries.variable())")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("by", ["nvcc", "CUDA_HOME"])
def test_an_image_with_nvvm_in_a_toolkit_alone(image, by):
    _, made = image
    settings = {"PATH": f"{made / 'bin'}:{os.environ['PATH']}"} if by == "nvcc" else {"CUDA_HOME": str(made)}
    assert within(image, *ASKED).stdout.split() == ["nvvm", "None"]
    assert within(image, *ASKED, **settings).stdout.split() == ["None", "CUDA_HOME"]
    done = within(image, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, **settings)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "failed" not in done.stdout
    assert "skipped" not in done.stdout
