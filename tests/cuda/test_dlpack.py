"""Arrays of other packages taken over, and ours handed to them, where they lie in memory. No GPU is needed.

What is a GPU's memory elsewhere is the host's here, so that what was handed over can be read.
"""

import ctypes
import gc
import weakref

import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, losses, metrics, models, ops
from autoconv.kernels import device
from autoconv.kernels.cuda import dlpack

BYTE_OFFSET_AT = {"dltensor": 40, "dltensor_versioned": 72}  # in the structure of a capsule of that name


class Owned(np.ndarray):
    """An array that a weak reference can point to."""


class Elsewhere:
    """Another package's array on GPU number 3; `newest` as with NumPy's argument `max_version`."""

    def __init__(self, array, newest=(1, 0), name=None):
        self.made = dlpack.make_capsule(array, (dlpack.CUDA, 3), newest)
        self.asked = []

    def __dlpack_device__(self):
        return dlpack.CUDA, 3

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.made


VERSIONS = pytest.mark.parametrize("newest", [None, (1, 0)], ids=["old", "versioned"])


@VERSIONS
def test_what_is_handed_over_is_the_same_memory(newest):
    host = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for array in (host, host[1:, ::2], host.T, host[:0], host[0, 0, ...]):
        taken, writeable = dlpack.stand_in(Elsewhere(array, newest), None)
        assert (taken.shape, taken.dtype, writeable) == (array.shape, array.dtype, True)
        assert array.size == 0 or (taken.strides, taken.ctypes.data) == (array.strides, array.ctypes.data)
        np.testing.assert_array_equal(taken, array)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "int64", "uint8", "bool"])
def test_dtypes(dtype):
    taken, _ = dlpack.stand_in(Elsewhere(np.ones(3, dtype)), None)
    assert taken.dtype == dtype


@VERSIONS
def test_an_offset_is_honoured(newest):
    producer = Elsewhere(np.arange(4.0)[:3], newest)
    name = "dltensor" if newest is None else "dltensor_versioned"
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    ctypes.c_uint64.from_address(pointer(producer.made, name.encode()) + BYTE_OFFSET_AT[name]).value = 8
    np.testing.assert_array_equal(dlpack.stand_in(producer, None)[0], [1, 2, 3])


@VERSIONS
def test_memory_lives_as_long_as_one_side_holds_it(newest):
    array = np.zeros(5).view(Owned)
    alive = weakref.ref(array)
    producer = Elsewhere(array, newest)
    del array
    taken, _ = dlpack.stand_in(producer, None)
    del producer
    gc.collect()
    assert alive() is not None
    del taken
    gc.collect()
    assert alive() is None


def test_a_capsule_that_nobody_takes_keeps_nothing_alive():
    array = np.zeros(5).view(Owned)
    alive = weakref.ref(array)
    made = dlpack.make_capsule(array, (dlpack.CUDA, 0), (1, 0))
    del array
    assert alive() is not None
    del made
    assert alive() is None


def test_a_capsule_is_taken_once():
    producer = Elsewhere(np.zeros(3))
    dlpack.stand_in(producer, None)
    with pytest.raises(BufferError, match="not been consumed yet"):
        dlpack.stand_in(producer, None)


def test_what_must_not_be_written_to_says_so():
    array = np.zeros(3)
    array.flags.writeable = False
    assert not dlpack.stand_in(Elsewhere(array), None)[1]


def test_the_stream_is_passed_on_also_to_a_package_that_knows_no_versions():
    producer = Elsewhere(np.zeros(3))
    dlpack.stand_in(producer, 77)
    assert producer.asked == [{"stream": 77, "max_version": (1, 0)}]

    class Old(Elsewhere):
        def __dlpack__(self, stream=None):
            return super().__dlpack__(stream=stream)

    producer = Old(np.zeros(3), None)
    dlpack.stand_in(producer, 78)
    assert producer.asked == [{"stream": 78}]


