"""Listings as in Keras's guides and tutorials. The values are those of Keras 3.15.1 with PyTorch."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, losses, metrics, utils

X = np.linspace(-1, 1, 32 * 4).reshape(32, 4).astype("float32")
Y = X[:, :2] * 2


class TwoOptimizers(ac.Model):
    """A GAN without a `call`, as in Keras's guide."""

    def __init__(self, is_built=True):
        super().__init__()
        self.generator = ac.Sequential([layers.Input((3,)), layers.Dense(4, kernel_initializer="ones")])
        inputs = [layers.Input((4,))] if is_built else []
        self.discriminator = ac.Sequential([*inputs, layers.Dense(1, kernel_initializer="ones")])
        self.built = True
        self.compile(ac.optimizers.Adam(0.1), ac.optimizers.SGD(0.1, momentum=0.5),
                     losses.BinaryCrossentropy(from_logits=True))

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn
        self.d_loss, self.g_loss = metrics.Mean(name="d_loss"), metrics.Mean(name="g_loss")

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def update(self, loss, optimizer, weights):
        self.zero_grad()
        loss.backward()
        optimizer.apply([v.value.grad for v in weights], weights)

    def train_step(self, real):
        n = ac.ops.shape(real)[0]
        latent = ac.ops.reshape(ac.ops.linspace(-1.0, 1.0, 3 * n), (n, 3))
        images = ac.ops.concatenate([self.generator(latent), real], axis=0)
        labels = ac.ops.concatenate([ac.ops.ones((n, 1)), ac.ops.zeros((n, 1))], axis=0)
        d_loss = self.loss_fn(labels, self.discriminator(images))
        self.update(d_loss, self.d_optimizer, self.discriminator.trainable_weights)
        g_loss = self.loss_fn(ac.ops.zeros((n, 1)), self.discriminator(self.generator(latent)))
        self.update(g_loss, self.g_optimizer, self.generator.trainable_weights)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {metric.name: metric.result() for metric in self.metrics}


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


