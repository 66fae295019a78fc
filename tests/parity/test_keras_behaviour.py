"""What Keras does around the numbers: which calls it takes, what it refuses, what it calls by which name."""

import re
import warnings

import numpy as np
import pytest

import autoconv as ac
from autoconv import callbacks, initializers, layers, losses, metrics, models, optimizers, utils
from autoconv import functional as F

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype(np.float32)
Y = RNG.normal(size=(8, 1)).astype(np.float32)


def regression(loss="mse", **compiled):
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(loss=loss, **compiled)
    return model


class TestCallbacks:
    def test_a_scheduler_may_take_the_epoch_alone(self):
        model = regression(optimizer=optimizers.SGD(0.5))
        model.fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda epoch: 0.1)])
        assert model.optimizer.learning_rate == pytest.approx(0.1)

    def test_an_error_within_a_scheduler_is_told_once(self):
        calls = []

        def schedule(epoch, rate):
            calls.append(epoch)
            return rate + None

        with pytest.raises(TypeError, match="NoneType"):
            regression().fit(X, Y, verbose=0, callbacks=[callbacks.LearningRateScheduler(schedule)])
        assert calls == [0]

    def test_an_optimizer_takes_a_function_without_arguments(self):
        assert optimizers.SGD(learning_rate=lambda: 0.1).learning_rate == pytest.approx(0.1)

    def test_a_checkpoint_makes_its_folder(self, tmp_path):
        where = tmp_path / "sub" / "m{epoch}.safetensors"
        regression().fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint(where)])
        assert (tmp_path / "sub" / "m1.safetensors").exists()

    @pytest.mark.parametrize(("where", "options"), [
        ("m.txt", {}), ("m{epoch}", {}), ("m", {"save_weights_only": True})])
    def test_a_checkpoint_refuses_a_wrong_suffix_before_training(self, where, options, tmp_path):
        model = regression()
        before = model.get_weights()[0]
        with pytest.raises(ValueError, match="must end in"):
            model.fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / where, **options)])
        np.testing.assert_array_equal(model.get_weights()[0], before)

    def test_an_absent_monitor_warns_and_saves(self, tmp_path):
        with pytest.warns(UserWarning, match="val_loss"):
            regression().fit(X, Y, verbose=0, callbacks=[
                callbacks.ModelCheckpoint(tmp_path / "m.safetensors", save_best_only=True)])
        assert (tmp_path / "m.safetensors").exists()

    def test_an_unknown_mode_warns(self, tmp_path):
        with pytest.warns(UserWarning, match="mode"):
            callbacks.ModelCheckpoint(tmp_path / "m.safetensors", mode="unknown")
        with pytest.warns(UserWarning, match="mode"):
            callbacks.EarlyStopping(mode="unknown")

    def test_a_checkpoint_after_so_many_batches(self, tmp_path):
        where = tmp_path / "m{batch}.safetensors"
        regression().fit(X, Y, batch_size=1, verbose=0, callbacks=[callbacks.ModelCheckpoint(where, save_freq=3)])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m3.safetensors", "m6.safetensors"]

    def test_a_checkpoint_starts_from_a_value(self, tmp_path):
        regression().fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint(
            tmp_path / "m.safetensors", "loss", save_best_only=True, initial_value_threshold=0.0)])
        assert not (tmp_path / "m.safetensors").exists()

    def test_a_log_has_one_header(self, tmp_path):
        model = regression()
        model.fit(X, Y, epochs=4, verbose=0, validation_data=(X, Y), validation_freq=2,
                  callbacks=[callbacks.CSVLogger(tmp_path / "log.csv")])
        lines = (tmp_path / "log.csv").read_text().splitlines()
        assert lines[0] == "epoch,loss,val_loss"
        assert [len(line.split(",")) for line in lines] == [3] * 5
        assert lines[1].endswith(",NA")
        assert not lines[2].endswith(",NA")

    def test_all_stages_are_called(self):
        called = []

        class Stages(callbacks.Callback):
            pass

        for stage in [name for name in vars(callbacks.Callback) if name.startswith("on_")]:
            setattr(Stages, stage, lambda self, *args, stage=stage, **kwargs: called.append(stage))
        model = regression()
        model.fit(X, Y, batch_size=4, verbose=0, validation_data=(X, Y), callbacks=[Stages()])
        for stage in ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_begin",
                      "on_test_batch_begin", "on_test_batch_end", "on_test_end", "on_epoch_end", "on_train_end"):
            assert stage in called, stage
        called.clear()
        model.predict(X, batch_size=4, verbose=0, callbacks=[Stages()])
        assert called == ["on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end",
                          "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end"]

    def test_on_batch_is_the_short_name(self):
        called = []

        class Short(callbacks.Callback):
            def on_batch_begin(self, batch, logs=None):
                called.append(("begin", batch))

            def on_batch_end(self, batch, logs=None):
                called.append(("end", batch))

        regression().fit(X, Y, batch_size=4, verbose=0, callbacks=[Short()])
        assert called == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]

    def test_early_stopping_refuses_what_it_cannot_watch(self):
        stop = callbacks.EarlyStopping(monitor="accurracy")
        with pytest.raises(ValueError, match="accurracy"):
            regression().fit(X, Y, verbose=0, callbacks=[stop])

    def test_early_stopping_begins_without_a_best(self):
        stop = callbacks.EarlyStopping(monitor="loss")
        stop.on_train_begin()
        assert stop.best is None

    def test_early_stopping_knows_where_a_metric_grows(self):
        stop = callbacks.EarlyStopping(monitor="val_auc", patience=0)
        model = models.Sequential([layers.Input((3,)), layers.Dense(1, activation="sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=[metrics.AUC(name="auc")])
        model.fit(X, Y > 0, verbose=0, validation_data=(X, Y > 0), callbacks=[stop])
        assert stop.best is not None
        assert stop.best > 0

    def test_reduce_lr_on_plateau(self):
        model = regression(optimizer=optimizers.SGD(0.0))
        plateau = callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=2, min_delta=10, cooldown=2)
        model.optimizer.learning_rate = 0.1
        history = model.fit(X, Y, epochs=6, verbose=0, callbacks=[plateau]).history
        np.testing.assert_allclose(history["learning_rate"], [0.1, 0.1, 0.1, 0.01, 0.01, 0.01], rtol=1e-6)

    def test_terminate_on_nan(self):
        model = regression()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history = model.fit(np.full_like(X, np.nan), Y, batch_size=2, epochs=5, verbose=0,
                                callbacks=[callbacks.TerminateOnNaN()])
        assert len(history.epoch) == 1

    def test_averages_take_the_place_of_weights_while_it_is_tested(self):
        model = regression(optimizer=optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
        seen = {}
        model.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[
            callbacks.SwapEMAWeights(), callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: seen.setdefault("train", []).append(model.get_weights()[0]),
                on_test_begin=lambda logs: seen.setdefault("test", []).append(model.get_weights()[0]))])
        assert not np.allclose(seen["train"][1], seen["test"][1])


    def test_the_averages_stay_at_the_end_of_training(self):
        found = []
        for given in ([], [callbacks.SwapEMAWeights()], [callbacks.SwapEMAWeights(swap_on_epoch=True)]):
            ac.utils.set_random_seed(1)
            model = regression(optimizer=optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
            model.fit(X, Y, epochs=3, verbose=0, callbacks=given)
            found.append(model.get_weights()[0])
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0])


