"""What users of Keras do with optimizers, losses, metrics, callbacks and models beyond fit: the calls that it takes."""

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import autoconv as ac
from autoconv import callbacks, layers, losses, metrics, models, ops, optimizers, utils

RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 3)).astype(np.float32)
Y = RNG.normal(size=(8, 1)).astype(np.float32)


def weight(*values, name="w"):
    return ac.Variable(np.array(values, np.float32), name=name)


def net(**options):
    return models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_initializer="ones", name="d")], **options)


class TestOptimizers:
    def test_the_rate_can_be_assigned_to(self):
        optimizer = optimizers.SGD(0.1)
        optimizer.learning_rate.assign(optimizer.learning_rate * 0.5)
        assert float(optimizer.learning_rate) == pytest.approx(0.05)
        assert optimizer.get_config()["learning_rate"] == pytest.approx(0.05)
        optimizer.iterations.assign(7)
        assert optimizer.iterations == 7
        optimizer.iterations.assign_add(1)
        optimizer.learning_rate = optimizer.learning_rate * 2
        assert (int(optimizer.iterations), float(optimizer.learning_rate)) == (8, pytest.approx(0.1))
        assert optimizer.learning_rate is optimizer.variables[1]

    def test_all_that_is_assigned_to_is_of_one_class(self):
        model = net()
        model.compile("adam", "mse", metrics=["mae"])
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
        generator = ac.random.SeedGenerator(3)
        found = [*model.weights, *model.optimizer.variables, *model.metrics_variables, generator.state]
        assert {type(each) for each in found} == {ac.Variable}
        assert ac.Parameter is ac.Variable

    def test_a_stateless_call_leaves_the_state_of_a_seed_as_it_was(self):
        layer = layers.Dropout(0.5, seed=3)
        layer(ac.tensor(X), training=True)
        before = [variable.numpy() for variable in layer.non_trainable_variables]
        assert [each.tolist() for each in before] == [[3, 1]]
        y, after = layer.stateless_call([], before, X, training=True)
        assert after[0].numpy().tolist() == [3, 2]
        np.testing.assert_array_equal(layer.seed_generator.state.numpy(), before[0])
        np.testing.assert_array_equal(layer(ac.tensor(X), training=True).numpy(), y.numpy())

    def test_a_seed_generator_goes_on_from_the_state_that_is_assigned(self):
        first, second = ac.random.SeedGenerator(3), ac.random.SeedGenerator(3)
        assert first.state is first.state
        assert first.next().tolist() == [3, 0]
        second.state.assign(first.state)
        assert (ac.random.uniform((4,), seed=first) == ac.random.uniform((4,), seed=second)).all()

    def test_variables_are_keras_s_and_change_the_optimizer(self):
        optimizer, a, b = optimizers.Adam(0.5, name="opt"), weight(1.0, 2.0, name="a"), weight(3.0, name="b")
        optimizer.apply([np.ones(2, np.float32), np.ones(1, np.float32)], [a, b])
        assert [variable.path for variable in optimizer.variables] == [
            "opt/iteration", "opt/learning_rate", "opt/a_momentum", "opt/a_velocity", "opt/b_momentum",
            "opt/b_velocity"]
        optimizer.variables[2].assign([5.0, 6.0])
        np.testing.assert_array_equal(optimizer.variables[2].numpy(), [5, 6])
        optimizer.variables[1].assign(0.25)
        assert optimizer.learning_rate == 0.25

    @pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "Adadelta", "Adagrad", "Adamax", "Ftrl", "Lion"])
    def test_update_step_takes_a_gradient_a_variable_and_a_rate(self, name):
        """It moves that variable alone, as `apply` would at that rate, and no step is counted."""
        gradient, whole, single = np.array([1, 0.5], np.float32), weight(1.0, 2.0), weight(1.0, 2.0)
        other = weight(3.0)
        getattr(optimizers, name)(0.1).apply([gradient], [whole])
        optimizer = getattr(optimizers, name)(0.5)
        optimizer.build([other, single])
        optimizer.update_step(ac.tensor(gradient), single, ac.tensor(np.float32(0.1)))
        np.testing.assert_allclose(single.numpy(), whole.numpy(), rtol=1e-6)
        np.testing.assert_array_equal(other.numpy(), [3])
        assert (optimizer.iterations, optimizer.learning_rate) == (0, 0.5)

    def test_update_step_of_a_subclass_can_call_the_built_in_one(self):
        class Halved(optimizers.SGD):
            def update_step(self, gradient, variable, learning_rate):
                super().update_step(gradient * 0.5, variable, learning_rate)

        w = weight(1.0, 2.0)
        Halved(0.1).apply([np.ones(2, np.float32)], [w])
        np.testing.assert_allclose(w.numpy(), [0.95, 1.95])

    def test_an_argument_of_older_versions(self):
        with pytest.warns(UserWarning, match="`decay` is no longer supported"):
            optimizers.SGD(0.1, decay=1e-6)
        with pytest.raises(ValueError, match=r"Argument\(s\) not recognized: .*'learning_rate'\?"):
            optimizers.SGD(lr=0.1)

    def test_settings_without_a_meaning_are_taken(self):
        assert optimizers.SGD(ema_momentum=1.5, ema_overwrite_frequency=0).ema_momentum == 1.5
        assert optimizers.SGD(gradient_accumulation_steps=0).gradient_accumulation_steps is None

    @pytest.mark.parametrize(("made", "of", "module"), [
        (optimizers.Adam(), optimizers, "keras.optimizers"), (losses.Huber(), losses, "keras.losses"),
        (metrics.AUC(), metrics, "keras.metrics"), (
            optimizers.schedules.CosineDecay(0.1, 5), optimizers.schedules, "keras.optimizers.schedules")])
    def test_serialize_names_keras_s_module(self, made, of, module):
        written = of.serialize(made)
        assert list(written) == ["module", "class_name", "config", "registered_name"]
        assert (written["module"], written["registered_name"]) == (module, None)
        assert type(of.deserialize(written)) is type(made)

    def test_variables_go_from_one_optimizer_to_another(self):
        first, a = optimizers.Adam(0.5), weight(1.0, 2.0)
        first.apply([np.ones(2, np.float32)], [a])
        store = {}
        first.save_own_variables(store)
        other, b = optimizers.Adam(0.1), ac.Variable(a.numpy(), name="w")
        with pytest.warns(UserWarning, match="Skipping variable loading"):
            other.load_own_variables(store)
        other.build([b])
        other.load_own_variables(store)
        for optimizer, of in ((first, a), (other, b)):
            optimizer.apply([np.array([0.5, -1], np.float32)], [of])
        np.testing.assert_array_equal(a.numpy(), b.numpy())

    def test_a_step_without_state(self):
        optimizer, a = optimizers.SGD(0.5, momentum=0.9), weight(1.0, 2.0)
        optimizer.build([a])
        found, variables = optimizer.stateless_apply(
            [variable.value for variable in optimizer.variables], [np.ones(2, np.float32)], [a.value])
        np.testing.assert_allclose(found[0].numpy(), [0.5, 1.5])
        np.testing.assert_allclose(variables[2].numpy(), [-0.5, -0.5])
        assert variables[0].numpy() == 1
        np.testing.assert_array_equal(a.numpy(), [1, 2])
        assert optimizer.iterations == 0
        with pytest.raises(ValueError, match="`optimizer_variables` must be a list of tensors"):
            optimizer.stateless_apply([], [np.ones(2, np.float32)], [a.value])

    def test_an_optimizer_of_ones_own_as_keras_has_them(self):
        class Momentum(optimizers.Optimizer):
            def build(self, variables):
                super().build(variables)
                self.kept = {each.path: self.add_variable_from_reference(each, "kept") for each in variables}

            def update_step(self, gradient, variable, learning_rate):
                kept = self.kept[variable.path]
                self.assign(kept, kept * 0.5 + gradient)
                self.assign_sub(variable, kept * learning_rate)

        optimizer, a, b = Momentum(0.5), weight(1.0, 2.0, name="a"), weight(3.0, name="b")
        for _ in range(2):
            optimizer.apply([np.ones(2, np.float32), 2 * np.ones(1, np.float32)], [a, b])
        np.testing.assert_allclose(a.numpy(), [-0.25, 0.75])
        np.testing.assert_allclose(b.numpy(), [0.5])
        assert [variable.name for variable in optimizer.variables] == ["iteration", "learning_rate", "a_kept", "b_kept"]
        model = net()
        model.compile(Momentum(0.01), "mse")
        history = model.fit(np.ones((4, 3)), np.zeros((4, 1)), epochs=3, verbose=0).history["loss"]
        assert history[2] < history[1] < history[0]

    @pytest.mark.parametrize("by_variable", [False, True])
    def test_frozen_weights_keep_their_slots(self, by_variable):
        class Momentum(optimizers.SGD):
            def build(self, variables):
                super().build(variables)
                self.kept = {each.path: self.add_variable_from_reference(each, "kept") for each in variables}

            def update_step(self, gradient, variable, learning_rate):
                kept = self.kept[variable.path]
                self.assign(kept, kept * 0.5 - gradient * learning_rate)
                self.assign_add(variable, kept)

        optimizer = Momentum(1.0) if by_variable else optimizers.SGD(1.0, momentum=0.5)
        a, b = weight(0.0, name="a"), weight(0.0, name="b")
        for trained, expected in ([[a, b], (-1, -1)], [[b], (-1, -2.5)], [[a], (-2.5, -2.5)], [[b, a], (-4.25, -4.25)]):
            optimizer.train(trained)
            optimizer.apply([np.ones(1, np.float32)] * len(trained), trained)
            assert (a.numpy().item(), b.numpy().item()) == expected
        with pytest.raises(ValueError, match="other parameters"):
            optimizer.train([a, weight(1.0)])

    def test_layers_are_frozen_between_and_within_fits_as_in_keras(self):
        rng = np.random.default_rng(0)
        x, y = rng.random((12, 6), np.float32), rng.random((12, 3), np.float32)
        model = models.Sequential([layers.Input((6,)), layers.Dense(5, "relu"), layers.Dense(4, "tanh"),
                                   layers.Dense(3)])
        rng = np.random.default_rng(1)
        model.set_weights([rng.standard_normal(w.shape).astype(np.float32) / 2 for w in model.get_weights()])
        model.compile(optimizers.Adam(0.05), "mse")

        class Change(callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 1:
                    self.model.layers[0].trainable, self.model.layers[2].trainable = True, False

        def fit(epochs, *hooks):
            return model.fit(x, y, batch_size=4, epochs=epochs, verbose=0, shuffle=False,
                             callbacks=list(hooks)).history["loss"]

        found = fit(2)
        model.layers[1].trainable = False
        before = model.layers[1].get_weights()
        found += fit(2)
        assert all((a == b).all() for a, b in zip(before, model.layers[1].get_weights()))
        model.layers[1].trainable, model.layers[0].trainable = True, False
        found += fit(2)
        found += fit(3, Change())
        np.testing.assert_allclose(found, [  # what Keras 3.15.1 gives
            0.468369, 0.132366, 0.088166, 0.094377, 0.080406, 0.079544, 0.077263, 0.077675, 0.075564], atol=2e-6)

    def test_some_of_the_weights_in_any_order(self):
        optimizer, a, b = optimizers.SGD(0.5), weight(1.0, 2.0), weight(3.0)
        optimizer.build([a, b])
        optimizer.apply([np.ones(1, np.float32)], [b])
        np.testing.assert_array_equal(a.numpy(), [1, 2])
        np.testing.assert_array_equal(b.numpy(), [2.5])
        optimizer.apply([np.ones(1, np.float32), np.ones(2, np.float32)], [b, a])
        np.testing.assert_array_equal(a.numpy(), [0.5, 1.5])
        with pytest.raises(ValueError, match="other parameters"):
            optimizer.apply([np.ones(1, np.float32)], [weight(1.0)])

    def test_a_weight_without_a_gradient_keeps_its_average(self):
        optimizer, a, b = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), weight(3.0, 4.0), weight(5.0, 6.0)
        for _ in range(2):
            with pytest.warns(UserWarning, match="Gradients do not exist"):
                optimizer.apply_gradients([(np.ones(2, np.float32), a), (None, b)])
        optimizer.finalize_variable_values([a, b])
        np.testing.assert_array_equal(b.numpy(), [5, 6])

    def test_a_scaled_loss(self):
        optimizer, a = optimizers.SGD(1.0, loss_scale_factor=10.0), weight(1.0, 2.0)
        assert optimizer.scale_loss(2.0) == 20
        optimizer.apply([np.array([10, 20], np.float32)], [a])
        np.testing.assert_allclose(a.numpy(), [0, 0])
        trained = []
        for scale in (None, 8.0):
            model = net()
            model.compile(optimizers.SGD(0.1, loss_scale_factor=scale), "mse")
            model.fit(X, Y, shuffle=False, verbose=0)
            trained.append(model.get_weights()[0])
        np.testing.assert_array_equal(*trained)

    def test_accumulated_gradients_take_the_rate_of_the_batch(self):
        schedule = optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
        optimizer, a = optimizers.SGD(schedule, gradient_accumulation_steps=2), weight(1.0)
        found = []
        for _ in range(4):
            optimizer.apply([np.ones(1, np.float32)], [a])
            found.append(a.numpy().item())
        assert found == [1.0, 0.5, 0.5, 0.375]  # as in Keras

    def test_a_schedule_of_a_tensor(self):
        schedule = optimizers.schedules.CosineDecay(0.1, 10)
        assert schedule(ac.tensor(3)) == schedule(np.array(3)) == schedule(3)

    def test_what_is_not_known_is_an_error_of_both_kinds(self):
        for kind in (TypeError, ValueError):
            with pytest.raises(kind, match="learning_rate"):
                optimizers.SGD(lr=0.1)


    def test_steps_and_rate_are_variables_that_follow_the_training(self):
        optimizer, a = optimizers.Adam(0.1), weight(1.0)
        optimizer.build([a])
        steps, rate = optimizer.variables[:2]
        optimizer.apply([np.ones(1, np.float32)])
        optimizer.learning_rate = 0.3
        assert (int(steps), float(rate)) == (1, 0.3)
        rate.assign(0.1)
        assert float(optimizer.learning_rate) == 0.1  # the same double
        assert pickle.loads(pickle.dumps(optimizer)).get_state().keys() == optimizer.get_state().keys()


