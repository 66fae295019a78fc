"""Initializers: Keras's formulas, names and seeds."""

from math import sqrt

import numpy as np
import pytest

from autoconv import initializers, random

SHAPE = (3, 3, 32, 64)  # fan_in 288, fan_out 576
FAN_IN, FAN_OUT = 288, 576


@pytest.fixture(autouse=True)
def _seeded():
    random.set_seed(1)


@pytest.mark.parametrize(("name", "limit"), [
    ("glorot_uniform", sqrt(6 / (FAN_IN + FAN_OUT))),
    ("he_uniform", sqrt(6 / FAN_IN)),
    ("lecun_uniform", sqrt(3 / FAN_IN)),
    ("random_uniform", 0.05),
])
def test_uniform_initializers_fill_their_interval(name, limit):
    values = initializers.get(name)(SHAPE)
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.99 * limit
    assert abs(values.mean()) < 0.02 * limit
    assert values.std() == pytest.approx(limit / sqrt(3), rel=0.02)


@pytest.mark.parametrize(("name", "deviation"), [
    ("glorot_normal", sqrt(2 / (FAN_IN + FAN_OUT))),
    ("he_normal", sqrt(2 / FAN_IN)),
    ("lecun_normal", sqrt(1 / FAN_IN)),
])
def test_truncated_initializers_have_the_variance_of_their_formula(name, deviation):
    values = initializers.get(name)(SHAPE)
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(values).max() <= 2 * deviation / 0.87962566


def test_random_normal_is_not_cut_and_truncated_normal_is():
    normal = initializers.RandomNormal(mean=1.0, stddev=0.5)(SHAPE)
    assert (normal.mean(), normal.std()) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.5, rel=0.02))
    assert np.abs(normal - 1.0).max() > 3 * 0.5
    assert np.abs(initializers.TruncatedNormal(mean=1.0, stddev=0.5)(SHAPE) - 1.0).max() <= 1.0 + 1e-6


def test_variance_scaling_modes():
    def spread(mode):
        return initializers.VarianceScaling(2.0, mode, "untruncated_normal")(SHAPE).std()

    assert spread("fan_in") == pytest.approx(sqrt(2 / FAN_IN), rel=0.02)
    assert spread("fan_out") == pytest.approx(sqrt(2 / FAN_OUT), rel=0.02)
    assert spread("fan_avg") == pytest.approx(sqrt(4 / (FAN_IN + FAN_OUT)), rel=0.02)


def test_constants():
    assert (initializers.get("zeros")((2, 3)) == np.zeros((2, 3))).all()
    assert (initializers.get("ones")((2, 3)) == np.ones((2, 3))).all()
    assert (initializers.Constant(0.1)((2,)) == np.float32(0.1)).all()


@pytest.mark.parametrize("shape", [(), (7,), (7, 5), (2, 3, 7, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(initializers.registry.names))
def test_every_initializer_gives_the_shape_and_dtype_asked_for(name, dtype, shape):
    if (name == "identity" and len(shape) != 2) or (name == "orthogonal" and len(shape) < 2):
        with pytest.raises(ValueError, match="rank"):
            initializers.get(name)(shape, dtype)
        return
    values = initializers.get(name)(shape, dtype)
    assert (values.shape, values.dtype) == (shape, dtype)


@pytest.mark.parametrize("shape", [(7, 5), (3, 8), (3, 3, 2, 6)])
def test_orthogonal_columns_or_rows(shape):
    matrix = initializers.Orthogonal(2.0, seed=1)(shape, "float64").reshape(-1, shape[-1])
    matrix = matrix if len(matrix) >= shape[-1] else matrix.T
    np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(matrix.shape[1]), atol=1e-12)
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3)), 3 * np.eye(2, 3))


@pytest.mark.parametrize(("shape", "wanted"), [((), (1, 1)), ((5,), (5, 5)), ((4, 3), (4, 3)), (SHAPE, (288, 576))])
def test_fans(shape, wanted):
    assert initializers.fans(shape) == wanted


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "random_normal"])
def test_an_initializer_gives_the_same_values_at_every_call_and_one_without_a_seed_its_own(name):
    kind = initializers.registry.names[name]
    seeded = kind(seed=3)
    first = seeded(SHAPE)
    assert (first == seeded(SHAPE)).all()
    assert (first == kind(seed=3)(SHAPE)).all()
    assert (first != kind(seed=4)(SHAPE)).any()
    unseeded = kind()
    assert (unseeded(SHAPE) == unseeded(SHAPE)).all()
    assert (unseeded(SHAPE) != kind()(SHAPE)).any()
    assert (unseeded(SHAPE) != unseeded.clone()(SHAPE)).any()
    drawn = kind(seed=random.SeedGenerator(3))
    assert (drawn(SHAPE) != drawn(SHAPE)).any()


def test_the_global_seed_makes_a_run_repeatable():
    first = initializers.GlorotUniform()(SHAPE)
    random.set_seed(1)
    assert (first == initializers.GlorotUniform()(SHAPE)).all()


def test_names_classes_instances_functions_and_configs_are_all_taken():
    assert isinstance(initializers.get("he_normal"), initializers.HeNormal)
    assert isinstance(initializers.get("HeNormal"), initializers.HeNormal)
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    assert initializers.get(None) is None
    own = initializers.Constant(2.0)
    assert initializers.get(own) is own
    assert initializers.get(np.zeros) is np.zeros
    again = initializers.get({"class_name": "HeNormal", "config": initializers.HeNormal(seed=5).get_config()})
    assert again.seed == 5


def test_unknown_names_are_answered_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"initializer identifier: 'glorot_unifrom'\. Did you mean 'glorot_uniform'\?"):
        initializers.get("glorot_unifrom")
    with pytest.raises(ValueError, match="Unknown mode: 'fan_on'"):
        initializers.VarianceScaling(mode="fan_on")
    with pytest.raises(ValueError, match="scale must be positive"):
        initializers.VarianceScaling(scale=0)
