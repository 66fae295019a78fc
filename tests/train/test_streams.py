"""fit, evaluate and predict on iterables, sequences and arrays that are larger than memory: the results of arrays."""

import io
import sys

import numpy as np
import pytest

from autoconv import callbacks, layers, models, utils

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 70)
X = (RNG.normal(size=(70, 4)) + 4 * np.eye(3, 4)[Y]).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2, 70)
BATCHES = [slice(i, i + 32) for i in (0, 32, 64)]  # the last one has 6 samples


def compiled(**kwargs):
    utils.set_random_seed(7)
    model = models.Sequential([layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], **kwargs)
    return model


class Again:
    """An iterable that begins again each time."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __iter__(self):
        return (tuple(a[rows] for a in self.arrays) for rows in BATCHES)


class Sequence(Again):
    """Like keras.utils.PyDataset."""

    __iter__ = None
    ended = 0

    def __init__(self, *arrays):
        super().__init__(*arrays)
        self.asked = []

    def __len__(self):
        return 3

    def __getitem__(self, i):
        self.asked.append(i)
        return tuple(a[BATCHES[i]] for a in self.arrays)

    def on_epoch_end(self):
        self.ended += 1


class Lists(Again):
    """Like torch's DataLoader: lists, of what is no NumPy array."""

    def __iter__(self):
        return ([a[rows].tolist() for a in self.arrays] for rows in BATCHES)


def forever(*arrays):
    while True:
        yield from Again(*arrays)


def results(model, history, x=X):
    return history.history, model.predict(x, verbose=0).tolist()