class TestLosses:
    P, T = RNG.random((4, 3)).astype(np.float32), RNG.random((4, 3)).astype(np.float32)
    W = np.array([1.0, 2.0, 0.0, 0.5], np.float32)

    def test_a_mask_of_the_predictions_says_which_samples_count(self):
        """As in Keras: in a mean the others count for them, in a sum they do not."""
        t, p = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32), np.array([[0.0], [3.0], [5.0], [1.0]], np.float32)
        masked = ac.tensor(p)
        masked._keras_mask = ac.tensor(np.array([True, False, True, False]))
        values = {reduction: losses.MeanSquaredError(reduction=reduction) for reduction in (
            "sum_over_batch_size", "sum", "mean_with_sample_weight")}
        found = {reduction: float(loss(t, masked)) for reduction, loss in values.items()}
        assert found == pytest.approx({"sum_over_batch_size": 8.5, "sum": 17, "mean_with_sample_weight": 8.5})
        assert float(values["sum"](t, masked, sample_weight=[[2.0], [9.0], [0.5], [9.0]])) == pytest.approx(10)
        np.testing.assert_allclose(losses.MeanSquaredError(reduction=None)(t, masked).numpy(), [1, 0, 16, 0])

    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_weights_of_samples_may_have_an_axis_more(self, shape):
        expected = (((self.T - self.P) ** 2).mean(1) * self.W).mean()
        found = losses.MeanSquaredError()(self.T, self.P, sample_weight=self.W.reshape(shape))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)

    @pytest.mark.parametrize("value", [2.5, [2.5], np.array([[2.5]])])
    def test_one_weight_is_for_all(self, value):
        plain = losses.MeanSquaredError()(self.T, self.P).numpy()
        np.testing.assert_allclose(losses.MeanSquaredError()(self.T, self.P, value).numpy(), 2.5 * plain, rtol=1e-6)

    def test_a_loss_of_the_whole_batch_takes_weights(self):
        whole = losses.Dice()(self.T, self.P).numpy()
        np.testing.assert_allclose(losses.Dice()(self.T, self.P, self.W).numpy(), whole * self.W.mean(), rtol=1e-6)
        each = losses.Dice(reduction=None)(self.T, self.P, self.W).numpy()
        np.testing.assert_allclose(each, whole * self.W, rtol=1e-6)

    def test_arrays_are_taken_in_32_bits(self):
        loss = losses.MeanSquaredError()
        assert loss.dtype == "float32"
        assert loss([[1.0, 2.0]], [[2.0, 4.0]]).dtype == np.float32
        assert losses.MeanSquaredError(reduction=None).get_config()["reduction"] is None

    def test_a_column_of_targets_goes_with_a_row_of_outputs(self):
        found = losses.CosineSimilarity()(np.array([[1.0], [0], [1], [1]]), np.array([0.2, 0.3, 0.4, 0.9]))
        np.testing.assert_allclose(found.numpy(), -0.75, rtol=1e-6)

    def test_a_loss_of_ones_own_on_dicts_and_lists(self):
        class Own(losses.Loss):
            def call(self, y_true, y_pred):
                return (y_true["a"] - y_pred["a"]) ** 2 + (y_true["b"] - y_pred["b"]) ** 2

        found = Own()({"a": self.T, "b": self.T}, {"a": self.P, "b": self.T})
        np.testing.assert_allclose(found.numpy(), ((self.T - self.P) ** 2).mean(), rtol=1e-6)

    def test_what_is_no_loss(self):
        with pytest.raises(ValueError, match="identifier"):
            losses.get([1])


