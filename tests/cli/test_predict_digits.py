"""`autoconv predict` on digits as people draw and photograph them."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import layers, models, utils
from autoconv.programs.cli import main
from autoconv.utils.digit import as_mnist

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFilter = pytest.importorskip("PIL.ImageFilter")

SCENES = {  # paper, pen, where on the paper (0..1), size of the digit, width of the pen, light
    "blue pen on gray paper": ((205, 205, 200), (20, 30, 140), (0.5, 0.5), 0.6, 0.07, None),
    "in the corner": ((150, 150, 150), (30, 40, 110), (0.02, 0.02), 0.25, 0.09, None),
    "red pen across a shadow": ((240, 235, 220), (160, 20, 30), (0.6, 0.2), 0.4, 0.05, "shadow"),
    "chalk on a board": ((30, 70, 50), (240, 240, 235), (0.2, 0.6), 0.7, 0.08, None),
    "a lamp from the left": ((200, 205, 210), (10, 10, 10), (0.7, 0.7), 0.3, 0.06, "lamp"),
}


def strokes(digit, seed):
    """A digit's lines in the unit square, as the built-in set draws them."""
    file = Path(__file__).parents[2] / "datasets" / "make_digits.py"
    spec = importlib.util.spec_from_file_location("make_digits", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = np.random.default_rng((seed, digit))
    lines = [module.trace(stroke, rng, 0.02, 2) for stroke in module.GLYPHS[digit](rng)]
    points = np.concatenate(lines)
    low, size = points.min(0), np.ptp(points, axis=0).max()
    return [(line - low) / size for line in lines]


def photo(digit, scene, seed=1, size=(400, 300)):
    paper, pen, place, share, width, light = SCENES[scene]
    picture, long = Image.new("RGB", size, paper), share * min(size)
    lines = strokes(digit, seed)
    extent = np.concatenate(lines).max(0) * long
    at = (np.array(size) - extent - 12) * place + 6
    draw, wide = ImageDraw.Draw(picture), max(2, int(long * width))
    for line in lines:
        points = [tuple(point * long + at) for point in line]
        draw.line(points, fill=pen, width=wide, joint="curve")
        for x, y in points:
            draw.ellipse([x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2], fill=pen)
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1))).astype(float)
    y, x = np.mgrid[: size[1], : size[0]]
    if light == "lamp":
        pixels *= (1 - 0.5 * x / size[0])[..., None]
    if light == "shadow":
        pixels *= np.where(x + 0.3 * y > 0.7 * size[0], 0.55, 1)[..., None]
    pixels += np.random.default_rng(digit).normal(0, 5, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def autoconv(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    autoconv("train", "digits", "--recipe", "fast", "--seed", 0, "--quiet", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for digit in range(10):
        photo(digit, list(SCENES)[digit % len(SCENES)]).save(folder / f"{digit}.png")
    return folder


def right(answers):
    return sum(answer["class"] == Path(answer["file"]).stem for answer in answers)


def test_ten_photographed_digits_are_read_and_hardly_one_without_the_search(run, photos):
    answers = json.loads(autoconv("predict", run, photos, "--json", "-").output)
    assert [answer["class"] for answer in answers] == list("0123456789")
    assert right(json.loads(autoconv("predict", run, photos, "--as-is", "--json", "-").output)) <= 4


def test_a_file_that_is_no_picture_fails_beside_the_answers_of_the_others(run, photos, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    result = autoconv("predict", run, photos / "3.png", tmp_path / "broken.png", photos / "4.png", "--json", "-",
                      code=1)
    three, broken, four = json.loads(result.stdout)
    assert (three["class"], four["class"]) == ("3", "4")
    assert three["top"][0] == {"class": "3", "probability": three["probability"]}
    assert len(three["top"]) == 3
    assert set(broken) == {"file", "error"}
    assert "broken.png" in result.stderr


def test_load_digit_reads_in_python_what_predict_reads(run, photos):
    answers = json.loads(autoconv("predict", run, photos, "--json", "-").output)
    images = np.stack([utils.load_digit(answer["file"]) for answer in answers])
    assert (images.shape, images.dtype) == ((10, 28, 28, 1), np.uint8)
    scores = models.load_model(run / "model.safetensors").predict(images, verbose=0)
    assert scores.argmax(1).tolist() == list(range(10))
    np.testing.assert_allclose(scores.max(1), [answer["probability"] for answer in answers], atol=1e-6)
    stream = io.BytesIO((photos / "3.png").read_bytes())
    np.testing.assert_array_equal(utils.load_digit(stream), images[3])


def test_load_digit_refuses_what_shows_no_digit(tmp_path):
    Image.new("L", (40, 40), 200).save(tmp_path / "blank.png")
    stream = io.BytesIO((tmp_path / "blank.png").read_bytes())
    for file, name in ((tmp_path / "blank.png", r"blank\.png"), (stream, "The stream")):
        with pytest.raises(utils.UnreadableImage, match=rf"{name} .* no digit was found .* utils\.load_img"):
            utils.load_digit(file)
    with pytest.raises(OSError, match="No such file"):
        utils.load_digit(tmp_path / "none.png")
    with pytest.raises(TypeError, match=r"path must be path-like .* Received: ndarray"):
        utils.load_digit(np.zeros((40, 40)))


def test_a_model_file_works_like_the_run(run, photos):
    by_run = autoconv("predict", run, photos).output
    assert autoconv("predict", run / "model.safetensors", photos).output == by_run


def test_a_model_of_python_without_names_and_with_logits(photos, tmp_path):
    net = models.Sequential([layers.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(4)])
    net.save(tmp_path / "net.safetensors")
    (answer,) = json.loads(autoconv("predict", tmp_path / "net.safetensors", photos / "3.png", "--json", "-").stdout)
    assert answer["class"] in "0123"
    assert 0 < sum(choice["probability"] for choice in answer["top"]) < 1
    net.class_names = ["ant", "bee", "cat", "dog"]
    net.save(tmp_path / "named.safetensors")
    (answer,) = json.loads(autoconv("predict", tmp_path / "named.safetensors", photos / "3.png", "--json", "-").stdout)
    assert answer["class"] in net.class_names


def test_what_tells_no_pictures_apart_is_refused(photos, tmp_path):
    models.Sequential([layers.Input((7,)), layers.Dense(4)]).save(tmp_path / "net.safetensors")
    assert "(None, 7)" in autoconv("predict", tmp_path / "net.safetensors", photos / "3.png", code=1).output
    (tmp_path / "empty").mkdir()
    models.Sequential([layers.Input((7, 7, 1)), layers.Flatten(), layers.Dense(1)]).save(tmp_path / "net.safetensors")
    assert "no picture" in autoconv("predict", tmp_path / "net.safetensors", tmp_path / "empty", code=1).output


def test_show_draws_what_the_net_saw(run, photos):
    lines = autoconv("predict", run, photos / "1.png", "--show").output.splitlines()
    assert len(lines) == 1 + 28
    assert max(map(len, lines[1:])) <= 56
    assert "@@" in "".join(lines)


def ending_in(units, activation, bias, folder):
    net = models.Sequential([layers.Input((None, None, 3)), layers.Rescaling(1 / 255),
                             layers.GlobalAveragePooling2D(), layers.Dense(units, activation)])
    net.layers[-1].set_weights([np.zeros((3, units)), np.array(bias)])
    net.save(folder / "net.safetensors")
    return folder / "net.safetensors"


def test_the_net_says_whether_its_outputs_are_probabilities(photos, tmp_path):
    def top(units, activation, bias):
        net = ending_in(units, activation, bias, tmp_path)
        (answer,) = json.loads(autoconv("predict", net, photos / "3.png", "--json", "-").output)
        return {choice["class"]: round(choice["probability"], 4) for choice in answer["top"]}

    assert top(1, None, [0.5]) == {"1": 0.6225, "0": 0.3775}  # a logit
    assert top(1, "sigmoid", [0.5]) == {"1": 0.6225, "0": 0.3775}
    assert top(3, "sigmoid", [5, 5, -5]) == {"0": 0.9933, "1": 0.9933, "2": 0.0067}
    assert top(2, None, [0.4, 0.6]) == {"1": 0.5498, "0": 0.4502}


def test_whatever_is_wrong_with_a_file_the_others_are_answered(run, photos, tmp_path):
    np.savez(tmp_path / "several.npz", a=np.zeros((28, 28)))
    (tmp_path / "several.npz").rename(tmp_path / "zip.npy")
    (tmp_path / "cut.npy").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "none.npy", np.zeros((0, 28, 28)))
    Image.new("L", (40, 40), 200).save(tmp_path / "blank.png")
    names = ["zip.npy", "cut.npy", "none.npy", "blank.png"]
    answers = json.loads(autoconv("predict", run, *(tmp_path / name for name in names), photos / "5.png", "--json", "-",
                                  code=1).stdout)
    assert ["error" in answer for answer in answers] == [True] * 4 + [False]
    assert "no digit was found" in answers[3]["error"]
    assert answers[4]["class"] == "5"


def test_a_picture_that_is_too_small_for_the_net_fails_alone(photos, tmp_path):
    net = models.Sequential([layers.Input((None, None, 3)), layers.Conv2D(2, 9), layers.GlobalAveragePooling2D(),
                             layers.Dense(2)])
    net.save(tmp_path / "net.safetensors")
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    result = autoconv("predict", tmp_path / "net.safetensors", tmp_path / "small.png", photos / "1.png", code=1)
    assert "small.png cannot be used with this net" in result.stderr
    assert "1.png" in result.stdout


class TestAsMnist:
    def test_ink_is_bright_in_a_box_of_20_and_centred_by_its_mass(self):
        image = as_mnist(np.asarray(photo(7, "in the corner").convert("L")))
        rows, columns = (np.flatnonzero((image > 40).any(axis)) for axis in (1, 0))
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 22
        mass = image / image.sum()
        assert abs((mass.sum(1) * np.arange(28)).sum() - 13.5) <= 1
        assert abs((mass.sum(0) * np.arange(28)).sum() - 13.5) <= 1
        assert image.max() == 255

    def test_paper_may_be_bright_or_dark(self):
        picture = np.full((90, 120), 200, np.uint8)
        picture[30:60, 50:56] = 40
        np.testing.assert_array_equal(as_mnist(picture) > 100, as_mnist(255 - picture) > 100)

    @pytest.mark.parametrize("shape", [(1, 1), (28, 28), (300, 40)])
    def test_an_empty_picture_stays_empty(self, shape):
        assert not as_mnist(np.full(shape, 200, np.uint8)).any()

    def test_a_picture_with_channels_is_refused(self):
        with pytest.raises(ValueError, match=r"\(9, 9, 3\)"):
            as_mnist(np.zeros((9, 9, 3), np.uint8))
