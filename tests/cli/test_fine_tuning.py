"""`autoconv train --from`: a trained net learns other classes, first with its body frozen."""

import hashlib
import json

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need the extra images")

from click.testing import CliRunner
from photo_files import make, make_turned

from autoconv import layers, models, utils
from autoconv.programs.cli import fine_tuning, main, run_states
from autoconv.utils import image_dataset_from_directory

QUICK = ("--seed", "1", "--batch-size", "16")


def autoconv_(*args, code=0):
    """Runs a command in this process, with layers' names from the start, as in a process of its own."""
    utils.clear_session()
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result


def sha256(run):
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in ("model.safetensors", "history.csv")]


def weights(path):
    """The weights of a file or run by name, without those of its classifier."""
    net = models.load_model(path)
    last = {id(weight) for weight in next(layer for layer in net.layers[::-1] if layer.weights).weights}
    return {name: weight.numpy() for name, weight in net.named_weights().items() if id(weight) not in last}


def same(a, b):
    return [np.array_equal(x, y) for x, y in zip(a.values(), b.values(), strict=True)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four shapes of 32 x 32 pixels, 20 training and 8 test pictures of each."""
    return make_turned(tmp_path_factory.mktemp("photos") / "shapes", train=20, test=8)


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A file with a net for three colours of 20 x 24 pixels, with normalizations and dropout."""
    folder = tmp_path_factory.mktemp("body")
    utils.set_random_seed(0)
    net = models.Sequential([
        layers.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, use_bias=False),
        layers.BatchNormalization(momentum=0.5), layers.ReLU(), layers.MaxPooling2D(), layers.Dropout(0.1),
        layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(3),
        layers.Softmax()])
    net.compile("adam", "categorical_crossentropy")
    colours = image_dataset_from_directory(make(folder / "colors", 8), label_mode="categorical", image_size=(32, 32),
                                           seed=0, verbose=False)
    net.fit(colours, epochs=3, verbose=0)
    net.save(folder / "net.keras")
    return folder / "net.keras"


@pytest.mark.parametrize("augment", [(), ("--augment",)], ids=["cached", "augmented"])
def test_the_body_is_frozen_while_the_head_is_trained(augment, body, photos, tmp_path):
    before = weights(body)
    autoconv_("train", photos, *QUICK, "--from", body, "--epochs", 2, "--unfreeze-after", 3, *augment,
              "--out", tmp_path / "head")
    assert all(same(before, weights(tmp_path / "head")))


def test_all_layers_are_trained_after_that(body, photos, tmp_path):
    before = weights(body)
    out = autoconv_("train", photos, *QUICK, "--from", body, "--epochs", 3, "--unfreeze-after", 2,
                    "--out", tmp_path / "all").stdout
    assert not any(same(before, weights(tmp_path / "all")))  # neither weights nor running averages
    for text in (f"{body} with a new classifier", "epochs 1 to 2 train the new classifier on 8 features",
                 "epochs 3 to 3 train all layers", "Epoch 2/2", "Epoch 3/3"):
        assert text in out
    results = json.loads((tmp_path / "all" / "run.json").read_text())
    wanted = {"model": "fine-tuned", "from": str(body), "unfreeze_after": 2, "learning_rate": pytest.approx(0.003),
              "unfreeze_lr": pytest.approx(3e-4), "image_size": [32, 32], "classes": ["flag", "hook", "step", "wedge"]}
    assert {key: results[key] for key in wanted} == wanted
    assert len(results["epoch_seconds"]) == 3
    assert len((tmp_path / "all" / "history.csv").read_text().splitlines()) == 4
    net = models.load_model(tmp_path / "all")
    assert all(layer.trainable for layer in net.layers)
    assert [type(layer).__name__ for layer in net.layers[-3:]] == ["GlobalAveragePooling2D", "Dropout", "Dense"]


