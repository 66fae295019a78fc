"""NaN, infinite, huge and denormal numbers in every op: what IEEE's rules make of its plain-loop definition, in its
value and in its gradients. That is what NumPy gives and, where NumPy has no such function, PyTorch, which
test_torch_parity.py asks. A definition's derivative is taken number by number (scalars.py), or is plain loops as well.
"""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import reference
import reference_gradients
import scalars
from autoconv.tensor import tensor
from cases import CASES, WITHOUT_GRADIENT
from test_operators import ours, run, tensors

from autoconv import functional as F

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy's, of what these tests are about
              pytest.mark.usefixtures("tiles_for_few_pixels")]

ODD = (np.nan, np.inf, -np.inf)
PRODUCTS = {"conv2d", "conv2d_transpose", "depthwise_conv2d", "max_pool2d", "avg_pool2d"}
# Sums of several terms with dy in them: where dy is infinite, the order decides between infinity and NaN.
OF_MANY_TERMS = {"batch_norm", "batch_norm_relu_pool", "batch_norm_add_relu", "softmax", "log_softmax", "sigmoid",
                 "hard_silu", "silu",
                 "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"}


def small(case):
    return sum(int(np.prod(shape)) for shape in case.shapes if shape is not None) <= 100


BY_NUMBERS = [case for case in CASES if case.op not in {*PRODUCTS, "conv2d_relu_pool"} and small(case)]
BY_LOOPS = [case for case in CASES if case.op in PRODUCTS and not case.note.startswith("relu")]
FUSED = [case for case in CASES if case.op == "conv2d_relu_pool"]
everywhere = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["some", "all"])
by_id = partial(pytest.mark.parametrize, "case", ids=lambda case: case.id)


def kinds(array):
    """0 where an item is finite, else 1, 2 or 3 for infinity, minus infinity, NaN."""
    return np.isposinf(array) + 2 * np.isneginf(array) + 3 * np.isnan(array)


def places(size, every, seed=0):
    """Indices of a flat array: the first, the last, and one between them, or all."""
    return range(size) if every else sorted({0, int(np.random.default_rng(seed).integers(size)), size - 1})


def tries(array, which, every):
    """Places of an array and what to put there: one of each where not `every`, another one for each array."""
    pairs = [] if array is None else list(product(places(array.size, False), ODD))
    return pairs if every else pairs[4 * which % 9 : 4 * which % 9 + 1]


def changed(arrays, which, place, value):
    found = [None if a is None else a.copy() for a in arrays]
    found[which].flat[place] = value
    return found


def derived(case, arrays, dy):
    """Value and gradients of the case's definition, in float64."""
    given = [None if a is None else scalars.numbers(a) for a in arrays]
    y = np.asarray(case.reference(*given, **case.parameters), object)
    scalars.walk_back(y, dy)
    return [scalars.values(y), *(None if a is None else np.array([n.gradient for n in a.flat]).reshape(a.shape)
                                 for a in given)]


def computed(case, arrays, dy, dtype):
    inputs = tensors([None if a is None else a.astype(dtype) for a in arrays])
    y = run(case, inputs)
    y.backward(dy.astype(dtype))
    return [y.numpy(), *(None if t is None else np.zeros(t.shape) if t.grad is None else t.grad for t in inputs)]


def agree(found, expected, exactly=True, rounding=1e-9):
    """The same items are finite, and equal; the others are the same, or where not `exactly` not finite either."""
    what = kinds if exactly else np.isfinite
    np.testing.assert_array_equal(what(found), what(expected))
    finite = np.isfinite(expected) & np.isfinite(found)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=rounding, atol=rounding)


def test_every_op_is_here():
    here = {case.op for case in (*BY_NUMBERS, *BY_LOOPS, *FUSED, *WITHOUT_GRADIENT)}
    assert here == ours()


@everywhere
@by_id(BY_NUMBERS)
def test_an_odd_number_goes_where_the_definition_says(case, every):
    """In float32, and where `every` in float64; images that are moved in float64 alone, where coordinates are exact."""
    dtypes = ("float64",) if case.op == "affine_transform" else ("float32", "float64") if every else ("float32",)
    inputs = case.inputs()
    shape = np.shape(case.reference(*inputs, **case.parameters))
    arrays = [*inputs, np.random.default_rng(1).normal(size=shape)]
    for which, array in enumerate(arrays):
        for place in () if array is None else places(array.size, every):
            for value in ODD:
                *given, dy = changed(arrays, which, place, value)
                expected = derived(case, given, dy)
                for dtype in dtypes:
                    for i, (a, b) in enumerate(zip(computed(case, given, dy, dtype), expected)):
                        if b is not None:
                            agree(a, b, i == 0 or case.op not in OF_MANY_TERMS, 1e-9 if dtype == "float64" else 1e-2)