class TestMetrics:
    def test_what_a_metric_counts_in_can_be_assigned_to(self):
        metric = metrics.Mean()
        metric.update_state([1.0, 2.0])
        assert metric.total.numpy() == float(metric.total) == 3
        metric.total.assign(10.0)
        metric.count.assign_add(2.0)
        assert metric.result() == 2.5
        counts = metrics.Precision(thresholds=[0.2, 0.7])
        counts.update_state([0, 1, 1], [0.9, 0.8, 0.1])
        np.testing.assert_array_equal(counts.true_positives.numpy(), [1, 1])
        counts.true_positives.assign([3, 1])
        np.testing.assert_allclose(counts.result(), [0.75, 0.5])
        counts.reset_state()
        assert not counts.true_positives.numpy().any()

    def test_correlations_are_tensors(self):
        for function in (metrics.pearson_correlation, metrics.concordance_correlation):
            assert isinstance(function(X, X), ac.Tensor)
            np.testing.assert_allclose(function(X, X).numpy(), np.ones(8), rtol=1e-5)

    def test_a_prediction_at_the_threshold_is_not_above_it(self):
        metric = metrics.TruePositives(thresholds=[0.2, 0.7])
        metric.update_state([1, 1], np.array([0.2, 0.7], np.float32))
        np.testing.assert_array_equal(metric.result(), [1, 0])

    def test_several_numbers_are_a_tensor(self):
        found = metrics.F1Score()(np.eye(3), np.eye(3, dtype=np.float32))
        assert isinstance(found, ac.Tensor)
        assert (found.dtype, found.shape) == (np.float32, (3,))

    def test_scores_by_class_have_variables_from_the_first_batch_on(self):
        for metric, count in ((metrics.F1Score(), 4), (metrics.R2Score(), 5)):
            metric(np.eye(3), np.eye(3, dtype=np.float32))
            metric.reset_state()
            state = metric.stateless_update_state(metric.stateless_reset_state(), np.eye(3),
                                                  np.eye(3, dtype=np.float32))
            assert len(state) >= count
            assert np.ptp(np.asarray(metric.stateless_result(state))) == 0
        assert metrics.F1Score().variables == []

    def test_predictions_that_are_no_probabilities_warn(self):
        with pytest.warns(UserWarning, match=r"needs predictions in \[0, 1\]"):
            assert metrics.Precision()([0, 1], [-1.0, 2.0]) == 1

    def test_the_areas_count_whole_numbers(self):
        """As in Keras: weights that are none need another dtype."""
        metric = metrics.MeanIoU(2)
        matrix = metric.update_state([0, 1, 1], [0, 1, 0])
        assert matrix.dtype == np.int32
        np.testing.assert_array_equal(matrix.numpy(), [[1, 0], [1, 1]])
        with pytest.warns(UserWarning, match="dtype='float32'"):
            metric.update_state([0], [0], sample_weight=[0.5])
        np.testing.assert_array_equal(metric.total_cm.numpy(), [[1, 0], [1, 1]])
        exact = metrics.MeanIoU(2, dtype="float32")
        exact.update_state([0], [0], sample_weight=[0.5])
        assert exact.total_cm[0, 0] == 0.5

    @pytest.mark.parametrize("of", [losses, metrics])
    def test_functions_as_plain_data(self, of):
        written = of.serialize(losses.mean_squared_error)
        assert (written["class_name"], written["config"]) == ("function", "mean_squared_error")
        assert type(of.deserialize(written)) is type(of.get("mean_squared_error"))

    def test_variables_and_their_names(self):
        mean = metrics.Mean()
        mean.update_state([1.0, 3.0], sample_weight=[1.0, 3.0])
        assert [(v.name, v.numpy().item()) for v in mean.variables] == [("total", 10.0), ("count", 4.0)]
        mean.variables[0].assign(8.0)
        assert mean.result() == 2
        assert [v.name for v in metrics.Precision().variables] == ["true_positives", "false_positives"]
        assert [v.name for v in metrics.FalseNegatives().variables] == ["accumulator"]
        assert [v.shape for v in metrics.AUC(num_thresholds=7).variables] == [(7,)] * 4
        assert [v.name for v in metrics.MeanIoU(3).variables] == ["total_confusion_matrix"]

    def test_a_result_is_a_number_and_an_array(self):
        result = metrics.Mean()(X)
        assert isinstance(result, float)
        assert result.numpy().dtype == np.float32

    @pytest.mark.parametrize("make", [metrics.Mean, metrics.Sum])
    def test_without_state(self, make):
        metric = make()
        metric.update_state([100.0])
        before = metric.result()
        state = metric.stateless_update_state(metric.stateless_reset_state(), [1.0, 2.0])
        state = metric.stateless_update_state(state, [6.0])
        assert metric.stateless_result(state) == pytest.approx({"mean": 3.0, "sum": 9.0}[metric.name])
        assert metric.result() == before
        with pytest.raises(ValueError, match="metric_variables"):
            metric.stateless_result([])

    @pytest.mark.parametrize("name", sorted(metrics.registry.classes.keys() - {"Metric"}))
    def test_each_metric_and_a_model_compiled_with_it_can_be_pickled(self, name):
        given = {"IoU": (2, [0]), "MeanIoU": (2,), "MeanMetricWrapper": (metrics.binary_accuracy,),
                 "OneHotIoU": (2, [0]), "OneHotMeanIoU": (2,), "PrecisionAtRecall": (0.5,), "RecallAtPrecision": (0.5,),
                 "SensitivityAtSpecificity": (0.5,), "SpecificityAtSensitivity": (0.5,)}
        model = net()
        metric = metrics.registry.classes[name](*given.get(name, ()))
        model.compile("sgd", "mse", metrics=[metric])
        for variable in metric.variables:
            variable.assign(np.ones(variable.shape))
        again, _ = pickle.loads(pickle.dumps((metric, model)))
        assert again.get_config() == metric.get_config()
        assert [v.name for v in again.variables] == [v.name for v in metric.variables]
        assert all((v.numpy() == 1).all() for v in again.variables)

    def test_a_model_that_was_trained_with_metrics_can_be_pickled(self):
        model = net()
        model.compile("sgd", "mse", metrics=["mae", metrics.CosineSimilarity(), metrics.Hinge()])
        model.fit(X, Y, verbose=0)
        again = pickle.loads(pickle.dumps(model))
        assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
        assert again.fit(X, Y, verbose=0).history == model.fit(X, Y, verbose=0).history

    def test_a_reset_that_assigns_to_a_variable_of_the_constructor(self):
        """The metric of Keras's guide: no constructor calls what a subclass overrides."""
        class TruePositives(metrics.Metric):
            def __init__(self, name="positives", **kwargs):
                super().__init__(name=name, **kwargs)
                self.found = self.add_variable(shape=(), initializer="zeros", name="found")

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.found.assign_add(ops.sum(ops.cast(ops.equal(y_true, ops.argmax(y_pred, -1)), "float32")))

            def result(self):
                return self.found

            def reset_state(self):
                self.found.assign(0.0)

        metric = TruePositives()
        assert float(metric([0, 1, 1], np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32))) == 2
        metric.reset_state()
        assert float(metric.result()) == 0
        model = models.Sequential([layers.Input((3,)), layers.Dense(2, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metric])
        counted = model.fit(X, np.zeros(8, int), epochs=2, batch_size=4, verbose=0).history["positives"]
        assert all(0 <= n <= 8 for n in counted)
        assert float(metric.result()) == counted[-1]

    @pytest.mark.parametrize("make", [metrics.Mean, metrics.AUC, metrics.R2Score, metrics.F1Score, metrics.MeanIoU])
    def test_a_constructor_calls_nothing_that_a_subclass_overrides(self, make):
        class Own(make):
            def reset_state(self):
                self.made.assign(0.0)
                super().reset_state()

            @property
            def variables(self):
                return [self.made, *super().variables]

            def result(self):
                return self.made

            update_state = result

        assert hasattr(Own(2) if make is metrics.MeanIoU else Own(), "reset_state")

    def test_a_metric_in_a_layer_takes_tensors_without_their_gradients(self):
        class Watched(layers.Dense):
            def __init__(self):
                super().__init__(1, kernel_initializer="ones")
                self.mean, self.largest = metrics.Mean(), metrics.Metric(name="largest")
                self.last = self.largest.add_variable(name="last")

            def call(self, x):
                y = super().call(x)
                self.mean.update_state(y)
                self.last.assign(y.sum())
                return y

        layer = Watched()
        layer(ac.tensor(X)).sum().backward()
        assert layer.kernel.grad is not None
        assert float(layer.last) == pytest.approx(X.sum(), rel=1e-5)
        assert float(layer.mean.result()) == pytest.approx(X.sum(1).mean(), rel=1e-5)

    def test_a_model_has_the_metrics_of_its_layers(self):
        class Watched(layers.Layer):
            def __init__(self):
                super().__init__()
                self.mean = metrics.Mean(name="seen")

            def call(self, x):
                return x

        layer, mae = Watched(), metrics.MeanAbsoluteError(name="mae")
        model = models.Sequential([layers.Input((3,)), layer])
        assert model.metrics == [layer.mean]
        model.compile("sgd", "mse", metrics=[mae])
        assert [each.name for each in model.metrics] == ["loss", "compile_metrics", "seen"]
        assert [each.name for each in model.metrics_variables] == ["total", "count"] * 2
        assert [each.name for each in model.non_trainable_variables] == ["total", "count"]

    def test_metrics_within_a_metric(self):
        class Both(metrics.Metric):
            def __init__(self):
                super().__init__(name="both")
                self.mean, self.sum = metrics.Mean(), metrics.Sum()

            def update_state(self, values):
                self.mean.update_state(values)
                self.sum.update_state(values)

            def result(self):
                return {"mean": self.mean.result(), "sum": self.sum.result()}

        both = Both()
        assert both([1.0, 2.0]) == {"mean": 1.5, "sum": 3.0}
        assert len(both.variables) == 3
        both.reset_state()
        assert both.result() == {"mean": 0.0, "sum": 0.0}

    def test_a_variable_without_axes(self):
        class Last(metrics.Metric):
            def __init__(self):
                super().__init__(name="last")
                self.value = self.add_weight(name="value")

            def update_state(self, value):
                self.value.assign(value)

            def result(self):
                return self.value

        assert float(Last()(3.0)) == 3
        assert Last().variables[0].path == "last/value"

    def test_the_top_k_above_a_threshold(self):
        p = np.array([[0.1, 0.6, 0.3], [0.5, 0.45, 0.05]])
        t = np.array([[0, 1, 1], [1, 0, 0]])
        assert metrics.Precision(thresholds=0.4, top_k=2)(t, p) == pytest.approx(2 / 3)

    def test_functions_of_lists(self):
        found = metrics.binary_accuracy([[1], [0]], [[0.7], [0.8]])
        np.testing.assert_array_equal(found.numpy(), [[1], [0]])
        assert found.dtype == np.float32

    def test_finding_shapes_leaves_a_metric_whose_shape_follows_from_data_as_it_was(self):
        class Watched(layers.Layer):
            def __init__(self):
                super().__init__()
                self.score = metrics.F1Score()

            def call(self, x):
                self.score.update_state(ac.ops.round(x), x)
                return x

        layer = Watched()
        assert layer(layers.Input((3,))).shape == (None, 3)
        assert layer.score.variables == []

    @pytest.mark.parametrize("make", [metrics.F1Score, metrics.AUC, metrics.Mean])
    def test_a_call_without_state_leaves_all_as_it_was(self, make):
        metric, targets, outputs = make(), np.eye(2, dtype=np.float32), np.full((2, 2), 0.4, np.float32)
        metric.update_state(*([targets] if make is metrics.Mean else [targets, outputs]))
        before = [variable.numpy() for variable in metric.variables]
        metric.stateless_reset_state()
        metric.stateless_update_state(before, *([outputs] if make is metrics.Mean else [targets, targets]))
        with pytest.raises(ValueError, match="`metric_variables` must be a list of tensors"):
            metric.stateless_result(before[:-1])
        for variable, values in zip(metric.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), values)

    def test_the_base_says_what_to_override(self):
        with pytest.raises(NotImplementedError, match="update_state"):
            metrics.Metric(name="x").update_state(1)