@pytest.mark.parametrize("data", ["photos", "digits"])
def test_features_that_are_computed_once_give_the_bits_of_features_computed_in_every_epoch(
        data, photos, body, tmp_path, monkeypatch):
    if data == "photos":
        arguments = (photos, *QUICK, "--from", body)
    else:
        autoconv_("train", "digits", "--recipe", "best", "--limit", 64, "--epochs", 1, *QUICK, "--out", tmp_path / "b")
        arguments = ("digits", "--limit", 200, *QUICK, "--from", tmp_path / "b")
    for name, limit, text in (("once", fine_tuning.CACHE, "computes once"), ("each", 100, "computes in every epoch")):
        monkeypatch.setattr(fine_tuning, "CACHE", limit)
        out = autoconv_("train", *arguments, "--epochs", 4, "--unfreeze-after", 3, "--out", tmp_path / name).stdout
        assert text in out
    assert sha256(tmp_path / "once") == sha256(tmp_path / "each")


@pytest.mark.parametrize("augment", [(), ("--augment",)], ids=["cached", "augmented"])
@pytest.mark.parametrize("step", [3, 10, 13])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(step, augment, photos, body, tmp_path, monkeypatch):
    """It stops while the head is trained, at its end, and while all layers are trained, in epochs of 5 steps."""
    arguments = ("train", photos, *QUICK, "--from", body, "--epochs", 4, *augment)
    autoconv_(*arguments, "--out", tmp_path / "whole")
    is_due, steps = run_states.RunStates.is_due, iter(range(1, 100))

    def stop(self, *args):
        if next(steps) == step:
            self.request_stop()
        return is_due(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(run_states.RunStates, "is_due", stop)
        stopped = autoconv_(*arguments, "--out", tmp_path / "run", code=130)
    assert f"contains the training up to step {step}." in stopped.stderr
    autoconv_("train", "--out", tmp_path / "run", "--resume")
    assert sha256(tmp_path / "run") == sha256(tmp_path / "whole")
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert "is finished: 4 epochs" in autoconv_("train", "--out", tmp_path / "run", "--resume").stdout


def test_epochs_are_added_by_resuming(photos, body, tmp_path):
    """The first run ends before its body is unfrozen."""
    arguments = ("train", photos, *QUICK, "--schedule", "constant", "--from", body, "--unfreeze-after", 2)
    for name, epochs in (("whole", 3), ("run", 1)):
        autoconv_(*arguments, "--epochs", epochs, "--out", tmp_path / name)
    autoconv_("train", "--epochs", 3, "--out", tmp_path / "run", "--resume")
    assert sha256(tmp_path / "run") == sha256(tmp_path / "whole")
    run = tmp_path / "default"
    autoconv_("train", photos, *QUICK, "--from", body, "--epochs", 2, "--out", run)
    autoconv_("train", "--epochs", 3, "--out", run, "--resume")
    assert json.loads((run / "run.json").read_text())["unfreeze_after"] == 1  # half of the first run's epochs
    for option, text in ((("--unfreeze-after", 3), "was trained with --unfreeze-after 2"),
                         (("--from", tmp_path / "whole"), f"was trained with --from {body}")):
        assert text in autoconv_("train", "--out", tmp_path / "run", "--resume", *option, code=2).stderr


def test_the_run_can_be_used_as_any_other(body, photos, tmp_path):
    run = tmp_path / "run"
    autoconv_("train", photos, *QUICK, "--from", body, "--epochs", 2, "--out", run, "--json", tmp_path / "r.json")
    results = json.loads((tmp_path / "r.json").read_text())
    tested = json.loads(autoconv_("evaluate", run, "--json", "-").stdout)
    assert tested["test_loss"] == results["test_loss"]
    assert autoconv_("predict", run, photos / "test" / "hook" / "00.png").stdout.split()[1] in results["classes"]
    autoconv_("report", run, "--out", tmp_path / "r.html")
    assert f"fine-tuned on {photos}" in (tmp_path / "r.html").read_text()
    autoconv_("inspect", run, "--out", tmp_path / "i.html")
    autoconv_("summary", run)
    for form in ("keras", "safetensors"):
        autoconv_("export", run, "--to", form, "--out", tmp_path / f"net.{form}")
        autoconv_("train", photos, *QUICK, "--from", tmp_path / f"net.{form}", "--epochs", 1)
    autoconv_("train", photos, *QUICK, "--from", run, "--epochs", 1)


def test_a_related_body_learns_more_in_the_same_epochs(tmp_path):
    """A net that has learned two shapes, and a new net, learn two other shapes from ten pictures each."""
    make_turned(tmp_path / "shapes", train=100, test=50)
    for name, classes in (("known", ("flag", "hook")), ("other", ("step", "wedge"))):
        for part in ("train", "test"):
            for each in classes:
                source = tmp_path / "shapes" / part / each
                (tmp_path / name / part).mkdir(parents=True, exist_ok=True)
                source.rename(tmp_path / name / part / each)
    for path in (tmp_path / "other" / "train").glob("*/[1-9]?.png"):
        path.unlink()
    size, run = ("--image-size", 32), tmp_path / "run"
    autoconv_("train", tmp_path / "known", *QUICK, *size, "--augment", "--epochs", 12, "--out", run)
    arguments = ("train", tmp_path / "other", "--seed", 1, "--batch-size", 4, "--epochs", 12, "--json", "-")
    tuned, new = (json.loads(autoconv_(*arguments, *source).stdout) for source in (("--from", run), size))
    assert tuned["test_loss"] < new["test_loss"]
    assert tuned["test_accuracy"] > new["test_accuracy"]


def classifier(*last, shape=(32, 32, 3)):
    return models.Sequential([layers.Input(shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), *last])


@pytest.mark.parametrize("last", [
    lambda: (layers.Conv2D(5, 1), layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Softmax()),  # as in SqueezeNet
    lambda: (layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.1), layers.Conv2D(5, 1), layers.Flatten()),
    lambda: (layers.Flatten(), layers.Dense(5), layers.Activation("softmax")),
], ids=["convolution", "convolution-after-pooling", "dense"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (24, 20, 1)])
def test_the_last_classifier_is_found(last, shape, photos, tmp_path):
    net = classifier(*last(), shape=shape)
    net.save(tmp_path / "net.h5")
    autoconv_("train", photos, *QUICK, "--from", tmp_path / "net.h5", "--epochs", 2, "--out", tmp_path / "run")
    tuned = models.load_model(tmp_path / "run")
    assert tuned.input_shape == (None, *shape)
    assert tuned.output_shape == (None, 4)
    assert type(tuned.layers[-1]) is layers.Dense
    before, after = net.layers[1].kernel.numpy().shape, tuned.get_layer(net.layers[1].name).kernel.numpy().shape
    assert before == after
    assert "32 test images" in autoconv_("evaluate", tmp_path / "run").stdout
    autoconv_("predict", tmp_path / "run", photos / "test" / "hook" / "00.png")


