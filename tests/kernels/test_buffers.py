"""Memory that steps use again: never while anybody holds an array in it, and always when nobody does."""

import contextvars
import copy
import ctypes
import gc
import pickle
import queue
import threading
import tracemalloc
from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest

import autoconv as ac
from autoconv import callbacks, datasets, layers, models, utils
from autoconv.kernels import device
from autoconv.kernels.device import ALIGNMENT, Pool, reusing

CPU = device.get("cpu")
SHAPE = (6, 8, 10)
NUMBERS = np.arange(480, dtype=np.float32).reshape(SHAPE)


class Subclass(np.ndarray):
    pass


class Interface:
    """Somebody else's array that shows another one's memory."""

    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


def closure(a):
    return lambda: a


def generator(a):
    def values():
        yield
        yield a.copy()

    running = values()
    next(running)
    return running


def bound_method(a):
    return a.tolist


def other_thread(a):
    """A thread that holds the array until it is asked for it."""
    asked, answered = queue.SimpleQueue(), queue.SimpleQueue()

    def hold(array):
        asked.get()
        answered.put(array)

    thread = threading.Thread(target=hold, args=(a,), daemon=True)
    thread.start()

    def answer():
        asked.put(None)
        thread.join()
        return answered.get()

    return answer


def traceback_(a):
    def fail(array):
        raise ValueError

    try:
        fail(a)
    except ValueError as error:
        return error.__traceback__.tb_next


def cycle(a):
    knot = [a]
    knot.append(knot)
    return knot


def context(a):
    held = contextvars.ContextVar("held")
    here = contextvars.copy_context()
    here.run(held.set, a)
    return here, held


def out_of_band(a):
    buffers = []
    pickled = pickle.dumps(a, protocol=5, buffer_callback=buffers.append)
    return pickled, buffers


def torch_of(name):
    def take(a):
        return getattr(pytest.importorskip("torch"), name)(a)

    return take


def root(a):
    """The last of an array's bases, as somebody finds it who looks for the owner."""
    while getattr(a, "base", None) is not None:
        a = a.base
    return a


def same(held):
    return held


