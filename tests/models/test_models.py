"""Sequential: building, the summary, checks of what goes in, and the nets of the command line."""

import io
import re
import sys

import numpy as np
import pytest

from autoconv import layers, models, nets
from autoconv.engine.graph import summary_table
from autoconv.layers import parts

LECTURE_SUMMARY = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 26, 26, 32)     │           320 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d (MaxPooling2D)    │ (None, 13, 13, 32)     │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ conv2d_1 (Conv2D)               │ (None, 11, 11, 64)     │        18,496 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d_1 (MaxPooling2D)  │ (None, 5, 5, 64)       │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ conv2d_2 (Conv2D)               │ (None, 3, 3, 64)       │        36,928 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 576)            │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 64)             │        36,928 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)             │           650 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 93,322 (364.54 KB)
 Trainable params: 93,322 (364.54 KB)
 Non-trainable params: 0 (0.00 B)
"""

NARROW_SUMMARY = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓
┃ Layer (type)             ┃ Output Shape      ┃   Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩
│ a_very_long_name_for_a_… │ (None, 26, 26,    │       400 │
│ (Conv2D)                 │ 40)               │           │
├──────────────────────────┼───────────────────┼───────────┤
│ batch_normalization      │ (None, 26, 26,    │       160 │
│ (BatchNormalization)     │ 40)               │           │
└──────────────────────────┴───────────────────┴───────────┘
 Total params: 560 (2.19 KB)
 Trainable params: 480 (1.88 KB)
 Non-trainable params: 80 (320.00 B)"""


@pytest.fixture(autouse=True)
def _names_start_anew(monkeypatch):
    monkeypatch.setattr(parts, "_name_counts", parts.Counter())


def small(*first):
    return models.Sequential([*first, layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(3)])


def test_the_summary_is_that_of_keras(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    model = models.Sequential([layers.Input((28, 28, 1)), *nets.NETS["lecture"].layers(10)])
    model.summary()
    assert capsys.readouterr().out == LECTURE_SUMMARY


def test_long_cells_of_a_narrow_summary_are_wrapped_and_cut():
    texts = []
    model = models.Sequential([
        layers.Input((28, 28, 1)), layers.Conv2D(40, 3, name="a_very_long_name_for_a_layer_like_this"),
        layers.BatchNormalization(),
    ])
    model.summary(line_length=60, print_fn=texts.append)
    assert texts == [NARROW_SUMMARY]


def test_the_summary_of_a_model_that_is_not_built_says_so():
    texts = []
    small().summary(print_fn=texts.append, line_length=76)
    assert "│ conv2d (Conv2D)                 │ ?                      │   0 (unbuilt) │" in texts[0]
    assert " Total params: 0 (0.00 B)" in texts[0]


def test_the_summary_is_plain_where_the_terminal_has_no_boxes(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    small(layers.Input((8, 8, 1))).summary()
    out.flush()
    lines = out.buffer.getvalue().decode().splitlines()
    assert lines[2].startswith("| Layer (type)")
    assert set(lines[1]) == set(lines[3]) == {"+", "="}
    assert set(lines[5]) == {"+", "-"}


@pytest.mark.parametrize(("size", "text"), [(0, "0.00 B"), (1023, "1023.00 B"), (1024, "1.00 KB"), (2**30, "1.00 GB")])
def test_readable_sizes(size, text):
    assert summary_table.readable_size(size) == text


def test_a_summary_cannot_be_arbitrarily_narrow():
    with pytest.raises(ValueError, match=r"at least 6 characters wide\. Received: line_length=20,"):
        small(layers.Input((8, 8, 1))).summary(line_length=20)


# Building.


@pytest.mark.parametrize("make", [
    lambda: small(layers.Input((8, 8, 1))),
    lambda: small(layers.Input(shape=[8, 8, 1])),
    lambda: small(layers.InputLayer(batch_shape=(None, 8, 8, 1))),
    lambda: small(layers.Rescaling(1.0, input_shape=(8, 8, 1))),
])
def test_a_model_whose_input_is_known_is_built_at_once(make):
    model = make()
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 8, 8, 1), (None, 3))
    assert model.count_params() == 20 + 72 * 3 + 3