GIVEN = {
    "iterable": (lambda *a: Again(*a), {}), "sequence": (lambda *a: Sequence(*a), {}), "lists": (Lists, {}),
    "generator": (forever, {"steps_per_epoch": 3}),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("given", GIVEN)
def test_training_on_an_iterable_is_training_on_its_arrays(given, weighted):
    make, how = GIVEN[given]
    arrays = (X, Y, WEIGHTS) if weighted else (X, Y)
    expected = compiled()
    of_arrays = expected.fit(X, Y, epochs=3, shuffle=False, verbose=0, sample_weight=WEIGHTS if weighted else None,
                             validation_data=(X, Y))
    model = compiled()
    history = model.fit(make(*arrays), epochs=3, shuffle=False, verbose=0, validation_data=Again(X, Y), **how)
    assert results(model, history) == results(expected, of_arrays)
    assert set(model.recording_report()["train"].values()) == {None}  # every phase is replayed as its kernels


def test_evaluate_and_predict_on_iterables():
    model = compiled()
    expected, outputs = model.predict(X, verbose=0), model.evaluate(X, Y, verbose=0)
    for given in (Again(X, Y), Sequence(X, Y), (batch for batch in Again(X, Y))):
        assert model.evaluate(given, verbose=0) == outputs
    for given in (Again(X, Y), Sequence(X), (X[rows] for rows in BATCHES), Lists(X)):
        np.testing.assert_array_equal(model.predict(given, verbose=0), expected)
    np.testing.assert_array_equal(model.predict(forever(X), steps=2, verbose=0), expected[:64])
    np.testing.assert_array_equal(model.predict(X, steps=2, verbose=0), expected[:64])
    assert model.evaluate(Again(X, Y), steps=2, verbose=0) == pytest.approx(
        model.evaluate(X[:64], Y[:64], verbose=0))


def test_several_inputs_and_outputs_in_dicts():
    a, b = layers.Input((4,), name="a"), layers.Input((2,), name="b")
    model = models.Model([a, b], {"sum": layers.Dense(1, name="sum")(layers.Concatenate()([a, b]))})
    model.compile("sgd", {"sum": "mse"})
    x, y = {"a": X, "b": X[:, :2]}, {"sum": X[:, :1]}
    batches = [({k: v[rows] for k, v in x.items()}, {k: v[rows] for k, v in y.items()}) for rows in BATCHES]
    before = model.evaluate(x, y, verbose=0)
    assert model.evaluate(iter(batches), verbose=0) == before
    np.testing.assert_array_equal(model.predict(iter(batches), verbose=0)["sum"], model.predict(x, verbose=0)["sum"])
    model.fit(iter(batches), verbose=0)
    assert model.evaluate(x, y, verbose=0) < before


def test_class_weights_count_in_batches():
    weights = {0: 1.0, 1: 0.5, 2: 3.0}
    expected = compiled()
    of_arrays = expected.fit(X, Y, shuffle=False, verbose=0, class_weight=weights)
    model = compiled()
    assert results(model, model.fit(Again(X, Y), verbose=0, class_weight=weights)) == results(expected, of_arrays)


def test_a_sequence_is_shuffled_and_told_of_epochs():
    orders = []
    for _ in range(2):
        sequence, model = Sequence(X, Y), compiled()
        model.fit(sequence, epochs=4, verbose=0)
        orders.append(sequence.asked)
        assert sequence.ended == 4
    epochs = [tuple(orders[0][i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len(set(epochs)) > 1
    assert orders[0] == orders[1]


def test_an_epoch_of_so_many_steps_goes_on_where_the_last_one_ended():
    seen = []

    def numbered():
        for i in range(10):
            seen.append(i)
            yield X[:8], Y[:8]

    counted = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append("|"))
    model = compiled()
    model.fit(numbered(), epochs=3, steps_per_epoch=2, verbose=0, callbacks=counted)
    assert "".join(map(str, seen)) == "01|23|45|"
    assert model.optimizer.iterations == 6
    model = compiled()
    model.fit(X, Y, batch_size=10, epochs=2, steps_per_epoch=3, verbose=0)
    assert model.optimizer.iterations == 6


def test_data_that_end_early_are_said():
    model = compiled()
    with pytest.warns(UserWarning, match="ran out of data"):
        history = model.fit((batch for batch in Again(X, Y)), epochs=4, steps_per_epoch=2, verbose=0)
    assert model.optimizer.iterations == 3
    assert len(history.history["loss"]) == 2
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit((batch for batch in Again(X, Y)), epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="ran out of data"):
        model.evaluate(Again(X, Y), steps=5, verbose=0)
    model.fit((batch for batch in Again(X, Y)), verbose=0)  # one epoch of all there is: nothing to say
    with pytest.raises(ValueError, match="no batches left"):
        model.fit(Again(X, Y), epochs=2, verbose=0, validation_data=(batch for batch in Again(X, Y)))


def test_a_batch_size_beside_an_iterable_changes_nothing():
    losses = []
    for size in ({}, {"batch_size": 4}):
        model = compiled()
        losses.append(model.fit(Again(X, Y), verbose=0, validation_data=Again(X, Y), **size).history["val_loss"])
        losses.append([model.evaluate(Sequence(X, Y), verbose=0, **size)[0]])
        assert model.predict(Again(X, Y), verbose=0, **size).shape == (70, 3)
    assert losses[0] == losses[2]
    assert losses[1] == losses[3]


def test_steps_of_unknown_number_are_shown(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    compiled().fit(Again(X, Y), epochs=2)
    assert [line.partition(" - ")[2].partition(" ")[0] for line in stream.getvalue().splitlines()[-2:]] == ["3/3"] * 2


@pytest.mark.parametrize(("arguments", "message"), [
    ({"y": Y}, "When providing `x` as a Again, `y` should not be passed"),
    ({"sample_weight": WEIGHTS}, "`sample_weight` should not be passed"),
    ({"validation_split": 0.5}, "only supported for arrays"),
    ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1"),
    ({"x": Again(X, Y, WEIGHTS), "class_weight": {0: 1, 1: 1, 2: 1}}, "Only one of class_weight"),
    ({"x": iter([])}, "must contain at least one batch"),
    ({"x": lambda: iter([(X, Y)])}, r"Received: the function <lambda>\. Call <lambda>\(\)"),
    ({"x": Again}, r"Received: the class Again\. Call Again\(\)"),
    ({"validation_data": Again}, r"Received: the class Again\. Call Again\(\)"),
    ({"x": Again(X)}, "y is missing"),
    ({"x": Again(X, Y, Y, Y)}, "A batch must be x"),
    ({"x": Again(X, Y + 1)}, "Labels must be"),
    ({"x": iter([(X, Y), (X, Y + 1)])}, "Labels must be"),
    ({"x": iter([(X, Y), (X[:, :2], Y)])}, r"\(70, 2\)|\(None, 2\)"),
    ({"x": iter([(X, Y[:5])])}, "same number of samples"),
])
def test_iterables_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compiled().fit(**{"x": Again(X, Y), "verbose": 0, **arguments})


def test_arrays_larger_than_memory_are_read_by_batches(tmp_path):
    rows = 2**22  # of 64 KB: 256 GB, of which the disk has none
    x = np.memmap(tmp_path / "x", "uint8", "w+", shape=(rows, 256, 256, 1))
    x[0] = 1
    y = np.memmap(tmp_path / "y", "uint8", "w+", shape=(rows,))
    model = models.Sequential([layers.AveragePooling2D(64), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y[:, None], batch_size=8, steps_per_epoch=3, epochs=2, verbose=0, shuffle=True)
    assert model.optimizer.iterations == 6
    assert model.predict(x, batch_size=2, steps=1, verbose=0).shape == (2, 1)
