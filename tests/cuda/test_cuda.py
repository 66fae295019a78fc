"""The kernels for NVIDIA GPUs, over the case table: on a GPU where there is one, else on their PTX in NumPy.

The machine that runs PTX is ptx/.
"""

import copy
import operator
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from autoconv.tensor import apply, tensor
from cases import (
    CASES,
    WITHOUT_GRADIENT,
    Case,
    conv,
    depthwise,
    fused_pool,
    indexed,
    normalised,
    normalised_and_added,
    normalised_and_pooled,
    one_hot,
    pools,
    scored,
    transposed,
)
from click.testing import CliRunner

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, metrics, models, nets
from autoconv import optimizers as optim
from autoconv.arguments import shapes
from autoconv.engine.gradcheck import gradcheck
from autoconv.kernels import device
from autoconv.kernels.cuda import tiles
from autoconv.operators import conv as conv_ops
from autoconv.operators import dense as dense_ops
from autoconv.operators import fused as fused_ops
from autoconv.programs import cli

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere")]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)

MANY = 300  # items: more than the threads of a block, and no multiple of them
LABELS_OF_MANY = np.arange(MANY) % 3
TARGETS_OF_MANY = one_hot(LABELS_OF_MANY, 3)
SEVERAL_BLOCKS = [  # most rows of the case table fill one block of threads: these need two, the last one ragged
    *(Case(op, f, None, ((MANY, 1), (1, 2)), low=0.5) for op, f in (
        ("add", operator.add), ("subtract", operator.sub), ("multiply", operator.mul), ("divide", operator.truediv))),
    *(Case(op, f, None, ((MANY, 4),), low=0.5) for op, f in (
        ("negative", operator.neg), ("exp", lambda x: x.exp()), ("log", lambda x: x.log()),
        ("power", lambda x: x**3), ("multiply", lambda x: x * 3), ("divide", lambda x: x / 3), ("sigmoid", F.sigmoid),
        ("tanh", F.tanh), ("softmax", F.softmax), ("log_softmax", F.log_softmax),
        ("dropout", lambda x: F.dropout(x, 0.4, seed=3)), ("sum", lambda x: x.sum(1)), ("max", lambda x: x.max(1)))),
    Case("matmul", operator.matmul, None, ((18, 3), (3, 17))),
    indexed((MANY, 2), np.arange(MANY)[::-1] // 2, "many"),
    Case("transpose", lambda x: x.transpose(), None, ((MANY, 2),)),
    normalised((2, MANY), True), normalised((2, MANY), False),
    scored("categorical_crossentropy", TARGETS_OF_MANY, (MANY, 3), 0.1, 1.0),
    scored("categorical_crossentropy", TARGETS_OF_MANY, (MANY, 3), from_logits=True),
    scored("sparse_categorical_crossentropy", LABELS_OF_MANY, (MANY, 3), 0.1, 1.0),
    scored("binary_crossentropy", TARGETS_OF_MANY, (MANY, 3), 0.1, 0.9),
    scored("binary_crossentropy", TARGETS_OF_MANY, (MANY, 3), from_logits=True),
    scored("mean_squared_error", TARGETS_OF_MANY, (MANY, 3)),
    scored("mean_absolute_error", TARGETS_OF_MANY, (MANY, 3)),
    conv((3, 13, 13, 3), (1, 1, 3, 5)),  # a weight gradient of many parts
    conv((1, 9, 8, 34), (1, 1, 34, 66)),
    transposed((2, 5, 4, 3), (1, 1, 34, 3)),
]

@pytest.fixture(autouse=True)
def exact():
    """float32 as exact as the CPU's; some tests say that they want tensor cores."""
    ac.set_precision("highest")
    yield
    ac.set_precision("tf32")


@pytest.fixture
def full_of_nan(monkeypatch):
    """Fresh memory comes full of NaN, the kernels' own too."""
    arrays = device.get("cuda").module("array")
    empty = arrays.empty

    def poisoned(gpu, shape, dtype):
        out = empty(gpu, shape, dtype)
        arrays.fill(out, np.nan if out.dtype.kind == "f" else 7)
        return out

    monkeypatch.setattr(arrays, "empty", poisoned)


def tensors(arrays, where, requires_grad=True):
    return [None if a is None else tensor(a, requires_grad, device=where) for a in arrays]


def gradients(case, inputs):
    """The value and the gradients of `case` for a gradient of the result that is the same in every run."""
    y = case.call(*inputs, **case.parameters)
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    return y.numpy(), [None if t is None else t.device.numpy(t.grad) for t in inputs]


def close(actual, expected, dtype):
    """Equal up to rounding, relative to the largest item."""
    rounding = {"float64": 1e-11, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(actual, expected, rtol=rounding, atol=rounding * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("case", [*CASES, *SEVERAL_BLOCKS], ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_gradients_are_the_cpu_s(case, dtype):
    expected, expected_gradients = gradients(case, tensors(case.inputs(), "cpu"))
    value, given = gradients(case, tensors(case.inputs(dtype), "cuda"))
    assert (value.shape, value.dtype) == (expected.shape, np.dtype(dtype))
    close(value, expected, dtype)
    for g, e in zip(given, expected_gradients):
        assert (g is None) == (e is None)
        if e is not None:
            assert g.dtype == np.dtype(dtype)
            close(g, e, dtype)


CHANNELS_BY_FOURS = [  # where a thread takes four channels at once: float32 alone
    *pools((2, 7, 5, 8), padding="same"), *pools((1, 9, 8, 4)),
    *pools((2, 9, 8, 4), pool_size=3, strides=2, padding="same"),
    *pools((1, 6, 7, 12), pool_size=(3, 2), strides=2, padding=((1, 0), (0, 1))),
    depthwise((2, 7, 6, 8), (3, 3, 8, 1), padding="same"), depthwise((3, 5, 6, 4), (2, 3, 4, 1), strides=(2, 1)),
    depthwise((1, 9, 8, 4), (3, 2, 4, 1), dilation_rate=2, padding=3, bias=False),
    *(normalised((3, 7, 6, 8), True, activation=name) for name in ("relu", "relu6", "silu")),
    normalised((2, 9, 132), True), normalised((70, 4), True, gamma=False),
    normalised_and_pooled((3, 7, 5, 8)), normalised_and_pooled((2, 4, 6, 132)),
    normalised_and_added((3, 7, 6, 8)), normalised_and_added((70, 4)),
]


@pytest.mark.parametrize("case", CHANNELS_BY_FOURS, ids=lambda case: case.id)
def test_channels_by_fours(case):
    expected, expected_gradients = gradients(case, tensors(case.inputs("float32"), "cpu"))
    value, given = gradients(case, tensors(case.inputs("float32"), "cuda"))
    again = gradients(case, tensors(case.inputs("float32"), "cuda"))
    for g, a, e in zip([value, *given], [again[0], *again[1]], [expected, *expected_gradients]):
        if e is not None:
            close(g, e, "float32")
            np.testing.assert_array_equal(g, a)


@pytest.mark.parametrize("case", [case for case in CHANNELS_BY_FOURS if "pool" in case.op or "depth" in case.op],
                         ids=lambda case: case.id)
def test_more_items_than_are_counted_at_once(case, full_of_nan, monkeypatch):
    """Then some samples after the others, with the same bits."""
    inputs = case.inputs("float32")
    value, given = gradients(case, tensors(inputs, "cuda"))
    monkeypatch.setattr(device.get("cuda").module("fours"), "COUNTED", 100)
    again = gradients(case, tensors(inputs, "cuda"))
    for g, a in zip([value, *given], [again[0], *again[1]]):
        if g is not None:
            np.testing.assert_array_equal(g, a)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"pool_size": 3, "strides": 1}], ids=str)
def test_the_first_of_equal_pixels_wins_and_a_nan_wins(channels, options):
    x = np.random.default_rng(0).integers(0, 3, (2, 7, 5, channels)).astype("float32")
    x[0, 0, 1, 1] = x[1, 4:, 3:] = np.nan
    results = []
    for where in ("cpu", "cuda"):
        there = tensor(x, True, device=where)
        y = F.max_pool2d(there, **options)
        y.backward(np.arange(y.size).reshape(y.shape))
        results.append((y.numpy(), there.device.numpy(there.grad)))
    for given, expected in zip(*results):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1027])