class TestNestedOutputs:
    """Losses, metrics, weights and targets in the structure of the outputs."""

    MSE, ZEROS_MSE, MAE = 1.35433, 1.35433, 1.00787

    @staticmethod
    def outputs():
        start = layers.Input((4,))
        return start, *(layers.Dense(2, kernel_initializer=kernel, name=name)(start)
                        for name, kernel in (("a", "ones"), ("b", "zeros"), ("c", "ones")))

    def fitted(self, outputs, y, **compiled):
        start, a, b, c = self.outputs()
        model = ac.Model(start, outputs(a, b, c))
        model.compile("sgd", **compiled)
        return model, {name: values[0] for name, values in model.fit(X, y, verbose=0).history.items()}

    @pytest.mark.parametrize(("outputs", "loss", "y", "names"), [
        (lambda a, b, c: {"p": a, "q": [b, c]}, {"p": "mse", "q": ["mse", "mae"]}, {"p": Y, "q": [Y, Y]},
         ["p_loss", "q/b_loss", "q/c_loss"]),
        (lambda a, b, c: {"p": a, "q": (b, c)}, {"p": "mse", "q": ("mse", "mae")}, {"p": Y, "q": (Y, Y)},
         ["p_loss", "q/b_loss", "q/c_loss"]),
        (lambda a, b, c: {"p": a, "q": {"r": b, "s": c}}, {"p": "mse", "q": {"r": "mse", "s": "mae"}},
         {"p": Y, "q": {"r": Y, "s": Y}}, ["p_loss", "q/r_loss", "q/s_loss"]),
        (lambda a, b, c: [a, [b, c]], ["mse", ["mse", "mae"]], [Y, [Y, Y]], ["a_loss", "1/b_loss", "1/c_loss"])])
    def test_losses(self, outputs, loss, y, names):
        model, logs = self.fitted(outputs, y, loss=loss)
        assert logs == pytest.approx({"loss": 3.71654, names[0]: self.MSE, names[1]: self.ZEROS_MSE,
                                      names[2]: self.MAE}, rel=1e-4)
        assert model.evaluate(X, y, verbose=0) == pytest.approx([3.63867, 1.31794, 1.31794, 1.00280], rel=1e-4)
        again = model.get_compile_config()
        model.compile_from_config(again)
        assert model.evaluate(X, y, verbose=0) == pytest.approx([3.63867, 1.31794, 1.31794, 1.00280], rel=1e-4)

    def test_metrics_go_by_the_names_of_the_outputs(self):
        _, logs = self.fitted(lambda a, b, c: {"p": a, "q": [b, c]}, {"p": Y, "q": [Y, Y]},
                              loss={"p": "mse", "q": ["mse", "mae"]}, metrics={"p": ["mae"], "q": [["mse"], ["mae"]]})
        assert [logs[name] for name in ("a_mae", "b_mse", "c_mae")] == pytest.approx([self.MAE, self.MSE, self.MAE],
                                                                                      rel=1e-4)

    @pytest.mark.parametrize(("compiled", "weighted", "loss"), [
        ({"loss": "mse"}, None, 4.06299),
        ({"loss": {"p": "mse", "q": ["mse", "mae"]}, "loss_weights": {"p": 1.0, "q": [0.5, 0.25]}}, None, 2.28346),
        ({"loss": {"p": "mse", "q": [None, "mae"]}}, None, 2.36220),
        ({"loss": {"p": "mse"}}, None, 1.35433),
        ({"loss": "mse"}, np.arange(32.0), 63.65292)])
    def test_weights_and_losses_that_are_missing(self, compiled, weighted, loss):
        start, a, b, c = self.outputs()
        model = ac.Model(start, {"p": a, "q": [b, c]})
        model.compile("sgd", **compiled)
        weights = None if weighted is None else {"p": weighted, "q": [weighted, weighted]}
        history = model.fit(X, {"p": Y, "q": [Y, Y]}, sample_weight=weights, verbose=0).history
        assert history["loss"] == [pytest.approx(loss, rel=1e-4)]

    def test_of_a_class_with_a_call(self):
        class Nested(ac.Model):
            def __init__(self):
                super().__init__()
                self.a = layers.Dense(2, kernel_initializer="ones")
                self.b = layers.Dense(2, kernel_initializer="zeros")

            def call(self, x):
                return {"p": self.a(x), "q": [self.b(x), self.a(x)]}

        model = Nested()
        model.compile("sgd", {"p": "mse", "q": ["mse", "mae"]})
        logs = model.fit(X, {"p": Y, "q": [Y, Y]}, verbose=0).history
        assert logs["loss"] == [pytest.approx(3.71654, rel=1e-4)]
        assert logs["p_loss"] == [pytest.approx(self.MSE, rel=1e-4)]

    def test_own_steps_get_them(self):
        class Own(ac.Model):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                return super().compute_loss(x, y, y_pred, sample_weight, training)

        start, a, b, c = self.outputs()
        model = Own(start, {"p": a, "q": [b, c]})
        model.compile("sgd", {"p": "mse", "q": ["mse", "mae"]})
        assert model.fit(X, {"p": Y, "q": [Y, Y]}, verbose=0).history["loss"] == [pytest.approx(3.71654, rel=1e-4)]

    @pytest.mark.parametrize(("loss", "y"), [
        (["mse", None], [Y, Y]), (["mse", None], [Y, None]), (["mse", None], Y), (["mse", None], [Y])])
    def test_an_output_without_a_loss(self, loss, y):
        _, logs = self.fitted(lambda a, b, c: [a, b], y, loss=loss)
        assert logs == {"loss": pytest.approx(1.35433, rel=1e-4)}

    def test_nested_inputs(self):
        inputs = [layers.Input((4,), name=name) for name in "ijk"]
        result = layers.Dense(2, kernel_initializer="ones")(layers.Add()(inputs))
        model = ac.Model({"u": inputs[0], "v": inputs[1:]}, result)
        model.compile("sgd", "mse")
        x = {"u": X, "v": [X, X]}
        assert model.fit(x, Y, verbose=0).history["loss"] == [pytest.approx(33.82851, rel=1e-4)]
        assert model.predict(x, verbose=0).shape == (32, 2) == model.predict_on_batch(x).shape

    def test_another_structure_is_refused(self):
        with pytest.raises(ValueError, match="y must have"):
            self.fitted(lambda a, b, c: {"p": a, "q": [b, c]}, {"p": Y, "q": [Y]}, loss="mse")


