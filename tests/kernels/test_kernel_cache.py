"""Kernels are compiled once a machine, and where they cannot be kept autoconv works all the same."""

import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from moved import checkout

from autoconv import functional as F
from autoconv import tensor
from autoconv.kernels import caching, device
from autoconv.kernels.cpu import jit
from autoconv.kernels.cpu.jit import CpuKernel, inline, kernel

pytestmark = pytest.mark.slow

SOAK = pytest.mark.soak

PREPARE = """
import sys, warnings
import numpy as np
from autoconv.kernels import device
from autoconv import functional as F
reports = []
{before}
two = ["pointwise.relu", "pointwise.relu_grad"]
wanted = [(k, dtype) for k, dtype in device.get("cpu").all_kernels(["float32"]) if k.name in two]
device.get("cpu").prepare(wanted, lambda done, total: reports.append(f"{{done}}/{{total}}"))
print(*reports, F.relu(np.float32([-1, 2])).tolist()[1])
"""


def prepare(folder, before="", cwd=None, env=os.environ):
    """What a fresh process reports while it makes the two ReLU kernels ready, and what they then compute."""
    environment = {**env, "AUTOCONV_CACHE_DIR": str(folder), "NUMBA_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", PREPARE.format(before=before)], cwd=cwd, env=environment,
                          capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder in which the two were compiled, by a process that reports so."""
    folder = tmp_path_factory.mktemp("kernels")
    assert prepare(folder).stdout.split() == ["0/2", "1/2", "2/2", "2.0"]
    return folder


@pytest.fixture
def filled(once, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(once, tmp_path, dirs_exist_ok=True))


def test_kernels_are_compiled_once(filled):
    assert prepare(filled).stdout.split() == ["2.0"]


def test_kernels_travel(once, tmp_path):
    """To a machine where the package lies in another folder, with other dates."""
    shutil.copytree(once, tmp_path / "brought along")
    done = prepare(tmp_path / "brought along", "print(F.__file__)", **checkout(tmp_path / "elsewhere"))
    assert done.stdout.split() == [str(tmp_path / "elsewhere" / "autoconv" / "functional" / "__init__.py"), "2.0"]


def test_when_and_where_python_was_built_decides_nothing(monkeypatch):
    before = jit.source_hash()
    monkeypatch.setattr(sys, "version", f"{sys.version} of another day")
    assert jit.source_hash() == before


@pytest.mark.parametrize("python", ["'/nowhere/python'", "'/bin/false'"])
def test_without_processes_they_are_compiled_here(tmp_path, python):
    done = prepare(tmp_path, f"sys.executable = {python}")
    assert done.stdout.split()[-1] == "2.0"
    assert "Error" not in done.stderr  # Python 3.14's multiprocessing may grumble about such a sys.executable
    assert prepare(tmp_path).stdout.split() == ["2.0"]


def test_a_function_begins_to_compile_what_it_and_its_gradients_take_for_each_new_shape(monkeypatch):
    asked = []
    monkeypatch.setattr(device.CpuDevice, "begin", lambda _, missing: asked.append({k.name for k, _ in missing}))
    monkeypatch.setattr(CpuKernel, "is_compiled", lambda *_: False)
    for size, channels in [(9, 5), (9, 5), (23, 32)]:
        x, w = np.zeros((2, size, size, channels), np.float32), np.zeros((3, 3, channels, 32), np.float32)
        F.conv2d(x, tensor(w, requires_grad=True))
    few, many = asked
    assert {"conv._forward", "conv._weight_gradient"} <= few
    assert {"winograd._forward", "winograd_grad._kernel_gradient"} <= many


SOFTMAX = """
import hashlib
import numpy as np
from autoconv import functional as F
x = np.random.default_rng(0).normal(size=(70, 70)).astype("float32")
print(hashlib.sha256(F.softmax(x).numpy().tobytes()).hexdigest())
"""


def test_a_kernel_that_was_just_compiled_and_one_from_the_cache_give_the_same_bits(tmp_path):
    environment = {**os.environ, "AUTOCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    found = [subprocess.run([sys.executable, "-c", SOFTMAX], env=environment, capture_output=True, check=True).stdout
             for _ in range(2)]
    assert found[0] == found[1]


OTHERS_USE_NUMBA_TOO = """
import numba
import numpy as np
from autoconv import functional as F
F.relu(np.float32([-1, 2]))
@numba.njit(cache=False)
def root(a):
    return np.sqrt(a).sum()