@by_id(WITHOUT_GRADIENT)
def test_an_odd_number_is_compared_as_in_numpy(case):
    inputs = case.inputs("float32")
    for which, array in enumerate(inputs):
        for place in range(array.size):
            for value in ODD:
                given = changed(inputs, which, place, value)
                np.testing.assert_array_equal(run(case, tensors(given)).numpy(),
                                              case.reference(*given, **case.parameters))


# Convolutions and pooling, by all of their ways: squares and rows of Winograd's, first layers, tiles, stencils.


def by_loops(case, x, w, b, dy):
    """Value and gradients where padding is zeros that are multiplied, as PyTorch multiplies them in a convolution: that
    differs where a weight, or a gradient at the border, is not finite. Depthwise convolutions and poolings skip them.
    """
    forward, gradients = getattr(reference, case.op), getattr(reference_gradients, case.op)
    given = [a for a in (x, w, b) if a is not None]
    if case.op not in ("conv2d", "conv2d_transpose"):
        return [forward(*given, **case.parameters), *gradients(dy, *given, **case.parameters)]
    large = x if case.op == "conv2d" else dy
    inner, padded, valid = with_border(large, w.shape, case.parameters)
    if case.op == "conv2d_transpose":
        return [forward(x, w, b, **case.parameters), *gradients(padded, x, w, b, **valid)[:2], dy.sum((0, 1, 2))]
    dx, dw, db = gradients(dy, padded, w, b, **valid)
    return [forward(padded, w, b, **valid), dx[inner], dw, db]


def with_border(x, kernel, parameters):
    """Where x lies in its padded array, that array, and the parameters that then mean the same."""
    parameters = {"strides": 1, "padding": "valid", "dilation_rate": 1, **parameters}
    span = [(k - 1) * d + 1 for k, d in zip(kernel, reference.two(parameters["dilation_rate"]))]
    sides = reference.paddings(x.shape[1:3], span, reference.two(parameters["strides"]), parameters["padding"])
    inner = (slice(None), *(slice(before, before + n) for (before, _), n in zip(sides, x.shape[1:3])))
    return inner, np.pad(x, ((0, 0), *sides, (0, 0))), {**parameters, "padding": "valid"}


SCATTERED = {"conv2d": "dx", "conv2d_transpose": "y"}  # what a convolution's kernels scatter, or gather: by its shape


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.soak)])
@everywhere
@by_id(BY_LOOPS)
def test_an_odd_pixel_weight_or_gradient_reaches_what_it_is_multiplied_into(case, every, dtype):
    """Gathered, an input gradient multiplies the zeros around dy by the weights: one that is not finite may reach more
    pixels of its channel than by the definition.
    """
    inputs = case.inputs()
    shape = case.reference(*inputs, **case.parameters).shape
    arrays = [*inputs, *[None] * (3 - len(inputs)), np.random.default_rng(1).normal(size=shape)]
    for which, array in enumerate(arrays):
        for place, value in tries(array, which, every):
            *given, dy = changed(arrays, which, place, value)
            found, expected = computed(case, given[: len(inputs)], dy, dtype), by_loops(case, *given, dy)
            for name, a, b in zip(("y", "dx", "dw", "db"), found, expected):
                if which == 1 and name == SCATTERED.get(case.op):
                    odd = ~np.isfinite(b)
                    assert not np.isfinite(a[odd]).any()
                    b = np.where(odd.any((0, 1, 2)) & ~np.isfinite(a), a, b)
                if a is not None and (name != "db" or given[2] is not None):
                    agree(a, b, rounding=1e-3)


def pooled(case, x, w, b, dy, window):
    """y, dx and dw of a pooled convolution: both gradients as the winners' products give them, and with the products of
    all pixels, which are 0 where they lost. The kernels may do either.
    """
    convolution = replace(case, op="conv2d", parameters=window)
    inner, x, window = with_border(x, w.shape, window)
    z = reference.relu(reference.conv2d(x, w, b, **window))
    passed = (z > 0) | np.isnan(z)
    won = (reference_gradients.max_pool2d(np.ones_like(dy), z)[0] > 0) & passed
    dz = np.where(passed, reference_gradients.max_pool2d(dy, z)[0], 0)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, taps in reference.windows(x, w.shape[:2], window["strides"], "valid", window["dilation_rate"]):
        for u, v, r, c in taps:
            here = won[:, i, j, None, :]
            dx[:, r, c] += np.where(here, w[u, v] * dz[:, i, j, None, :], 0).sum(-1)
            dw[u, v] += np.where(here, x[:, r, c, :, None] * dz[:, i, j, None, :], 0).sum(0)
    _, all_dx, all_dw, _ = by_loops(convolution, x[inner], w, b, dz)
    return reference.max_pool2d(z), (dx[inner], all_dx), (dw, all_dw)


