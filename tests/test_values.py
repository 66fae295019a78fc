"""NaN, infinite, huge and denormal numbers in every op: what IEEE's rules make of its plain-loop definition, in its
value and in its gradients. That is what NumPy gives and, where NumPy has no such function, PyTorch: test_torch_parity.py
compares these. The definitions' derivatives are taken number by number (scalars.py), or are loops in reference.py.
"""

from functools import partial

import numpy as np
import pytest
import reference
import scalars
from cases import CASES, WITHOUT_GRADIENT
from test_ops import ours, run, tensors

from autoconv import functional as F
from autoconv import layers, models
from autoconv.tensor import tensor

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of what these tests are about

ODD = (np.nan, np.inf, -np.inf)
PRODUCTS = {name.removesuffix("_gradients") for name in vars(reference) if name.endswith("_gradients")}
# Sums of several terms with dy in them: where dy is infinite, the order decides between infinity and NaN.
OF_MANY_TERMS = {"batch_norm", "batch_norm_relu_pool", "batch_norm_add_relu", "binary_crossentropy", "softmax", "sigmoid",
                 "categorical_crossentropy", "log_softmax", "sparse_categorical_crossentropy"}


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
    inputs = case.inputs()
    shape = np.shape(case.reference(*inputs, **case.parameters))
    arrays = [*inputs, np.random.default_rng(1).normal(size=shape)]
    for which, array in enumerate(arrays):
        for place in places(0 if array is None else array.size, every) if array is not None else ():
            for value in ODD:
                *given, dy = changed(arrays, which, place, value)
                expected = derived(case, given, dy)
                for dtype in ("float32", "float64") if case.op != "affine_transform" else ("float64",):  # coordinates
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
    differs where a weight, or a gradient at the border, is not finite. Depthwise convolution and pooling leave them out.
    """
    forward, gradients = getattr(reference, case.op), getattr(reference, f"{case.op}_gradients")
    given = [a for a in (x, w, b) if a is not None]
    if case.op not in ("conv2d", "conv2d_transpose"):
        return [forward(*given, **case.parameters), *gradients(dy, *given, **case.parameters)]
    parameters = {"strides": 1, "padding": "valid", "dilation_rate": 1, **case.parameters}
    span = [(k - 1) * d + 1 for k, d in zip(w.shape, reference.two(parameters["dilation_rate"]))]
    strides, large = reference.two(parameters["strides"]), x if case.op == "conv2d" else dy
    sides = reference.paddings(large.shape[1:3], span, strides, parameters["padding"])
    padded, valid = np.pad(large, ((0, 0), *sides, (0, 0))), {**parameters, "padding": "valid"}
    if case.op == "conv2d_transpose":
        dx, dw, _ = gradients(padded, x, w, b, **valid)
        return [forward(x, w, b, **parameters), dx, dw, dy.sum((0, 1, 2))]
    dx, dw, db = gradients(dy, padded, w, b, **valid)
    (top, _), (left, _) = sides
    return [forward(padded, w, b, **valid), dx[:, top : top + x.shape[1], left : left + x.shape[2]], dw, db]


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
        some = [] if array is None else places(array.size, False)
        for place, value in [(place, value) for place in some for value in ODD] if every else zip(some, ODD):
            *given, dy = changed(arrays, which, place, value)
            found, expected = computed(case, given[: len(inputs)], dy, dtype), by_loops(case, *given, dy)
            for name, a, b in zip(("y", "dx", "dw", "db"), found, expected):
                if which == 1 and name == SCATTERED.get(case.op):
                    odd = ~np.isfinite(b)
                    assert not np.isfinite(a[odd]).any()
                    b = np.where(odd.any((0, 1, 2)) & ~np.isfinite(a), a, b)
                if a is not None and (name != "db" or given[2] is not None):
                    agree(a, b, rounding=1e-3)