print(root(np.array([4.0, 9.0])))
"""


def test_numba_compiles_other_functions_after_a_kernel_was_loaded(tmp_path):
    environment = {**os.environ, "AUTOCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", OTHERS_USE_NUMBA_TOO], env=environment, capture_output=True,
                              text=True, check=True)
        assert done.stdout == "5.0\n"


def test_a_helper_that_a_kernel_calls_can_be_called_from_python_as_well():
    @numba.njit
    def half(a):
        return a / 2

    @numba.njit
    def checked(a):
        if a < 0:
            raise ValueError("negative")
        return half(a)

    @kernel("(T[::1], T[::1])")
    def halve(x, y):
        for i in range(x.size):
            y[i] = checked(x[i])

    x, y = np.float32([2, 4, 6]), np.empty(3, np.float32)
    halve(x, y)
    np.testing.assert_array_equal(y, x / 2)
    assert checked(x[0]) == half(x[0]) == 1
    assert half(7) == 3.5
    with pytest.raises(ValueError, match="negative"):
        halve(-x, y)
    with pytest.raises(ValueError, match="negative"):
        checked(-x[0])


def test_a_folder_that_cannot_be_written_is_noted_and_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = prepare(tmp_path / "file")
    assert done.stdout.split() == ["0/2", "1/2", "2/2", "2.0"]
    assert "cannot be written" in done.stderr
    assert "AUTOCONV_CACHE_DIR" in done.stderr


def test_other_sources_have_another_folder(filled):
    changed = "from autoconv.kernels.cpu import jit; jit.source_hash = lambda: 'x'"
    prepare(filled, f"{changed}; jit.cache_folder.cache_clear()")
    assert len(list(filled.glob("kernels-*"))) == 2


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=SOAK)])
def test_no_damaged_file_is_used(count, tmp_path):
    draw, path, other = random.Random(0), tmp_path / "relu.kernel", tmp_path / "tanh.kernel"
    caching.write(path, draw.randbytes(1000))
    caching.write(other, draw.randbytes(1000))
    sound = path.read_bytes()
    assert caching.read(path) == sound[caching.DIGEST:]
    ways = (lambda: sound[: draw.randrange(len(sound))], lambda: flipped(sound, draw.randrange(len(sound))),
            lambda: b"", lambda: draw.randbytes(len(sound)), lambda: sound + b"x", other.read_bytes)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        for i in range(count):
            path.write_bytes(ways[i % len(ways)]())
            assert caching.read(path) is None
            assert not path.exists()
    assert [str(path) in str(note.message) for note in notes] == [True]  # it is said once


EXCHANGED = """
import os
from pathlib import Path
folder, = Path(os.environ["AUTOCONV_CACHE_DIR"]).glob("kernels-*")
one, two = sorted(folder.glob("*.kernel"))
contents = one.read_bytes(), two.read_bytes()
one.write_bytes(contents[1])
two.write_bytes(contents[0])
"""


@SOAK
def test_the_file_of_another_kernel_is_not_used(filled):
    done = prepare(filled, EXCHANGED)
    assert done.stdout.split() == ["2.0"]
    assert done.stderr.count(f"The compiled kernel {filled}") == 1


def test_processes_that_fill_an_empty_cache_at_once(tmp_path):
    environment = {**os.environ, "AUTOCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    several = [subprocess.Popen([sys.executable, "-c", PREPARE.format(before="sys.executable = '/bin/false'")],
                                env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].split()[-1] for process in several] == ["2.0"] * 2
    assert all(caching.read(path) for path in kept(tmp_path))
    assert list(tmp_path.glob("kernels-*/.*")) == []


NETWORK = """
import errno, os
from autoconv.files import atomic
sys.executable = "/bin/false"
def replace(source, target):
    raise OSError(errno.{name}, os.strerror(errno.{name}))
