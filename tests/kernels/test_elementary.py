"""exp, log, sin and their relatives (kernels/formulas/elementary.py): accurate, right at the edges,
the same bits anywhere.
"""

import hashlib
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

import autoconv as ac
from autoconv import functional, losses, ops, optimizers
from autoconv.kernels import device
from autoconv.kernels.formulas import elementary

RANDOM = np.random.default_rng(0)
WIDE = RANDOM.uniform(-700, 700, 300)
NEAR_ZERO = RANDOM.normal(size=500) * np.repeat([1, 1e-3, 1e-9], [300, 100, 100])
POSITIVE = np.concatenate([
    10.0 ** RANDOM.uniform(-300, 300, 300), 1 + 0.3 * RANDOM.random(200), [5e-324, 1e-310]])
INF = np.inf
NAN = np.nan


def exact(name, x):
    """The value to 60 digits."""
    with localcontext() as context:
        context.prec = 60
        x = Decimal(float(x))
        if name == "tanh":
            return (2 * x).exp() - 1, (2 * x).exp() + 1
        return {"exp": lambda: x.exp(), "expm1": lambda: x.exp() - 1, "log": lambda: x.ln(),
                "log1p": lambda: (1 + x).ln()}[name](), Decimal(1)


@pytest.mark.parametrize(("name", "xs", "limit"), [
    ("exp", np.concatenate([WIDE, NEAR_ZERO]), 1), ("log", POSITIVE, 1), ("log1p", np.abs(NEAR_ZERO), 4),
    ("expm1", np.concatenate([WIDE / 20, NEAR_ZERO]), 4), ("tanh", NEAR_ZERO, 4)])
def test_errors_are_a_few_units_in_the_last_place(name, xs, limit):
    f = getattr(elementary, name)
    for x in xs:
        above, below = exact(name, x)
        with localcontext() as context:
            context.prec = 60
            value = above / below
            error = abs(Decimal(float(f(x))) - value) / Decimal(float(np.spacing(abs(float(value)))))
        assert error <= limit, x


def test_erf_agrees_with_the_c_library():
    xs = np.concatenate([NEAR_ZERO, np.linspace(-7, 7, 999)])
    expected = np.array([math.erf(x) for x in xs])
    np.testing.assert_array_max_ulp(ops.erf(xs).numpy(), expected, 4)


@pytest.mark.parametrize("name", ["sin", "cos", "sinh", "cosh"])
def test_waves_and_hyperbolas_agree_with_the_c_library(name):
    """Also close to multiples of pi / 2, where almost all digits of the angle cancel."""
    quarters = np.arange(-3000, 3000) * (np.pi / 2)
    near = np.nextafter(quarters, 9e9)
    angles = np.concatenate([NEAR_ZERO, WIDE, quarters, near, [999_999.5, 1e9, 1e22]])
    xs = angles if name in ("sin", "cos") else np.concatenate([NEAR_ZERO, WIDE, [709.9, -710.2]])
    expected = np.array([getattr(math, name)(x) for x in xs])
    np.testing.assert_array_max_ulp(getattr(ops, name)(xs).numpy(), expected, 4)


@pytest.mark.parametrize("name", ["arctan", "arcsin", "arccos"])
def test_angles_agree_with_the_c_library(name):
    sines = np.clip(NEAR_ZERO, -1, 1)
    xs = {"arctan": np.concatenate([NEAR_ZERO, WIDE, POSITIVE])}.get(name, sines)
    expected = np.array([getattr(math, name.replace("arc", "a"))(x) for x in xs])
    np.testing.assert_array_max_ulp(getattr(ops, name)(xs).numpy(), expected, 4)


def test_angles_of_points_agree_with_the_c_library():
    odd = [0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 5e-324, -1e300]
    y, x = np.meshgrid(np.concatenate([NEAR_ZERO[:50], odd]), np.concatenate([NEAR_ZERO[50:99], odd]))
    expected = np.array([[math.atan2(*pair) for pair in zip(*rows)] for rows in zip(y, x)])
    angles = ops.arctan2(y, x).numpy()
    np.testing.assert_array_equal(np.isnan(angles), np.isnan(expected))
    is_number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(angles[is_number]), np.signbit(expected[is_number]))
    np.testing.assert_array_max_ulp(angles[is_number], expected[is_number], 4)
    np.testing.assert_array_equal(ops.arctan2(y.T, 1.0).numpy(), ops.arctan(y).numpy().T)


@pytest.mark.parametrize(("base", "exponent"), [
    (0.999, 4690), (0.96, 1.7), (0.5, 0), (0.0, 0), (0.0, 2.5), (2.0, -3.0), (-2.0, 3), (-2.0, -2),
    (-1.5, 101), (-1.5, 100), (7.0, -2.5), (INF, 0.3), (INF, -1), (1e-300, 2), (1e300, 40.5)])
def test_powers_agree_with_python(base, exponent):
    with np.errstate(over="ignore"):
        assert elementary.power(base, exponent) == pytest.approx(np.float64(base)**exponent, rel=1e-13)


