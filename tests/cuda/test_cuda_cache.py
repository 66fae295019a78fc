"""The GPU's kernels are compiled once a machine, by a process a core. Up to the launch no GPU is needed for that."""

import importlib.util
import os
import subprocess
import sys

import pytest
from moved import checkout

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

# Where this process must compile itself, the driver would load the kernel at once: here that is left out.
PREPARE = """
import sys
import numpy as np
from autoconv.kernels.cuda import internals, pointwise, store
from autoconv.kernels.cuda import kernels as launching
internals.cuda.dispatcher._Kernel.bind = lambda kernel: kernel.library.get_cubin()
{before}
kernels, reports = [pointwise.KERNELS[name] for name in ("relu", "relu_grad")], []
with internals.pretend_capability({capability}):
    wanted = [(k, np.dtype("float32")) for k in kernels]
    launching.prepare(wanted, lambda done, total: reports.append(f"{{done}}/{{total}}"))
    for kernel in kernels:
        made = kernel._dispatcher.overloads[kernel.types("float32")]
        assert bytes(made.library.get_cubin().code)[:4] == bytes([127]) + b"ELF"
        assert made.argument_types == kernel.types("float32")
print(*reports, sum(sum(k._dispatcher._cache_hits.values()) for k in kernels), store.describe()["cache_state"])
"""

# In each process, the compiling ones too: numba-cuda's kernels can no longer be pickled.
NOTHING_KEPT = """
import sys
class Loader:
    def find_spec(self, name, path, target=None):
        if name == "autoconv.kernels.cuda.runtime":
            from autoconv.kernels.cuda import internals
            del internals._dispatcher._Kernel._reduce_states
sys.meta_path.insert(0, Loader())
"""


def prepare(folder, before="", capability=(8, 0), cwd=None, env=os.environ):
    """What a fresh process says while it makes the two ReLU kernels ready for a GPU that it takes for present."""
    return subprocess.run([sys.executable, "-c", PREPARE.format(before=before, capability=capability)], cwd=cwd,
                          env={**env, "AUTOCONV_CACHE_DIR": str(folder)}, capture_output=True, text=True, check=True)


def kept(folder):
    return sorted(path.name for path in folder.glob("kernels-cuda-*/*"))


def test_kernels_are_compiled_once(tmp_path):
    # Two were compiled by other processes, loaded by this one, and are in the folder.
    assert prepare(tmp_path).stdout.split()[:6] == ["0/2", "1/2", "2/2", "2", "2", "kernels,"]
    names = kept(tmp_path)
    assert [name.partition("-")[0] for name in names] == ["pointwise._relu", "pointwise._relu_grad"]
    assert all(name.endswith(".sm_80.kernel") for name in names)
    assert prepare(tmp_path).stdout.split()[:3] == ["2", "2", "kernels,"]


def test_each_generation_of_gpus_has_its_own(tmp_path):
    prepare(tmp_path)
    assert prepare(tmp_path, capability=(9, 0)).stdout.split()[:3] == ["0/2", "1/2", "2/2"]
    assert [name.split(".")[-2] for name in kept(tmp_path)] == ["sm_80", "sm_90a"] * 2


def test_kernels_travel(tmp_path):
    """To a machine where the package lies in another folder, with other dates."""
    prepare(tmp_path / "kernels")
    (tmp_path / "kernels").rename(tmp_path / "brought along")
    there = checkout(tmp_path / "elsewhere")
    done = prepare(tmp_path / "brought along", "print(pointwise.__file__)", **there)
    assert done.stdout.split()[0] == str(tmp_path / "elsewhere" / "autoconv" / "kernels" / "cuda" / "pointwise.py")
    assert done.stdout.split()[1:4] == ["2", "2", "kernels,"]


def test_a_version_that_cannot_keep_kernels_compiles_them_here(tmp_path):
    """Other processes are no help then, and are not waited for."""
    (tmp_path / "sitecustomize.py").write_text(NOTHING_KEPT)
    done = prepare(tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert done.stdout.split() == ["0/2", "0", "empty"]
    assert not done.stderr
    assert not kept(tmp_path)


def test_without_processes_they_are_compiled_here(tmp_path):
    done = prepare(tmp_path, "sys.executable = '/nowhere/python'")
    assert done.stdout.split()[:3] == ["0/2", "0", "2"]
    assert not done.stderr
    assert prepare(tmp_path).stdout.split()[:2] == ["2", "2"]


def test_damaged_kernels_are_compiled_anew_with_a_note(tmp_path):
    prepare(tmp_path)
    one, other = sorted(tmp_path.glob("kernels-cuda-*/*"))
    other.write_bytes(one.read_bytes())  # another kernel's
    one.write_bytes(one.read_bytes()[:-1] + b"x")
    done = prepare(tmp_path)
    assert done.stdout.split()[0] == "0"  # none of them was loaded
    assert done.stderr.count(f"The compiled kernel {tmp_path}") == 1
    assert prepare(tmp_path).stdout.split()[0] == "2"


def test_a_folder_that_cannot_be_written_is_noted_and_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = prepare(tmp_path / "file")
    assert done.stdout.split() == ["0/2", "1/2", "2/2", "0", "not", "writable"]
    assert "AUTOCONV_CACHE_DIR" in done.stderr


def test_other_sources_have_another_folder(tmp_path):
    prepare(tmp_path)
    prepare(tmp_path, "store.source_hash = lambda: 'x'; store.folder.cache_clear()")
    assert len(list(tmp_path.glob("kernels-cuda-*"))) == 2


def test_a_kernel_of_other_sources_is_not_kept(tmp_path):
    done = prepare(tmp_path, """
@launching.kernel("(int64, T[::1])")
def relu(count, a):
    for i in range(internals.cuda.grid(1), count, internals.cuda.gridsize(1)):
        a[i] = 0
with internals.pretend_capability((8, 0)):
    relu.compile("float32")
""")
    assert len(kept(tmp_path)) == 2
    assert done.returncode == 0
