"""What a net costs: the lectures' exercise, counts beside plain arithmetic, the table, the picture of a graph."""

import dataclasses
import json
import re
import shutil
import sys
import xml.dom.minidom

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import layers, models, nets, utils
from autoconv.programs.cli import main


def autoconv_(*args, code=0):
    result = CliRunner().invoke(main, ["summary", *map(str, args)])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def exercise():
    """Three convolutions with strides of 2 on colour images of 200 x 300."""
    return models.Sequential([layers.Input((200, 300, 3)), *(
        layers.Conv2D(maps, 3, strides=2, padding="same") for maps in (100, 200, 400))])


def branches():
    x = layers.Input((8, 8, 2))
    left, right = layers.Conv2D(4, 3, padding="same", name="left")(x), layers.Conv2D(4, 1, name="right")(x)
    return models.Model(x, layers.Flatten(name="flat")(layers.Add(name="sum")([left, right])))


class TestCounting:
    def test_the_exercise_of_the_lectures(self):
        one, fifty = exercise().profile(measure=False), exercise().profile(50, measure=False)
        assert one.params == 903_400
        assert [row.params for row in one.rows] == [2_800, 180_200, 720_400]
        assert [row.train_bytes for row in one.rows] == [6_000_000, 3_000_000, 1_520_000]
        assert one.predict_bytes == 9_000_000 + 3_613_600  # 12.6 MB
        assert fifty.map_bytes == 526_000_000
        assert fifty.train_bytes == 526_000_000 + 36_000_000 + 3_613_600  # 565 MB
        assert [row.output_shape for row in one.rows] == [(100, 150, 100), (50, 75, 200), (25, 38, 400)]
        assert [row.multiply_adds for row in one.rows] == [
            100 * 150 * 100 * 27, 50 * 75 * 200 * 900, 25 * 38 * 400 * 1800]

    def test_every_layer_with_weights_is_counted(self):
        net = models.Sequential([
            layers.Input((6, 5, 2)), layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2D(6, 1, groups=2),
            layers.Conv2DTranspose(3, 2, strides=2), layers.Flatten(), layers.Dropout(0.5), layers.Dense(7)])
        rows = net.profile(3, measure=False).rows
        counts = [4 * 3 * 4 * 9, 4 * 3 * 6 * 2, 4 * 3 * 6 * 3 * 4, 0, 0, 8 * 6 * 3 * 7]
        assert [row.multiply_adds for row in rows] == counts
        assert [row.params for row in rows] == [layer.count_params() for layer in net.layers]
        assert [row.train_bytes for row in rows] == [
            3 * 4 * n for n in (4 * 3 * 4, 4 * 3 * 6, 8 * 6 * 3, 0, 8 * 6 * 3, 7)]

    def test_values_are_needed_until_their_last_reader(self):
        profile = branches().profile(measure=False)
        image, maps = 8 * 8 * 2 * 4, 8 * 8 * 4 * 4
        found = {row.name: row.predict_bytes for row in profile.rows}
        first, second = (row.name for row in profile.rows[:2])
        assert found[first] == image + maps
        assert found[second] == image + 2 * maps  # the first branch waits
        assert found["sum"] == 3 * maps
        assert found["flat"] == maps

    def test_a_layer_that_is_called_twice_has_its_weights_once(self):
        x, shared = layers.Input((4,)), layers.Dense(4)
        profile = models.Model(x, shared(shared(x))).profile(measure=False)
        assert [row.params for row in profile.rows] == [20, 0]
        assert profile.multiply_adds == 32
        assert profile.params == 20

    def test_a_model_within_a_model_counts_what_it_holds(self):
        inner = models.Sequential([layers.Input((4,)), layers.Dense(5), layers.Dense(2)])
        profile = models.Sequential([layers.Input((4,)), inner]).profile(measure=False)
        assert profile.multiply_adds == 4 * 5 + 5 * 2

    def test_open_sizes_must_be_told(self):
        net = models.Sequential([layers.Input((None, None, 1)), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()])
        with pytest.raises(ValueError, match="Pass input_shape"):
            net.profile()
        assert net.profile(measure=False, input_shape=(10, 12, 1)).rows[0].output_shape == (8, 10, 2)
        with pytest.raises(ValueError, match=r"Received shape \(1, 10, 12, 3\)"):
            net.profile(input_shape=(10, 12, 3))
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            net.profile(0)