@pytest.mark.parametrize(("name", "x", "expected"), [
    ("exp", INF, INF), ("exp", -INF, 0), ("exp", 710, INF), ("exp", -746, 0), ("exp", -0.0, 1),
    ("exp", NAN, NAN), ("exp", -745, 5e-324), ("log", 0, -INF), ("log", -1, NAN), ("log", INF, INF),
    ("log", NAN, NAN), ("log", 1, 0), ("log1p", -1, -INF), ("log1p", -2, NAN), ("log1p", INF, INF),
    ("log1p", 1e-30, 1e-30), ("expm1", INF, INF), ("expm1", -INF, -1), ("expm1", 1e-30, 1e-30),
    ("expm1", NAN, NAN), ("erf", INF, 1), ("erf", -INF, -1), ("erf", NAN, NAN),
    ("erf", -0.0, -0.0), ("tanh", INF, 1), ("tanh", -INF, -1), ("tanh", NAN, NAN), ("tanh", -0.0, -0.0),
    ("expm1", -0.0, -0.0), ("sin", 0, 0), ("sin", INF, NAN), ("sin", NAN, NAN), ("cos", 0, 1), ("cos", -INF, NAN),
    ("sinh", INF, INF), ("sinh", -INF, -INF), ("sinh", 711, INF), ("sinh", 1e-30, 1e-30), ("sinh", NAN, NAN),
    ("cosh", 0, 1), ("cosh", -INF, INF), ("cosh", NAN, NAN), ("arctan", INF, np.pi / 2), ("arctan", -0.0, -0.0),
    ("arctan", NAN, NAN), ("arcsin", 1, np.pi / 2), ("arcsin", 1.1, NAN), ("arcsin", -0.0, -0.0), ("arccos", 1, 0),
    ("arccos", -1, np.pi), ("arccos", -2, NAN), ("arccos", NAN, NAN),
])
def test_edges(name, x, expected):
    given = getattr(ops, name)(np.array([x], np.float64)).numpy()
    np.testing.assert_array_equal(given, [expected])
    assert np.isnan(expected) or np.signbit(given) == np.signbit(expected)


@pytest.mark.parametrize(
    "name", ["exp", "log", "log1p", "expm1", "tanh", "sin", "cos", "sinh", "cosh", "arctan", "arcsin", "arccos"])
def test_the_compiler_fuses_nothing(name):
    """Compiled for vectors, a function gives the bits that Python computes one operation at a time.
    """
    sines = np.clip(NEAR_ZERO, -1, 1)
    xs = {"exp": WIDE, "log": POSITIVE, "log1p": np.abs(NEAR_ZERO), "arcsin": sines, "arccos": sines}.get(
        name, NEAR_ZERO)
    by_python = [float(getattr(elementary, name)(x)) for x in xs]
    np.testing.assert_array_equal(getattr(ops, name)(xs).numpy(), by_python)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_are_the_same_everywhere(dtype):
    """The digest is the same on every processor and system: a change of it is a change of
    everybody's results.
    """
    xs = np.linspace(0.001, 20, 4000).astype(dtype)
    digest = hashlib.sha256()
    for name in ("exp", "log", "log1p", "expm1", "erf", "sin", "cos", "sinh", "cosh"):
        digest.update(getattr(ops, name)(xs).numpy().tobytes())
    for name in ("arctan", "arcsin", "arccos"):
        digest.update(getattr(ops, name)(xs / 20).numpy().tobytes())
    digest.update(ops.arctan2(xs, xs[::-1] - 9).numpy().tobytes())
    weights = ac.tensor(xs, requires_grad=True)
    optimizers.Ftrl(0.1, learning_rate_power=-0.37).apply([xs - 10], [weights])
    digest.update(weights.numpy().tobytes())
    for interpolation in ("bicubic", "lanczos3", "lanczos5"):
        digest.update(functional.resize(xs.reshape(1, 50, 80, 1), (33, 99), interpolation).numpy().tobytes())
    digest.update(losses.mean_squared_error(0 * xs, xs).numpy().tobytes())
    digest.update(losses.mean_absolute_error(0 * xs, xs).numpy().tobytes())
    for exponent in (3, -0.5, 2.5, 1.7, 100, xs):
        digest.update(ops.power(xs, exponent).numpy().tobytes())
    digest.update(ac.random.normal((4000,), dtype=dtype, seed=1).tobytes())
    expected = {"float32": "5cfc0be787a24b4d", "float64": "cb442135b71d57e4"}
    assert digest.hexdigest()[:16] == expected[dtype]


def test_contiguous_arrays_are_not_copied(monkeypatch):
    cpu = device.get("cpu")
    arith = cpu.kernels("arith")
    monkeypatch.setattr(arith, "copy", None)
    x = cpu.array(POSITIVE)
    arith.exp(x, x)
    arith.arctan2(x, x, x)
    arith.power(x, x, x)
    np.testing.assert_allclose(x, (np.pi / 4) ** (np.pi / 4))


def test_float32_is_rounded_once():
    xs = np.linspace(-20, 20, 2001, dtype=np.float32)
    np.testing.assert_array_equal(ops.exp(xs).numpy(), np.exp(xs.astype(np.float64)).astype(np.float32))
