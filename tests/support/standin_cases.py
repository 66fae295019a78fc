"""What test_standin.py has processes do that find the stand-in for a driver: `python standin_cases.py [warm]`.

It reads lines of JSON, the name of a case and its arguments, and answers each with a line: {"result": ...}, or
{"error": ...}. Each case runs in a copy of the process, which has imported everything; a warm one has trained, too.
"""

import gc
import json
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from itertools import pairwise

import numpy as np
from autoconv.tensor import tensor
from cases import CASES, Case

from autoconv import callbacks, layers, models, optimizers, utils
from ptx import standin
from ptx.device import interpreted

LIMIT = 100  # seconds of a case
STEPS = 21  # three one by one, of which the first is recorded and the last captured; then two series of eight, and two
KINDS = ("streams", "events", "graphs", "graph execs")
OPS = ("conv2d", "relu", "softmax")  # the first case of each


# Trainings.


def convolutional():
    return models.Sequential([
        layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
        layers.Dropout(0.3), layers.Dense(3, "softmax")])


def dense():
    return models.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, "softmax")])


def trained(make=convolutional, steps=STEPS):
    """What comes out of a training, as numbers."""
    utils.set_random_seed(1)
    model = make().to("cuda")
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(0)
    x, y = random.normal(size=(4 * steps, 8, 8, 1)).astype(np.float32), random.integers(0, 3, 4 * steps)
    history = model.fit(x, y, batch_size=4, epochs=1, verbose=0).history
    return [history, [w.tolist() for w in model.get_weights()], model.predict(x[:6], verbose=0).tolist()]


def trains(driver):
    """As on the device that runs the same PTX without a driver."""
    before = driver.called()
    result = trained()
    gc.collect()
    calls = {name: count - before.get(name, 0) for name, count in driver.called().items()}
    alive = [driver.alive(kind) for kind in KINDS]
    with interpreted():
        expected = trained()
    return {"same": result == expected, "calls": calls, "alive": alive}


def computes(driver, op):
    """The value of an op and its gradients, as on that device."""
    case = next(case for case in CASES if case.op == op)
    there = _gradients(case)
    with interpreted():
        expected = _gradients(case)
    return all(np.array_equal(a, b) for a, b in zip(there, expected, strict=True))


def _gradients(case: Case):
    inputs = [None if a is None else tensor(a, True, device="cuda") for a in case.inputs("float32")]
    y = case.call(*inputs, **case.parameters)
    y.backward(np.ones(y.shape, np.float32))
    return [y.numpy(), *(t.grad.numpy() for t in inputs if t is not None)]


# What fails.


def _said(call, *arguments):
    """What a user is told: the error, warnings, or nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error = call(*arguments), ""
        except Exception as raised:
            result, error = None, f"{type(raised).__name__}: {raised}"
    return result, error, [str(w.message) for w in caught]


def every_call_fails(driver, code):
    """Each function that a training calls fails once, at its first call and amid the others; kernels do nothing."""
    driver.idle = True
    before = driver.called()
    trained(dense, 4)
    calls = {name: count - before[name] for name, count in driver.called().items() if count > before[name]}
    del calls["kernel"]
    found = []
    for name, nth in sorted({(name, nth) for name, count in calls.items() for nth in (1, count // 2 + 1)}):
        alive = [driver.alive(kind) for kind in KINDS]
        driver.fail(name, code, nth)
        _, error, warned = _said(trained, dense, 4)
        _, later, _ = _said(trained, dense, 4)
        gc.collect()
        left = [driver.alive(kind) - was for kind, was in zip(KINDS, alive)]
        found.append({"call": name, "nth": nth, "error": error, "warned": warned, "later": later, "left": left})
    return found


def a_capture_fails(driver, call, nth):
    """Then launches go one by one, and give the same."""
    expected = trained(dense, 4)
    driver.fail(call, 901, nth)
    result, error, warned = _said(trained, dense, 4)
    return result == expected, error, warned


def a_kernel_fails(driver, part, code):
    """The kernel behind such a part of a training's kernels fails, some time before anybody asks; then the GPU is of no
    use, and the CPU is.
    """
    before = driver.calls("kernel")
    trained(dense, 4)
    driver.fail("kernel", code, 1 + int(part * (driver.calls("kernel") - before)))
    _, error, _ = _said(trained, dense, 4)
    _, later, _ = _said(lambda: tensor(np.ones(3), device="cuda") + 1)
    return error, later, (tensor(np.ones(3)) + 1).numpy().tolist()


def opens(driver, settings, call="", code=0, nth=1):
    """What a user is told who takes the GPU: now, and once more."""
    driver.set(**settings)
    if call:
        driver.fail(call, code, nth)
    return [_said(lambda: tensor(np.ones(3), device="cuda").numpy().tolist())[:2] for _ in range(2)]


def _floats(mebibytes):
    return tensor(np.zeros(mebibytes << 18, np.float32), device="cuda")


def memory_runs_out(driver):
    driver.set(memory=100 << 20)
    held = _floats(40)
    told = _said(_floats, 70)[1]
    fits = _floats(20).shape == (20 << 18,)
    del held
    _floats(90)  # what nobody holds any more goes back to the driver first
    return told, fits, driver.used() >> 20


def recordings_give_way(driver):
    """A model's recorded predictions hold about 36 of 100 MiB, of which the arena got 64."""
    driver.set(memory=100 << 20)
    driver.idle = True
    model = models.Sequential([layers.Input((1, 1, 16)), layers.UpSampling2D(12), layers.GlobalAveragePooling2D()])
    model.to("cuda")
    x = np.zeros((8192, 1, 1, 16), np.float32)
    first = model.predict(x, batch_size=4096, verbose=0).shape
    held = _floats(50)
    again, told, _ = _said(lambda: model.predict(x[:4096], batch_size=4096, verbose=0).shape)
    return first, held.shape, again, told, _said(_floats, 70)[1]