def test_input_dim_of_older_listings():
    model = models.Sequential([layers.Dense(3, input_dim=5)])
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, 3))


def test_a_model_whose_input_is_not_known_is_built_by_the_first_data_or_by_build():
    x = np.zeros((4, 8, 8, 1), np.float32)
    model = small()
    assert not model.built
    with pytest.raises(ValueError, match=r"not known\. Start it with layers"):
        _ = model.output_shape
    with pytest.raises(ValueError, match="isn't built"):
        model.count_params()
    assert model(x).shape == (4, 3)
    assert model.output_shape == (None, 3)
    other = small()
    other.build((None, 8, 8, 1))
    assert other.count_params() == model.count_params()


def test_input_is_not_one_of_the_layers():
    assert [type(layer).__name__ for layer in small(layers.Input((8, 8, 1))).layers] == ["Conv2D", "Flatten", "Dense"]


def test_layers_are_checked_as_they_are_added():
    model = models.Sequential([layers.Input((4, 4, 1)), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="must fit into the padded image"):
        model.add(layers.Conv2D(2, 3))
    with pytest.raises(ValueError, match="needs images"):
        models.Sequential([layers.Input((784,)), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="different names"):
        model.add(layers.Flatten(name=model.layers[0].name))
    with pytest.raises(ValueError, match="Only the first layer may be an Input"):
        model.add(layers.Input((4, 4, 1)))
    with pytest.raises(ValueError, match=r"Received: .*Create an instance: Flatten\(...\)"):
        model.add(layers.Flatten)
    with pytest.raises(ValueError, match="can contain only layers"):
        model.add("dense")
    assert model.output_shape == (None, 2, 2, 2)


def test_pop_takes_the_last_layer():
    model = small(layers.Input((8, 8, 1)))
    assert isinstance(model.pop(), layers.Dense)
    assert model.output_shape == (None, 72)
    model.add(layers.Dense(5))
    assert model.output_shape == (None, 5)
    with pytest.raises(ValueError, match="no layers to remove"):
        models.Sequential().pop()


def test_the_model_computes_its_layers_one_after_the_other():
    model, x = small(layers.Input((8, 8, 1))), np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    y = x
    for layer in model.layers:
        y = layer(y)
    assert (model(x).numpy() == y.numpy()).all()


def test_a_sequential_is_a_layer():
    inner = models.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization()])
    model = models.Sequential([layers.Input((8, 8, 1)), inner, layers.Flatten(), layers.Dense(3)])
    assert model.output_shape == (None, 3)
    assert inner.output_shape == (None, 6, 6, 2)
    assert "sequential/conv2d/kernel" in model.named_weights()
    again = models.Sequential.from_config(model.get_config())
    assert again.count_params() == model.count_params()


def test_training_reaches_all_layers():
    model, x = models.Sequential([layers.Dropout(0.5), layers.Flatten()]), np.ones((2, 8, 8, 1), np.float32)
    assert (model(x).numpy() == 1).all()
    assert (model(x, training=True).numpy() == 0).any()


def test_images_of_any_size_where_the_input_leaves_it_open():
    model = models.Sequential([
        layers.Input((None, None, 3)), layers.Conv2D(4, 3), layers.MaxPooling2D(), layers.GlobalAveragePooling2D(),
        layers.Dense(2),
    ])
    assert model.layer_shapes[1] == (None, None, None, 4)
    assert model(np.zeros((1, 9, 8, 3))).shape == (1, 2)
    assert model(np.zeros((1, 20, 30, 3))).shape == (1, 2)


def test_get_and_set_weights():
    first, second = small(layers.Input((8, 8, 1))), small(layers.Input((8, 8, 1)))
    second.set_weights(first.get_weights())
    x = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    assert (first(x).numpy() == second(x).numpy()).all()
    given = first.get_weights()[0]
    given += 1  # a copy: the model does not change
    assert (first.get_weights()[0] != given).all()