HOLDERS = {  # how somebody holds an array, and how its values are read from that
    "array": (same, same),
    "slice": (lambda a: a[2:, ::3], lambda v: (v, NUMBERS[2:, ::3])),
    "view of a view": (lambda a: a[1:][:, 2:][::-1], lambda v: (v, NUMBERS[1:][:, 2:][::-1])),
    "reshape": (lambda a: a.reshape(48, 10), same),
    "T": (lambda a: a.T, lambda v: v.T),
    "ravel": (np.ravel, same),
    "one item": (lambda a: a[1, 2, 3:4], lambda v: (v, NUMBERS[1, 2, 3:4])),
    "other dtype": (lambda a: a.view(np.uint8), lambda v: v.view(np.float32)),
    "broadcast": (lambda a: np.broadcast_to(a, (2, *SHAPE)), lambda v: v[1]),
    "strides": (lambda a: np.lib.stride_tricks.sliding_window_view(a, 1, 0), same),
    "diagonal": (lambda a: np.diagonal(a), lambda v: (v, np.diagonal(NUMBERS))),
    "real": (lambda a: a.real, same),
    "subclass": (lambda a: a.view(Subclass), same),
    "subclass's view": (lambda a: a.view(Subclass)[::1][...], same),
    "masked": (lambda a: np.ma.array(a, copy=False), lambda v: v.data),
    "recarray": (lambda a: a.view([("x", np.float32)]).view(np.recarray), lambda v: v.x),
    "memmap-like": (lambda a: np.ndarray(SHAPE, np.float32, buffer=a), same),
    "memoryview": (memoryview, same),
    "memoryview's slice": (lambda a: memoryview(a)[1:], lambda v: (np.asarray(v), NUMBERS[1:])),
    "memoryview's cast": (lambda a: memoryview(a).cast("B"), lambda v: np.frombuffer(v, np.float32)),
    "frombuffer": (lambda a: np.frombuffer(a, np.float32), same),
    "frombuffer of a memoryview": (lambda a: np.frombuffer(memoryview(a)[1:], np.float32),
                                   lambda v: (v, NUMBERS[1:].ravel())),
    "ctypes": (lambda a: (ctypes.c_float * 480).from_buffer(a), np.ctypeslib.as_array),
    "array interface": (lambda a: np.asarray(Interface(a)), same),
    "data": (lambda a: a.data, same),
    "flat": (lambda a: a.flat, lambda v: v.copy()),
    "nditer": (lambda a: np.nditer(a), lambda v: v.operands[0]),
    "rows": (lambda a: list(a), same),
    "iterator": (lambda a: iter(a), lambda v: list(v)),
    "root": (root, lambda v: np.frombuffer(v, np.float32)[:480]),
    "root's array": (lambda a: np.asarray(root(a)), lambda v: v.view(np.float32)[:480]),
    "root's memoryview": (lambda a: memoryview(root(a))[4:], lambda v: (np.frombuffer(v, np.float32)[:479],
                                                                         NUMBERS.ravel()[1:])),
    "DLPack": (np.from_dlpack, same),
    "DLPack's view": (lambda a: np.from_dlpack(a)[3:], lambda v: (v, NUMBERS[3:])),
    "DLPack's capsule": (lambda a: a.__dlpack__(), lambda v: np.from_dlpack(Capsule(v))),
    "torch.from_numpy": (torch_of("from_numpy"), lambda v: v.numpy()),
    "torch view": (lambda a: torch_of("from_numpy")(a)[2:].permute(2, 1, 0), lambda v: (v.numpy(), NUMBERS[2:].T)),
    "torch.from_dlpack": (torch_of("from_dlpack"), lambda v: v.numpy()),
    "torch.asarray": (torch_of("asarray"), lambda v: v.numpy()),
    "tensor": (ac.Tensor, lambda v: v.numpy()),
    "from_dlpack of a tensor": (lambda a: np.from_dlpack(ac.Tensor(a)), same),
    "closure": (closure, lambda f: f()),
    "generator": (generator, next),
    "bound method": (bound_method, lambda f: f()),
    "default": (lambda a: lambda b=a: b, lambda f: f()),
    "thread": (other_thread, lambda answer: answer()),
    "traceback": (traceback_, lambda tb: tb.tb_frame.f_locals["array"]),
    "cycle": (cycle, lambda knot: knot[0]),
    "object array": (lambda a: np.array([a, None], object), lambda v: v[0]),
    "context variable": (context, lambda held: held[0][held[1]]),
    "out-of-band pickle": (out_of_band, lambda held: pickle.loads(held[0], buffers=held[1])),
}