class TestMeasuring:
    def test_each_step_has_a_time_and_a_share_of_the_ceiling(self):
        net = models.Sequential([layers.Input((12, 12, 1)), layers.Conv2D(8, 3, activation="relu"),
                                 layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10, "softmax")])
        profile = net.profile(4)
        convolution, pooling, flatten, dense = profile.rows
        assert pooling.within == convolution.name
        assert pooling.seconds is None
        assert flatten.share is None
        assert all(row.seconds > 0 and row.share > 0 for row in (convolution, dense))
        assert profile.seconds == pytest.approx(sum(row.seconds for row in (convolution, flatten, dense)))
        json.dumps(profile.as_dict())

    def test_what_acts_in_training_only_costs_nothing_in_inference(self):
        net = models.Sequential([layers.Input((8, 8, 3)), *nets.augmentation(), layers.Dropout(0.5)])
        profile = net.profile()
        assert [row.share for row in profile.rows] == [None] * 4
        assert profile.predict_bytes == 4 * 8 * 8 * 3

    @pytest.mark.parametrize(("share", "cell"), [(1.0, "100%"), (1.2, "ms"), (17.49, "ms")])
    def test_a_share_above_100_percent_is_blank_with_the_reason(self, share, cell):
        profile = models.Sequential([layers.Input((6,)), layers.Dense(3)]).profile()
        text = str(dataclasses.replace(profile, rows=[row._replace(share=share) for row in profile.rows]))
        assert text.splitlines()[3].endswith(f" {cell}")
        assert ("A share above 100% is left blank. Wide 3x3 layers" in text) == (share > 1)

    def test_a_graph_with_branches_runs_step_by_step(self):
        assert all(row.seconds > 0 for row in branches().profile(2).rows)


class TestTable:
    def test_it_prints_as_a_table(self):
        lines = str(exercise().profile(50, measure=False)).splitlines()
        assert lines[1].split() == ["layer", "output", "params", "mult-adds", "predict", "train"]
        assert lines[4].split()[1:] == ["50x75x200", "180,200", "675", "M", "450", "MB", "150", "MB"]
        assert "parameters       903,400 (3.61 MB)" in lines
        assert any("526 MB of outputs" in line for line in lines)
        profile = exercise().profile(measure=False)
        assert repr(profile) == str(profile)

    def test_a_built_in_net_a_run_and_a_file(self, tmp_path):
        assert "to predict" in autoconv_("lecture", "--no-time")
        assert "16x12x64" in autoconv_("photos", "--no-time", "--image-size", "64x48")
        exercise().save(tmp_path / "net.safetensors")
        autoconv_(tmp_path / "net.safetensors", "--no-time", "--batch-size", 50, "--json", tmp_path / "net.json")
        assert json.loads((tmp_path / "net.json").read_text())["map_bytes"] == 526_000_000
        CliRunner().invoke(main, ["train", "digits", "--limit", "64", "--epochs", "1", "--out", str(tmp_path / "run")])
        assert "rescaling" in autoconv_(tmp_path / "run", "--no-time")

    def test_a_net_with_two_inputs(self, tmp_path):
        left, right = layers.Input((8, 8, 1)), layers.Input((6, 6, 1))
        both = layers.Concatenate()([layers.Flatten()(left), layers.Flatten()(right)])
        models.Model([left, right], layers.Dense(3, name="both")(both)).save(tmp_path / "two.safetensors")
        assert "both" in autoconv_(tmp_path / "two.safetensors", "--no-time")

    def test_help_names_all_built_in_nets(self):
        said = " ".join(autoconv_("--help").split())
        assert f"built-in net by its name ({', '.join(nets.NETS)};" in said

    def test_what_cannot_be_is_said(self, tmp_path):
        assert "Did you mean 'lecture'" in autoconv_("lectur", code=1)
        assert "Examples: 180x180" in autoconv_("lecture", "--image-size", "0x3", code=2)
        assert "Examples: 180x180" in autoconv_("lecture", "--image-size", "a", code=2)
        assert "a side may have at most 10,000 pixels" in autoconv_("lecture", "--image-size", "100000", code=2)
        assert "at least 18 x 18 pixels. Received: 6 x 6" in autoconv_("lecture", "--image-size", 6, code=1)
        (tmp_path / "net.safetensors").write_text("no net")
        assert "cannot be read" in autoconv_(tmp_path / "net.safetensors", code=1)