def test_a_config_restores_layers_shapes_and_frozen_layers():
    model = small(layers.Input((8, 8, 1)))
    model.layers[0].trainable = False
    again = models.Sequential.from_config(model.get_config())
    assert again.built
    assert again.get_config() == model.get_config()
    assert len(again.trainable_weights) == 2


def test_a_frozen_model_freezes_what_is_added():
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)], trainable=False)
    assert model.layers[0].trainable is False
    assert not model(np.ones((1, 3))).requires_grad


def test_a_model_class_of_one_s_own():
    class LeNet(models.Sequential):
        def __init__(self, classes, **kwargs):
            super().__init__([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(classes)], **kwargs)

    model = LeNet(3, name="le_net")
    again = LeNet.from_config(model.get_config())
    assert (again.name, again.output_shape, len(again.layers)) == ("le_net", (None, 3), 2)


def test_to_moves_a_model_or_says_why_not():
    model = small(layers.Input((8, 8, 1)))
    assert model.to("cpu") is model
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu'"):
        model.to("tpu")


def test_the_summary_has_the_layers_that_no_call_has_used():
    class Branches(models.Model):
        def __init__(self):
            super().__init__()
            self.used, self.others = layers.Dense(2), [layers.Dense(3), layers.Dropout(0.1), layers.ReLU(),
                                                       layers.Flatten(), layers.Add()]

        def call(self, x, other=False, training=False):
            for layer in self.others if other else [self.used]:
                x = layer(x)
            return x

    model, lines = Branches(), []
    model(np.ones((2, 4)))
    model.summary(print_fn=lines.append)
    rows = [line.split("│")[2:4] for line in lines[0].splitlines() if line.startswith("│")]
    assert [cell.strip() for cell in rows[0]] == ["(None, 2)", "10"]
    assert [row[0].strip() for row in rows[1:]] == ["?"] * 5
    assert rows[1][1].strip() == "0 (unbuilt)"


# What goes in.


@pytest.mark.parametrize(("shape", "remedy"), [
    ((60000, 784), "Reshape it: x.reshape(-1, 28, 28, 1)."),
    ((2, 32, 32, 3), "Convert the data, or create the model with Input((32, 32, 3))."),
    ((28, 28), "One image needs axes for the batch and the channels: x[None, ..., None]."),
    ((28, 28, 1), "One sample needs an axis for the batch: x[None], or X[:1] in the place of X[0]."),
    ((28, 28, 3), ""),
])
def test_the_lecture_net_says_which_shape_it_wants(shape, remedy):
    model = nets.build("lecture", (28, 28, 1), 10)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        model(np.zeros(shape, np.uint8))
    assert str(caught.value) == (
        f"Model 'lecture' needs inputs of shape (None, 28, 28, 1). Received shape {shape}." + (remedy and " " + remedy)
    )


@pytest.mark.parametrize(("images", "given", "remedy"), [
    ((8, 32, 32, 3), lambda x: x.transpose(0, 3, 1, 2), "Transpose it: x.transpose(0, 2, 3, 1)."),
    ((8, 20, 28, 1), lambda x: x.transpose(0, 2, 1, 3), "Transpose it: x.transpose(0, 2, 1, 3)."),
    ((8, 20, 28, 3), lambda x: x.transpose(0, 3, 2, 1), "Transpose it: x.transpose(0, 3, 2, 1)."),
    ((8, 28, 28, 1), lambda x: x.transpose(0, 3, 1, 2), "Transpose it: x.transpose(0, 2, 3, 1)."),
    ((8, 16, 24, 3), lambda x: x.reshape(8, -1), "Reshape it: x.reshape(-1, 16, 24, 3), or "
     "x.reshape(-1, 3, 16, 24).transpose(0, 2, 3, 1) if a row has one channel after the other."),
    ((8, 16, 24, 3), lambda x: x.transpose(0, 3, 1, 2).reshape(8, -1), "Reshape it: x.reshape(-1, 16, 24, 3), or "
     "x.reshape(-1, 3, 16, 24).transpose(0, 2, 3, 1) if a row has one channel after the other."),
    ((8, 784), lambda x: x.reshape(8, 28, 28, 1), "Reshape it: x.reshape(-1, 784)."),
    ((8, 28, 28, 1), lambda x: x.reshape(8, 14, 56, 1),  # other images: their rows have another length
     "Convert the data, or create the model with Input((14, 56, 1))."),
    ((8, 32, 32, 3), lambda x: x.reshape(8, 48, 64), ""),
])
def test_the_advice_for_images_of_another_layout_keeps_their_pixels(images, given, remedy):
    wanted = np.arange(np.prod(images), dtype="float32").reshape(images)
    x, model = given(wanted), models.Sequential([layers.Input(images[1:]), layers.Flatten()])
    with pytest.raises(ValueError, match="Received shape") as caught:
        model.predict(x, verbose=0)
    assert str(caught.value).partition(f"Received shape {x.shape}.")[2].strip() == remedy
    advised = [eval(part, {"x": x}) for part in re.findall(r"x\.\w+\([-\d, ]+\)(?:\.transpose\([\d, ]+\))?", remedy)]
    assert bool(advised) == any(np.array_equal(each, wanted) for each in advised)