@pytest.mark.parametrize("start", [0, 1, 4], ids=str)
def test_items_by_fours_and_what_is_left(size, start):
    """Arrays that begin where four items may, and others; nothing beside them is written."""
    gpu, rng = device.get("cuda"), np.random.default_rng(0)
    a, b = (rng.normal(size=size + 6).astype("float32") for _ in range(2))
    here = slice(start, start + size)
    pointwise, arith, select = map(gpu.kernels, ("pointwise", "arith", "select"))
    for run, expected in ((lambda a, b, out: pointwise.relu(a, out), np.maximum(a, 0)),
                          (pointwise.add_relu, np.maximum(a + b, 0)),
                          (arith.add, a + b), (lambda a, b, out: arith.multiply(a, 3, out), a * np.float32(3)),
                          (lambda a, b, out: arith.subtract(a, gpu.asarray(b[:1]), out), a - b[start]),
                          (lambda a, b, out: arith.negative(a, out), -a), (select.maximum, np.maximum(a, b)),
                          (lambda a, b, out: arith.copy(a, out), a), (lambda a, b, out: arith.fill(out, 2), 0 * a + 2)):
        out = gpu.asarray(np.full(size + 6, 7, np.float32))
        run(gpu.asarray(a)[here], gpu.asarray(b)[here], out[here])
        kept = np.full(size + 6, 7, np.float32)
        kept[here] = expected[here]
        np.testing.assert_array_equal(out.numpy(), kept)


@pytest.mark.parametrize("dtypes", [("bool", "bool"), ("bool", "float32"), ("uint8", "float32"), ("float32", "float64"),
                                    ("int64", "int64")], ids=str)
def test_copies_by_fours_of_any_type(dtypes):
    gpu, host = device.get("cuda"), (np.arange(19) % 3).astype(dtypes[0])
    out = gpu.empty((19,), dtypes[1])
    gpu.kernels("arith").copy(gpu.asarray(host), out)
    np.testing.assert_array_equal(out.numpy(), host.astype(dtypes[1]))
    gpu.kernels("arith").fill(out, 1)
    np.testing.assert_array_equal(out.numpy(), np.ones(19, dtypes[1]))


def test_the_moments_of_a_batch_keep_their_digits():
    """Far from 0, and around a first row that lies far from all others."""
    gpu, x = device.get("cuda"), np.random.default_rng(0).normal(size=(2000, 6)).astype("float32")
    x[:, 1] += 1000
    x[0, 2], x[0, 3], x[7, 4] = 1e6, np.inf, np.nan
    mean, variance = (gpu.empty((6,), np.float32) for _ in range(2))
    gpu.kernels("norm").moments(gpu.asarray(x), None, mean, variance)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mean.numpy(), x.mean(0, dtype=np.float64), rtol=3e-7, atol=1e-8)
        np.testing.assert_allclose(variance.numpy(), x.var(0, dtype=np.float64), rtol=3e-7)


