"""Devices by name, the sentences that say why a GPU cannot be used, and the twins of the kernels. No GPU is needed."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import autoconv
from autoconv import initializers
from autoconv.kernels import device, trace
from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.cuda import driver, libraries
from autoconv.kernels.formulas import elementwise, updates
from autoconv.kernels.kernel import find_kernels

PACKAGE = Path(autoconv.__file__).parent
NO_DEVICE = 100  # the driver's error code

# The files of kernels that the CPU and the GPU both have.
KERNEL_MODULES = sorted(set.intersection(*({path.stem for path in (PACKAGE / "kernels" / folder).glob("*.py")}
                                  for folder in ("cpu", "cuda"))) - {"__init__", "compiling"})


class Driver:
    """An NVIDIA driver with these GPUs: (name, major, minor, GiB of memory) each."""

    def __init__(self, *gpus, cuda=13000):
        self.gpus, self.cuda = gpus, cuda

    def cuDriverGetVersion(self, out):  # noqa: N802 (the driver's names)
        out._obj.value = self.cuda

    def cuDeviceGetCount(self, out):  # noqa: N802
        out._obj.value = len(self.gpus)

    def cuDeviceGet(self, out, index):  # noqa: N802
        out._obj.value = index + 100

    def cuDeviceGetAttribute(self, out, attribute, gpu):  # noqa: N802
        out._obj.value = self.gpus[gpu - 100][{75: 1, 76: 2}[attribute]]

    def cuDeviceGetName(self, out, size, gpu):  # noqa: N802
        out.value = self.gpus[gpu - 100][0].encode()

    def cuDeviceTotalMem_v2(self, out, gpu):  # noqa: N802
        out._obj.value = self.gpus[gpu - 100][3] << 30

    def cuPointerGetAttribute(self, out, attribute, address):  # noqa: N802
        out._obj.value = {9: address.value >> 40}[attribute]


H200, T4, P100 = ("NVIDIA H200", 9, 0, 140), ("Tesla T4", 7, 5, 16), ("Tesla P100", 6, 0, 16)


@pytest.fixture
def machine(monkeypatch):
    """Makes a machine with this driver, or without one (None), and with the package or not."""
    def made(library, installed=True, toolkit=13, missing=None):
        monkeypatch.setattr(driver, "library", lambda: library)
        monkeypatch.setattr(driver, "is_installed", lambda: installed)
        monkeypatch.setattr(driver, "installed_version", lambda package: "0.30.4")
        monkeypatch.setattr(driver, "toolkit", lambda: toolkit)
        monkeypatch.setattr(libraries, "missing_part", lambda: missing)
        monkeypatch.setattr(device_cuda, "_opened", {})

    return made


@pytest.mark.parametrize(("library", "options", "index", "said"), [
    (None, {"installed": False}, 0, r"numba-cuda is not installed.*pip install 'autoconv\[cuda\]'"),
    (None, {}, 0, "no NVIDIA driver was found.*Install"),
    (NO_DEVICE, {}, 0, "driver finds no GPU.*nvidia-smi"),
    (Driver(), {}, 0, "driver finds no GPU.*nvidia-smi"),
    (803, {}, 0, "does not start .error 803.*restart"),
    (Driver(H200, cuda=12080), {}, 0, r"driver is too old: it runs CUDA 12\.8, and CUDA 13\.0.*numba-cuda\[cu12\]"),
    (Driver(H200), {"missing": "nvvm"}, 0, r"CUDA's compiler \(nvvm\).*pip install 'autoconv\[cuda\]'"),
    (Driver(H200), {"missing": "nvvm"}, 0, r"Set CUDA_HOME to .* toolkit that has nvvm/libdevice"),
    (Driver(H200), {"missing": "nvrtc"}, 0,
     r"compiler \(nvrtc\) is missing\. Install it with pip install 'autoconv\[cuda\]'"),
    (Driver(P100), {}, 0, r"Tesla P100 is too old: it has compute capability 6\.0, and 7\.5 is needed"),
    (Driver(H200, P100), {}, 1, "Tesla P100 is too old"),
    (Driver(H200, T4), {}, 2, "no GPU number 2: the driver finds 2. Use 'cuda:0'..'cuda:1'"),
], ids=["package", "driver", "gpu", "none", "error", "old driver", "compiler", "no toolkit", "no part", "old gpu",
        "old second", "number"])
def test_each_reason_has_its_own_sentence(machine, library, options, index, said):
    machine(library, **options)
    name = f"cuda:{index}" if index else "cuda"
    with pytest.raises(device.DeviceError, match=f"(?s)^Device '{name}' cannot be used: .*{said}.*device='cpu'"):
        device.get(name)
    if index == 0:
        assert not device_cuda.usable()


@pytest.mark.parametrize("gpu", [H200, T4])
def test_a_gpu_that_can_be_used(machine, monkeypatch, gpu):
    machine(Driver(gpu))
    assert device_cuda.usable()
    facts = device_cuda.describe(0)
    assert facts == {"name": gpu[0], "compute_capability": f"{gpu[1]}.{gpu[2]}", "memory": f"{gpu[3]}.0 GiB",
                     "driver": "for CUDA 13.0", "numba-cuda": "0.30.4"}
    opened = SimpleNamespace(name="cuda")
    monkeypatch.setattr(device_cuda, "_opened", {0: opened})
    assert device.get("cuda") is device.get("cuda:0") is opened
    assert device.get("auto") is device.get("cpu")  # a GPU is not taken unasked


def test_info_shows_each_gpu(machine):
    collect = importlib.import_module("autoconv.programs.cli.info").collect
    machine(Driver(H200, P100))
    facts = collect()
    assert facts["device_cuda"] == ("NVIDIA H200, compute capability 9.0, memory 140.0 GiB, driver for CUDA 13.0, "
                                    "numba-cuda 0.30.4")
    assert facts["device_cuda:1"].startswith("no: Device 'cuda:1' cannot be used: Tesla P100 is too old")
    machine(Driver(P100, T4))  # nor does the first one hide the second
    facts = collect()
    assert facts["device_cuda"].startswith("no: Device 'cuda' cannot be used: Tesla P100")
    assert facts["device_cuda:1"].startswith("Tesla T4, compute capability 7.5, memory 16.0 GiB")
    machine(None)
    assert "no NVIDIA driver was found" in collect()["device_cuda"]
    machine(None, installed=False)
    assert "cuda" not in collect()


def test_the_versions_of_all_that_compiles(machine, monkeypatch):
    monkeypatch.setattr(libraries, "load_library", {"nvvm": SimpleNamespace(abs_path="/x/libnvvm.so")}.get)
    monkeypatch.setenv("CUDA_HOME", "/x")
    machine(Driver(H200))
    names = ["numba", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder"]
    assert device_cuda.versions() == {**dict.fromkeys(names, "0.30.4"), "driver": "for CUDA 13.0", "nvrtc": None,
                                      "nvjitlink": None, "nvvm": "/x/libnvvm.so", "toolkit": "/x"}
    machine(NO_DEVICE)
    assert device_cuda.versions()["driver"] is None
    monkeypatch.delenv("CUDA_HOME")
    assert "toolkit" not in device_cuda.versions()
    machine(None, installed=False)
    assert device_cuda.versions() == {}


# Two GPUs, whose arrays are the host's.


class Array:
    def __init__(self, gpu, values):
        self.gpu, self.values = gpu, np.array(values)
        self.shape, self.dtype, self.contiguous = self.values.shape, self.values.dtype, True

    def numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.fixture
def two_gpus(machine, monkeypatch):
    machine(Driver(H200, T4))
    modules = {"array": SimpleNamespace(Array=Array, put=Array, move=lambda gpu, a: Array(gpu, a.values)),
             "runtime": SimpleNamespace(gpu=lambda index: SimpleNamespace(index=index))}
    monkeypatch.setattr(device_cuda.CudaDevice, "module", lambda self, name: modules[name])


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_is_a_device_of_its_own():
    first, second = device.get("cuda"), device.get("cuda:1")
    assert (first.name, second.name, second.index) == ("cuda", "cuda:1", 1)
    assert second is device.get("cuda:1") is not first
    assert device.get("cuda:0") is first
    assert autoconv.tensor([1.0], device="cuda:1").data.gpu.index == 1


@pytest.mark.usefixtures("two_gpus")
def test_a_tensor_moves_between_gpus():
    here = autoconv.tensor([1.0, 2.0], requires_grad=True, device="cuda")
    there = here.to("cuda:1")
    assert (there.device.name, there.data.gpu.index, there.requires_grad) == ("cuda:1", 1, True)
    assert there.numpy().tolist() == [1, 2]
    assert there.to("cuda:1") is there
    assert autoconv.tensor(here.detach(), device="cuda:1").data.gpu.index == 1


@pytest.mark.usefixtures("two_gpus")
def test_tensors_of_two_gpus_do_not_mix():
    here, there = (autoconv.tensor([1.0], device=name) for name in ("cuda", "cuda:1"))
    with pytest.raises(device.DeviceError, match=r"Received: tensors on cuda:1 and cuda\. "
                                                 r"Move one of them with .to\('cuda:1'\)"):
        there + here


def test_whose_memory_it_is(machine):
    """An address does not fit into a C int."""
    machine(Driver(H200, T4))
    assert [driver.find_gpu(address) for address in (7 << 32, (1 << 40) + 5)] == [0, 1]


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "gpu", ""])
def test_a_name_that_means_nothing(name):
    with pytest.raises(ValueError, match=r"'auto', 'cpu', 'cuda' or 'cuda:N'\. Received"):
        device.get(name)


def test_asking_for_the_best_device_imports_no_numba():
    code = ("import sys\nfrom autoconv.kernels import device\ndevice.get('auto')\n"
            "print(*sorted(m.partition('.')[0] for m in sys.modules))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()).isdisjoint({"numba", "cuda", "numba_cuda"})
    assert not run.stderr


# The twins. Their sources are read, not imported: the GPU's need a package that may not be here.


def functions(folder, module):
    """The public functions of a file of kernels, with their parameters and defaults: its own, those that it makes from
    a table of formulas, and those that it re-exports from another file.
    """
    source = (PACKAGE / "kernels" / folder / f"{module}.py").read_text()
    found = from_table(module)
    found |= {node.name: parameters(node.args) for node in ast.parse(source).body
              if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in found}
    for file, names in re.findall(r"^from \.(\w+) import ([\w, ]+?)  # noqa: F401 \(re-exported", source, re.M):
        theirs = functions(folder, file)
        found.update({name: theirs[name] for name in names.split(", ")})
    return found


TABLES = {"arith": elementwise.ARITHMETIC,
          "pointwise": {**elementwise.ACTIVATIONS, **elementwise.with_sigmoid(elementwise.sigmoid)},
          "update": {rule.name: rule.formula for rule in updates.RULES}}


def from_table(module):
    """The functions that both twins make from a table of formulas: with a formula's parameters."""
    return {name: ", ".join(inspect.signature(f).parameters) for name, f in TABLES.get(module, {}).items()}


