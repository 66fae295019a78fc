"""What is used of numba-cuda beyond its documented names: a version without one of them serves. No GPU is needed."""

import importlib
import importlib.util
import re

import pytest

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

internals = importlib.import_module("autoconv.kernels.cuda.internals")
RELU = importlib.import_module("autoconv.kernels.cuda.assembly").kernels()["pointwise._relu"]


def test_a_version_without_targets_of_one_generation(monkeypatch):
    library = importlib.import_module("numba.cuda.codegen").CUDACodeLibrary
    assert internals.target.__wrapped__((9, 0)) == (9, 0, "a")
    assert internals.target.__wrapped__((8, 6)) == (8, 6)
    monkeypatch.delattr(library, "_ensure_cc")
    assert internals.target.__wrapped__((9, 0)) == (9, 0)


def test_a_version_without_kernels_apart_from_their_dispatcher(monkeypatch):
    """PTX then comes of the function that is documented for it."""
    monkeypatch.delattr(internals._dispatcher, "_Kernel")
    texts = internals.ptx(RELU.function, RELU.types("float32"), {}, [(8, 0), (9, 0, "a")])
    assert [text.partition(".target ")[2].split()[0] for text in texts] == ["sm_80", "sm_90a"]
    with pytest.raises(AttributeError), internals.pretend_capability((8, 0)):  # a compiler gives up: see prepare
        internals.compile_kernel(RELU.function, RELU.types("float32"), {})


def test_numba_s_part_of_the_work_is_kept_for_all_targets():
    """What is loaded needs no function any more, and becomes what a fresh one would."""
    kept, targets = [], [(8, 0), (9, 0, "a")]
    internals.ptx(RELU.function, RELU.types("float32"), {}, targets[:1], save=kept.append)
    loaded = internals.ptx(None, (), {}, targets, load=kept.pop, save=kept.append)
    fresh = internals.ptx(RELU.function, RELU.types("float32"), {}, targets)
    for given, expected, target in zip(loaded, fresh, ("sm_80", "sm_90a")):
        instructions = [re.findall(r"^\t([a-z@][^\[;\n]+)", text, re.M) for text in (given, expected)]
        assert len(instructions[0]) > 10
        assert instructions[0] == instructions[1]
        assert f".target {target}\n" in given
    assert not kept


def test_what_an_interrupt_may_leave_held_is_known():
    """The locks that numba-cuda compiles under: `Kernel.compile` gives them back."""
    assert internals.COMPILER_LOCKS
    with importlib.import_module("numba.cuda.core.compiler_lock").global_compiler_lock:
        assert all(lock._is_owned() for lock in internals.COMPILER_LOCKS)
    assert not any(lock._is_owned() for lock in internals.COMPILER_LOCKS)


def test_a_version_that_asks_for_the_gpu_elsewhere(monkeypatch):
    """Our own questions are answered all the same."""
    monkeypatch.delattr(internals._dispatcher, "get_current_device")
    with internals.pretend_capability((7, 5)):
        assert internals.capability() == (7, 5)
    assert not hasattr(internals._dispatcher, "get_current_device")


@pytest.mark.parametrize("data", [b"", b"cnumba.cuda.dispatcher\nNothing\n.", b"cnumba.cuda.nowhere\nKernel\n."])
def test_a_kernel_in_another_form_is_compiled(data):
    assert internals.restore_kernel(data) is None


def test_a_module_that_has_moved_is_found_and_one_that_is_gone_is_named():
    assert internals._first("numba.cuda.nowhere", "numba.core.types").__name__ == "numba.core.types"
    with pytest.raises(ImportError, match=r"of the modules numba\.cuda\.nowhere, .*pip install 'autoconv\[cuda\]'"):
        internals._first("numba.cuda.nowhere", "numba.cuda.neither")