@pytest.mark.parametrize("case", WITHOUT_GRADIENT, ids=lambda case: case.id)
def test_value_without_a_gradient(case):
    for arrays in (case.inputs("float32"), [np.round(a) for a in case.inputs("float64")]):
        y = case.call(*tensors(arrays, "cuda"), **case.parameters)
        assert not y.requires_grad
        np.testing.assert_array_equal(y.numpy(), case.reference(*arrays, **case.parameters))


@pytest.mark.parametrize(("size", "filters"), [((4, 32), 16), ((5, 15), 32), ((6, 7), 5)])
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_another_array_is_added_before_the_relu(size, filters, where):
    x, w, b, other = (np.random.default_rng(i).normal(size=shape).astype("float32")
                      for i, shape in enumerate(((2, *size, 3), (3, 3, 3, filters), (filters,), (2, *size, filters))))
    other[1, 2, 3], other[0, 0, 1], x[1, 3, 2, 0] = np.nan, np.inf, np.inf
    given = tensors((x, w, b, other), where, False)
    y = apply(conv_ops.conv2d, *given, window=shapes.window(size, (3, 3), padding="same"), activation="relu").numpy()
    with np.errstate(invalid="ignore"):
        expected = F.conv2d(*given[:3], padding="same").numpy() + other
    close(y, np.where(expected < 0, 0, expected), "float32")


@pytest.mark.parametrize("op", [conv_ops.conv2d, fused_ops.conv2d_relu_pool], ids=lambda op: op.name)
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_a_scale_multiplies_the_filters(op, where):
    x, w, b, scale = (np.random.default_rng(i).normal(size=shape).astype("float32")
                      for i, shape in enumerate(((2, 7, 6, 3), (3, 3, 3, 5), (5,), (5,))))
    window = shapes.window((7, 6), (3, 3))
    found = apply(op, *tensors((x, w, b), where, False), window=window, scale=tensor(scale, device=where).data)
    expected = apply(op, *tensors((x, w * scale, b), "cpu", False), window=window)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shapes_", [((2, 7, 6, 8), (3, 3, 8, 36)), ((1, 4, 3, 900), (1, 1, 900, 12)),
                                     ((1, 3, 2, 300), (3, 3, 300, 5))], ids=["whole", "parts", "parts, one by one"])
@pytest.mark.parametrize("added", [False, True])
def test_a_convolution_ends_with_scale_bias_addition_and_relu(shapes_, added):
    """In its own launch, or where its sum is cut into parts, in the one that adds them."""
    (n, h, width, _), filters = shapes_[0], shapes_[1][3]
    x, w, b, scale, other = (np.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(
        (*shapes_, (filters,), (filters,), (n, h, width, filters))))
    window = shapes.window((h, width), shapes_[1][:2], padding="same")
    results = []
    for where in ("cpu", "cuda"):
        given = tensors((x, w, b, *([other] if added else [])), where, False)
        results.append(apply(conv_ops.conv2d, *given, window=window, scale=tensor(scale, device=where).data,
                             activation="relu").numpy())
    assert (results[0] == 0).any()
    close(results[1], results[0], "float32")


def test_a_masked_gradient_in_parts():
    """Where x was above 0, else 0: also where several blocks share a sum."""
    dy, w, x = (np.random.default_rng(i).normal(size=shape).astype("float32")
                for i, shape in enumerate(((1, 4, 3, 900), (1, 1, 8, 900), (1, 4, 3, 8))))
    results = []
    for where in ("cpu", "cuda"):
        d = device.get(where)
        dx = d.empty(x.shape, np.dtype(np.float32))
        d.kernels("conv").conv2d_masked_input_grad(*map(d.asarray, (dy, w, x)), dx, shapes.Window(1, 1))
        results.append(d.numpy(dx))
    assert (results[0] == 0).sum() == (x <= 0).sum()
    close(results[1], results[0], "float32")


def test_numpy_s_words_within_a_layer_stay_on_the_gpu():
    class Both(layers.Layer):
        def call(self, x):
            return np.concatenate([np.maximum(x, 0.5), np.where(x > 0, np.tanh(x), 2 * x)], axis=1)

    results = []
    for where in ("cpu", "cuda"):
        x = tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True, device=where)
        y = Both(dtype="float64").to(where)(x)
        assert y.device is x.device
        y.backward(np.arange(24.0).reshape(3, 8))
        results.append((y.numpy(), x.device.numpy(x.grad)))
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12)


FOURS = [  # rows of multiples of four items; of each tile several, with ragged ends in every direction
    conv((4, 9, 8, 36), (1, 2, 36, 132), padding="same"),
    conv((2, 7, 6, 8), (3, 3, 4, 8), strides=(2, 1), groups=2, bias=False),
    fused_pool((3, 9, 8, 4), (3, 3, 4, 68)),
    transposed((1, 4, 3, 12), (3, 2, 36, 12), strides=(1, 2)),
    Case("dense", lambda x, w, b: apply(dense_ops.dense, x, w, b, activation="relu"), None,
         ((70, 44), (44, 36), (36,))),
]
LONG = [  # sums that are cut into parts: by fours and one by one, with a bias and a ReLU, before a pooling, in groups
    Case("dense", lambda x, w, b: apply(dense_ops.dense, x, w, b, activation="relu"), None,
         ((5, 1604), (1604, 12), (12,))),
    Case("dense", lambda x, w, b: apply(dense_ops.dense, x, w, b), None, ((5, 803), (803, 10), (10,))),
    conv((1, 5, 4, 400), (3, 3, 200, 8), groups=2),
    fused_pool((1, 6, 5, 120), (3, 3, 120, 12)),
    transposed((1, 3, 2, 900), (1, 2, 8, 900)),
]


