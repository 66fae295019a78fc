"""Every function of `ops` on arrays, tensors, symbolic tensors, Variables, over its axes and dtypes, beside NumPy."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import ops

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def call(*args, **options):
    return args, options


def each(args, **options):
    """The calls with each of the values of each option, one option at a time."""
    return [call(*args), *(call(*args, **{name: value}) for name, values in options.items() for value in values)]


X, Y, ROW, MATRIX = normal(2, 3, 4), normal(2, 3, 4), normal(4), normal(3, 3)
POSITIVE, UNIT = np.abs(X) + np.float32(0.1), RNG.uniform(-0.9, 0.9, (2, 3, 4)).astype("float32")
ODD = np.array([[0.0, -0.0, 1.5, -2.5], [np.inf, -np.inf, np.nan, 3.0]], "float32")
WHOLE, OTHER_WHOLE = RNG.integers(-9, 9, (2, 3, 4)), RNG.integers(1, 9, (2, 3, 4))
TRUE, OTHER_TRUE = X > 0, Y > 0
IMAGE = np.abs(normal(5, 6, 3))
ONE_AXIS = (None, 0, 1, 2, -1, -3)
AXES = (*ONE_AXIS, (0, 2), (1,), (-1, 0), (0, 1, 2))
PAIRS = [call(X, Y), call(X, ROW), call(X[:, :1], ROW[:, None]), call(X, 2.5), call(X, 2)]


def reduced(x=X, axes=AXES):
    return [call(x, axis=axis, keepdims=keep) for axis in axes for keep in (False, True)]


ROWS = {
    **{name: [call(X), call(ODD)] for name in (
        "abs", "absolute", "cos", "exp", "expm1", "isfinite", "isinf", "isnan", "logical_not", "negative", "sign",
        "sin",
        "square", "tan", "tanh", "sinh", "cosh", "arctan", "ceil", "floor", "trunc", "ravel", "reciprocal",
        "zeros_like",
        "ones_like", "empty_like")},
    **{name: [call(POSITIVE)] for name in ("log", "log1p", "rsqrt", "sqrt")},
    "arcsin": [call(UNIT)], "arccos": [call(UNIT)], "round": [call(X), call(ODD), call(X, 1), call(X, decimals=2)],
    **dict.fromkeys((
        "add", "divide", "true_divide", "equal", "greater", "greater_equal", "less", "less_equal", "logical_and",
        "logical_or", "logical_xor", "maximum", "minimum", "multiply", "not_equal", "subtract", "arctan2", "mod",
        "remainder", "floor_divide"), PAIRS),
    "power": [call(POSITIVE, Y), call(POSITIVE, ROW), call(X, 2), call(POSITIVE, 0.5)],
    **{name: [call(TRUE, OTHER_TRUE), call(WHOLE, OTHER_WHOLE), call(WHOLE, 3)]
       for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{name: [call(TRUE), call(WHOLE)] for name in ("bitwise_not", "bitwise_invert")},
    **{name: reduced() for name in ("sum", "mean", "max", "amax", "min", "amin", "var", "std", "prod")},
    **{name: reduced(x=np.round(X)) for name in ("any", "all")},
    **{name: reduced(axes=ONE_AXIS) for name in ("argmax", "argmin")},
    "count_nonzero": each((np.round(X),), axis=AXES), "cumsum": [*each((X,), axis=ONE_AXIS), call(ODD, axis=0)],
    "average": [*each((X,), axis=AXES), call(X, 2, POSITIVE[0, 0]), call(X, -2, POSITIVE[0, :, 0]),
                call(X, None, POSITIVE), call(X, 1, POSITIVE), call(X, (0, 1), POSITIVE)],
    "argsort": each((np.round(X),), axis=ONE_AXIS), "sort": each((X,), axis=(0, 1, 2, -1, -3)),
    "clip": [call(X, -1.0, 0.5), call(ODD, -1.0, 2.0), call(X, -1, 2)],
    "isclose": [call(X, X + 1e-7), call(X, Y, 1.0, 0.5), call(ODD, ODD), call(ODD, ODD, equal_nan=True)],
    "allclose": [call(X, X + 1e-9), call(X, Y)],
    "where": [call(TRUE, X, Y), call(X, X, ROW), call(TRUE, X, 0.0)], "full_like": [call(X, 2.5), call(X, 2, "int32")],
    "concatenate": each(([X, Y],), axis=(0, 1, 2, -1, -3)), "stack": each(([X, Y],), axis=(0, 1, 2, 3, -1, -4)),
    "hstack": [call([X, Y]), call([ROW, ROW])], "vstack": [call([X, Y]), call([ROW, ROW])],
    "split": [call(X, 3, 1), call(X, [1, 3], axis=2), call(X, 3, axis=-2)], "unstack": each((X,), axis=(0, 1, -1)),
    "squeeze": [call(X[:, :1]), *each((X[:1, :, :1],), axis=(0, 2, -1, -3, (0, 2)))],
    "expand_dims": [call(X, axis) for axis in (0, 1, 3, -1, -4, (0, 2), (-1, 0))],
    "pad": [call(X, width, mode) for width in (1, (1, 2), ((0, 1), (2, 2), (3, 0)))
            for mode in ("constant", "reflect", "symmetric")] + [call(X, 1, constant_values=3)],
    "flip": each((X,), axis=AXES), "fliplr": [call(X)], "flipud": [call(X)],
    "roll": [*(call(X, shift, axis) for shift in (1, -3) for axis in AXES), call(X, (1, 2), (0, 2)),
             call(X, (1, 2), (1, 1))],
    "repeat": [*(call(X, 2, axis) for axis in ONE_AXIS), call(X, [1, 0, 2], 1)],
    "tile": [call(X, 2), call(X, (2, 1)), call(X, (1, 2, 1, 3)), call(X, (1, 0, 1))],
    "take": [call(X, np.array(places), axis) for axis in ONE_AXIS for places in (1, [0, 1, 1], [[0, -1]])],
    "take_along_axis": [*(call(X, np.argsort(X, axis), axis) for axis in (0, 1, 2, -1)),
                        call(X, np.array([[[0]], [[2]]]), 1), call(X, np.array([3, 0, 23]), None)],
    "transpose": [call(X), call(X, (1, 2, 0)), call(X, axes=(0, -1, 1))], "swapaxes": [call(X, 0, 2), call(X, -1, 1)],
    "moveaxis": [call(X, 0, -1), call(X, (0, 1), (-1, 0)), call(X, [2], [0])],
    "reshape": [call(X, (6, 4)), call(X, (2, -1)), call(X, 24)], "broadcast_to": [call(X[:, :1], (5, 2, 3, 4)),
                                                                               call(ROW, (2, 4))],
    "tril": [call(X), call(MATRIX, 1), call(ODD, -1)], "triu": [call(X), call(MATRIX, -1), call(ODD, 1)],
    "diag": [call(MATRIX), call(MATRIX, -1), call(ROW), call(ROW, 2), call(ROW, -1), call(ODD[1])],
    "diagonal": [call(X), call(X, 1, 1, 2), call(X, -1, -1, 0)],
    "dot": [call(X, Y.transpose(0, 2, 1)), call(X, ROW), call(MATRIX, X[0]), call(ROW, ROW), call(X, 3.0),
            call(MATRIX, X)],
    "matmul": [call(X, Y.transpose(0, 2, 1)), call(X, ROW), call(MATRIX, X), call(ROW, ROW)],
    "tensordot": [call(X, Y, 3), call(X, Y.transpose(1, 2, 0)), call(X, Y, axes=((0, 2), (0, 2))),
                  call(X, MATRIX, ([1], [-1])), call(ROW, ROW, 0)],
    "einsum": [call("ijk,ilk->ijl", X, Y), call("ijk,ilk", X, Y), call("ijk->k", X), call("ijk->kji", X),
               call("ii", MATRIX),
               call("ii->i", MATRIX), call("...k,k->...", X, ROW), call("ij,jkl->ikl", MATRIX, X.transpose(1, 0, 2)),
               call("i,j->ji", ROW, ROW), call("ijk,ijk->", X, Y), call("...ij,...kj->...ik", X, Y[:1]),
               call("ijk,kl,k->jl", X, normal(4, 2), ROW)],
    "logsumexp": [*reduced(), call(100 * X, -1), call(np.full((2, 3), -np.inf, "float32"), 1)],
    "norm": [*reduced(), call(X, 1, -1), call(X, 2, 0, True)], "top_k": [call(X, 2)],
    "in_top_k": [call(np.array([0, 2, 1]), MATRIX, 2)],
    "one_hot": [call(np.array([[0, 2], [5, 1]]), 3), call(np.array([[0, 2], [1, 1]]), 3, axis=1),
                call(np.array([0, 1]), 2, dtype="int32")],
    "cast": [call(X, "float64"), call(X, "int32"), call(X, "bool"), call(TRUE, "float32"),
             call(OTHER_WHOLE.astype("uint8"), "float32")],
    "stop_gradient": [call(X)], "convert_to_tensor": [call(X), call(X, "float64")],
    "array": [call(X), call(X, "int32")],
    "size": [call(X)], "shape": [call(X)], "ndim": [call(X)], "dtype": [call(X)],
    "convert_to_numpy": [call(X)],
    "image.resize": [call(IMAGE, (3, 8)), call(IMAGE[None], (9, 2), "nearest")],
    "image.affine_transform": [call(IMAGE, (1, 0.1, 0, 0, 1, 1, 0, 0)),
                               call(IMAGE[None], (1, 0, 0.5, 0.2, 1, 0, 0, 0))],
    "image.rgb_to_grayscale": [call(IMAGE), call(IMAGE[None])],
    "image.pad_images": [call(IMAGE, 1, 2, target_height=9, target_width=10), call(IMAGE[None], 1, 2, 0, 3)],
    "image.crop_images": [call(IMAGE, 1, 2, target_height=2, target_width=3), call(IMAGE[None], 1, 2, 0, 3)],
}

# The functions whose values other tests compare, and those that make tensors of numbers.
ELSEWHERE = {*(name for name in ops.nn.__all__ if name != "one_hot"), "tanh"} - set(ROWS)  # test_keras_values.py
OF_NUMBERS = {"arange": call(2, 9, 3), "empty": call((2, 3)), "eye": call(3, 4, 1), "full": call((2, 3), 7),
              "identity": call(3), "linspace": call(0, 1, 5), "ones": call((2, 3)), "zeros": call((2, 3))}
WITHOUT_WHOLE = {"arcsin", "arccos", "isclose", "one_hot", "cast", "in_top_k"}  # not computed for integers of 1 to 9
IN_BOOLEANS = {"all", "any", "concatenate", "logical_and", "logical_or", "max", "mean", "pad", "reshape", "sum",
               "transpose",
               "where"}
OF_KERAS = {"argsort", "count_nonzero", "top_k", "one_hot"}  # their integers are int32 in Keras


def numpy_of(name):
    """What a function is in NumPy."""
    def by_torch_s_rule(x, axis=0):
        return [np.squeeze(part, axis) for part in np.split(x, x.shape[axis], axis)]

    def norm(x, ord=None, axis=None, keepdims=False):
        whole = x.ravel() if axis is None else x
        if axis is None:
            found = np.linalg.norm(whole, ord)
            return found.reshape((1,) * x.ndim) if keepdims else found
        x = x.astype("float64")
        if ord in (None, 2):
            return np.sqrt((x**2).sum(axis, keepdims=keepdims))
        return np.abs(x).sum(axis, keepdims=keepdims)

    def one_hot(x, count, axis=-1, dtype="float32"):
        return np.moveaxis((x[..., None] == np.arange(count)).astype(dtype), -1, axis)

    def top_k(x, k):
        places = np.argsort(-x, -1, kind="stable")[..., :k]
        return [np.take_along_axis(x, places, -1), places]

    def crop(x, top, left, bottom=None, right=None, target_height=None, target_width=None):
        high, wide = x.shape[-3:-1]
        height = target_height or high - top - bottom
        return x[..., top : top + height, left : left + (target_width or wide - left - right), :]

    def padded(x, top, left, bottom=None, right=None, target_height=None, target_width=None):
        high, wide = x.shape[-3:-1]
        rows = (top, target_height - high - top if bottom is None else bottom)
        columns = (left, target_width - wide - left if right is None else right)
        return np.pad(x, [*[(0, 0)] * (x.ndim - 3), rows, columns, (0, 0)])

    special = {
        "rsqrt": lambda x: 1 / np.sqrt(x), "unstack": by_torch_s_rule, "norm": norm, "one_hot": one_hot, "top_k": top_k,
        "logsumexp": lambda x, axis=None, keepdims=False: np.log(
            np.exp(x.astype("float64")).sum(axis, keepdims=keepdims)),
        "reciprocal": lambda x: 1 / x, "empty_like": np.zeros_like, "cast": lambda x, dtype: x.astype(dtype),
        "stop_gradient": lambda x: x,
        "convert_to_tensor": lambda x, dtype=None: x.astype(dtype or x.dtype), "convert_to_numpy": lambda x: x,
        "in_top_k": lambda t, p, k: np.array([t[i] in np.argsort(-p[i])[:k] for i in range(len(t))]),
        "argsort": lambda x, axis=-1: np.argsort(x, axis, kind="stable"), "size": np.size, "shape": np.shape,
        "argmin": lambda x, **options: np.argmin(x, **options), "dtype": lambda x: x.dtype.name,
        "image.crop_images": crop, "image.pad_images": padded,
        "image.rgb_to_grayscale": lambda x: (x * [0.2989, 0.587, 0.114]).sum(-1, keepdims=True),
        "image.resize": None, "image.affine_transform": None,  # test_augmentation.py compares their values
        "sort": lambda x, axis=-1: np.sort(x, axis), "bitwise_not": np.invert, "bitwise_invert": np.invert,
    }
    return special[name] if name in special else getattr(np, name)


def function(name):
    module, _, short = name.rpartition(".")
    return getattr(ops.image if module else ops, short)


def structure(convert, args, options):
    """The arguments with `convert(array)` for the arrays in them."""
    def one(value):
        if isinstance(value, np.ndarray):
            return convert(value)
        return [one(item) for item in value] if isinstance(value, list) else value

    return [one(arg) for arg in args], {name: one(value) for name, value in options.items()}


def values(found):
    """The arrays of a result, one or several."""
    return [np.asarray(part.detach() if isinstance(part, ac.Tensor) else part)
            for part in (found if isinstance(found, list | tuple) and not isinstance(found, str) else [found])]


def variable(array):
    return ac.Variable(array, dtype=array.dtype)


# Functions that depend on the size of the first axis: by their other arguments, or as no axis is the batch's.
OF_SIZES = {"reshape", "broadcast_to", "dot", "einsum", "tensordot", "pad_images", "crop_images", "resize"}


def on_symbols(run, args, options):
    """What a model of the function gives for these arrays, and the symbolic results."""
    arrays = []
    structure(lambda array: arrays.append(array) if array.ndim else None, args, options)
    sizes = {array.shape[0] for array in arrays}
    free = len(sizes) == 1 and sizes != {1} and all(array.ndim > 1 for array in arrays) and run.__name__ not in OF_SIZES
    inputs = [ac.Input(batch_shape=(None if free else array.shape[0], *array.shape[1:]), dtype=array.dtype.name)
              for array in arrays]
    waiting = iter(inputs)
    args, options = structure(lambda array: next(waiting) if array.ndim else array, args, options)
    outputs = run(*args, **options)
    if not isinstance(outputs, ac.KerasTensor | list | tuple) or not inputs:
        return None, None
    several = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    found = ac.Model(inputs, several)(arrays)
    return values(found), several


def test_no_function_is_without_a_row():
    public = {*ops.__all__, *(f"image.{name}" for name in ops.image.__all__)} - {"image", "nn", "numpy", "is_tensor"}
    assert public == {*ROWS, *OF_NUMBERS, *ELSEWHERE}


def wanted_dtype(name, arrays, expected):
    """NumPy's dtype; but floats stay those of the arguments, what is made of integers alone is float32, and sums of any
    integers are int64.
    """
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    if name in ("cast", "convert_to_tensor", "array", "full_like", "one_hot"):  # which are given one
        return expected.dtype
    if expected.dtype.kind == "f" or name in ("ceil", "floor"):
        return np.result_type(*floats) if floats else np.dtype("float32")
    if expected.dtype == "uint64":
        return np.dtype("int64")
    return np.dtype("int32") if expected.dtype.kind == "i" and name in OF_KERAS else expected.dtype


def wide(array):
    """Small integers as NumPy needs them to compute with floats of more than 16 bits."""
    return array.astype("int64") if array.dtype.kind in "bu" else array


def compare(name, args, options):
    """One call on all kinds of tensors, beside NumPy."""
    run, theirs = function(name), numpy_of(name)
    found = values(run(*args, **options))
    for convert in (ac.tensor, variable):
        given = structure(convert, args, options)
        for a, b in zip(values(run(*given[0], **given[1])), found, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    if name not in ("shape", "ndim", "dtype", "convert_to_numpy", "size"):
        of_model, symbolic = on_symbols(run, args, options)
        if symbolic is not None:
            for a, b, s in zip(of_model, found, symbolic, strict=True):
                np.testing.assert_array_equal(a, b)
                assert (a.dtype, s.dtype) == (b.dtype, b.dtype.name)
                assert len(s.shape) == b.ndim
                assert all(n in (None, m) for n, m in zip(s.shape, b.shape))
    if theirs is None:
        return
    arrays = []
    structure(arrays.append, args, options)
    with np.errstate(all="ignore"):
        expected = values(theirs(*args, **options))
        if any(each.dtype == "float16" for each in expected):
            args, options = structure(wide, args, options)
            expected = values(theirs(*args, **options))
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        if b.dtype.kind in "fiub":
            assert a.dtype == wanted_dtype(name, arrays, b)
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
        else:
            assert a == b


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of numbers that have no result
def test_all_kinds_of_tensors_give_what_numpy_gives(name):
    for args, options in ROWS[name]:
        compare(name, args, options)


@pytest.mark.parametrize(("name", "dtype"), [
    (name, dtype) for name in ROWS for dtype in ("int32", "uint8", "bool") if name not in WITHOUT_WHOLE
    and (dtype != "bool" or name in IN_BOOLEANS) and (dtype, name) != ("uint8", "clip")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_integers_and_booleans_too(name, dtype):
    def whole(array):
        with np.errstate(all="ignore"):
            near = np.nan_to_num(np.abs(array), posinf=5).round() % 9
        return array if array.dtype.kind != "f" else (near + (name != "logical_not")).astype(dtype)

    for args, options in ROWS[name][:8]:
        compare(name, *structure(whole, args, options))


@pytest.mark.parametrize("name", [name for name, calls in ROWS.items() if len(calls[0][0]) > 1 and calls[0][0][0] is X
                                  and isinstance(calls[0][0][1], np.ndarray)
                                  and name not in ("allclose", "take", "take_along_axis")])
def test_integers_beside_floats_become_floats(name):
    args, options = ROWS[name][0]
    for dtype in ("float32", "float64"):
        one, other = np.round(np.abs(X)).astype("int32") + np.int32(1), args[1].astype(dtype)
        found = function(name)(one, other, *args[2:], **options).numpy()
        np.testing.assert_allclose(found, numpy_of(name)(one, other, *args[2:], **options), rtol=1e-4)
        assert found.dtype == (dtype if found.dtype.kind == "f" else found.dtype)


@pytest.mark.parametrize(("name", "arguments"), OF_NUMBERS.items())
def test_what_is_made_of_numbers(name, arguments):
    args, options = arguments
    found, expected = getattr(ops, name)(*args, **options), getattr(np, name)(*args, **options)
    if name != "empty":
        np.testing.assert_allclose(found.numpy(), expected)
    assert found.dtype == ("int32" if name == "arange" else "float32")


SMOOTH = RNG.uniform(0.2, 0.9, (3, 4))


@pytest.mark.parametrize("f", [
    lambda x: ops.tan(x), lambda x: ops.cumsum(x, 1), lambda x: ops.prod(x, (0, 1)), lambda x: ops.pad(x, 2, "reflect"),
    lambda x: ops.pad(x, ((1, 0), (0, 3)), "symmetric"), lambda x: ops.einsum("ij,kj->ik", x, x),
    lambda x: ops.einsum("ij->j", x), lambda x: ops.dot(x, ops.transpose(x)), lambda x: ops.cast(x, "float64"),
    lambda x: ops.tensordot(x, x, 2), lambda x: ops.take_along_axis(x, np.array([[2], [2], [0]]), 1),
    lambda x: ops.roll(x, 1, (0, 1)), lambda x: ops.diag(x[0]), lambda x: ops.tril(x), lambda x: ops.logsumexp(x, 0),
    lambda x: x ** x, lambda x: 2.0 ** x, lambda x: x ** np.full(4, 2.0), lambda x: x % 0.15, lambda x: 0.95 % x,
    lambda x: ops.image.resize(ops.reshape(x, (3, 4, 1)), (5, 2)), lambda x: ops.std(x), lambda x: ops.average(x, 0, x),
    lambda x: ops.arctan2(x, x[0]), lambda x: ops.broadcast_to(x, (2, 3, 4))])
def test_gradients(f):
    ac.gradcheck(f, ac.tensor(SMOOTH, requires_grad=True))


def test_the_exponent_s_gradient_at_0():
    x, y = ac.tensor([0.0, 0.0, 2.0], requires_grad=True), ac.tensor([2.0, 0.0, 0.0], requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        (x ** y).sum().backward()
    np.testing.assert_allclose(x.grad, [0, 0, 0])
    np.testing.assert_allclose(y.grad, [0, 0, np.log(2)], rtol=1e-6)


def test_operators():
    x, y = ac.tensor(WHOLE.astype("int32")), ac.tensor(OTHER_WHOLE.astype("int32"))
    a, b = x.numpy(), y.numpy()
    for found, expected in ((x & y, a & b), (x | 3, a | 3), (6 ^ x, 6 ^ a), (~x, ~a), (x // y, a // b), (x % y, a % b),
                            (7 // y, 7 // b), (7 % y, 7 % b), (x ** y, a ** b), (2 ** y, 2 ** b), (x + 1, a + 1),
                            (~(x > 0), ~(a > 0)), ((x > 0) & (y > 2), (a > 0) & (b > 2)), (a // y, a // b),
                            (~ac.tensor(b.astype("uint8")), ~b.astype("uint8"))):
        np.testing.assert_array_equal(found.numpy(), expected)
        assert found.dtype == expected.dtype
    assert ((x / 2) // y).dtype == np.float32
    with pytest.raises(TypeError, match="booleans or integers"):
        (x / 2) & y
    symbolic = ac.Input((3,), dtype="int32")
    outputs = [symbolic & 6, symbolic | 1, symbolic ^ 5, ~symbolic, symbolic // 2, symbolic % 3, 2 ** symbolic,
               (symbolic > 1) & (symbolic < 4)]
    a = np.array([[1, 2, 3], [4, 5, 6]], "int32")
    for found, expected in zip(ac.Model(symbolic, outputs)(a), [
            a & 6, a | 1, a ^ 5, ~a, a // 2, a % 3, 2 ** a, (a > 1) & (a < 4)], strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


def test_mixed_dtypes_are_joined_as_floats():
    for joined in (ops.stack([WHOLE.astype("int32"), X]), ops.concatenate([ac.tensor(WHOLE.astype("int32")), X])):
        assert joined.dtype == np.float32


def test_what_einsum_and_the_others_refuse():
    for call, said in ((lambda: ops.einsum("ij,jk", X), "2 tensors|for 1 tensors"),
                       (lambda: ops.einsum("ij", X), "one letter for each axis"),
                       (lambda: ops.einsum("ijk->iz", X), "only letters of the operands"),
                       (lambda: ops.einsum("ij,ij", MATRIX, X[0]), "must have the same size"),
                       (lambda: ops.broadcast_to(X, (3, 4)), "size of x must be 1 or equal to the size in `shape`"),
                       (lambda: ops.tensordot(X, MATRIX, 2), "the same sizes"),
                       (lambda: ops.take_along_axis(X, np.array([0]), 1), "as many axes")):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("suffix", ["safetensors", "keras"])
def test_a_model_casts_its_input(suffix, tmp_path):
    """The input stays uint8, targets stay floats, and a file brings all of it back."""
    if suffix == "keras":
        pytest.importorskip("h5py")
    pixels = RNG.integers(0, 255, (32, 4)).astype("uint8")
    x = ac.Input((4,), dtype="uint8")
    y = ops.einsum("bi,bj->bi", ops.cast(x, "float32") / 255.0, ops.cast(ops.mod(x, 7), "float32"))
    model = ac.Model(x, ac.layers.Dense(1)(y))
    model.compile(ac.optimizers.SGD(1e-4), "mse")
    first = model.evaluate(pixels, pixels[:, :1] / 255, verbose=0)
    model.fit(pixels, pixels[:, :1] / 255, epochs=3, verbose=0)
    assert model.evaluate(pixels, pixels[:, :1] / 255, verbose=0) < first
    kernel, bias = model.get_weights()
    features = pixels / 255 * (pixels % 7).sum(1, keepdims=True)
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(expected, features @ kernel + bias, rtol=1e-4, atol=1e-4)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    again = ac.models.load_model(path)
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), expected)
    assert again.inputs[0].dtype == "uint8"


def test_inputs_of_several_dtypes_keep_theirs():
    places, rows = ac.Input((3,), dtype="int32"), ac.Input((3,))
    model = ac.Model([places, rows], ops.take_along_axis(rows, places, 1))
    given = [np.array([[2, 0, 1], [1, 1, 0]], "int32"), normal(2, 3)]
    expected = np.take_along_axis(given[1], given[0], 1)
    np.testing.assert_array_equal(model.predict(given, verbose=0), expected)
    np.testing.assert_array_equal(model(given).numpy(), expected)