class TestLosses:
    @pytest.mark.parametrize(("reduction", "expected"), [
        ("sum", 14.0), ("mean", 14 / 3), ("sum_over_batch_size", 14 / 3), (None, [1.0, 4.0, 9.0]),
        ("mean_with_sample_weight", 14 / 3)])
    def test_a_loss_of_a_users_own_on_arrays(self, reduction, expected):
        class Square(losses.Loss):
            def call(self, y_true, y_pred):
                return (y_pred - y_true) ** 2

        loss = Square(reduction=reduction)
        np.testing.assert_allclose(np.asarray(loss(np.zeros(3), np.array([1.0, 2.0, 3.0]))), expected, rtol=1e-6)

    def test_a_name_gives_the_function(self):
        assert losses.get("mse") is losses.mean_squared_error
        assert losses.get(None) is None

    def test_one_class_warns(self):
        with pytest.warns(SyntaxWarning, match="one class"):
            losses.categorical_crossentropy(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))

    def test_softmax_as_logits_warns(self):
        model = models.Sequential([layers.Input((3,)), layers.Dense(4, activation="softmax")])
        model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
        with pytest.warns(UserWarning, match="from_logits"):
            model.fit(X, np.arange(8) % 4, verbose=0)

    def test_targets_of_float64_give_a_loss_of_the_models_dtype(self):
        assert losses.mean_squared_error(np.zeros((2, 3)), np.ones((2, 3), np.float32)).dtype == np.float32
        assert losses.MeanSquaredError()(np.zeros((2, 3)), np.ones((2, 3), np.float32)).dtype == np.float32