def test_a_layer_that_was_built_for_other_channels_advises_the_transpose():
    layer = layers.Conv2D(4, 3)
    layer(np.zeros((2, 32, 32, 3), "float32"))
    with pytest.raises(ValueError, match=r"built for size 3 on this axis\. Transpose it: x\.transpose\(0, 2, 3, 1\)\."):
        layer(np.zeros((2, 3, 32, 32), "float32"))


# The nets of the command line.


@pytest.mark.parametrize(("name", "params", "last"), [
    ("best", 274_474, "softmax"), ("cifar10", 1_973_944, "linear"), ("lecture", 93_322, "softmax"),
    ("lecture-large", 8_459_242, "softmax"), ("photos", 3_989_285, "linear"),
    ("sprint", 17_050, "softmax"),
])
def test_the_nets_have_the_sizes_they_are_known_by(name, params, last):
    classes = 5 if name == "photos" else 10
    model = nets.build(name, nets.NETS[name].input_shape, classes)
    assert model.count_params() == params
    assert model.layers[-1].activation.__name__ == last
    assert nets.NETS[name].from_logits == (last == "linear")
    assert model.output_shape == (None, classes)


def test_the_large_net_drops_out_before_and_after_its_first_dense_layer():
    kinds = [type(layer).__name__ for layer in nets.NETS["lecture-large"].layers(10)]
    assert kinds[-5:] == ["Dropout", "Flatten", "Dense", "Dropout", "Dense"]


def test_scaling_is_done_once():
    for net in nets.NETS.values():
        scaled_inside = isinstance(net.layers(10)[0], layers.Rescaling)
        assert net.divide_by == (1 if scaled_inside else 255)


def test_nets_that_cannot_be():
    with pytest.raises(ValueError, match=r"Unknown net: 'lectur'\. Did you mean 'lecture'\?"):
        nets.build("lectur", (28, 28, 1), 10)
    with pytest.raises(ValueError, match=r"'lecture' .* 18 x 18 pixels\. Received: 28 x 17 pixels\. .*photos \(at"):
        nets.build("lecture", (28, 17, 1), 10)
    with pytest.raises(ValueError, match=r"'photos' must be at least 8 x 8 pixels\. Received: 7 x 9 pixels\. Enlarge"):
        nets.build_for_pixels("photos", (7, 9, 3), 10)


@pytest.mark.parametrize("name", nets.NETS)
def test_the_smallest_images_of_a_net_are_just_large_enough(name):
    size = nets.find_minimum_size(name)
    assert nets.build(name, (size, size, 3), 2).built
    with pytest.raises(ValueError, match=f"at least {size} x {size} pixels"):
        nets.build(name, (size, size - 1, 3), 2)


def test_a_layer_with_an_attribute_called_kind_is_shown_by_its_class(capsys):
    class Mine(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.kind = "odd"

        def call(self, x):
            return x

    models.Sequential([layers.Input((3,)), Mine(name="first")]).summary()
    assert "first (Mine)" in capsys.readouterr().out