def tiles_of(precision):
    """The names of all tiles of a precision."""
    return [tile.name for tile in (tiles.FORWARD.exact if precision == "highest" else tiles.FORWARD.tensor)]


@pytest.mark.parametrize("case", FOURS, ids=lambda case: case.id)
@pytest.mark.parametrize(("precision", "tile"), [(p, tile) for p in ("highest", "tf32") for tile in tiles_of(p)])
def test_every_tile(case, precision, tile, monkeypatch):
    """Whatever shapes a tile is chosen for, it is right for all that it may be given."""
    def choose(several, *_):
        names = [each.name for each in several]
        return names.index(tile) if tile in names else 0

    monkeypatch.setattr(tiles, "choose", choose)
    ac.set_precision(precision)
    inputs = case.inputs("float32")
    expected, expected_gradients = gradients(case, tensors([a if a is None else a.astype("float64") for a in inputs],
                                                           "cpu"))
    value, given = gradients(case, tensors(inputs, "cuda"))
    for g, e in zip([value, *given], [expected, *expected_gradients]):
        if e is not None:
            assert np.linalg.norm(g - e) < {"highest": 1e-6, "tf32": 1e-3}[precision] * np.linalg.norm(e)


@pytest.mark.parametrize("shapes", [((2, 7, 6, 1), (3, 3, 1, 8)), ((2, 14, 13, 3), (3, 2, 3, 5)),
                                    ((3, 1, 4, 1), (1, 1, 1, 4))], ids=str)
@pytest.mark.parametrize("precision", ["highest", "tf32"])
def test_weight_gradient_of_a_first_layer(shapes, precision):
    """Without an input gradient nobody writes the gradient before the pooling."""
    ac.set_precision(precision)
    case = fused_pool(*shapes)
    results = []
    for where, dtype in (("cpu", "float64"), ("cuda", "float32")):
        x, w, b = (tensor(a.astype("float32").astype(dtype), i > 0, device=where) for i, a in enumerate(case.inputs()))
        y = case.call(x, w, b)
        y.backward(np.random.default_rng(1).normal(size=y.shape))
        results.append([t.device.numpy(t.grad) for t in (w, b)])
    for expected, given in zip(*results):
        assert np.linalg.norm(given - expected) <= {"highest": 1e-6, "tf32": 1e-3}[precision] * np.linalg.norm(expected)


@pytest.mark.parametrize("case", LONG, ids=lambda case: case.id)
@pytest.mark.parametrize("precision", ["highest", "tf32"])
def test_a_long_sum_is_added_in_parts(case, precision):
    """Of few results: several blocks share their sums, with the same bits in every run."""
    ac.set_precision(precision)
    inputs = case.inputs("float32")
    expected = gradients(case, tensors([a if a is None else a.astype("float64") for a in inputs], "cpu"))
    given, again = (gradients(case, tensors(inputs, "cuda")) for _ in range(2))
    for g, a, e in zip([given[0], *given[1]], [again[0], *again[1]], [expected[0], *expected[1]]):
        if e is not None:
            np.testing.assert_array_equal(g, a)
            assert np.linalg.norm(g - e) < {"highest": 2e-6, "tf32": 2e-3}[precision] * np.linalg.norm(e)


PRODUCTS = ("conv2d", "conv2d_transpose", "conv2d_relu_pool", "dense")


@pytest.mark.parametrize("case", [case for case in CASES if case.op in PRODUCTS], ids=lambda case: case.id)
def test_tensor_cores(case):
    """Ten bits of each factor: right to three digits, and not to seven, or other kernels ran."""
    ac.set_precision("tf32")
    expected, expected_gradients = gradients(case, tensors(case.inputs(), "cpu"))
    value, given = gradients(case, tensors(case.inputs("float32"), "cuda"))
    again = gradients(case, tensors(case.inputs("float32"), "cuda"))
    errors = []
    for a, b, e in zip([value, *given], [again[0], *again[1]], [expected, *expected_gradients]):
        if e is not None:
            np.testing.assert_array_equal(a, b)
            errors.append(np.linalg.norm(a - e) / max(np.linalg.norm(e), 1e-30))
    assert max(errors) < (5e-2 if case.op == "conv2d_relu_pool" or case.note == "relu" else 1e-3)
    assert errors[0] > 1e-7 or not value.any()


@every_case
def test_the_same_bits_twice(case):
    first, again = (gradients(case, tensors(case.inputs("float32"), "cuda")) for _ in range(2))
    for a, b in zip([first[0], *first[1]], [again[0], *again[1]]):
        np.testing.assert_array_equal(a, b)


@every_case
def test_only_needed_gradients(case):
    arrays = case.inputs()
    _, everything = gradients(case, tensors(arrays, "cuda"))
    for i, array in enumerate(arrays):
        if array is not None:
            inputs = tensors(arrays, "cuda", requires_grad=False)
            inputs[i] = tensor(array, True, device="cuda")
            y = case.call(*inputs, **case.parameters)
            y.backward(np.random.default_rng(1).normal(size=y.shape))
            assert [t is not None and t.grad is not None for t in inputs] == [j == i for j in range(len(inputs))]
            close(inputs[i].grad.numpy(), everything[i], "float64")


def test_nothing_reads_what_memory_held_before(full_of_nan):
    """What is read before it is written would show it."""
    seen = set()
    for case in CASES:
        if case.op not in seen:
            seen.add(case.op)
            expected, expected_gradients = gradients(case, tensors(case.inputs(), "cpu"))
            value, given = gradients(case, tensors(case.inputs(), "cuda"))
            close(value, expected, "float64")
            for g, e in zip(given, expected_gradients):
                if e is not None:
                    close(g, e, "float64")