class Capsule:
    """What DLPack's capsule of the host's memory comes from."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return 1, 0


def place(array):
    return array.__array_interface__["data"][0]


def numbers(pool):
    with reusing(pool):
        array = CPU.empty(SHAPE, np.float32)
    array[...] = NUMBERS
    return array


def asked(pool, count, shape=SHAPE, dtype=np.float32):
    """Where the arrays of a step lie that holds so many of them at once, and writes to all."""
    with reusing(pool):
        arrays = [CPU.empty(shape, dtype) for _ in range(count)]
    for array in arrays:
        array[...] = 77
    return [place(array) for array in arrays]


@pytest.mark.parametrize("name", HOLDERS)
def test_what_somebody_holds_is_not_written_to(name):
    hold, read = HOLDERS[name]
    pool = Pool()
    array = numbers(pool)
    there, held = place(array), hold(array)
    del array
    for _ in range(3):
        assert there not in asked(pool, 5)
    found = read(held)
    found, expected = found if isinstance(found, tuple) else (found, NUMBERS)
    np.testing.assert_array_equal(np.asarray(found).reshape(np.shape(expected)), expected)
    del held, found, expected
    if name == "cycle":
        gc.collect()
    assert there in asked(pool, 6)  # at once


def test_an_array_that_is_dropped_gives_its_memory_back_at_once():
    pool, places = Pool(), []
    gc.disable()
    try:
        for _ in range(4):
            places.append(place(numbers(pool)))
    finally:
        gc.enable()
    assert len(set(places)) == 1


class Collected:
    """An object in a cycle that comes back to life when it is collected, with all that it holds."""

    saved: ClassVar[list] = []

    def __init__(self, held):
        self.held, self.itself = held, self

    def __del__(self):
        Collected.saved.append(self)


@pytest.mark.parametrize("what", [same, root, lambda a: memoryview(root(a))], ids=["array", "owner", "memoryview"])
def test_what_comes_back_to_life_was_not_given_away(what):
    pool = Pool()
    array = numbers(pool)
    there = place(array)
    Collected(what(array))
    del array
    gc.collect()
    saved = Collected.saved.pop()
    assert there not in asked(pool, 5)
    np.testing.assert_array_equal(np.frombuffer(saved.held, np.float32)[:480], NUMBERS.ravel())
    saved.itself = None


def new_memory(run):
    """The bytes that Python and NumPy asked for at most while it ran, beyond what they had."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_from_the_second_step_on_nothing_new_is_asked_for():
    pool, size = Pool(), 1 << 20

    def step():
        with reusing(pool):
            first = CPU.empty((size,), np.uint8)
            second = CPU.empty((size // 4,), np.float32)
            del first
            return second, CPU.empty((4, size // 4), np.uint8), CPU.empty((2 * size,), np.uint8)

    assert new_memory(step) > 4 * size
    for _ in range(3):
        assert new_memory(step) < size // 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.uint8, bool, np.dtype("f4")])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (5, 3, 11), (np.int64(4), 4)])
def test_arrays_are_as_kernels_take_them(shape, dtype):
    with reusing(Pool()):
        for _ in range(2):
            array = CPU.empty(shape, dtype)
            assert type(array) is np.ndarray
            assert (array.shape, array.dtype) == (shape, dtype)
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.flags.aligned
            assert place(array) % ALIGNMENT == 0
            array[...] = 1
            assert array.sum() == array.size
            array = array[..., None]  # a view alone holds it


def test_memory_serves_any_shape_and_dtype_of_its_size():
    pool = Pool()
    there = asked(pool, 1, (40,), np.float32)
    for shape, dtype in [((20,), np.float64), ((4, 10), np.int32), ((160,), np.uint8), ((129,), np.uint8)]:
        assert asked(pool, 1, shape, dtype) == there  # 129 bytes take as many lines of 64 as 160


def test_arrays_of_a_step_do_not_overlap():
    pool, rng = Pool(), np.random.default_rng(0)
    held = {}
    with reusing(pool):
        for number in range(2000):
            if held and rng.random() < 0.48:
                key = list(held)[int(rng.integers(len(held)))]
                assert (held.pop(key) == key).all()
            else:
                held[number] = CPU.empty((int(rng.integers(1, 200)),), np.float64)
                held[number][...] = number
    for number, array in held.items():
        assert (array == number).all()


def test_other_threads_hold_and_drop_arrays_while_python_collects():
    """Each thread fills arrays, hands some to another one, and finds in all of them what was written."""
    pool, handed, failed = Pool(), queue.SimpleQueue(), []
    threshold = gc.get_threshold()

    def work(thread):
        held = []
        with reusing(pool):
            for i in range(600):
                value = thread * 1000 + i
                array = CPU.empty((i % 5 * 64 + 8,), np.float64)
                array[...] = value
                held.append((value, array[1:]))
                if i % 3 == 0:
                    handed.put((value, memoryview(array)))
                if i % 4 == 0:
                    cycle(array)  # for the collector
                if len(held) > 20:
                    held.pop(i % 20)
                with suppress(queue.Empty):  # another thread may have taken the last one
                    value, array = handed.get_nowait()
                    failed.extend([value] * (set(array) != {value}))
                failed.extend(value for value, array in held if (array != value).any())

    gc.set_threshold(20)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*threshold)
    assert not failed


def test_idle_memory_goes_with_its_pool():
    tracemalloc.start()
    try:
        pool = Pool()
        with reusing(pool):
            kept, idle = CPU.empty((1 << 20,), np.uint8), [CPU.empty((1 << 20,), np.uint8) for _ in range(4)]
        kept[...] = 3
        del idle
        assert tracemalloc.get_traced_memory()[0] > 5 << 20
        del pool
        gc.collect()
        assert 1 << 20 < tracemalloc.get_traced_memory()[0] < 2 << 20
        assert (kept == 3).all()
        del kept
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


def test_steps_whose_shapes_change_do_not_fill_a_pool():
    pool = Pool()

    def steps():
        for i in range(200):
            with reusing(pool):
                CPU.empty((100_000 + 64 * i,), np.uint8)

    assert new_memory(steps) < 25 * 120_000


def test_a_size_that_comes_back_every_few_steps_stays():
    """Whole batches, and what is left at an epoch's end."""
    pool, rest = Pool(), []
    for _ in range(3):
        asked(pool, 100, (10,))
        for _ in range(10):
            asked(pool, 1)
        rest.append(asked(pool, 3, (5000,)))
    assert set(rest[0]) == set(rest[1]) == set(rest[2])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda pool: pickle.loads(pickle.dumps(pool))],
                         ids=["copy", "deepcopy", "pickle"])
def test_a_copy_of_a_pool_shares_nothing_with_it(copied):
    pool = Pool()
    asked(pool, 3)
    mine, other = numbers(pool), copied(pool)
    assert not {place(mine), *asked(pool, 3)} & set(asked(other, 4))
    np.testing.assert_array_equal(mine, NUMBERS)


def test_after_too_large_an_array_all_goes_on():
    pool = Pool()
    with reusing(pool), pytest.raises(MemoryError):
        CPU.empty((2**61,), np.uint8)
    assert len(set(asked(pool, 3))) == 3


# Trainings.


class Keeper(layers.Layer):
    """A layer of the user's that keeps every third array that it sees, or a view of it, and what it held then."""

    def __init__(self):
        super().__init__()
        self.kept, self.seen = [], 0

    def call(self, x, training=False):
        array, self.seen = x.detach().numpy(), self.seen + 1
        if self.seen % 3 == 0:
            held = (array, array[1:].T, memoryview(array))[self.seen % 9 // 3]
            self.kept.append((held, np.array(held)))
        return x


def trained(kind, keeping, epochs=3):
    """A history, and the arrays that the net's own layers and a callback kept, with copies from that time."""
    utils.set_random_seed(0)
    middle = {"dropout": lambda: [layers.Dropout(0.3)], "batch normalization": lambda: [layers.BatchNormalization()],
              "both": lambda: [layers.BatchNormalization(), layers.Dropout(0.3)]}[kind]()
    keepers = [Keeper() for _ in range(3)] if keeping else []
    # With a bias of 0 the images' black parts lie where a ReLU begins: there rounding decides what learns.
    convolution = layers.Conv2D(4, 3, activation="relu", bias_initializer="ones")
    model = models.Sequential([
        layers.Input((28, 28, 1)), convolution, *keepers[:1], layers.MaxPooling2D(),
        *middle, *keepers[1:2], layers.Flatten(), layers.Dense(10), *keepers[2:], layers.Softmax(),
    ])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    (x, y), _ = datasets.digits.load_data()
    x, y, answers = x[:320, ..., None] / np.float32(255), y[:320], []

    class Asks(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            answer = self.model.predict_on_batch(x[:8])
            answers.append((answer[:, 1:], answer[:, 1:].copy()))

    history = model.fit(x, y, 32, epochs, verbose=0, shuffle=False, callbacks=[Asks()] if keeping else [])
    return history.history, [pair for keeper in keepers for pair in keeper.kept] + answers


@pytest.mark.parametrize("kind", ["dropout", "batch normalization", "both"])
def test_a_training_overwrites_nothing_that_was_kept(kind):
    history, kept = trained(kind, keeping=True)
    assert len(kept) > 50
    for held, then in kept:
        np.testing.assert_array_equal(np.asarray(held), then)
    plain, _ = trained(kind, keeping=False)
    assert history["loss"] == pytest.approx(plain["loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["dropout", "batch normalization"])
def test_a_training_takes_no_more_memory_the_longer_it_is(kind):
    trained(kind, keeping=False, epochs=1)  # imports, kernels
    short, long = (new_memory(lambda epochs=epochs: trained(kind, keeping=False, epochs=epochs)) for epochs in (1, 6))
    assert long - short < 400_000  # a step's activations are 3 MB