def sampling(args):
    mean, log_variance = args
    return mean + log_variance * 2


def halves(x):
    return [x[:, :2], x[:, 2:]]


class TestLambda:
    @pytest.mark.parametrize(("output_shape", "shape"), [
        ((2,), (None, 2)), ((None, 2), (None, None, 2)), (lambda shapes: shapes[0], (None, 2)), (None, (None, 2))])
    def test_the_sampling_layer_of_an_autoencoder(self, output_shape, shape):
        start = layers.Input((4,))
        mean, log_variance = (layers.Dense(2, kernel_initializer="ones")(start) for _ in range(2))
        z = layers.Lambda(sampling, output_shape=output_shape)([mean, log_variance])
        assert z.shape == shape
        model = ac.Model(start, z)
        assert model.predict(X[:1], verbose=0).tolist() == [[pytest.approx(-11.7165, rel=1e-5)] * 2]

    @pytest.mark.parametrize(("output_shape", "shape"), [
        ([(2,), (2,)], (None, 2)), ([(None, 2), (None, 2)], (None, None, 2)), (None, (None, 2))])
    def test_several_outputs(self, output_shape, shape):
        start = layers.Input((4,))
        results = layers.Lambda(halves, output_shape=output_shape)(start)
        assert [result.shape for result in results] == [shape] * 2
        for found, wanted in zip(ac.Model(start, results).predict(X, verbose=0), halves(X)):
            np.testing.assert_array_equal(found, wanted)

    def test_shapes(self):
        assert layers.Lambda(sampling, output_shape=(2,)).compute_output_shape([(3, 4), (3, 4)]) == (3, 2)

    def test_a_registered_function_is_saved_by_its_name(self, tmp_path):
        ac.saving.register_keras_serializable("listings")(sampling)
        start = layers.Input((4,))
        model = ac.Model(start, layers.Lambda(sampling, output_shape=(4,))([start, start]))
        assert model.layers[-1].get_config()["function"]["config"] == "listings>sampling"
        model.save(tmp_path / "model.safetensors")
        again = ac.models.load_model(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


class TestSubclassOfAFunctionalModel:
    def test_layers_come_after_the_graph(self):
        class Autoencoder(ac.Model):
            def __init__(self):
                start = layers.Input((4,))
                super().__init__(start, layers.Dense(3)(start))
                self.decoder = layers.Dense(2)

            def call(self, x):
                return self.decoder(super().call(x))

        model = Autoencoder()
        model.compile("sgd", "mse")
        first = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
        assert first == sorted(first, reverse=True)
        assert [weight.shape for weight in model.weights] == [(4, 3), (3,), (3, 2), (2,)]
        assert model.predict(X, verbose=0).shape == (32, 2) == (32, *model.output_shape[1:])

    def test_models_are_kept_under_names(self):
        class Autoencoder(ac.Model):
            def __init__(self, encoder, decoder):
                start = layers.Input((4,))
                super().__init__(start, decoder(encoder(start)))
                self.encoder, self.decoder = encoder, decoder

        model = Autoencoder(ac.Sequential([layers.Dense(3)]), ac.Sequential([layers.Dense(2)]))
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)
        assert len(model.weights) == 4 == len(model.trainable_weights)
        assert len(model.layers) == 3
        np.testing.assert_array_equal(model.decoder(model.encoder(X)).numpy(), model.predict(X, verbose=0))

    def test_so_are_weights_and_metrics(self):
        class Extra(ac.Model):
            def __init__(self):
                start = layers.Input((4,))
                super().__init__(start, layers.Dense(2)(start))
                self.extra, self.mean = layers.Dense(3), metrics.Mean(name="mean")
                self.extra.build((None, 2))
                self.scale = self.add_weight(shape=(3,), name="scale")

        model = Extra()
        assert len(model.weights) == 5
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)


