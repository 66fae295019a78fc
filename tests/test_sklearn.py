"""Classifier and Regressor among scikit-learn's own: its checks of estimators, pipelines, searches, pickles."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from autoconv import layers as L
from autoconv import models, optimizers, random

pytest.importorskip("sklearn", minversion="1.6")
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from autoconv.wrappers import Classifier, Regressor

CHECKS = parametrize_with_checks([Classifier(), Regressor()], expected_failed_checks=lambda estimator: {
    "check_do_not_raise_errors_in_init_or_set_params": "the check passes an argument named settings, for **settings",
    "check_sample_weight_equivalence_on_dense_data": "a sample of weight 0 is still a sample of a batch"})
NAMES, PAIRS = CHECKS.args


@pytest.mark.parametrize(NAMES, list(PAIRS), **CHECKS.kwargs)  # of scikit-learn 1.6 they are a generator
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:After epoch")  # many of the data have random labels
def test_scikit_learn_s_own_checks(estimator, check):
    check(estimator)


def blobs(n=90):
    x, y = make_blobs(n, centers=3, n_features=4, random_state=1)
    return x, np.array(["a", "b", "c"])[y]


def small(input_shape, outputs):
    return [L.Dense(8, "tanh"), L.Dense(outputs, "softmax")]


def test_a_pipeline_in_a_search():
    x, y = blobs()
    pipeline = make_pipeline(StandardScaler(), Classifier(small, random_state=0))
    search = GridSearchCV(pipeline, {"classifier__epochs": [1, 60],
                                     "classifier__optimizer": ["adam", optimizers.SGD(0.001)]}, cv=3)
    search.fit(x, y)
    assert search.best_params_["classifier__epochs"] == 60
    assert search.score(x, y) > 0.95
    again = clone(search.best_estimator_).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), search.predict_proba(x))


def test_cross_validation_of_a_regressor():
    x = np.random.default_rng(0).normal(size=(120, 3))
    y = x @ [1.0, -2.0, 0.5] + 3
    assert cross_val_score(Regressor(random_state=0), x, y, cv=3).min() > 0.8
    two = Regressor(epochs=2, random_state=0).fit(x, np.stack([y, -y], 1))
    assert two.predict(x).shape == (120, 2)


def parts(input_shape, outputs, filters=2, *, dropout=0.0, activation="relu"):
    return [L.Conv2D(filters, 3, activation=activation), L.Dropout(dropout), L.Flatten(), L.Dense(outputs, "softmax")]


def images(n=120):
    digits = load_digits()
    return digits.images[:n, :, :, None] / 16, digits.target[:n]


def test_a_search_varies_the_parameters_of_the_function():
    x, y = images()
    grid = {"filters": [1, 12], "dropout": [0.0, 0.9]}
    search = GridSearchCV(Classifier(parts, epochs=8, random_state=0), grid, cv=2)
    search.fit(x, y, sample_weight=np.ones(len(y)))
    assert search.best_params_ == {"filters": 12, "dropout": 0.0}
    assert search.best_estimator_.model_.layers[0].filters == 12
    assert search.best_estimator_.model_.layers[1].rate == 0.0
    piped = GridSearchCV(make_pipeline(Classifier(parts, epochs=1)), {"classifier__filters": [3]}, cv=2).fit(x, y)
    assert piped.best_estimator_[0].model_.layers[0].filters == 3


def test_get_params_set_params_and_clone_include_the_parameters_of_the_function():
    found = Classifier(parts, filters=5)
    names = {"net", "epochs", "batch_size", "optimizer", "loss", "random_state", "verbose"}
    assert found.get_params() == {**Classifier(parts).get_params(), "filters": 5}
    assert found.get_params().keys() == names | {"filters", "dropout", "activation"}
    assert Classifier().get_params().keys() == names
    assert clone(found.set_params(dropout=0.25, epochs=3)).get_params() == found.get_params()
    assert (found.dropout, found.epochs) == (0.25, 3)
    assert "filters=5" in repr(found)
    assert found.set_params(net=small).get_params().keys() == names
    assert found.set_params(net=parts, filters=7).get_params()["filters"] == 7
    with pytest.raises(ValueError, match="Invalid parameter 'filter'"):
        found.set_params(filter=3)
    with pytest.raises(TypeError, match=r"no argument 'filter'\. Did you mean 'filters'\?"):
        Classifier(parts, filter=3)
    with pytest.raises(TypeError, match=r"no argument 'epoch'\. Did you mean 'epochs'\?"):
        Regressor(epoch=3)
    with pytest.raises(TypeError, match=r"net must be a function.* Received: 7"):
        Classifier(7).fit(*blobs())


def test_a_function_whose_arguments_all_have_defaults_receives_no_shapes():
    def net(units=8):
        return models.Sequential([L.Dense(units, "tanh"), L.Dense(3, "softmax")])

    x, y = blobs()
    assert Classifier(net, units=5, epochs=1).fit(x, y).model_.layers[0].units == 5
    assert Classifier(lambda: net(4), epochs=1).fit(x, y).model_.layers[0].units == 4


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_sample_weights(kind):
    x = np.tile(np.random.default_rng(0).normal(size=(20, 3)), (2, 1))
    y = np.repeat([0, 1], 20)  # the same samples with both targets: the weights decide
    found = kind(epochs=150, optimizer=optimizers.Adam(0.02), random_state=0)
    assert found.fit(x, y, sample_weight=[1.0] * 20 + [0.0] * 20).predict(x).mean() < 0.1
    assert found.fit(x, y, sample_weight=np.repeat([0.0, 2.0], 20)).predict(x).mean() > 0.9
    with pytest.raises(ValueError, match="sample_weight"):
        found.fit(x, y, sample_weight=[1.0, 2.0])


def test_images():
    digits = load_digits()
    x, y = digits.images[:600, :, :, None] / 16, digits.target[:600]

    def net(input_shape, outputs):
        assert input_shape == (8, 8, 1)
        return [L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(outputs, "softmax")]

    found = Classifier(net, epochs=20, random_state=3).fit(x, y)
    assert found.score(x, y) > 0.95
    assert found.input_shape_ == (8, 8, 1)
    with pytest.raises(ValueError, match=r"in fit, \(8, 8, 1\)\. Received: samples of shape \(8, 4, 1\)"):
        found.predict(x[:, :, :4])
    assert Classifier(epochs=1).fit((x * 16).astype(np.uint8), y).predict(x).shape == (600,)


def test_models_of_a_function():
    def net(input_shape, outputs):
        x = L.Input(input_shape)
        return models.Model(x, L.Dense(outputs, "softmax")(x))

    x, y = blobs()
    assert Classifier(net, epochs=300, optimizer=optimizers.Adam(0.01), random_state=0).fit(x, y).score(x, y) > 0.9
    unbuilt = Classifier(lambda shape, outputs: models.Sequential([L.Dense(outputs, "softmax")]), epochs=1)
    assert set(unbuilt.fit(x, y).predict(x)) <= {"a", "b", "c"}
    with pytest.raises(ValueError, match=r"must return 3 numbers per sample.* Received: outputs of shape \(None, 4\)"):
        Classifier(lambda shape, outputs: [L.Dense(4)]).fit(x, y)
    with pytest.raises(TypeError, match=r"The function net\(input_shape, outputs\).* Received: 5"):
        Classifier(lambda shape, outputs: 5).fit(x, y)


def test_random_state_and_the_random_numbers_of_others():
    x, y = blobs()
    random.set_seed(5)
    expected = random.uniform((3,))
    random.set_seed(5)
    first = Classifier(epochs=2, random_state=1).fit(x, y).predict_proba(x)
    np.testing.assert_array_equal(random.uniform((3,)), expected)
    np.testing.assert_array_equal(Classifier(epochs=2, random_state=1).fit(x, y).predict_proba(x), first)
    assert np.any(Classifier(epochs=2, random_state=2).fit(x, y).predict_proba(x) != first)
    state = np.random.RandomState(0)
    one, two = (Classifier(epochs=2, random_state=state).fit(x, y).predict_proba(x) for _ in range(2))
    assert np.any(one != two)


def test_an_optimizer_begins_anew_with_each_fit():
    x, y = blobs()
    given = optimizers.Adam(0.01)
    found = Classifier(epochs=2, optimizer=given, random_state=0)
    first = found.fit(x, y).predict_proba(x)
    np.testing.assert_array_equal(found.fit(x, y).predict_proba(x), first)
    assert not given.built


def test_pickles():
    x, y = blobs()
    found = Classifier(small, epochs=3, random_state=0).fit(x, y)
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy.predict_proba(x), found.predict_proba(x))
    assert copy.history_ == found.history_
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(Classifier())).predict(x)


def test_only_the_wrappers_import_scikit_learn():
    def run(code):
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert run("import sys, autoconv; print('sklearn' in sys.modules)").stdout == "False\n"
    missing = run("import sys; sys.modules['sklearn'] = None; import autoconv.wrappers").stderr.splitlines()[-1]
    assert missing.endswith("ExtraError: autoconv.wrappers needs scikit-learn, which is not installed. "
                            "Install it with pip install 'autoconv[sklearn]'.")
    old = run("import sklearn.utils.validation as v; del v.validate_data; import autoconv.wrappers").stderr
    assert "needs scikit-learn 1.6 or newer" in old