# Memory of the host, of others, of two GPUs.


def copies_out_while_it_goes_on(driver):
    """Pinned memory has the numbers once they are there, and not before; later launches come later."""
    x = tensor(np.arange(4, dtype=np.float32), device="cuda")
    y = x + 1
    host = y.data.allocate_pinned()
    host[:] = -1
    there = y.data.begin_copy_to(host)
    before, now = host.tolist(), there()
    return before, now, there(), host.tolist()


def sends_more_than_the_ring_holds(driver):
    """Four messages to each half of the ring."""
    from autoconv.kernels.cuda.outbox import Outbox

    x = tensor(np.zeros((20, 8)), device="cuda")
    first, box, message = x.data.native.device_ctypes_pointer.value, Outbox(x.data.gpu, 256), np.zeros(8)
    for i in range(len(x)):
        message[:] = i
        box.send(message, first + i * message.nbytes)
    return x[:, 7].tolist()


def an_epoch(driver):
    """The driver's calls in each of some epochs of sixteen steps, with an evaluation of as many."""
    driver.idle = True
    model, seen = dense().to("cuda"), [driver.called()]
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = np.zeros((64, 8, 8, 1), np.float32), np.zeros(64, np.int64)
    look = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(driver.called()))
    model.fit(x, y, 4, 4, 0, look, validation_data=(x, y))
    return [{name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}
            for before, after in pairwise(seen)]


def takes_memory_of_others(driver):
    from numba import cuda

    theirs = cuda.to_device(np.arange(5, dtype=np.float32))
    return (tensor(theirs, device="cuda") + 1).numpy().tolist()


def computes_on(driver, major, minor):
    """A kernel is compiled for the GPU that is there, whatever the disk cache has."""
    driver.set(major=major, minor=minor)
    x = tensor(np.arange(3, dtype=np.float32), device="cuda")
    return (x + x).numpy().tolist()


def two_gpus(driver):
    driver.set(gpus=2)
    a, b = (tensor(np.arange(3.0), device=name) for name in ("cuda", "cuda:1"))
    for _ in range(40):
        a, b = a + 1, b + 2
    left = driver.calls("cuCtxPushCurrent") - driver.calls("cuCtxPopCurrent")
    _, error, _ = _said(lambda: a + b)
    return a.numpy().tolist(), b.numpy().tolist(), left, error


def _moved(driver, count):
    """Tensors that are computed on one GPU and moved to another, and the driver's calls that the moving took."""
    sources = [tensor(np.arange(4, dtype=np.float32), device="cuda") + 1 for _ in range(count)]
    tensor(np.zeros(1), device="cuda:1")  # opens it
    before = driver.called()
    there = [source.to("cuda:1") for source in sources]
    calls = {name: n - before.get(name, 0) for name, n in driver.called().items() if n != before.get(name, 0)}
    return [t.numpy().tolist() for t in there], calls


def moves(driver, count, settings=None, call="", code=0):
    driver.set(gpus=2, **(settings or {}))
    if call:
        driver.fail(call, code)
    return *_moved(driver, count), driver.calls("staged copy")


def a_move_fails(driver, call):
    """The last of its calls of that function."""
    driver.set(gpus=2)
    _, calls = _moved(driver, 1) if call not in ("cuDeviceCanAccessPeer", "cuCtxEnablePeerAccess") else (None, {})
    driver.fail(call, 1, calls.get(call, 1))
    _, error, _ = _said(_moved, driver, 1)
    return error, _moved(driver, 2)[0]