@pytest.mark.parametrize("name", ["torch", "tf", "caffe", "unit", "none"])
def test_a_named_preprocessing_is_part_of_the_net(name, photos, tmp_path):
    net = models.Sequential([layers.Input((32, 32, 3)), layers.Flatten(), layers.Dense(2)])
    net.save(tmp_path / "net.keras")
    arguments = ("train", photos, *QUICK, "--from", tmp_path / "net.keras", "--epochs", 1)
    assert "must have a Rescaling layer" in autoconv_(*arguments, code=1).stderr
    autoconv_(*arguments, "--preprocessing", name, "--out", tmp_path / "run")
    tuned = models.load_model(tmp_path / "run")
    pixels = np.arange(32 * 32 * 3, dtype="float32").reshape(1, 32, 32, 3) % 256
    seen = models.Model(tuned.input, tuned.layers[-2].output).predict(pixels, verbose=0).reshape(1, 32, 32, 3)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = {"torch": (pixels / 255 - mean) / deviation, "tf": pixels / 127.5 - 1, "unit": pixels / 255,
              "none": pixels, "caffe": pixels[..., ::-1] - [103.939, 116.779, 123.68]}[name]
    np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-4)


def test_a_net_with_nested_layers_is_frozen_and_receives_pixels(photos, tmp_path):
    """No conversion of pixels must be named if a nested model has a Rescaling layer."""
    nested = classifier(layers.BatchNormalization(), layers.GlobalAveragePooling2D())
    models.Sequential([layers.Input((32, 32, 3)), nested, layers.Dense(2)]).save(tmp_path / "net.keras")
    arguments = ("train", photos, *QUICK, "--from", tmp_path / "net.keras", "--epochs", 1, "--unfreeze-after")
    autoconv_(*arguments, 1, "--out", tmp_path / "head")
    autoconv_(*arguments, 0, "--out", tmp_path / "all")
    before = weights(tmp_path / "net.keras")
    assert all(same(before, weights(tmp_path / "head")))
    assert not any(same(before, weights(tmp_path / "all")))