class TestOptimizers:
    def test_a_weight_without_a_gradient_stays(self):
        a, b = ac.Variable(np.ones(2), name="a"), ac.Variable(np.ones(2), name="b")
        optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
        with pytest.warns(UserWarning, match="b"):
            optimizer.apply_gradients([(np.ones(2, np.float32), a), (None, b)])
        np.testing.assert_array_equal(b.numpy(), 1)
        assert (a.numpy() < 1).all()

    def test_no_gradient_at_all_is_refused(self):
        with pytest.raises(ValueError, match="No gradients"):
            optimizers.SGD().apply_gradients([(None, ac.Variable(np.ones(2), name="a"))])

    def test_names(self):
        names = [optimizers.Adam().name, optimizers.Adam().name, optimizers.AdamW().name]
        assert re.fullmatch(r"adam(_\d+)?", names[0])
        assert re.fullmatch(r"adam_\d+", names[1])
        assert names[2].startswith("adam_w")

    def test_decay_must_be_a_number(self):
        with pytest.raises(ValueError, match="weight_decay"):
            optimizers.AdamW(weight_decay=None)

    def test_there_is_no_optimizer_of_none(self):
        with pytest.raises(ValueError, match="optimizer"):
            optimizers.get(None)


class TestModels:
    def test_a_model_within_that_knows_its_inputs_is_built(self):
        assert models.Sequential([models.Sequential([layers.Input((3,)), layers.Dense(4)]), layers.Dense(1)]).built

    def test_a_model_that_knows_no_inputs_has_no_shape(self):
        assert not hasattr(models.Sequential(), "input_shape")
        assert not hasattr(models.Sequential([layers.Dense(2)]), "output_shape")

    def test_what_is_no_layer_is_refused(self):
        with pytest.raises(ValueError, match="layer"):
            models.Sequential().add({})

    def test_a_model_without_layers_cannot_be_called(self):
        with pytest.raises(ValueError, match="no layers"):
            models.Sequential()(X)

    def test_an_activation_can_be_taken_away(self):
        layer = layers.Dense(2, activation="relu")
        layer.activation = None
        np.testing.assert_allclose(layer(-np.ones((4, 3), np.float32)).numpy(), -np.ones((4, 3)) @ layer.kernel.numpy(),
                                   rtol=1e-5)

    def test_a_train_function_of_ones_own_is_refused_when_it_is_compiled(self):
        class Own(models.Sequential):
            def make_train_function(self, force=False):
                return None

        with pytest.raises(TypeError, match="train_step"):
            Own([layers.Input((3,)), layers.Dense(1)]).compile("sgd", "mse")

    def test_building_keeps_the_size_of_the_batch(self):
        layer = layers.Dense(2)
        layer.build((5, 3))
        assert layer.get_build_config() == {"input_shape": (5, 3)}

    @pytest.mark.parametrize(("wanted", "advice"), [
        ("categorical_accuracy", "sparse_categorical_accuracy"), ("binary_accuracy", "accuracy")])
    def test_a_metric_that_says_nothing_is_refused(self, wanted, advice):
        model = models.Sequential([layers.Input((3,)), layers.Dense(4, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=[wanted])
        with pytest.raises(ValueError, match=advice):
            model.fit(X, np.arange(8) % 4, verbose=0)

    def test_integer_metrics_on_one_hot_targets_are_refused(self):
        model = models.Sequential([layers.Input((3,)), layers.Dense(4, activation="softmax")])
        model.compile("sgd", "categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
        with pytest.raises(ValueError, match="'categorical_accuracy'"):
            model.fit(X, np.eye(4)[np.arange(8) % 4], verbose=0)

    def test_a_forgotten_flatten_is_said(self):
        model = models.Sequential([layers.Input((4, 4, 1)), layers.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises(ValueError, match="Flatten"):
            model.fit(np.zeros((8, 4, 4, 1)), np.arange(8) % 3, verbose=0)


class TestCompile:
    def test_what_changes_the_speed_alone_is_taken(self):
        plain, quick = regression(), regression(steps_per_execution=4, jit_compile=True, auto_scale_loss=True)
        quick.set_weights(plain.get_weights())
        losses = [model.fit(X, Y, epochs=3, shuffle=False, verbose=0).history["loss"] for model in (plain, quick)]
        assert losses[0] == losses[1]

    def test_steps_through_python(self):
        seen = []

        class Seen(layers.Dense):
            recordable = True

            def call(self, x):
                seen.append(x.shape)
                return super().call(x)

        model = models.Sequential([layers.Input((3,)), Seen(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        seen.clear()
        model.fit(X, Y, batch_size=1, verbose=0)
        assert len(seen) >= 8
        assert set(model.recording_report()["train"].values()) - {None} == {"compile(run_eagerly=True)"}

    def test_weighted_metrics(self):
        model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[metrics.MeanSquaredError(name="plain")],
                      weighted_metrics=[metrics.MeanSquaredError(name="weighted")])
        weights = np.arange(8.0)
        found = model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
        error = (model.predict(X, verbose=0) - Y)[:, 0] ** 2
        assert found["plain"] == pytest.approx(error.mean(), rel=1e-5)
        assert found["weighted"] == pytest.approx((error * weights).sum() / weights.sum(), rel=1e-5)


class TestTensors:
    def test_one_number(self):
        t = ac.tensor(2.5)
        assert f"{t:.2f}" == "2.50"
        assert float(t) == 2.5
        assert int(t) == 2
        assert bool(t)
        assert float(abs(-t)) == 2.5

    def test_of_one_item(self):
        assert float(ac.tensor([2.5])) == 2.5

    def test_iteration_and_masks(self):
        t = ac.tensor([1.0, -2.0, 3.0])
        assert [float(each) for each in t] == [1.0, -2.0, 3.0]
        np.testing.assert_array_equal(t[t > 0].numpy(), [1, 3])

    def test_it_prints_in_columns(self):
        lines = repr(ac.tensor(np.arange(4.0).reshape(2, 2))).splitlines()
        assert lines[0].index("[0") == lines[1].index("[2") or lines[1].startswith(" " * lines[0].index("[0"))

    def test_to_categorical_of_a_tensor_is_one(self):
        assert isinstance(utils.to_categorical(ac.tensor(np.array([0, 1])), 2), ac.Tensor)

    def test_softmax_over_several_axes(self):
        x = ac.tensor(RNG.normal(size=(2, 3, 4)).astype(np.float32))
        for axis in ((1, 2), (-1, -2)):
            np.testing.assert_allclose(F.softmax(x, axis=axis).numpy().sum((1, 2)), 1, rtol=1e-5)
            np.testing.assert_allclose(np.exp(F.log_softmax(x, axis=axis).numpy()).sum((1, 2)), 1, rtol=1e-5)

    def test_add_weight_takes_keras_order(self):
        class Own(layers.Layer):
            def build(self, shape):
                self.w = self.add_weight((shape[-1], 2), "ones", name="w", regularizer="l2", constraint="non_neg")

        layer = Own()
        layer.build((None, 3))
        assert layer.w.shape == (3, 2)
        assert len(layer.losses) == 1

    def test_metrics_variables(self):
        class Count(metrics.Metric):
            def __init__(self):
                super().__init__(name="count")
                self.n = self.add_weight(shape=(), name="n")
                self.m = self.add_variable((2,), "ones", name="m")

            def update_state(self, *args):
                self.n.assign_add(1.0)

            def result(self):
                return self.n.value

        count = Count()
        count.update_state()
        assert float(count.result()) == 1
        assert count.m.shape == (2,)

    def test_initializers(self):
        assert initializers.get(None) is None