class Batches(utils.PyDataset):
    def __init__(self, count, **options):
        super().__init__(**options)
        self.count, self.ends, self.made = count, 0, []

    def __getitem__(self, index):
        self.made.append(index)
        rows = slice(8 * (index % 4), 8 * (index % 4) + 8)
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.ends += 1


class Sized(Batches):
    def __len__(self):
        return self.count


class Numbered(Batches):
    @property
    def num_batches(self):
        return self.count


def regression():
    model = ac.Sequential([layers.Input((4,)), layers.Dense(2, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


class TestDataSets:
    @pytest.mark.parametrize("kind", [Sized, Numbered])
    def test_both_ways_to_say_how_many_batches_there_are(self, kind):
        data, validation = kind(4), kind(2)
        history = regression().fit(data, validation_data=validation, epochs=2, verbose=0, shuffle=False).history
        assert history["loss"] == pytest.approx([1.32277, 1.18509], rel=1e-4)
        assert history["val_loss"] == pytest.approx([1.15571, 1.03471], rel=1e-4)
        assert data.num_batches == 4
        assert (data.ends, validation.ends) == (2, 2)

    def test_without_an_end(self):
        data = Numbered(None)
        history = regression().fit(data, epochs=2, steps_per_epoch=3, verbose=0).history
        assert history["loss"] == pytest.approx([0.97532, 1.55044], rel=1e-4)
        assert data.ends == 2
        assert data.made == [0, 1, 2, 3, 4, 5]
        assert regression().evaluate(data, steps=3, verbose=0) == pytest.approx(0.98398, rel=1e-4)
        assert regression().predict(data, steps=2, verbose=0).shape == (16, 2)

    def test_without_an_end_steps_are_needed(self):
        for method, options, wanted in (("fit", {}, "steps_per_epoch"), ("evaluate", {}, "steps"),
                                        ("predict", {}, "steps")):
            with pytest.raises(ValueError, match=rf"needs the number of steps\. Pass {wanted}\."):
                getattr(regression(), method)(Numbered(None), verbose=0, **options)
        with pytest.raises(ValueError, match="Pass validation_steps"):
            regression().fit(X, Y, validation_data=Numbered(None), verbose=0)

    def test_the_number_must_be_known(self):
        with pytest.raises(NotImplementedError, match="must define __len__"):
            regression().fit(Batches(4), verbose=0)

    @pytest.mark.parametrize("data", [
        lambda: X, lambda: (X[i : i + 8] for i in range(0, 32, 8)), lambda: [X[:20], X[20:]],
        lambda: ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 32, 8)), lambda: [(X[:20], Y[:20]), (X[20:], Y[20:])],
        lambda: [[X[:20], Y[:20]], [X[20:], Y[20:]]], lambda: X.tolist(), lambda: list(X),
        lambda: Sized(4), lambda: Numbered(4)])
    def test_a_normalization_adapts_to(self, data):
        layer = layers.Normalization()
        layer.adapt(data())
        np.testing.assert_allclose(layer.mean[0], X.mean(0), rtol=1e-5)
        np.testing.assert_allclose(layer.variance[0], X.var(0), rtol=1e-5)
        assert layer(X).shape == (32, 4)

    def test_a_normalization_refuses_batches_without_an_end(self):
        with pytest.raises(ValueError, match="endless PyDataset"):
            layers.Normalization().adapt(Numbered(None))
        with pytest.raises(NotImplementedError, match="must define __len__"):
            layers.Normalization().adapt(Batches(4))


class TestOwnTrainSteps:
    """As in Keras's guides to `train_step` with PyTorch, and to generative adversarial networks."""

    def test_gradients_are_read_and_forgotten(self):
        norms = []

        class Custom(ac.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(2, kernel_initializer="ones")

            def call(self, x):
                return self.dense(x)

            def train_step(self, data):
                x, y = data
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
                self.zero_grad()
                loss.backward()
                gradients = [v.value.grad for v in self.trainable_weights]
                norms.append(float(abs(np.asarray(gradients[0])).sum()))
                self.optimizer.apply(gradients, self.trainable_weights)
                for metric in self.metrics:
                    if metric.name == "loss":
                        metric.update_state(loss)
                    else:
                        metric.update_state(y, y_pred)
                return {metric.name: metric.result() for metric in self.metrics}

        model = Custom()
        model.compile(ac.optimizers.SGD(1e-30), "mse", metrics=["mae"])
        history = model.fit(X, Y, batch_size=8, verbose=0, shuffle=False).history
        assert norms == pytest.approx([9.2851, 1.2856, 1.4126, 9.6661], rel=1e-4)
        assert history == {"loss": [pytest.approx(1.35433, rel=1e-4)], "mae": [pytest.approx(1.00787, rel=1e-4)]}
        model.zero_grad()
        assert [weight.value.grad for weight in model.weights] == [None, None]

    @pytest.mark.parametrize("is_built", [True, False])
    def test_a_model_without_a_call(self, is_built):
        class GAN(ac.Model):
            def __init__(self, generator, discriminator):
                super().__init__()
                self.generator, self.discriminator = generator, discriminator
                self.mean = metrics.Mean(name="d_loss")
                if is_built:
                    self.built = True

            def compile(self, optimizer, loss_fn):
                super().compile()
                self.d_optimizer, self.loss_fn = optimizer, loss_fn

            @property
            def metrics(self):
                return [self.mean]

            def train_step(self, real):
                real = real[0] if isinstance(real, tuple) else real
                fake = self.generator(ac.ops.ones((8, 3)))
                labels = ac.ops.concatenate([ac.ops.ones((8, 1)), ac.ops.zeros((8, 1))], 0)
                loss = self.loss_fn(labels, self.discriminator(ac.ops.concatenate([fake, real], 0)))
                self.zero_grad()
                loss.backward()
                weights = self.discriminator.trainable_weights
                self.d_optimizer.apply([v.value.grad for v in weights], weights)
                self.mean.update_state(loss)
                return {"d_loss": self.mean.result()}

        generator = ac.Sequential([layers.Input((3,)), layers.Dense(4, kernel_initializer="ones")])
        discriminator = ac.Sequential([layers.Input((4,)), layers.Dense(1, kernel_initializer="ones")])
        model = GAN(generator, discriminator)
        model.compile(ac.optimizers.SGD(0.1), ac.losses.BinaryCrossentropy(from_logits=True))
        history = model.fit(X, batch_size=8, epochs=2, verbose=0, shuffle=False).history
        assert history == {"d_loss": pytest.approx([0.5943, 0.55331], rel=1e-4)}
        assert len(model.weights) == 4
        with pytest.raises(NotImplementedError, match="must define call"):
            model(X)

    @pytest.mark.parametrize("is_built", [True, False])
    def test_a_model_with_two_optimizers(self, is_built):
        model = TwoOptimizers(is_built)
        history = [model.fit(X, batch_size=8, epochs=n, verbose=0, shuffle=False).history for n in (2, 1)]
        assert history[0] == {"d_loss": pytest.approx([1.8760879, 1.1949885], rel=1e-4),
                              "g_loss": pytest.approx([2.3290358, 1.1007867], rel=1e-4)}
        assert history[1] == {"d_loss": pytest.approx([0.7135521], rel=1e-4),
                              "g_loss": pytest.approx([0.8730906], rel=1e-4)}

    def test_a_model_with_two_optimizers_is_saved_without_them(self, tmp_path):
        model = TwoOptimizers()
        model.fit(X, batch_size=8, verbose=0)
        for name in ("gan.keras", "gan.safetensors"):
            model.save(tmp_path / name)
            copy = ac.models.load_model(tmp_path / name, custom_objects={"TwoOptimizers": TwoOptimizers})
            for weight, other in zip(model.weights, copy.weights, strict=True):
                np.testing.assert_array_equal(weight.numpy(), other.numpy())

    def test_a_compile_that_forgets_the_base_class(self):
        class Forgetful(ac.Model):
            def compile(self, d_optimizer):
                self.d_optimizer = d_optimizer

            def train_step(self, data):
                return {}

        model = Forgetful()
        model.compile(d_optimizer="adam")
        with pytest.raises(ValueError, match=r"The method compile\(\) of Forgetful must call super\(\)\.compile\(\)"):
            model.fit(X, verbose=0)

    def test_what_a_train_step_receives_without_targets(self):
        received = []

        class Receiver(ac.Model):
            def train_step(self, data):
                received.append(data)
                return {"loss": 0.0}

            test_step = train_step

        model = Receiver()
        model.compile()
        for x, kind in ((X, ac.Tensor), ([X, X], tuple), (iter([X]), ac.Tensor), (iter([(X,)]), tuple)):
            model.fit(x, batch_size=32, verbose=0)
            assert isinstance(received.pop(), kind)
        for tests in (X, (X,)):
            model.fit(X, batch_size=32, verbose=0, validation_data=tests)
            assert [data.shape for data in received[-2:]] == [(32, 4), (32, 4)]

    def test_a_model_without_a_call_can_be_built(self):
        class Holder(ac.Model):
            def __init__(self):
                super().__init__()
                self.inner = ac.Sequential([layers.Input((3,)), layers.Dense(4)])

        model = Holder()
        model.build((None, 3))
        assert model.built
        assert len(model.weights) == 2


class WithCall(losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return ac.ops.mean((y_true - y_pred) ** 2) * 2


class AroundCall(losses.Loss):
    def call(self, y_true, y_pred):
        return ac.ops.mean((y_true - y_pred) ** 2, -1)

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, y_pred, sample_weight) * 3


class TestOverriding:
    @pytest.mark.parametrize("takes", ["named", "any"])
    def test_compute_loss_without_training(self, takes):
        class Named(ac.Model):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
                return ac.ops.mean((y - y_pred) ** 2)

        class Any(ac.Model):
            def compute_loss(self, x, y, y_pred, sample_weight, **options):
                assert options["training"] in (True, False)
                return ac.ops.mean((y - y_pred) ** 2)

        start = layers.Input((4,))
        model = {"named": Named, "any": Any}[takes](start, layers.Dense(2, kernel_initializer="ones")(start))
        model.compile("sgd")
        assert model.fit(X, Y, verbose=0).history["loss"] == [pytest.approx(1.35433, rel=1e-4)]
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(1.31794, rel=1e-4)

    @pytest.mark.parametrize(("loss", "value"), [(WithCall, 2.70866), (AroundCall, 4.06299)])
    def test_a_loss_with_a_call_of_its_own(self, loss, value):
        model, plain = regression(), regression()
        model.compile("sgd", loss())
        assert model.fit(X, Y, verbose=0).history["loss"] == [pytest.approx(value, rel=1e-4)]
        factor = value / 1.35433
        plain.compile(ac.optimizers.SGD(0.01 * factor), "mse")
        plain.fit(X, Y, verbose=0)
        np.testing.assert_allclose(model.get_weights()[0], plain.get_weights()[0], rtol=1e-4)

    def test_get_config_adds_arguments(self):
        class Units(layers.Layer):
            def __init__(self, units, **options):
                super().__init__(**options)
                self.units = units

            def get_config(self):
                return dict(units=self.units, **super().get_config())

        class Rated(Units):
            def __init__(self, units, rate, **options):
                super().__init__(units, **options)
                self.rate = rate

            def get_config(self):
                return dict(rate=self.rate, **super().get_config())

        class Wide(layers.Dense):
            def __init__(self, units, width, **options):
                super().__init__(units, **options)
                self.width = width

            def get_config(self):
                return dict(width=self.width, **super().get_config())

        config = Units(3, name="three").get_config()
        assert {**config, "dtype": None} == {"units": 3, "name": "three", "trainable": True, "dtype": None}
        assert Units.from_config(config).units == 3
        again = Rated.from_config(Rated(3, 0.5).get_config())
        assert (again.units, again.rate) == (3, 0.5)
        again = Wide.from_config(Wide(3, 7, activation="relu").get_config())
        assert (again.units, again.width, again.activation.__name__) == (3, 7, "relu")

    def test_get_config_of_a_loss_adds_arguments(self):
        class Scaled(losses.Loss):
            def __init__(self, scale, **options):
                super().__init__(**options)
                self.scale = scale

            def get_config(self):
                return dict(scale=self.scale, **super().get_config())

        assert Scaled.from_config(Scaled(2.0, name="scaled").get_config()).scale == 2.0


class TestSmallThings:
    def test_a_part_of_an_optimizers_configuration(self):
        assert ac.optimizers.get({"class_name": "SGD", "config": {"learning_rate": 0.5}}).learning_rate == 0.5
        assert ac.optimizers.get({"class_name": "sgd", "config": {}}).learning_rate == pytest.approx(0.01)
        assert isinstance(ac.optimizers.get({"class_name": "Adam"}), ac.optimizers.Adam)

    def test_assigning_returns_the_variable(self):
        variable = ac.Variable([1.0, 2.0])
        assert variable.assign([3.0, 4.0]) is variable
        assert variable.assign_add([1.0, 1.0]) is variable
        assert variable.assign_sub([1.0, 0.0]).numpy().tolist() == [3.0, 5.0]

    def test_images_of_other_sizes(self):
        model = ac.Sequential([layers.Conv2D(2, 3, kernel_initializer="ones"), layers.GlobalAveragePooling2D(),
                               layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        batches = [(np.ones((2, n, n, 1), "float32"), np.ones((2, 1), "float32")) for n in (8, 6, 7)]
        assert model.fit(iter(batches), verbose=0).history["loss"] == [pytest.approx(310.67792, rel=1e-4)]
        assert model.input_shape == (None, None, None, 1)
        assert len(model.weights) == 4
        for count, size in ((3, 9), (1, 6)):
            assert model(np.ones((count, size, size, 1), "float32")).shape == (count, 1)
            assert model.predict(np.ones((count, size, size, 1)), verbose=0).shape == (count, 1)
        with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\)"):
            model(np.ones((2, 8, 8, 3), "float32"))

    def test_other_sizes_that_the_layers_do_not_take(self):
        model = ac.Sequential([layers.Flatten(), layers.Dense(2)])
        model(np.ones((2, 4, 4, 1), "float32"))
        with pytest.raises(ValueError, match=r"\(2, 5, 5, 1\)"):
            model(np.ones((2, 5, 5, 1), "float32"))
        given = ac.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3)])
        with pytest.raises(ValueError, match="needs inputs of shape"):
            given(np.ones((2, 6, 6, 1), "float32"))

    def test_batches_of_other_sizes(self):
        model = ac.Sequential([layers.Dense(2, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        history = model.fit(((X[:n], Y[:n]) for n in (8, 3, 5)), verbose=0).history
        assert history["loss"] == [pytest.approx(2.45913, rel=1e-4)]

    def test_a_list_that_holds_itself(self, tmp_path):
        class Holder(layers.Layer):
            def __init__(self, **options):
                super().__init__(**options)
                self.loop = []
                self.loop.append(self.loop)

            def call(self, x):
                return x

            def get_config(self):
                return {**super().get_config(), "loop": self.loop}

        model = ac.Sequential([layers.Input((4,)), Holder()])
        with pytest.raises((ValueError, RecursionError)):
            model.save(tmp_path / "model.safetensors")
