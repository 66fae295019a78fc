"""How we call NVIDIA's driver, by ctypes and by cuda-bindings: the functions, the number of arguments and their types
are those that cuda-bindings declares. ctypes itself would pass anything.
"""

import ast
import ctypes
import inspect
import re
from pathlib import Path

import pytest

from autoconv.kernels.cuda import driver

if not driver.is_installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

from cuda.bindings import driver as bindings

NAME = re.compile(r"\bcu[A-Z]\w+")
BITS_64 = {"size_t", "CUdeviceptr", "cuuint64_t"}
INTEGERS = {"int": ctypes.c_int, "CUdevice": ctypes.c_int, "size_t": ctypes.c_size_t, "char": ctypes.c_char}


def declared():
    """The driver's functions as cuda-bindings declares them: by the name of the symbol, the types of the parameters."""
    found = {}
    for file in Path(bindings.__file__).parent.rglob("*driver.pxd"):
        for name, parameters in re.findall(r"cdef CUresult _?(cu\w+)\((.*?)\) (?:except|nogil)", file.read_text()):
            types = [p.strip() for p in parameters.split(",") if p.strip()]
            found.setdefault(name, [re.sub(r"\s*\w+$", "", t).removeprefix("const ") for t in types])
    return found


class Recorder:
    """A library that notes how its functions are called."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, arguments))
            return 0

        return call


@pytest.fixture
def calls(monkeypatch):
    """What all functions of driver.py ask of the driver."""
    recorder = Recorder()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: recorder)
    opened = inspect.unwrap(driver.library)()
    monkeypatch.setattr(driver, "library", lambda: opened)
    for _, function in inspect.getmembers(driver, inspect.isfunction):
        if NAME.search(inspect.getsource(function)) and function.__module__ == driver.__name__:
            function(*[0] * len(inspect.signature(function).parameters))
    assert {name for name, _ in recorder.calls} == set(NAME.findall(inspect.getsource(driver)))
    return recorder.calls


def fits(argument, type_):
    """Whether ctypes passes this as the C type that is declared."""
    if type_.endswith("*"):
        pointed = getattr(argument, "_obj", None)  # of byref
        if pointed is None:
            pointed = argument._type_() if isinstance(argument, ctypes.Array) else None
        wanted = INTEGERS.get(type_.removesuffix("*").strip())
        return pointed is not None and (wanted is None or type(pointed) is wanted)
    if type_ in BITS_64:
        return isinstance(argument, ctypes._SimpleCData) and ctypes.sizeof(argument) == 8
    return isinstance(argument, int)  # 32 bits: what ctypes makes of a number


def test_calls_by_ctypes(calls):
    known = declared()
    assert len(known) > 400
    for name, arguments in calls:
        assert name in known, f"cuda-bindings declares no {name}"
        assert len(arguments) == len(known[name]), (name, known[name])
        for argument, type_ in zip(arguments, known[name]):
            assert fits(argument, type_), (name, argument, type_)


def test_numbers_by_ctypes(calls):
    """What is asked of a GPU and of an address, by the driver's own numbers."""
    asked = {name: {a for _, arguments in calls if _ == name for a in arguments if isinstance(a, int)}
             for name in ("cuDeviceGetAttribute", "cuPointerGetAttribute")}
    gpu, address = bindings.CUdevice_attribute, bindings.CUpointer_attribute
    assert asked["cuDeviceGetAttribute"] - {0} == {
        int(gpu.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), int(gpu.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)}
    assert asked["cuPointerGetAttribute"] == {int(address.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)}


def test_a_wrong_call_is_seen():
    known = declared()["cuDeviceTotalMem_v2"]
    assert not fits(ctypes.byref(ctypes.c_int()), known[0])
    assert fits(ctypes.byref(ctypes.c_size_t()), known[0])
    assert not fits(5, declared()["cuPointerGetAttribute"][2])


def named(node):
    """The function of the driver's bindings that a call names, if it does."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and NAME.fullmatch(node.func.attr):
        return node.func.attr
    return None


def test_calls_by_bindings():
    """As many arguments as the bindings take; where some come as *numbers, no more than those."""
    files = [path.read_text(encoding="utf-8") for path in Path(driver.__file__).parent.glob("*.py")]
    found = [node for text in files if "from cuda.bindings import driver" in text for node in ast.walk(ast.parse(text))
             if named(node)]
    assert {"cuGraphLaunch", "cuMemcpyPeerAsync"} <= set(map(named, found))
    for node in found:
        function = getattr(bindings, named(node))
        taken = re.search(r"\((.*?)\)", function.__doc__.splitlines()[0])[1]
        taken = [p for p in taken.split(",") if p.strip()]
        optional = sum("=" in p for p in taken)
        given = len(node.args) + len(node.keywords)
        starred = any(isinstance(a, ast.Starred) for a in node.args)
        assert given <= len(taken), (named(node), taken)
        assert starred or given >= len(taken) - optional, (named(node), taken)