atomic.os.replace = replace
"""


@pytest.mark.parametrize("name", ["ESTALE", pytest.param("EXDEV", marks=SOAK), pytest.param("EBUSY", marks=SOAK)])
def test_a_network_s_folder_where_files_cannot_be_renamed(name, tmp_path):
    done = prepare(tmp_path, NETWORK.format(name=name))
    assert done.stdout.split()[-1] == "2.0"
    assert done.stderr.count(f"The cache folder {tmp_path}") == 1
    assert list(tmp_path.glob("kernels-*/*")) == []


VANISHING = """
import errno, os
from autoconv.kernels import caching
sys.executable = "/bin/false"
def read_bytes(path):
    raise OSError(errno.{name}, os.strerror(errno.{name}))
read, caching.Path.read_bytes = caching.Path.read_bytes, lambda p: (read_bytes if p.suffix == ".kernel" else read)(p)
"""


@SOAK
@pytest.mark.parametrize("name", ["ENOENT", "ESTALE", "EIO"])
def test_files_that_vanish_before_they_are_read_are_compiled_anew(name, filled):
    done = prepare(filled, VANISHING.format(name=name))
    assert done.stdout.split() == ["2.0"]
    assert prepare(filled).stdout.split() == ["2.0"]


@pytest.mark.parametrize("damage", [lambda d: flipped(d, 0), lambda d: flipped(d, len(d) // 2),
                                    lambda d: flipped(d, len(d) - 1), lambda d: d[: len(d) // 2], lambda d: b""])
def test_damaged_kernels_are_compiled_anew_with_a_note(damage, filled):
    for path in kept(filled):
        path.write_bytes(damage(path.read_bytes()))
    done = prepare(filled)
    assert done.stdout.split() == ["2.0"]
    assert done.stderr.count(f"The compiled kernel {filled}") == 1
    assert all(caching.read(path) for path in kept(filled))
    done = prepare(filled)
    assert (done.stdout.split(), done.stderr) == (["2.0"], "")


def kept(folder):
    paths = list(folder.glob("kernels-*/*.kernel"))
    assert len(paths) == 2
    return paths


FULL = """
from autoconv.files import atomic
import errno, os
def full(part, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
atomic.Path.write_bytes = full
sys.executable = "/bin/false"
"""


def test_a_full_disk_is_noted_once_and_does_no_harm(tmp_path):
    done = prepare(tmp_path, FULL)
    assert done.stdout.split()[-1] == "2.0"
    assert done.stderr.count(f"The cache folder {tmp_path}") == 1
    assert "cannot be written (No space left on device)" in done.stderr
    assert [path.name for path in tmp_path.glob("kernels-*/.*")] == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a small disk")
@pytest.mark.parametrize("free", [4096, 0])
def test_a_small_disk_that_is_full(free, tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (tmp_path / "other").write_bytes(bytes((1 << 20) - free))
        done = prepare(tmp_path)
        assert done.stdout.split() == ["0/2", "1/2", "2/2", "2.0"]
        assert done.stderr.count(f"The cache folder {tmp_path}") == 1
        assert "cannot be written (No space left on device)" in done.stderr
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_helper_that_counts_no_references_can_return_no_array():
    @inline
    def tail(x):
        return x[1:], 1

    @kernel("(T[::1], int64)")
    def first_of_tail(x, count):
        x[0] = tail(x)[0][0] + count

    with pytest.raises(TypeError, match=r"must have the decorator @allocating\. tail has the decorator @inline"):
        first_of_tail(np.zeros(3, np.float32), 1)


@pytest.mark.parametrize("statement", ["F.relu(np.ones(3))", "device.get('cpu').prepare(device.get('cpu').all_kernels("
                                       "['float32']), print)"])
def test_numba_without_its_compiler_is_refused(statement, tmp_path):
    code = f"import numpy as np\nfrom autoconv import functional as F\nfrom autoconv.kernels import device\n{statement}"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "AUTOCONV_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode
    assert done.stderr.splitlines()[-1].endswith("Received: NUMBA_DISABLE_JIT=1. Unset this environment variable "
                                                  "before Python starts.")