@pytest.mark.parametrize("f", [F.relu, F.sigmoid, F.tanh, F.softmax, F.log_softmax, F.max_pool2d, F.avg_pool2d,
                               F.global_avg_pool2d, F.global_max_pool2d, lambda x: F.dropout(x, 0.5, seed=1),
                               lambda x: x.max(), lambda x: x.sum()])
def test_nan_survives(f):
    x = np.zeros((1, 2, 2, 1))
    x[0, 1, 1] = np.nan
    assert np.isnan(f(tensor(x, device="cuda")).numpy()).any()


def test_infinity_survives():
    x = tensor([[np.inf, 1.0, -np.inf]], device="cuda")
    np.testing.assert_array_equal(F.relu(x).numpy(), [[np.inf, 1, 0]])
    np.testing.assert_array_equal(F.sigmoid(x).numpy()[0, [0, 2]], [1, 0])
    np.testing.assert_array_equal(F.max_pool2d(x.reshape(1, 1, 3, 1), (1, 3)).numpy().item(), np.inf)
    np.testing.assert_allclose(F.sigmoid(tensor([-1000.0, 1000.0], device="cuda")).numpy(), [0, 1])


def test_dropout_draws_the_cpu_s_mask():
    x = np.random.default_rng(0).normal(size=(7, 9)).astype("float32")
    for seed in (0, 3, 2**63 + 5):
        np.testing.assert_array_equal(F.dropout(tensor(x, device="cuda"), 0.4, seed=seed).numpy(),
                                      F.dropout(x, 0.4, seed=seed).numpy())


def test_random_words_are_the_cpu_s():
    gpu, words = device.get("cuda"), np.zeros(12, np.float32)
    memory = gpu.empty((12,), np.float32)
    gpu.kernels("random").bits(memory, 5, 2**40, 3)
    device.get("cpu").kernels("random").bits(words, np.uint64(5), np.uint64(2**40), np.uint64(3))
    np.testing.assert_array_equal(memory.numpy().view(np.uint32), words.view(np.uint32))


def test_integers_and_many_axes():
    """Kernels are compiled ahead for floating types and four axes; what else comes is compiled then."""
    rng = np.random.default_rng(0)
    host = rng.integers(1, 9, (4, 3, 7, 2, 4))
    there = tensor(host, device="cuda")
    for f in (lambda x: x + x, lambda x: x * 3, lambda x: x / 2, lambda x: x**2, lambda x: x.sum(), lambda x: -x,
              lambda x: x.mean((1, 4)), lambda x: x.max(3), lambda x: x.transpose(4, 2, 0, 1, 3), lambda x: x.exp(),
              lambda x: x[1, :, 0], lambda x: x[:, [0, 2, 0]], lambda x: x.reshape(84, 8) @ np.ones((8, 2))):
        result, expected = f(there).numpy(), f(tensor(host)).numpy()
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_sum_of_many_items():
    """More than one part, and no loss of digits on the way."""
    x = np.full(5000, 0.1, np.float32)
    assert tensor(x, device="cuda").sum().item() == np.float32(x.sum(dtype=np.float64))


def test_moving_statistics_may_be_the_host_s():
    x = tensor(np.random.default_rng(0).normal(3, 2, (4, 5, 2)), device="cuda")
    host, mean, variance = x.numpy(), np.array([1.0, 2.0]), np.array([0.5, 2.0])
    y = F.batch_norm(x, None, None, mean, variance, training=False).numpy()
    np.testing.assert_allclose(y, F.batch_norm(host, None, None, mean, variance, training=False).numpy())


# Arrays.

INDICES = [2, -1, (1, 2), slice(None, None, -2), (..., 1), (slice(1, 3), None, slice(4, 0, -3)), (None, ..., slice(2)),
           slice(3, 1), (slice(None), 4)]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_views_are_numpy_s(index):
    host = np.arange(20.0).reshape(4, 5)
    there = device.get("cuda").asarray(host)
    np.testing.assert_array_equal(there[index].numpy(), host[index])
    there[index] = 7
    host[index] = 7
    np.testing.assert_array_equal(there.numpy(), host)
    value = np.random.default_rng(0).normal(size=host[index].shape)
    there[index] = value
    host[index] = value
    np.testing.assert_array_equal(there.numpy(), host)


@pytest.mark.parametrize("index", [([0, 2, 2],), (np.array([[0, 3], [1, 1]]), 2), (slice(None), [4, 0])], ids=str)
def test_picked_items_are_numpy_s(index):
    host = np.arange(20).reshape(4, 5)
    there = device.get("cuda").asarray(host)
    np.testing.assert_array_equal(there[index].numpy(), host[index])
    np.testing.assert_array_equal(there.T[index[::-1]].numpy(), host.T[index[::-1]])
    with pytest.raises(TypeError, match="integer array"):
        there[index] = 0


@pytest.mark.parametrize("index", [4, (0, 5), (0, 0, 0), -5], ids=str)
def test_an_index_outside_is_an_error(index):
    with pytest.raises(IndexError):
        device.get("cuda").asarray(np.zeros((4, 5)))[index]


def test_shapes():
    host = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    there = device.get("cuda").asarray(host)
    assert (there.shape, there.ndim, there.size, len(there), there.dtype) == ((2, 3, 4), 3, 24, 2, np.float32)
    np.testing.assert_array_equal(there.transpose((2, 0, 1)).reshape(-1, 3).numpy(),
                                  host.transpose(2, 0, 1).reshape(-1, 3))
    np.testing.assert_array_equal(there.swapaxes(0, 2).copy().numpy(), host.swapaxes(0, 2))
    assert there.reshape(6, 4).base is there.base  # a view
    for shape in ((5, 5), (-1, 7), (-2, -12)):
        with pytest.raises(ValueError, match="cannot be reshaped to"):
            there.reshape(shape)
    assert there[:0].numpy().shape == (0, 3, 4)