def parameters(arguments):
    """A signature without its types, such as "x, w, b, y, relu=False"."""
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(arguments)


def called():
    """What is called as `k.name`, wherever kernels are called: the names that a twin must have."""
    names = set()
    folders = ("operators", "functional", "optimizers", "train", "metrics")
    for path in (*(path for folder in folders for path in (PACKAGE / folder).glob("*.py")),
                 PACKAGE / "random.py", PACKAGE / "engine" / "tensor.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # a metric names its kernel
                names.add(node.value)
    return names


@pytest.mark.parametrize("module", KERNEL_MODULES)
def test_twins_have_the_same_functions_with_the_same_parameters(module):
    used, cpu, cuda = called(), functions("cpu", module), functions("cuda", module)
    used -= {"plan", "transpose", "normal"}  # only for the CPU, which also draws initial weights
    of_cpu, of_cuda = ({name: parameters for name, parameters in twin.items() if name in used}
                       for twin in (cpu, cuda))
    assert of_cpu
    assert of_cuda == of_cpu


def test_every_kernel_is_found_in_the_file_that_its_name_says():
    """A process that compiles a kernel knows only its name."""
    files = {path.stem: importlib.import_module(f"autoconv.kernels.cpu.{path.stem}")
             for path in (PACKAGE / "kernels" / "cpu").glob("*.py")}
    for file in files.values():
        for name, kernel in find_kernels(file).items():
            assert find_kernels(files[name.partition(".")[0]])[name] is kernel


def test_a_dry_run_draws_weights():
    """Its kernels do not run, so nothing may wait for what they compute."""
    with trace.DryRun().record():
        assert initializers.HeNormal()((100, 10)).shape == (100, 10)


def test_every_file_of_kernels_that_is_asked_for_has_a_twin():
    asked = {name for path in PACKAGE.rglob("*.py") for name in re.findall(
        r"""(?:\.kernels\(|kernels=)"(\w+)\"""", path.read_text())}
    assert {"conv", "step", "arith"} <= asked <= set(KERNEL_MODULES)


def test_the_sources_were_read_right():
    """What Python says of the CPU's functions is what reading them said. Those of a table are there."""
    made = {name for module in TABLES for name in from_table(module)}
    for name_of_module in KERNEL_MODULES:
        module = importlib.import_module(f"autoconv.kernels.cpu.{name_of_module}")
        for name, read in functions("cpu", name_of_module).items():
            found = getattr(module, name)
            if inspect.isfunction(found) and name not in made:
                bare = [p.replace(annotation=inspect.Parameter.empty)
                        for p in inspect.signature(found).parameters.values()]
                assert ", ".join(map(str, bare)) == read