class TestPlot:
    def test_the_graph_as_graphviz_describes_it(self, tmp_path):
        pytest.importorskip("graphviz")
        path = utils.plot_model(branches(), tmp_path / "net.dot", show_shapes=True, show_layer_names=True, rankdir="LR")
        text = path.read_text()
        assert "rankdir=LR" in text
        assert text.count(" -> ") == 5
        assert "left (Conv2D)" in text
        assert "output: (None, 8, 8, 4)" in text

    @pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's program dot")
    def test_graphviz_draws_every_layer_within_the_picture(self, tmp_path):
        pytest.importorskip("graphviz")
        image = pytest.importorskip("PIL.Image")
        odd = models.Sequential([layers.Input((4,)), layers.Dense(2, name='a <b> & "c" {d|e} \\n')])
        for net, count in ((exercise(), 4), (branches(), 5), (odd, 2)):
            drawn = xml.dom.minidom.parse(str(utils.plot_model(net, tmp_path / "net.svg", show_layer_names=True)))
            texts = [text.firstChild.data for text in drawn.getElementsByTagName("text")]
            assert len(texts) == len(net.graph.nodes) == count
            assert any(net.layers[-1].name in text for text in texts)
            *_, width, height = map(float, drawn.documentElement.getAttribute("viewBox").split())
            scale, _, (left, top) = (list(map(float, re.findall(r"[-.\d]+", part))) for part in re.findall(
                r"\(.*?\)", drawn.getElementsByTagName("g")[0].getAttribute("transform")))
            for text in drawn.getElementsByTagName("text"):
                assert 0 < scale[0] * (float(text.getAttribute("x")) + left) < width
                assert 0 < scale[0] * (float(text.getAttribute("y")) + top) < height
        widths = []
        for dpi in (60, 240):
            with image.open(utils.plot_model(odd, tmp_path / "net.png", dpi=dpi)) as picture:
                widths.append(picture.size[0])
        assert widths[1] == pytest.approx(4 * widths[0], rel=0.05)

    def test_what_is_missing_is_named(self, tmp_path, monkeypatch):
        graphviz = pytest.importorskip("graphviz")
        net = nets.build("lecture", (28, 28, 1), 10)
        monkeypatch.setattr(graphviz.Digraph, "pipe", lambda *a, **k: (_ for _ in ()).throw(
            graphviz.ExecutableNotFound(["dot"])))
        with pytest.raises(FileNotFoundError, match="program `dot` is missing"):
            utils.plot_model(net, tmp_path / "net.png")
        with pytest.raises(ValueError, match="neither expand_nested=True"):
            utils.plot_model(net, tmp_path / "net.dot", expand_nested=True)
        with pytest.raises(ValueError, match="suffix must be a Graphviz format"):
            utils.plot_model(net, tmp_path / "net.xyz")
        monkeypatch.setitem(sys.modules, "graphviz", None)
        with pytest.raises(ImportError, match=r"pip install 'autoconv\[graphs\]'"):
            utils.plot_model(net, tmp_path / "net.dot")
        assert not list(tmp_path.iterdir())


def test_profiles_change_nothing():
    net = exercise()
    before = [w.copy() for w in net.get_weights()]
    net.profile(measure=False)
    for a, b in zip(before, net.get_weights()):
        np.testing.assert_array_equal(a, b)