def test_copies_of_an_array():
    there = device.get("cuda").asarray(np.arange(6.0))
    for made in (copy.deepcopy(there), pickle.loads(pickle.dumps(there)), there.copy()):
        np.testing.assert_array_equal(made.numpy(), there.numpy())
        assert made.base is not there.base
    assert there.astype(np.float32).dtype == np.float32


class Foreign:
    """Another package's array on the GPU."""

    def __init__(self, array):
        self.array, self.__cuda_array_interface__ = array, array.__cuda_array_interface__


def test_arrays_of_other_packages_are_read_where_they_are():
    gpu, host = device.get("cuda"), np.arange(12.0).reshape(3, 4)
    owner = gpu.asarray(host)
    foreign = Foreign(owner)
    taken = gpu.asarray(foreign)
    assert taken.base is not owner.base
    owner[0, 0] = 99
    host[0, 0] = 99
    np.testing.assert_array_equal(taken.numpy(), host)
    np.testing.assert_array_equal(gpu.asarray(Foreign(owner[1:, ::2])).numpy(), host[1:, ::2])
    copied = tensor(foreign, device="cuda")
    owner[0, 0] = 0
    assert copied.numpy()[0, 0] == 99
    assert tensor(copied, device="cuda", dtype="float32").dtype == np.float32


def test_a_tensor_shows_where_it_is():
    x = tensor([[1.0, 2.0]], device="cuda")
    shown = x.__cuda_array_interface__
    assert (shown["shape"], shown["typestr"], shown["strides"]) == ((1, 2), "<f4", None)
    assert shown["data"][0]
    assert not hasattr(tensor([1.0]), "__cuda_array_interface__")


class Handed:
    """Another package's array on the GPU, by DLPack."""

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None, **options):
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, **options)


def test_memory_is_taken_over_and_handed_over_by_dlpack():
    gpu, host = device.get("cuda"), np.arange(12.0).reshape(3, 4)
    owner = gpu.asarray(host)
    handed = Handed(owner)
    taken = ac.from_dlpack(handed)
    assert taken.device is gpu
    assert handed.streams == [int(gpu.module("runtime").gpu(0).stream)]
    owner[0, 0] = 99
    host[0, 0] = 99
    np.testing.assert_array_equal(taken.numpy(), host)
    np.testing.assert_array_equal((taken + 1).numpy(), host + 1)
    np.testing.assert_array_equal(ac.from_dlpack(Handed(owner[1:, ::2])).numpy(), host[1:, ::2])
    copied = tensor(Handed(owner), device="cuda")
    owner[0, 0] = 0
    assert copied.numpy()[0, 0] == 99
    assert copied.dtype == np.float64


def test_arrays_of_other_packages_train_where_they_are():
    """As those of CuPy, which NumPy cannot read, and PyTorch's and JAX's of a GPU."""
    rows, labels = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2
    results = []
    for x, y in ((rows, labels), [Handed(device.get("cuda").asarray(a)) for a in (rows, labels)]):
        ac.utils.set_random_seed(0)
        model = models.Sequential([layers.Input((3,)), layers.Dense(2, "softmax")]).to("cuda")
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append((model.fit(x, y, batch_size=4, verbose=0).history, model.predict(x, verbose=0)))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_a_tensor_says_by_dlpack_where_it_is():
    x = tensor([[1.0, 2.0]], device="cuda")
    assert x.__dlpack_device__() == (2, 0)
    x.__dlpack__(stream=-1, max_version=(1, 0), dl_device=(2, 0), copy=False)
    with pytest.raises(BufferError, match=r"Move the tensor with \.to"):
        x.__dlpack__(dl_device=(4, 0))
    copy = ac.from_dlpack(Handed(x.data.copy()))
    x.data[...] = 5
    assert 5 not in copy.numpy()


def test_memory_of_others_goes_back_once_all_that_was_launched_is_done():
    gpu = device.get("cuda")
    owner = gpu.asarray(np.zeros(3))
    counts = [sys.getrefcount(owner)]
    view = gpu.from_dlpack(Handed(owner))[1:]
    gpu.synchronize()
    counts.append(sys.getrefcount(owner))
    del view
    counts.append(sys.getrefcount(owner))
    gpu.synchronize()
    counts.append(sys.getrefcount(owner))
    assert np.subtract(counts, counts[0]).tolist() == [0, 1, 1, 0]


def where(array):
    """The first and the last byte of an array's memory."""
    first = array.__cuda_array_interface__["data"][0]
    return range(first, first + array.size * array.dtype.itemsize)