SIX = np.arange(12, dtype=np.float32).reshape(6, 2) / 10
ABOVE = (SIX.sum(1, keepdims=True) > 0.5).astype(np.float32)


class Held(models.Model):
    """A net with a metric in an attribute, which each subclass updates elsewhere."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1, kernel_initializer="ones")
        self.tracker = metrics.Mean(name="custom")

    def call(self, x):
        return self.dense(x)


class InComputeLoss(Held):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = ops.mean((y_pred - y) ** 2)
        self.tracker.update_state(loss * 2)
        return loss


class InCall(Held):
    def call(self, x):
        y = super().call(x)
        self.tracker.update_state(y)
        return y


class InTrainStep(Held):
    def count(self, y, y_pred, loss):
        self.tracker.update_state(loss)

    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
        self.count(y, y_pred, loss)
        self.zero_grad()
        loss.backward()
        self.optimizer.apply([v.value.grad for v in self.trainable_weights], self.trainable_weights)
        return {metric.name: metric.result() for metric in self.metrics}


class OnlyItsOwn(InComputeLoss):
    @property
    def metrics(self):
        return [self.tracker]


class SumOfPredictions(metrics.Metric):
    """Reads the predictions with `numpy()`."""

    def __init__(self):
        super().__init__(name="custom")
        self.total = self.add_variable(name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(float(np.sum(y_pred.numpy())))

    def result(self):
        return self.total


class ByNumpy(InTrainStep):
    def __init__(self):
        super().__init__()
        self.tracker = SumOfPredictions()

    def count(self, y, y_pred, loss):
        self.tracker.update_state(y, y_pred)


class TestHeldMetrics:
    """The values are those of Keras 3.15 on the back end PyTorch."""

    @pytest.mark.parametrize(("make", "expected"), [
        (InComputeLoss, {"loss": [0.31347, 0.13701], "custom": [0.62694, 0.27402], "val_loss": [0.12816, 0.09681],
                         "val_custom": [0.25633, 0.19363]}),
        (InCall, {"loss": [0.31347, 0.13701], "custom": [1.07843, 0.80615], "val_loss": [0.12816, 0.09681],
                  "val_custom": [0.79374, 0.67132]}),
        (InTrainStep, {"loss": [0.0, 0.0], "custom": [0.31347, 0.13701], "val_loss": [0.12816, 0.09681],
                       "val_custom": [0.0, 0.0]}),
        (OnlyItsOwn, {"custom": [0.62694, 0.27402], "val_custom": [0.25633, 0.19363]})])
    def test_a_metric_in_an_attribute_is_in_the_logs(self, make, expected):
        model = make()
        model.compile(optimizers.SGD(0.1), None if issubclass(make, InComputeLoss) else "mse")
        found = model.fit(SIX, ABOVE, 3, 2, shuffle=False, verbose=0, validation_data=(SIX, ABOVE)).history
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, abs=1e-5), name
        evaluated = model.evaluate(SIX, ABOVE, verbose=0, return_dict=True)
        assert evaluated == pytest.approx({name[4:]: expected[name][-1] for name in expected if name[:4] == "val_"},
                                          abs=1e-5)

    def test_a_metric_of_a_layer_is_in_the_logs(self):
        class Watched(layers.Layer):
            def __init__(self):
                super().__init__()
                self.size = metrics.Mean(name="size")

            def call(self, x):
                self.size.update_state(x)
                return x * 2

        model = models.Sequential([layers.Input((2,)), layers.Dense(1, kernel_initializer="ones"), Watched()])
        model.compile(optimizers.SGD(0.1), "mse")
        found = model.fit(SIX, ABOVE, 3, 2, shuffle=False, verbose=0).history
        assert found["size"] == pytest.approx([0.89573, -0.00463], abs=1e-5)
        assert model.evaluate(SIX, ABOVE, verbose=0) == pytest.approx([0.44398, 0.03136], abs=1e-5)
        assert model.test_on_batch(SIX, ABOVE, return_dict=True)["size"] == pytest.approx(0.03136, abs=1e-5)

    def test_a_metric_may_read_the_predictions_of_a_train_step(self):
        model = ByNumpy()
        model.compile(optimizers.SGD(0.1), "mse")
        found = model.fit(SIX, ABOVE, 3, 2, shuffle=False, verbose=0).history
        assert found["custom"] == pytest.approx([6.4706, 4.83688], abs=1e-4)

    def test_a_metric_may_read_the_predictions_in_compute_loss(self):
        class Reads(Held):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                self.tracker.update_state(y, y_pred)
                return super().compute_loss(x, y, y_pred, sample_weight, training)

        model = Reads()
        model.tracker = SumOfPredictions()
        model.compile(optimizers.SGD(0.1), "mse")
        found = model.fit(SIX, ABOVE, 3, 2, shuffle=False, verbose=0).history
        assert found["custom"] == pytest.approx([6.4706, 4.83688], abs=1e-4)

    def test_a_training_that_goes_on_has_what_they_counted(self, tmp_path):
        def train(epochs, *others):
            model = InCall()
            model.compile(optimizers.SGD(0.1), "mse")
            hooks = [callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1, delete_checkpoint=False), *others]
            utils.set_random_seed(1)
            return model.fit(SIX, ABOVE, 2, epochs, verbose=0, callbacks=hooks).history

        class Stop(callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 1:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(1, Stop())
        found = train(1)
        (tmp_path / "backup").rename(tmp_path / "other")
        assert train(1) == found


class TestCallbacks:
    def test_a_folder_is_no_checkpoint_which_training_says_before_it_starts(self, tmp_path):
        (tmp_path / "m.keras").mkdir()
        model = net()
        model.compile("sgd", "mse")
        with pytest.raises(OSError, match="non-directory filepath"):
            model.fit(X, Y, verbose=0, callbacks=callbacks.ModelCheckpoint(tmp_path / "m.keras"))
        assert model.optimizer.iterations == 0

    def test_the_shorter_stage_of_terminate_on_nan(self):
        callback, model = callbacks.TerminateOnNaN(), net()
        callback.set_model(model)
        callback.on_batch_end(0, {"loss": float("inf")})
        assert model.stop_training

    def test_a_list_calls_all_of_them(self):
        class Seen(callbacks.Callback):
            def __init__(self):
                self.seen = []

            def on_epoch_end(self, epoch, logs=None):
                self.seen.append((epoch, logs))

            def on_test_begin(self, logs=None):
                self.seen.append(logs)

        model, one, other = net(), Seen(), Seen()
        several = callbacks.CallbackList([one, other], add_history=True, model=model, epochs=2)
        several.on_train_begin()
        several.on_epoch_end(0, {"loss": 1.0})
        several.on_test_begin()
        assert one.seen == other.seen == [(0, {"loss": 1.0}), {}]
        assert one.model is model
        assert one.params == {"epochs": 2}
        assert model.history.history == {"loss": [1.0]}

    def test_fit_takes_a_list_of_that_kind(self):
        said = []
        model = net()
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0, callbacks=callbacks.CallbackList([callbacks.LambdaCallback(
            lambda epoch, logs: said.append(epoch))]))
        assert said == [0]

    def test_parameters_are_keras_s(self):
        seen = callbacks.Callback()
        assert seen.params is None
        model = net()
        model.compile("sgd", "mse")
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[seen])
        assert seen.params == {"verbose": 0, "epochs": 2, "steps": 2}
        model.evaluate(X, Y, batch_size=4, verbose=0, callbacks=[seen])
        assert seen.params == {"verbose": 0, "epochs": 1, "steps": 2}

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_a_loss_that_is_no_number_may_be_an_error(self):
        model = net()
        model.compile("sgd", "mse")
        with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 0"):
            model.fit(np.full_like(X, np.nan), Y, verbose=0, callbacks=[callbacks.TerminateOnNaN(raise_error=True)])

    def test_a_checkpoint_says_what_it_does(self, tmp_path, capsys):
        where = tmp_path / "m.safetensors"
        saver = callbacks.ModelCheckpoint(where, "loss", save_best_only=True, verbose=1)
        saver.set_model(net())
        saver.on_epoch_end(0, {"loss": 1.0})
        saver.on_epoch_end(1, {"loss": 2.0})
        assert capsys.readouterr().out == (
            f"\nEpoch 1: loss improved from None to 1.00000, saving model to {where}\n"
            f"\nEpoch 1: finished saving model to {where}\n\nEpoch 2: loss did not improve from 1.00000\n")

    @pytest.mark.parametrize(("name", "options"), [("m.txt", {}), ("m.keras", {"save_weights_only": True})])
    def test_a_checkpoint_s_suffix_is_checked_when_it_is_made(self, name, options):
        with pytest.raises(ValueError, match="must end in"):
            callbacks.ModelCheckpoint(name, **options)

    def test_a_scheduler_wants_a_float(self):
        model = net()
        model.compile("sgd", "mse")
        with pytest.raises(ValueError, match="must return a float"):
            model.fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda epoch: 1)])


class Own(models.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1, kernel_initializer="ones")

    def call(self, x):
        return self.dense(x)


class TestOwnSteps:
    def test_a_weighted_metric_beside_the_same_one_says_so(self):
        model = net()
        model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae", "mse"])
        history = model.fit(X, Y, sample_weight=np.arange(8.0)[:, None], verbose=0).history
        assert list(history) == ["loss", "mae", "weighted_mae", "mse"]
        errors = np.abs(X.sum(1) - Y[:, 0])
        np.testing.assert_allclose(history["weighted_mae"], [(errors * np.arange(8)).sum() / 28], rtol=1e-5)

    def test_an_output_without_a_loss_needs_no_targets(self):
        x = layers.Input((3,))
        made = models.Model(x, {name: layers.Dense(1, kernel_initializer="ones")(x) for name in "ab"})
        made.compile("sgd", {"a": "mse"})
        np.testing.assert_allclose(made.fit(X, {"a": Y}, verbose=0).history["loss"],
                                   [((X.sum(1) - Y[:, 0]) ** 2).mean()], rtol=1e-5)
        with pytest.raises(ValueError, match="y has no targets for the output 'a'"):
            made.fit(X, {"b": Y}, verbose=0)

    def test_all_metrics_of_compile_are_one(self):
        """Keras's own loop over `metrics` in a train_step goes on as it is written."""
        class Looped(models.Sequential):
            def train_step(self, data):
                x, y = data
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
                for metric in self.metrics:
                    if metric.name == "loss":
                        metric.update_state(loss.detach())
                    else:
                        metric.update_state(y, y_pred)
                return {metric.name: metric.result() for metric in self.metrics}

        model = Looped([layers.Input((3,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse", metrics=["mae", "mse"])
        history = model.fit(X, Y, verbose=0).history
        assert list(history) == ["loss", "mae", "mse"]
        np.testing.assert_allclose(history["mae"], [np.abs(X.sum(1, keepdims=True) - Y).mean()], rtol=1e-5)

    def test_outputs_in_a_dict_go_by_its_keys(self):
        class Two(models.Model):
            def __init__(self):
                super().__init__()
                self.one, self.two = layers.Dense(1), layers.Dense(2)

            def call(self, x):
                return {"b": self.one(x), "a": self.two(x)}

        two, model = np.ones((8, 2), np.float32), Two()
        model.compile("sgd", {"a": "mse", "b": "mae"}, metrics={"a": ["mae"]})
        assert set(model.fit(X, {"a": two, "b": Y}, verbose=0).history) == {"loss", "a_loss", "b_loss", "a_mae"}
        logs = model.evaluate(X, {"a": two, "b": Y}, verbose=0, return_dict=True)
        np.testing.assert_allclose(logs["a_loss"], ((model.two(X).numpy() - 1) ** 2).mean(), rtol=1e-5)
        np.testing.assert_allclose(logs["b_loss"], np.abs(model.one(X).numpy() - Y).mean(), rtol=1e-5)

    def test_lists_for_outputs_in_a_dict_go_by_its_sorted_keys(self):
        class Own(models.Model):
            def test_step(self, data):
                return super().test_step(data)

        x = layers.Input((3,))
        for kind in (models.Model, Own):
            model = kind(x, {"z": layers.Dense(2, kernel_initializer="zeros")(x),
                             "a": layers.Dense(2, kernel_initializer="zeros", bias_initializer="ones")(x)})
            model.compile("sgd", ["mse", "mae"], loss_weights=[10.0, 1.0], metrics=[["mae"], []])
            zeros = np.zeros((8, 2), np.float32)
            given = {"z": zeros, "a": zeros + 3}
            for y in (given, [given["a"], given["z"]]):
                assert model.evaluate(X, y, verbose=0, return_dict=True) == {
                    "loss": 40.0, "a_loss": 4.0, "z_loss": 0.0, "a_mae": 2.0}
            predicted = model.predict(X, verbose=0)
            assert list(predicted) == ["z", "a"]
            assert predicted["a"].min() == 1
            assert predicted["z"].max() == 0

    def test_the_losses_of_outputs_are_logged_by_an_own_step_too(self):
        class Own(models.Model):
            def train_step(self, data):
                return super().train_step(data)

        x = layers.Input((3,))
        outputs = [layers.Dense(1, name=name)(x) for name in ("one", "two")]
        kinds, histories = (models.Model, Own), []
        for kind in kinds:
            model = kind(x, outputs)
            model.compile(optimizers.SGD(1e-30), ["mse", "mae"])
            histories.append(model.fit(X, [Y, Y], batch_size=3, verbose=0).history)
            assert model.metrics_names == ["loss", "one_loss", "two_loss"]
        assert list(histories[1]) == ["loss", "one_loss", "two_loss"]
        for name, values in histories[0].items():
            np.testing.assert_allclose(histories[1][name], values, rtol=1e-5)

    def test_more_losses_than_outputs_are_a_key_error_too(self):
        model = net()
        model.compile("sgd", ["mse", "mse"])
        with pytest.raises(KeyError, match=r"^loss must have one entry per output"):
            model.fit(X, Y, verbose=0)

    def test_steps_are_called(self):
        class Stepping(Own):
            def train_step(self, data):
                x, y = data
                return {**super().train_step((x, y)), "mine": 3.0}

            def test_step(self, data):
                return {**super().test_step(data), "other": 4.0}

            def predict_step(self, data):
                return super().predict_step(data) * 2

        own, usual = Stepping(), Own()
        for model in (own, usual):
            model.compile(optimizers.SGD(0.1), "mse", metrics=["mae"])
        found, expected = (model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
                           for model in (own, usual))
        assert found.pop("mine") == [3.0, 3.0]
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
        np.testing.assert_allclose(own.get_weights()[0], usual.get_weights()[0], rtol=1e-5)
        assert own.evaluate(X, Y, verbose=0, return_dict=True)["other"] == 4
        np.testing.assert_allclose(own.predict(X, verbose=0), 2 * usual.predict(X, verbose=0), rtol=1e-5)
        assert "train_step" in own.recording_report()["train"]["forward"]

    @pytest.mark.parametrize("compiled", [{"loss": "mse"}, {}])
    def test_a_loss_may_be_computed_otherwise(self, compiled):
        class Summed(Own):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                return abs(y - y_pred).sum()

        model = Summed()
        model.compile("sgd", **compiled)
        expected = np.abs(Y - X.sum(1, keepdims=True)).sum()
        np.testing.assert_allclose(model.fit(X, Y, verbose=0).history["loss"], [expected], rtol=1e-5)
        assert not np.allclose(model.get_weights()[0], 1)

    def test_metrics_may_be_computed_otherwise(self):
        class Counted(Own):
            def compute_metrics(self, x, y, y_pred, sample_weight=None):
                return {**super().compute_metrics(x, y, y_pred, sample_weight), "rows": float(len(y_pred))}

        model = Counted()
        model.compile("sgd", "mse", metrics=["mae"])
        assert set(model.fit(X, Y, verbose=0).history) == {"loss", "mae", "rows"}
        assert model.evaluate(X, Y, verbose=0, return_dict=True)["rows"] == 8

    def test_layers_may_make_the_loss(self):
        class Mean(layers.Layer):
            def call(self, x):
                self.add_loss(x.mean())
                return x

        model = models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_initializer="ones"), Mean()])
        model.compile(optimizers.SGD(0.1))
        np.testing.assert_allclose(model.fit(X, verbose=0).history["loss"], [X.sum(1).mean()], rtol=1e-4, atol=1e-6)

    def test_what_a_step_calls_can_be_called(self):
        model = net()
        assert not model.compiled
        assert model.metrics == []
        model.compile("sgd", "mse", metrics=["mae"])
        assert model.compiled
        expected = ((X.sum(1, keepdims=True) - Y) ** 2).mean()
        np.testing.assert_allclose(model.compute_loss(y=ac.tensor(Y), y_pred=model(X)).numpy(), expected, rtol=1e-5)
        logs = model.evaluate(X, Y, verbose=0, return_dict=True)
        assert model.get_metrics_result() == logs
        assert model.metrics_names == [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
        assert model.metrics[1].result() == {"mae": logs["mae"]}
        model.reset_metrics()
        assert set(model.get_metrics_result().values()) == {0.0}

    def test_the_state_of_such_a_training_cannot_be_saved(self, tmp_path):
        class Stepping(Own):
            def train_step(self, data):
                return super().train_step(data)

        model = Stepping()
        model.compile("sgd", "mse")
        with pytest.raises(ValueError, match="train_step"):
            model.fit(X, Y, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])


class TestModels:
    def test_steps_through_python_are_not_compiled(self):
        model = net()
        with pytest.warns(UserWarning, match="Disabling `jit_compile`"):
            model.compile("sgd", "mse", run_eagerly=True, jit_compile=True)
        assert not model.jit_compile

    @pytest.mark.parametrize("kind", [FileNotFoundError, ValueError])
    def test_a_missing_file_is_either_error_of_keras_s(self, kind, tmp_path):
        with pytest.raises(kind, match="There is no model file"):
            models.load_model(tmp_path / "m.keras")

    def two(self):
        x = layers.Input((3,), name="x")
        return models.Model(x, {"p": layers.Dense(1, kernel_initializer="ones")(x),
                                "q": layers.Dense(1, kernel_initializer="ones")(x)})

    def test_outputs_have_the_names_of_their_keys(self):
        model = self.two()
        model.compile("sgd", {"p": "mse", "q": "mae"}, metrics={"p": ["mae"]})
        history = model.fit(X, {"p": Y, "q": Y}, verbose=0).history
        assert set(history) == {"loss", "p_loss", "q_loss", "p_mae"}
        assert history["loss"][0] == pytest.approx(history["p_loss"][0] + history["q_loss"][0])

    def test_a_last_axis_of_one_may_be_left_out(self):
        model = models.Sequential([layers.Input((1,)), layers.Dense(2)])
        np.testing.assert_array_equal(model(X[:, 0]).numpy(), model(X[:, :1]).numpy())
        np.testing.assert_array_equal(net()(X[..., None]).numpy(), net()(X).numpy())
        model.compile("sgd", "mse")
        model.fit(X[:, 0], X[:, :2], verbose=0)
        assert model.predict(X[:, 0], verbose=0).shape == (8, 2)

    def test_metrics_of_one_name_are_numbered(self):
        model = net()
        model.compile("sgd", "mse", metrics=[["mae", "mae", lambda t, p: abs(t - p)]])
        assert list(model.fit(X, Y, verbose=0).history) == ["loss", "mae", "mae_1", "lambda"]

    def test_copies_by_functions(self):
        wider = models.clone_model(net(), clone_function=lambda layer: layers.Dense(5, name=f"{layer.name}_wide"))
        assert wider.output_shape == (None, 5)
        assert wider.layers[0].name == "d_wide"
        model, called = self.two(), []

        def call(layer, *args, **kwargs):
            called.append(layer.name)
            return layer(*args, **kwargs)

        again = models.clone_model(model, call_function=call)
        assert sorted(again.predict(X, verbose=0)) == ["p", "q"]
        assert sorted(called) == sorted(layer.name for layer in model.layers[1:])
        begun = models.clone_model(net(), input_tensors=layers.Input((3,), name="other"))
        assert begun.inputs[0].name == "other"
        with pytest.raises(ValueError, match="callable"):
            models.clone_model(net(), clone_function=3)

    def test_json_there_and_back(self):
        model = net(name="m")
        model.compile("adam", "mse")
        again = models.model_from_json(model.to_json())
        assert (again.name, again.output_shape, type(again.optimizer)) == ("m", (None, 1), optimizers.Adam)
        with pytest.raises(ValueError, match="JSON"):
            models.model_from_json("[1")

    def test_a_summary_s_options(self, capsys):
        inner = models.Sequential([layers.Dense(2, name="first")], name="inner")
        model = models.Sequential([layers.Input((3,)), inner, layers.Dense(1, name="last")], name="m")
        inner.trainable = False
        model.summary(expand_nested=True, show_trainable=True)
        text = capsys.readouterr().out
        assert "   └ first (Dense)" in text
        assert [line.split("│")[4].strip() for line in text.splitlines() if line.startswith("│")] == ["N", "N", "Y"]
        model.summary(layer_range=["la", "last"])
        text = capsys.readouterr().out
        assert "inner" not in text
        model.compile("adam", "mse")
        model.fit(X, Y, verbose=0)
        model.summary()
        assert " Optimizer params: 8 (40.00 B)" in capsys.readouterr().out
        with pytest.raises(ValueError, match="layer_range"):
            model.summary(layer_range=["nothing", "last"])

    def test_weights_that_do_not_fit_may_be_left_out(self, tmp_path):
        net().save_weights(tmp_path / "w.weights.h5")
        other = models.Sequential([layers.Input((3,)), layers.Dense(2, kernel_initializer="zeros")])
        with pytest.raises(ValueError, match="not those"):
            other.load_weights(tmp_path / "w.weights.h5")
        with pytest.warns(UserWarning, match="are left unchanged"):
            other.load_weights(tmp_path / "w.weights.h5", skip_mismatch=True)
        assert not other.get_weights()[0].any()

    def test_the_steps_of_a_plain_optimizer_come_back(self, tmp_path):
        model = net()
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0, epochs=3)
        model.save(tmp_path / "m.keras")
        assert models.load_model(tmp_path / "m.keras").optimizer.iterations == 3

    def test_a_registered_layer_in_keras_s_file(self, tmp_path):
        @utils.register_keras_serializable("Own")
        class Times(layers.Layer):
            def __init__(self, factor, **kwargs):
                super().__init__(**kwargs)
                self.factor = factor

            def build(self, input_shape):
                self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

            def call(self, x):
                return x * self.scale * self.factor

        try:
            model = models.Sequential([layers.Input((3,)), Times(3.0)])
            model.save(tmp_path / "m.keras")
            np.testing.assert_allclose(models.load_model(tmp_path / "m.keras").predict(X, verbose=0), 3 * X)
        finally:
            del utils.get_custom_objects()["Own>Times"]

    def test_one_format_to_export(self, tmp_path):
        with pytest.raises(ValueError, match="format='onnx'"):
            net().export(tmp_path / "m", format="tf_saved_model")