def test_others_see_the_device():
    """Torch reads the structure by its own header: it would not refuse if the device were elsewhere in it."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("it would take the host's memory for a GPU's")
    for newest in (None, (1, 0)):
        with pytest.raises((RuntimeError, BufferError, AssertionError), match=r"(?i)cuda"):
            torch.from_dlpack(dlpack.make_capsule(np.zeros(3), (dlpack.CUDA, 3), newest))
        assert torch.from_dlpack(dlpack.make_capsule(np.ones(3), (dlpack.CPU, 0), newest)).sum() == 3


# Tensors, on the CPU.


def test_numpy_takes_a_tensor_over():
    x = ac.tensor([[1.0, 2.0]])
    seen = np.from_dlpack(x)
    assert seen.ctypes.data == x.data.ctypes.data
    assert x.__dlpack_device__() == (1, 0)


def test_a_tensor_of_numpy_s_memory():
    host = np.arange(6.0).reshape(2, 3)
    x = ac.from_dlpack(host)
    assert (x.shape, x.dtype, x.device.name) == ((2, 3), np.float64, "cpu")
    host[0, 0] = 9
    assert x.numpy()[0, 0] == 9
    assert ac.tensor(host).numpy() is not host


def test_a_tensor_of_torch_s_memory_and_back():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6.0).reshape(2, 3)
    x = ac.from_dlpack(theirs)
    theirs[0, 0] = 9
    assert x.numpy()[0, 0] == 9
    again = torch.from_dlpack(x + 0)
    assert again.tolist() == theirs.tolist()
    x = ac.tensor([1.0, 2.0])
    torch.from_dlpack(x)[0] = 7
    assert x.numpy()[0] == 7


def test_torch_s_tensors_that_require_gradients_are_data_but_no_part_of_a_net():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6.0).reshape(2, 3).requires_grad_()
    model = models.Sequential([layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    weights = torch.ones(2, requires_grad=True)
    assert model.predict(theirs, verbose=0).tolist() == model.predict_on_batch(theirs).tolist() == [[3], [12]]
    assert model.evaluate([theirs], theirs[:, :1], sample_weight=weights, verbose=0) == (3**2 + 9**2) / 2
    assert metrics.MeanAbsoluteError()(theirs, theirs + 2).numpy() == 2
    model.set_weights([torch.ones(3, 1, requires_grad=True), torch.ones(1, requires_grad=True)])
    for call in (model, ops.relu, ac.tensor, ac.tensor(np.ones((2, 3))).__add__,
                 lambda x: losses.MeanSquaredError()(x, x)):
        with pytest.raises(TypeError, match=r"of type torch\.Tensor: .*Pass x\.detach\(\)"):
            call(theirs)


def test_what_kernels_cannot_take_is_copied():
    host = np.arange(6.0).reshape(2, 3)
    x = ac.from_dlpack(host.T)
    assert x.data.flags.c_contiguous
    np.testing.assert_array_equal(x.numpy(), host.T)
    host.flags.writeable = False
    x = ac.from_dlpack(host)
    assert x.data.flags.writeable
    np.testing.assert_array_equal(x.numpy(), host)


class Only:
    """What shows its items by DLPack alone."""

    def __init__(self, array, kind=1):
        self.array, self.kind = array, kind

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.kind, 0


def test_tensor_copies_what_shows_itself_by_dlpack():
    host = np.arange(3.0)
    x = ac.tensor(Only(host), requires_grad=True)
    host[0] = 9
    np.testing.assert_array_equal(x.numpy(), [0, 1, 2])
    assert x.dtype == np.float64


def test_pinned_memory_is_the_host_s():
    assert device.find_dlpack_device(Only(np.zeros(3), kind=3)).name == "cpu"


def test_what_cannot_be_taken_over_is_an_error():
    with pytest.raises(TypeError, match=r"__dlpack_device__. Received: list. Use tensor\(\)"):
        ac.from_dlpack([1.0])
    with pytest.raises(device.DeviceError, match="Received: DLPack device type 10"):  # ROCm
        ac.from_dlpack(Only(np.zeros(3), kind=10))


def test_memory_of_a_step_that_was_handed_over_is_not_used_again():
    pool = device.Pool()
    with device.reusing(pool):
        x = device.get("cpu").empty((7,), np.float32)
        x[...] = 3
        seen = np.from_dlpack(ac.Tensor(x))
        del x
        device.get("cpu").empty((7,), np.float32)[...] = 4
    assert set(seen.tolist()) == {3}
