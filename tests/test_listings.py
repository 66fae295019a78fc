"""Listings as in Keras's guides and tutorials. The values are those of Keras 3.15.1 with PyTorch."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, metrics

X = np.linspace(-1, 1, 32 * 4).reshape(32, 4).astype("float32")
Y = X[:, :2] * 2


class Counting(ac.Model):
    """Counts the calls that a user sees, in every way that an object can."""

    def __init__(self):
        super().__init__()
        self.dense, self.calls, self.shapes, self.by_kind = layers.Dense(2), 0, [], {"kinds": []}
        self.mean = metrics.Mean(name="calls")
        self.total = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x, training=False):
        self.calls += 1
        self.shapes.append((x.shape, training))
        self.by_kind[training] = self.by_kind.get(training, 0) + 1
        self.mean.update_state(1.0)
        self.total.assign(self.total.numpy() + 1)
        self.last = x.shape
        return self.dense(x)


class TestCallsOfCall:
    @pytest.fixture
    def model(self):
        model = Counting()
        model.compile("sgd", "mse")
        return model

    def test_fit_calls_it_once_a_batch(self, model):
        model.fit(X, Y, batch_size=8, epochs=2, validation_data=(X, Y), verbose=0)
        assert model.calls == 16
        assert model.by_kind == {"kinds": [], True: 8, False: 8}
        assert float(model.total.numpy()) == 16
        model = Counting()
        model.compile("sgd", "mse")
        model.fit(X, Y, batch_size=8, verbose=0)
        assert model.shapes == [((8, 4), True)] * 4

    @pytest.mark.parametrize(("method", "calls"), [("evaluate", 4), ("predict", 4), ("predict_on_batch", 1),
                                                   ("train_on_batch", 1), ("test_on_batch", 1), ("__call__", 1)])
    def test_so_do_the_other_methods(self, model, method, calls):
        data = (X,) if method in ("predict", "predict_on_batch", "__call__") else (X, Y)
        options = {"batch_size": 8, "verbose": 0} if method in ("evaluate", "predict") else {}
        getattr(model, method)(*data, **options)
        assert model.calls == calls == float(model.total.numpy()) == len(model.shapes)

    def test_build_and_shapes_leave_no_trace(self, model):
        model.build((None, 4))
        assert len(model.weights) == 3
        assert model.output_shape == (None, 2)
        assert model.compute_output_shape((5, 4)) == (5, 2)
        assert model.calls == 0 == float(model.total.numpy()) == float(model.mean.result())
        assert model.shapes == []
        assert model.by_kind == {"kinds": []}
        assert not hasattr(model, "last")

    def test_a_layer_in_a_graph_counts_batches(self):
        class Counter(layers.Layer):
            calls = 0

            def call(self, x):
                self.calls += 1
                return x

        counter, start = Counter(), layers.Input((4,))
        model = ac.Model(start, layers.Dense(2)(counter(start)))
        assert counter.calls == 0
        model.compile("sgd", "mse")
        model.fit(X, Y, batch_size=8, verbose=0)
        assert counter.calls == 4

    def test_layers_that_a_first_call_makes_stay(self):
        class Late(ac.Model):
            dense = None

            def call(self, x):
                if self.dense is None:
                    self.dense = layers.Dense(2)
                return self.dense(x)

        model = Late()
        model.build((None, 4))
        assert len(model.weights) == 2
        assert model(X).shape == (32, 2)
        assert len(model.weights) == 2