class TestUtils:
    @pytest.mark.parametrize("value", [None, 3, 1.5, "a", b"bytes", [1, 2], {"a": [1]}, slice(1, 5), ...])
    def test_plain_data(self, value):
        written = utils.serialize_keras_object(value)
        json.dumps(written)
        assert utils.deserialize_keras_object(written) == value

    def test_arrays_and_functions(self):
        written = utils.serialize_keras_object({"array": X, "tensor": ac.tensor(X), "function": losses.hinge})
        assert written["array"]["class_name"] == "__numpy__"
        again = utils.deserialize_keras_object(json.loads(json.dumps(written)))
        np.testing.assert_array_equal(again["array"], X)
        np.testing.assert_array_equal(again["tensor"].numpy(), X)
        assert again["function"] is losses.hinge

    @pytest.mark.parametrize(("thing", "module"), [
        (layers.Dense(2, kernel_initializer="zeros"), "keras.layers"), (losses.Hinge(), "keras.losses"),
        (metrics.Hinge(), "keras.metrics"), (optimizers.SGD(), "keras.optimizers"),
        (optimizers.schedules.CosineDecay(0.1, 3), "keras.optimizers.schedules"),
        (ac.initializers.HeNormal(seed=1), "keras.initializers"), (net(), "keras")], ids=lambda v: type(v).__name__)
    def test_objects_have_their_modules(self, thing, module):
        written = utils.serialize_keras_object(thing)
        assert (written["module"], written["registered_name"]) == (module, None)
        again = utils.deserialize_keras_object(json.loads(json.dumps(written)))
        assert type(again) is type(thing)
        assert again.get_config() == thing.get_config()

    def test_what_cannot_be_written_or_found(self):
        with pytest.raises(TypeError, match="get_config"):
            utils.serialize_keras_object(object())
        with pytest.raises(ValueError, match="lambda"):
            utils.serialize_keras_object(lambda x: x)
        for kind in (TypeError, ValueError):
            with pytest.raises(kind, match="Could not locate class 'Foo'"):
                utils.deserialize_keras_object({"class_name": "Foo", "config": {}})
        with pytest.raises(ValueError, match="safe_mode"):
            utils.deserialize_keras_object(None, safe_mode=False)