@everywhere
@by_id(FUSED)
def test_an_odd_number_goes_through_a_fused_pooling_as_through_its_parts(case, every):
    """The first NaN of a window is its maximum, and gets the gradient. What lost has no gradient, so nothing of it is
    multiplied, or a 0: then an infinite pixel or weight may reach more of dx and dw, as it does in the parts.
    """
    inputs = case.inputs()
    shape = case.reference(*inputs).shape
    arrays = [*inputs, np.random.default_rng(1).normal(size=shape)]
    for which, array in enumerate(arrays):
        for place, value in tries(array, which, every):
            *given, dy = changed(arrays, which, place, value)
            y, dx, dw, _ = computed(case, given, dy, "float32")
            expected, *both = pooled(case, *given, dy, case.window)
            agree(y, expected, rounding=1e-3)
            for found, (least, most) in zip((dx, dw), both):
                assert not np.isfinite(found[~np.isfinite(least)]).any()
                if which != 1:
                    assert np.isfinite(found[np.isfinite(most)]).all()
                finite = np.isfinite(found)
                np.testing.assert_allclose(found[finite], least[finite], rtol=1e-3, atol=1e-3)


@by_id([case for case in (*BY_NUMBERS, *BY_LOOPS) if small(case) and not case.op.startswith(("batch_norm", "binary"))])
def test_huge_and_denormal_numbers_are_numbers(case):
    """A value overflows where its definition does in float32. What is left out has sums in float64, or clips."""
    inputs = case.inputs("float32")
    for which, array in enumerate(inputs):
        for value in () if array is None else np.array([1e30, 3e38, -3e38, 1e-40, -1e-40], "float32"):
            given = changed(inputs, which, array.size // 2, value)
            expected = case.reference(*given, **case.parameters)
            y = run(case, tensors(given, False)).numpy()
            largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
            np.testing.assert_array_equal(kinds(y), kinds(expected))
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * largest)


def test_denormal_numbers_stay_as_they_are():
    x = np.array([1e-40, 1e-45, 3e-39, 2e-38], "float32").reshape(1, 2, 2, 1)
    w = np.ones((1, 1, 1, 1), "float32")
    for f in (F.relu, abs, lambda x: x * 1.0, lambda x: F.max_pool2d(x, 1), lambda x: F.avg_pool2d(x, 1), F.tanh,
              lambda x: F.conv2d(x, w), lambda x: F.depthwise_conv2d(x, w), lambda x: F.conv2d_transpose(x, w),
              lambda x: F.dense(x.reshape(4, 1), w[0, 0]), lambda x: F.resize(x, (2, 2)), lambda x: x.max((0, 3))):
        np.testing.assert_array_equal(f(tensor(x)).numpy().ravel(), x.ravel())


@pytest.mark.gpu
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("gpu_somewhere")
@by_id([case for case in (*BY_NUMBERS, *BY_LOOPS) if small(case)])
def test_an_odd_number_goes_where_it_goes_on_the_cpu(case):
    """But for what a weight that is not finite reaches in what is scattered on one device and gathered on the other."""
    inputs = case.inputs("float32")
    shape = np.shape(case.reference(*inputs, **case.parameters))
    arrays = [*inputs, np.random.default_rng(1).normal(size=shape).astype("float32")]
    for which, array in enumerate(arrays):
        for place, value in tries(array, which, False):
            *given, dy = changed(arrays, which, place, value)
            found = []
            for device in ("cpu", "cuda"):
                there = [None if a is None else tensor(a, True, device=device) for a in given]
                y = run(case, there)
                y.backward(dy)
                gradients = (None if t is None or t.grad is None else t.device.numpy(t.grad) for t in there)
                found.append([y.numpy(), *gradients])
            for name, a, b in zip(("y", "dx", "dw", "db"), *found):
                if a is not None and not (which == 1 and name == SCATTERED.get(case.op)):
                    np.testing.assert_array_equal(kinds(a), kinds(b))
