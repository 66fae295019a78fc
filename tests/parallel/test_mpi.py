"""Processes of MPI that train together: as one process on whole batches, and with one end where one of them ends."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autoconv.kernels.cuda import driver

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "mpi_program.py"
MPIEXEC = shutil.which(os.environ.get("MPIEXEC", "mpiexec"),  # MPIEXEC=mpiexec.openmpi runs all of it on another MPI
                       path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
OF_OPEN_MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
SHARED = ["trains", "normalizes", "synchronizes", "reads_photos", "calls_back", "begins", "goes_on"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec")]


def run(ranks, folder, *cases, module=("-m", "mpi4py")):
    """The program in so many processes; in one without mpiexec. Returns its exit code, output, and seconds."""
    before = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    env = {**os.environ, **OF_OPEN_MPI, "NUMBA_NUM_THREADS": "1", **({"AUTOCONV_TEST_RANKS": "1"} if before else {})}
    begun = time.monotonic()
    done = subprocess.run([*before, sys.executable, *(module if before else ()), PROGRAM, folder,
                           *cases], env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begun


def found(folder, case, rank=0):
    return json.loads((folder / f"{case}-{rank}.json").read_text())


def weights(folder, case, rank=0):
    return np.load(folder / f"{case}-{rank}.npy")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    code, text, _ = run(1, folder, *SHARED)
    assert code == 0, text
    return folder


@pytest.fixture(scope="module", params=[2, 4])
def together(request, tmp_path_factory):
    """The number of ranks, and the folder of what they found."""
    folder = tmp_path_factory.mktemp(f"ranks-{request.param}")
    code, text, _ = run(request.param, folder, "sums", "differs", "compresses", *SHARED)
    assert code == 0, text
    return request.param, folder


def test_sums_are_added_in_the_order_of_ranks(together):
    size, folder = together
    for rank in range(size):
        seen = found(folder, "sums", rank)
        assert all(seen["right"])
        assert seen["mean"] == [[[(1 + size) / 2] * 3] * 2, [size - 1.0] * 4]
        assert seen["sum"] == [sum(range(i, i + size)) for i in range(3)]
        assert (seen["exchanged"], seen["told"]) == (size - 1, ["of", 0])


@pytest.mark.parametrize("case", [each for each in SHARED if each != "normalizes"])
def test_ranks_train_as_one_process_does(case, together, alone):
    size, folder = together
    for rank in range(size):
        np.testing.assert_allclose(weights(folder, case, rank), weights(alone, case), rtol=0, atol=1e-10)
        one, of_rank = found(alone, case), found(folder, case, rank)
        for name in {"history", "tested", "asked", "one", "rate"} & set(one):
            pairs = [(one[name], of_rank[name])] if name != "history" else [
                (one[name][key], of_rank[name][key]) for key in one[name]]
            for a, b in pairs:
                np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12, err_msg=name)
    if case == "reads_photos":
        seen = [found(folder, case, rank) for rank in range(size)]
        assert [each["reports"].count("07.png") for each in seen] == [2] + [0] * (size - 1)  # of each data set
        assert max(each["decoded"] for each in seen) <= found(alone, case)["decoded"] / size * 1.3 + 20
    assert case != "calls_back" or found(folder, case, 1)["calls"] == []  # they are called on rank 0 alone
    assert case != "calls_back" or len(found(folder, case)["calls"]) == len(found(alone, case)["calls"])


@pytest.mark.parametrize("case", [*SHARED, "compresses"])
def test_all_ranks_hold_the_same_bits(case, together):
    size, folder = together
    first = weights(folder, case)
    assert np.isfinite(first).all()
    assert all(np.array_equal(first, weights(folder, case, rank)) for rank in range(1, size))


def test_the_same_number_of_ranks_gives_the_same_bits(together, tmp_path):
    size, folder = together
    assert run(size, tmp_path, "trains")[0] == 0
    assert np.array_equal(weights(folder, "trains"), weights(tmp_path, "trains"))


def test_another_number_of_ranks_goes_on(together, alone, tmp_path):
    _, folder = together
    shutil.copytree(folder / "states", tmp_path / "states")
    code, text, _ = run(1, tmp_path, "goes_on")
    assert code == 0, text
    np.testing.assert_allclose(weights(tmp_path, "goes_on"), weights(alone, "goes_on"), rtol=0, atol=1e-12)
    losses = [found(where, "goes_on")["history"]["loss"] for where in (tmp_path, alone)]
    np.testing.assert_allclose(*losses, rtol=1e-10)


@pytest.mark.skipif(not driver.is_installed(), reason="numba-cuda is not installed: pip install 'autoconv[cuda]'")
def test_a_gpu_s_gradients_go_through_the_host(tmp_path):
    code, text, _ = run(2, tmp_path, "on_gpu")
    assert code == 0, text
    assert found(tmp_path, "on_gpu")["apart"] < 1e-5
    assert np.array_equal(weights(tmp_path, "on_gpu"), weights(tmp_path, "on_gpu", 1))


def test_ranks_that_do_not_train_the_same_say_which(together):
    size, folder = together
    for rank in range(size):
        said = found(folder, "differs", rank)["said"]
        for text, name in zip(said, ["data.checksum", "batch_size", "epochs", "learning_rate"], strict=True):
            assert name in text
            assert f"Rank {size - 1} has" in text


@pytest.mark.parametrize("module", [("-m", "mpi4py"), ()], ids=["-m mpi4py", "plain"])
@pytest.mark.parametrize(("case", "says"), [("fails", "No space left on this rank"), ("dies", ""),
                                            ("hangs", "for 1 seconds. Check whether a process has stopped.")])
def test_where_one_rank_ends_all_end(case, says, module, tmp_path):
    code, text, seconds = run(2, tmp_path, case, module=module)
    assert code != 0
    assert says in text
    assert seconds < 60  # beside other tests; it takes some seconds


def test_one_process_alone_is_told_how_to_start_more(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI", "SLURM"))}
    done = subprocess.run([sys.executable, "-c", "from autoconv import parallel; parallel.MPI()"], env=kept,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "RuntimeError: Only one process is running" in done.stderr
    assert "mpiexec -n 4 python -m mpi4py" in done.stderr