class TestGetFile:
    @pytest.fixture
    def get(self, tmp_path):
        """`get_file` of a file of these bytes, with a cache of its own."""
        def get(content=b"one", name="a.txt", **options):
            (tmp_path / name).write_bytes(content)
            return Path(utils.get_file(origin=(tmp_path / name).as_uri(), cache_dir=tmp_path / "cache", **options))
        return get

    def test_it_fetches_once(self, get, tmp_path):
        assert get() == tmp_path / "cache" / "datasets" / "a.txt"
        assert get(b"two").read_bytes() == b"one"
        assert get(b"two", force_download=True).read_bytes() == b"two"
        assert get(b"three", fname="b.txt", cache_subdir="sub") == tmp_path / "cache" / "sub" / "b.txt"

    @pytest.mark.parametrize("name", ["md5", "sha256"])
    def test_a_file_with_another_hash_is_fetched_again_or_refused(self, get, name):
        hashed = hashlib.new(name, b"two").hexdigest()
        kept = get()
        with pytest.raises(ValueError, match="Incomplete or corrupted"):
            get(b"three", file_hash=hashed)
        assert kept.read_bytes() == b"one"
        assert get(b"two", file_hash=hashed).read_bytes() == b"two"
        assert get(b"four", file_hash=hashed, hash_algorithm=name).read_bytes() == b"two"

    def test_archives_are_unpacked_into_a_folder_of_their_name(self, get, tmp_path):
        (tmp_path / "x").write_text("in it")
        made = {"a.tar.gz": io.BytesIO(), "a.zip": io.BytesIO()}
        with tarfile.open(fileobj=made["a.tar.gz"], mode="w:gz") as tar:
            tar.add(tmp_path / "x", "in/x")
        with zipfile.ZipFile(made["a.zip"], "w") as packed:
            packed.write(tmp_path / "x", "in/x")
        for name, archive in made.items():
            folder = get(archive.getvalue(), name, extract=True)
            assert (folder.name, (folder / "in" / "x").read_text()) == (name, "in it")
            assert folder.with_name(f"{name}_archive").is_file()
        assert (get(made["a.tar.gz"].getvalue(), "b", untar=True) / "in" / "x").is_file()
        with pytest.warns(UserWarning, match="Could not extract"):
            get(b"one", "c.zip", extract=True)

    @pytest.mark.parametrize("link", [False, True])
    def test_members_outside_of_an_archive_are_refused(self, get, tmp_path, link):
        made, member = io.BytesIO(), tarfile.TarInfo("in" if link else "../../../evil")
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
        with tarfile.open(fileobj=made, mode="w") as tar:
            tar.addfile(member)
            tar.addfile(tarfile.TarInfo("in/evil"))
        with pytest.raises(ValueError, match="outside"):
            get(made.getvalue(), "evil.tar", extract=True)
        assert not list(tmp_path.rglob("evil"))

    def test_what_it_cannot_fetch(self, get, tmp_path):
        with pytest.raises(ValueError, match="origin"):
            utils.get_file("a.txt")
        with pytest.raises(ValueError, match="Paths are no longer accepted"):
            get(fname="../a.txt")
        with pytest.raises(ValueError, match="an http, https or file URL"):
            utils.get_file("a.txt", "ftp://a/b", cache_dir=tmp_path)
        with pytest.raises(OSError, match="URL fetch failure"):
            utils.get_file("c.txt", (tmp_path / "c.txt").as_uri(), cache_dir=tmp_path)
        assert not list(tmp_path.rglob("c.txt*"))