def moves_into_memory_that_is_read(driver):
    driver.set(gpus=2)
    here, there = (tensor(np.full(3, 1.0 + 6 * i), device=name) for i, name in enumerate(("cuda", "cuda:1")))
    later, place = there + 1, there.data.base.data.device_ctypes_pointer.value
    del there
    moved = here.to("cuda:1")
    assert moved.data.base.data.device_ctypes_pointer.value == place
    here.data[...] = 5  # behind the copy
    (here + 0).numpy()  # the first GPU does all it has to do
    return later.numpy().tolist(), moved.numpy().tolist(), moved.to("cuda").numpy().tolist()


def moves_parts(driver):
    """Of arrays that lie otherwise, of none, into a part of one, and by tensor()."""
    driver.set(gpus=2)
    a = tensor(np.arange(4.0).reshape(2, 2), device="cuda")
    target = tensor(np.full(3, 9.0), device="cuda:1")
    target.data[1:2] = a.data[1, 0:1]
    turned = a.T.to("cuda:1")
    assert turned.device.name == "cuda:1"
    return (turned.numpy().tolist(), a[:0].to("cuda:1").reshape(-1).numpy().tolist(), target.numpy().tolist(),
            tensor(a + 2, device="cuda:1")[1, 1].item())


def trains_on_data_of_another_gpu(driver):
    driver.set(gpus=2)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 8, 8, 1)).astype(np.float32), random.integers(0, 3, 8)
    results = []
    for place in ("cuda", "cuda:1"):
        utils.set_random_seed(1)
        model = dense().to("cuda")
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(tensor(x, device=place), y, batch_size=4, verbose=0)
        results.append([w.tolist() for w in model.get_weights()]
                       + [model.predict(tensor(x, device=place), batch_size=4, verbose=0).tolist()])
    return results[0] == results[1]


def a_training_moves(driver):
    driver.set(gpus=2)
    results = []
    for second in ("cuda", "cuda:1"):
        utils.set_random_seed(1)
        model = dense().to("cuda")
        model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy")
        random = np.random.default_rng(0)
        x, y = random.normal(size=(8, 8, 8, 1)).astype(np.float32), random.integers(0, 3, 8)
        model.fit(x, y, batch_size=4, verbose=0)
        before = driver.called()
        model.to(second).fit(x, y, batch_size=4, verbose=0)
        results.append([w.tolist() for w in model.get_weights()])
    calls = {name: n - before.get(name, 0) for name, n in driver.called().items()}
    return results[0] == results[1], calls


def threads(driver):
    """Three launch a kernel that none has launched before."""
    with interpreted():  # the PTX emulator compiles it here: while it does, Numba has no GPU
        (tensor(np.arange(3.0), device="cuda") + tensor(np.arange(3.0), device="cuda")).numpy()
    a, found = tensor(np.arange(3.0), device="cuda"), []
    several = [threading.Thread(target=lambda: found.extend((a + a).numpy().tolist() for _ in range(20)))
               for _ in range(3)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    return found


def rule(driver, name):
    import standin_rules  # brings the driver's bindings

    found = getattr(standin_rules, name)(standin_rules.Cuda())
    return [value if isinstance(value, str | int) else type(value).__name__ for value in found]


# The process.


def serve(warm):
    if warm:
        standin.attach()
        trained(steps=4)
        trained(dense, 4)
        gc.collect()
    gc.freeze()  # what is here now stays: to look for garbage in it takes most of a case's time
    for line in sys.stdin:
        ready, answer = os.pipe()
        child = os.fork()
        if not child:
            os.close(ready)
            run(*json.loads(line), answer)
        os.close(answer)
        sys.stdout.write(f"{answered(ready, child)}\n")
        sys.stdout.flush()


def run(name, arguments, answer):
    driver = standin.attach()
    try:
        said = {"result": globals()[name](driver, *arguments), "failures": driver.failures}
    except BaseException:
        said = {"error": f"{traceback.format_exc()}\n{driver.reason}\n{driver.failures}"}
    with os.fdopen(answer, "w") as out:
        out.write(json.dumps(said))
    os._exit(0)


def answered(ready, child):
    text = b""
    with os.fdopen(ready, "rb", buffering=0) as source:
        while select.select([source], [], [], LIMIT)[0] and (part := source.read(1 << 20)):
            text += part
    if not text:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return text.decode() or json.dumps({"error": f"No answer; the process ended with {status}."})


if __name__ == "__main__":
    serve(sys.argv[1:] == ["warm"])