def test_a_net_for_images_of_any_size_takes_the_size_that_is_given(photos, tmp_path):
    classifier(layers.GlobalAveragePooling2D(), layers.Dense(2), shape=(None, None, 3)).save(tmp_path / "net.keras")
    out = autoconv_("train", photos, *QUICK, "--from", tmp_path / "net.keras", "--epochs", 1, "--image-size", "16x20")
    assert "resized to 16 x 20 x 3" in out.stdout


@pytest.mark.parametrize(("options", "message"), [
    (("--from", "NET", "--model", "photos"), "Received: --from NET with --model photos"),
    (("--from", "NET", "--recipe", "best"), "Leave out --recipe or --from"),
    (("--unfreeze-after", "2"), "--unfreeze-after applies only to fine-tuning"),
    (("--from", "NET", "--image-size", "16"), "must be the input size of the net in NET, 32x32. Received: 16x16"),
    (("--from", "net.onnx"), "Received: net.onnx, an ONNX graph"),
    (("--from", "RUN", "--out", "RUN"), "--out must be another folder"),
    (("--from", "missing.keras"), "There is no model file 'missing.keras'"),
])
def test_wrong_options_are_named(options, message, body, photos):
    given = [str(body) if option == "NET" else option for option in options]
    result = autoconv_("train", photos, *QUICK, *given, code=1 if message[0] in "mRT" and "with" not in message else 2)
    assert message.replace("NET", str(body)) in " ".join(result.stderr.split())


@pytest.mark.parametrize(("last", "message"), [
    (lambda: (layers.GlobalAveragePooling2D(),), "which ends in 'conv2d"),
    (lambda: (layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()), "which ends in 'conv2d"),
    (lambda: (layers.Dense(3),), "one output of shape (None, classes)"),
], ids=["none", "3x3", "per-pixel"])
def test_a_net_without_a_classifier_is_refused(last, message, photos, tmp_path):
    classifier(*last()).save(tmp_path / "net.safetensors")
    assert message in autoconv_("train", photos, *QUICK, "--from", tmp_path / "net.safetensors", code=1).stderr


def test_images_of_another_shape_are_refused(body):
    assert "Received: images of shape (28, 28, 1)" in autoconv_("train", "digits", "--from", body, code=1).stderr


def test_the_lines_of_keras_do_the_same(body):
    """With its body frozen, only the new layer learns; the normalization's running averages stay."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (40, 32, 32, 3)).astype("float32"), np.arange(40) % 4
    net = models.load_model(body)
    net.trainable = False
    tuned = models.Model(net.input, layers.Dense(4, activation="softmax")(net.layers[-3].output))
    tuned.compile("adam", "sparse_categorical_crossentropy")
    before = [weight.numpy() for weight in tuned.weights]
    tuned.fit(x, y, verbose=0)
    changed = [not np.array_equal(a, b.numpy()) for a, b in zip(before, tuned.weights)]
    assert changed == [False] * (len(changed) - 2) + [True, True]
    net.trainable = True
    tuned.compile("adam", "sparse_categorical_crossentropy")
    tuned.fit(x, y, verbose=0)
    assert not any(np.array_equal(a, b.numpy()) for a, b in zip(before, tuned.weights))
