"""Two processes that share each batch train as one process does on the whole of it."""

import numpy as np
import pytest
from fake_ranks import Echo, together

from autoconv import layers, models, optimizers, utils
from autoconv.engine.ranks import ALONE

SAMPLES, BATCH, STEPS, EPOCHS = 53, 9, 6, 4  # a batch of 9 is shared as 4 and 5, an epoch's last one as 4 and 4
X = np.random.default_rng(0).normal(size=(SAMPLES, 8, 8, 2))
Y = np.random.default_rng(1).integers(0, 4, SAMPLES)
WEIGHTS = np.random.default_rng(2).random(SAMPLES)


class EagerDense(layers.Dense):
    recordable = False


def chain(dropout=False, dense=layers.Dense):
    drop = [[layers.Dropout(0.3)], [layers.Dropout(0.4, seed=7)]] if dropout else [[], []]
    return models.Sequential([
        layers.Input((8, 8, 2), dtype="float64"), layers.Conv2D(6, 3, activation="tanh", dtype="float64"), *drop[0],
        layers.Conv2D(5, 3, strides=2, dtype="float64"), layers.Flatten(), *drop[1],
        dense(9, activation="tanh", dtype="float64"), layers.Dense(4, "softmax", dtype="float64"),
    ])


def shared():
    x = layers.Input((8, 8, 2), dtype="float64")
    twice = layers.Conv2D(2, 3, padding="same", activation="tanh", dtype="float64")
    y = layers.Dense(6, dtype="float64")(layers.Flatten()(layers.Add()([twice(twice(x)), x])))
    return models.Model(x, layers.Dense(4, "softmax", dtype="float64")(y))


NETS = {
    "recorded": chain, "eager": lambda: chain(dense=EagerDense), "shared weights": shared,
    "dropout": lambda: chain(True), "eager dropout": lambda: chain(True, EagerDense),
}
CASES = [(name, bucket, optimizer, shuffle) for name in NETS for bucket, optimizer, shuffle in (
    (1, "adam", True), (800, "sgd", False), (1 << 20, "clipped", True))]
OPTIMIZERS = {"adam": lambda: optimizers.Adam(0.01), "sgd": lambda: optimizers.SGD(0.1, momentum=0.9),
              "clipped": lambda: optimizers.SGD(0.1, global_clipnorm=0.5, weight_decay=0.01)}


def train(case, ranks=ALONE):
    """The weights, the losses of the epochs, what was reduced and how the step was recorded."""
    name, bucket, optimizer, shuffle = case
    utils.set_random_seed(11)
    model = NETS[name]().distribute(ranks)
    model.compile(OPTIMIZERS[optimizer](), "sparse_categorical_crossentropy")
    if ranks.size > 1:
        ranks.bucket_bytes, ranks.sizes = bucket, []
    history = model.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, shuffle=shuffle, sample_weight=WEIGHTS, verbose=0)
    report = model.recording_report()["train"]
    return model.get_weights(), history.history["loss"], getattr(ranks, "sizes", []), report


def train_all(ranks):
    return [train(case, ranks) for case in CASES]


@pytest.fixture(scope="module")
def ranks():
    """The results of both processes, under the cases."""
    return dict(zip(CASES, zip(*together(train_all, 2)), strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_two_processes_train_as_one(case, ranks):
    weights, losses, _, _ = train(case)
    (first, loss_0, sizes, report), (second, loss_1, other_sizes, _) = ranks[case]
    for a, b, whole in zip(first, second, weights, strict=True):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(a, whole, rtol=0, atol=1e-12)
    assert loss_0 == loss_1
    np.testing.assert_allclose(loss_0, losses, rtol=1e-12)

    assert sizes == other_sizes
    assert (report["backward"] is None) == ("eager" not in case[0])
    buckets = len(sizes) // (STEPS * EPOCHS)
    assert sizes == sizes[:buckets] * STEPS * EPOCHS  # the same parts in the same order in each step
    parameters = sum(w.size for w in weights)
    assert sum(sizes[:buckets]) >= parameters
    assert buckets == len(weights) if case[1] == 1 else buckets == 1 if case[1] == 1 << 20 else buckets > 1


def test_a_batch_of_fewer_samples_than_processes_is_refused():
    model = chain().distribute(Echo())
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"at least the number of ranks\. Received: batch_size=1 with 2 ranks"):
        model.fit(X, Y, batch_size=1, verbose=0)


def test_only_ranks_train_together():
    with pytest.raises(TypeError, match=r"model.distribute\(parallel.MPI\(\)\). Received: 4"):
        chain().distribute(4)


def test_gradients_are_reduced_while_the_backward_pass_goes_on():
    """The last layers' gradients are handed over before the first layers' are computed."""
    seen = []

    def reduce(part):
        first = model.optimizer.flat.gradients[0]
        seen.append(bool(first.any()))
        if len(seen) % len(model.weights) == 0:
            first[...] = 0  # what the next step must compute anew

    model = chain().distribute(Echo(reduce))
    model.compile(optimizers.SGD(1e-30), "sparse_categorical_crossentropy")
    model.fit(X[:51], Y[:51], batch_size=17, shuffle=False, verbose=0)
    buckets = len(model.weights)
    assert len(seen) == 3 * buckets
    assert seen[:buckets] == [True] * buckets  # the step that is recorded
    for step in (seen[buckets : 2 * buckets], seen[2 * buckets :]):
        assert not step[0]
        assert step[-1]
