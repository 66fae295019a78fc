"""What callbacks.TensorBoard writes, as TensorBoard reads it."""

import subprocess
import sys

import numpy as np
import pytest

from autoconv import callbacks, layers, models, optimizers, utils

pytest.importorskip("tensorboardX")
X = np.random.default_rng(0).normal(size=(40, 6, 5, 3)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0).astype(int)


def fit(folder, channels=3, epochs=3, **arguments):
    utils.set_random_seed(0)
    model = models.Sequential([layers.Input((6, 5, channels)), layers.Conv2D(4, 3, name="first"), layers.Flatten(),
                               layers.Dense(2, "softmax", name="head")])
    model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    board = callbacks.TensorBoard(folder, **arguments)
    x = np.resize(X, (40, 6, 5, channels))
    history = model.fit(x, Y, batch_size=10, epochs=epochs, validation_data=(x[:20], Y[:20]), verbose=0,
                        callbacks=[callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0), board])
    return model, history.history


def read(folder):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = loader.EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "histograms", "images"), 0))
    found.Reload()
    return found


def values(events, tag):
    return [event.step for event in events.Scalars(tag)], [event.value for event in events.Scalars(tag)]


def test_scalars_of_epochs(tmp_path):
    _, history = fit(tmp_path / "logs")
    train, validation = read(tmp_path / "logs" / "train"), read(tmp_path / "logs" / "validation")
    assert set(train.Tags()["scalars"]) == {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"}
    assert set(validation.Tags()["scalars"]) == {"epoch_loss", "epoch_accuracy"}
    for events, tag, name in ((train, "epoch_loss", "loss"), (train, "epoch_accuracy", "accuracy"),
                              (validation, "epoch_loss", "val_loss"), (validation, "epoch_accuracy", "val_accuracy")):
        steps, found = values(events, tag)
        assert steps == [0, 1, 2]
        np.testing.assert_allclose(found, history[name], rtol=1e-6)
    np.testing.assert_allclose(values(train, "epoch_learning_rate")[1], [0.1, 0.01, 0.001], rtol=1e-5)
    assert train.Tags()["histograms"] == train.Tags()["images"] == []


def test_the_summary(tmp_path):
    model, _ = fit(tmp_path)
    lines = []
    model.summary(print_fn=lines.append)
    events = read(tmp_path / "train")
    (tag,) = events.Tags()["tensors"]
    text = events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    assert text == "\n".join(f"    {line}" for line in lines[0].splitlines())
    fit(tmp_path / "none", write_graph=False)
    assert read(tmp_path / "none" / "train").Tags()["tensors"] == []


@pytest.mark.parametrize(("frequency", "steps"), [("batch", list(range(1, 13))), (5, [5, 10])])
def test_scalars_of_batches(tmp_path, frequency, steps):
    _, history = fit(tmp_path, update_freq=frequency)
    events = read(tmp_path / "train")
    at, losses = values(events, "batch_loss")
    assert at == steps == values(events, "batch_accuracy")[0]
    if frequency == "batch":
        np.testing.assert_allclose(losses[3::4], history["loss"], rtol=1e-6)
    assert values(events, "epoch_loss")[0] == [0, 1, 2]


def test_the_values_of_a_step_are_not_read_where_no_batch_is_written():
    hooks = callbacks.CallbackList([callbacks.TensorBoard()], None, {})
    assert hooks.listeners("on_train_batch_end") == []


def test_histograms_and_filters(tmp_path):
    model, _ = fit(tmp_path, histogram_freq=2, write_images=True, write_steps_per_second=True)
    events = read(tmp_path / "train")
    paths = list(model.named_weights())
    assert set(events.Tags()["histograms"]) == {f"{path}/histogram" for path in paths}
    last = events.Histograms(f"{paths[0]}/histogram")
    assert [event.step for event in last] == [0, 2]
    kernel = model.get_weights()[0]
    assert last[-1].histogram_value.num == kernel.size
    assert last[-1].histogram_value.sum == pytest.approx(kernel.sum(), rel=1e-4)
    assert [event.step for event in events.Images(f"{paths[0]}/image")] == [0, 2]
    assert min(values(events, "epoch_steps_per_second")[1]) > 0


@pytest.mark.parametrize(("channels", "size"), [(1, (3, 12)), (3, (3, 12)), (2, (3, 24))])
def test_a_filter_is_a_picture(tmp_path, channels, size):
    model, _ = fit(tmp_path, channels, epochs=1, write_images=True)
    (event,) = read(tmp_path / "train").Images(f"{next(iter(model.named_weights()))}/image")
    assert (event.height, event.width) == size


def test_weights_that_are_not_finite_do_not_stop_a_training(tmp_path):
    model, _ = fit(tmp_path, epochs=1)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    board = callbacks.TensorBoard(tmp_path / "nan", histogram_freq=1, write_images=True)
    board.set_model(model)
    board.on_epoch_end(0, {"loss": float("nan")})
    board.on_train_end()
    assert read(tmp_path / "nan" / "train").Tags()["images"] == []


@pytest.mark.parametrize(("arguments", "said"), [
    ({"histogram_freq": -1}, r"histogram_freq must be an integer of at least 0\. Received: -1"),
    ({"update_freq": "step"}, r"update_freq must be 'epoch', 'batch' or an integer of at least 1\. Received: 'step'"),
    ({"update_freq": 0}, "update_freq must be"), ({"profile_batch": 2}, r"supports only profile_batch=0\."),
    ({"embeddings_metadata": "f"}, "supports only embeddings_metadata=None"),
])
def test_arguments_that_cannot_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        callbacks.TensorBoard(**arguments)


def test_tensorboardx_is_imported_when_it_is_needed():
    code = ("import sys; sys.modules['tensorboardX'] = None; from autoconv import callbacks\n"
            "callbacks.TensorBoard()")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.splitlines()[-1]
    assert said.endswith("ExtraError: callbacks.TensorBoard needs tensorboardX, which is not installed. "
                         "Install it with pip install 'autoconv[tensorboard]'.")