def test_memory_is_used_again_when_nobody_holds_it():
    gpu = device.get("cuda")
    first = gpu.empty((5000,), np.float32)
    view, held = first[3:], where(first)
    del first
    for dtype in (np.float32, np.uint8, np.float64):  # they share the bytes
        other = where(gpu.empty((20_000 // np.dtype(dtype).itemsize,), dtype))
        assert not set(other) & set(held)
    del view
    arena = gpu.module("runtime").gpu(0).arena
    allocations = arena.allocations
    for _ in range(200):  # each in the memory of the one before
        assert gpu.empty((20_000,), np.float32).base.data.shape == (20_000,)
    assert arena.allocations <= allocations + 1


def test_from_the_second_step_on_nothing_is_allocated():
    model = net().to("cuda")
    model.fit(IMAGES, LABELS, batch_size=3, epochs=1, verbose=0)
    arena = device.get("cuda").module("runtime").gpu(0).arena
    before = arena.allocations, arena.allocated_bytes
    assert before[1] > 0
    model.fit(IMAGES, LABELS, batch_size=3, epochs=3, verbose=0)
    assert (arena.allocations, arena.allocated_bytes) == before


def test_too_large_an_array_names_what_was_asked_for_and_what_is_free():
    gpu = device.get("cuda")
    kept = tensor([1.0], device="cuda")
    with pytest.raises(device.DeviceError, match=r"67,108,864\.0 MiB were requested, [\d.,inf]+ of .* MiB are free, "
                                                 r"[\d.,]+ MiB are held by autoconv"):
        gpu.empty((2**46,), np.uint8)
    np.testing.assert_array_equal((kept + 1).numpy(), [2])  # goes on


# Devices, tensors, models.


def test_names():
    assert device.get("cuda") is device.get("cuda:0")
    assert copy.deepcopy(device.get("cuda")) is device.get("cuda")
    assert "numba-cuda" in device.get("cuda").describe()
    with pytest.raises(device.DeviceError, match="number 99"):
        device.get("cuda:99")


def test_warmup_says_where_the_kernels_are():
    done = CliRunner().invoke(cli.main, ["warmup", "--device", "cuda"])
    assert done.exit_code == 0, done.output
    assert "kernels-cuda-" in done.output


def test_a_gpu_that_cannot_be_opened_is_an_error_of_the_device(monkeypatch):
    runtime, internals = map(device.get("cuda").module, ("runtime", "internals"))

    def refused(index):
        raise internals.DRIVER_ERRORS[0](46, "CUDA_ERROR_DEVICE_UNAVAILABLE")

    monkeypatch.setattr(runtime, "Gpu", refused)
    with pytest.raises(device.DeviceError, match=r"number 0 cannot be opened: .*UNAVAILABLE.*nvidia-smi"):
        runtime.gpu.__wrapped__(0)


def test_to_and_fro():
    x = tensor([[1.0, 2.0]], requires_grad=True)
    there = x.to("cuda")
    assert there.device.name == "cuda"
    assert there.requires_grad
    assert there.to("cuda") is there
    np.testing.assert_array_equal(there.to("cpu").numpy(), x.numpy())
    np.testing.assert_array_equal(np.asarray(there), x.numpy())
    assert "2." in repr(there)


def test_mixed_devices_are_an_error():
    here, there = tensor([1.0]), tensor([1.0], device="cuda")
    with pytest.raises(device.DeviceError, match=r"add needs all its tensors on one device. Received: tensors on "
                                                 r"cuda and cpu\. Move one of them with .to\('cuda'\)"):
        there + here
    with pytest.raises(device.DeviceError, match="one device"):
        F.dense(tensor(np.ones((1, 1)), device="cuda"), np.ones((1, 1)))


def test_gradcheck_on_a_gpu():
    x = tensor(np.random.default_rng(0).normal(size=(3, 2)), True, device="cuda")
    gradcheck(lambda x: F.tanh(x * x), x)


def net(optimizer="rmsprop", dtype="float32"):
    ac.utils.set_random_seed(3)
    model = models.Sequential([
        layers.Input((6, 6, 1)), layers.Rescaling(1 / 255, dtype=dtype),
        layers.Conv2D(12, 3, activation="relu", dtype=dtype), layers.MaxPooling2D(dtype=dtype),
        layers.BatchNormalization(dtype=dtype), layers.Dropout(0.3, dtype=dtype), layers.Flatten(dtype=dtype),
        layers.Dense(3, activation="softmax", dtype=dtype),
    ])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (7, 6, 6, 1), np.uint8), RNG.integers(0, 3, 7)


def trained(where, **options):
    """What training gives: the history, the answers, the scores, the weights."""
    model = net(**options)
    model.to(where)
    history = model.fit(IMAGES, LABELS, batch_size=3, epochs=2, verbose=0, validation_data=(IMAGES[:2], LABELS[:2]))
    return (history.history["loss"], history.history["val_loss"], model.predict(IMAGES, batch_size=4, verbose=0),
            model.evaluate(IMAGES, LABELS, verbose=0), *model.get_weights())


@pytest.mark.parametrize("optimizer", [
    "rmsprop", "adam", lambda: optim.SGD(0.01, momentum=0.9, nesterov=True, clipnorm=0.5),
    lambda: optim.RMSprop(centered=True, momentum=0.5, clipvalue=0.01),
    lambda: optim.AdamW(global_clipnorm=0.1),
], ids=["rmsprop", "adam", "sgd", "rmsprop-centered", "adamw"])
def test_training_is_the_cpu_s(optimizer):
    """In float64: a step by the sign of a gradient that should be zero, as Adam's first is, makes rounding large."""
    make = optimizer if callable(optimizer) else lambda: optimizer
    for there, here in zip(trained("cuda", optimizer=make(), dtype="float64"),
                           trained("cpu", optimizer=make(), dtype="float64")):
        np.testing.assert_allclose(there, here, rtol=1e-7, atol=1e-9)


def test_training_without_graphs_is_the_cpu_s(monkeypatch):
    """Where the driver captures none, launches that were recorded run again one by one."""
    monkeypatch.setattr(device.get("cuda").module("runtime").Gpu, "capture", lambda *given: None)
    for there, here in zip(trained("cuda", dtype="float64"), trained("cpu", dtype="float64")):
        np.testing.assert_allclose(there, here, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("loss", "targets", "scores"), [
    ("sparse_categorical_crossentropy", LABELS_OF_MANY,
     ["accuracy", metrics.SparseTopKCategoricalAccuracy(2)]),
    ("categorical_crossentropy", TARGETS_OF_MANY, ["accuracy", metrics.TopKCategoricalAccuracy(2)]),
    ("binary_crossentropy", TARGETS_OF_MANY, [metrics.BinaryAccuracy(), "mse"]),
], ids=["sparse", "one-hot", "binary"])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.filterwarnings("ignore:.*needs (an independent probability|probabilities that sum)")
def test_batches_of_several_blocks(loss, targets, scores, dtype):
    """More samples than threads, and rows that several blocks copy."""
    rows = np.random.default_rng(0).integers(0, 9, (MANY, 2, 2065, 1)).astype(dtype)

    def run(where):
        ac.utils.set_random_seed(3)
        model = models.Sequential([
            layers.Input((2, 2065, 1)), layers.AveragePooling2D((2, 413), dtype="float64"),
            layers.Flatten(dtype="float64"), layers.Dense(3, activation="softmax", dtype="float64"),
        ]).to(where)
        model.compile("sgd", loss, metrics=scores)
        history = model.fit(rows, targets, batch_size=MANY - 3, epochs=1, verbose=0).history
        return [*history.values(), model.predict(rows, batch_size=MANY - 3, verbose=0), *model.get_weights()]

    for there, here in zip(run("cuda"), run("cpu")):
        np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-9)


def test_training_twice_gives_the_same_bits():
    for a, b in zip(trained("cuda"), trained("cuda")):
        np.testing.assert_array_equal(a, b)


def test_a_model_moves_between_devices_with_its_weights():
    model = net()
    model.build((None, 6, 6, 1))
    expected = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(model.to("cuda").predict(IMAGES, verbose=0), expected, rtol=1e-5)
    assert {w.device.name for w in model.weights} == {"cuda"}
    np.testing.assert_array_equal(model.to("cpu").predict(IMAGES, verbose=0), expected)


def test_a_model_is_where_its_layers_are():
    inner = net().to("cuda")
    outer = models.Sequential([layers.Input((6, 6, 1)), layers.Rescaling(2.0), *inner.layers])
    assert {layer.device.name for layer in (outer, *outer.layers)} == {"cuda"}
    outer.add(layers.Dense(2))
    assert {w.device.name for w in outer.weights} == {"cuda"}


def test_the_command_line_trains_on_the_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(nets, "NETS", {"lecture": nets.NETS["lecture"]._replace(layers=lambda classes: [
        layers.MaxPooling2D(4), layers.Flatten(), layers.Dense(classes, activation="softmax")])})
    done = CliRunner().invoke(cli.main, ["train", "digits", "--device", "cuda", "--limit", "24", "--epochs", "2",
                                         "--batch-size", "8", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "on cuda" in done.output
    done = CliRunner().invoke(cli.main, ["evaluate", str(tmp_path / "run"), "--device", "cuda", "--limit", "8"])
    assert done.exit_code == 0, done.output


def test_what_was_handed_out_stays_as_it_was():
    model = net().to("cuda")
    first = model.predict_on_batch(IMAGES)
    kept = first.copy()
    model.predict_on_batch(IMAGES[::-1])
    np.testing.assert_array_equal(first, kept)


def test_the_time_of_something_is_a_mean_over_what_ran():
    gpu, ran = device.get("cuda"), []
    x = gpu.asarray(np.ones((4, 4), np.float32))

    def run():
        ran.append(x.copy())

    assert 0 < gpu.measure_time(run, 3) < 60
    assert len(ran) in (3, 6)  # on a GPU once to see how far ahead the host is, once timed


def test_what_is_too_large_to_be_counted_is_refused_before_anything_is_written():
    """Kernels of convolutions compute places in 32 bits. Before its pooling a gradient has four times as many items."""
    def shaped(*shape):
        return SimpleNamespace(shape=shape, dtype=np.dtype(np.float32))

    images, pooled, w = shaped(1, 11600, 11600, 4), shaped(1, 5800, 5800, 16), shaped(1, 1, 4, 16)
    k = device.get("cuda").module("fused")
    with pytest.raises(ValueError, match=r"fewer than 2\*\*31 elements. Received shape: \(1, 11600, 11600, 16\)"):
        k.conv2d_relu_pool_grad(images, w, pooled, None, pooled, None, w, None, shapes.Window(1, 1))


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0xFFC00000, 0x7F800000], ids=hex)
@pytest.mark.parametrize("which", ["x", "w"])
def test_tensor_cores_hand_on_what_is_not_finite(which, bits):
    """Also the NaN that GPUs compute, whose bits are all ones. Rounding must not carry into them."""
    ac.set_precision("tf32")
    x, w = np.ones((2, 64), "float32"), np.ones((64, 8), "float32")
    {"x": x[1:, 3], "w": w[3, 5:6]}[which].view("uint32")[:] = bits
    given = F.dense(tensor(x, device="cuda"), tensor(w, device="cuda")).numpy()
    expected = np.full((2, 8), 64, "float32")
    expected[{"x": np.s_[1], "w": np.s_[:, 5]}[which]] = np.uint32(bits).view("float32")
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("is_left", [True, False])
def test_tensor_cores_round_to_nearest(is_left):
    """Ten bits of mantissa are kept; ties are rounded away from zero."""
    ac.set_precision("tf32")
    unit = 2.0**-10
    odd = np.zeros((32, 8), "float32")
    odd[0, :4] = 1 + unit * np.array([0.49, 0.5, 1.5, 0.51])
    ones = np.eye(8, 32, dtype="float32")
    x, w = (odd.T.copy(), ones.T.copy()) if is_left else (ones, odd)
    given = F.dense(tensor(x, device="cuda"), tensor(w, device="cuda")).numpy()
    np.testing.assert_array_equal((given.T if is_left else given)[0, :4], [1, 1 + unit, 1 + 2 * unit, 1 + unit])
