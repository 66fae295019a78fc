"""`autoconv report`, and what pages are made of: charts, tables, pictures within the page."""

import json
import re
import xml.dom.minidom
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv.pictures.results import describe_validation
from autoconv.programs.cli import main
from autoconv.programs.pages import charts, document, png


def autoconv_(*args, code=0):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    autoconv_("train", "digits", "--limit", 192, "--epochs", 3, "--seed", 1, "--model", "photos", "--out", folder, "-q")
    return folder


@pytest.fixture(scope="module")
def page(run):
    autoconv_("report", run, "--out", run.parent / "report.html")
    return (run.parent / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """All tags of a page; those that were not closed in order are in `wrong`."""

    void = ("meta", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


class TestReport:
    def test_it_has_a_place_for_everything(self, page):
        headings = re.findall("<h2>(.*?)</h2>", page)
        assert headings == ["Learning curves", "Classes", "Worst mistakes", "Filters", "Feature maps", "Similar images",
                            "Speed", "Settings and versions"]
        for text in ("test accuracy", "numba", "seed", "images/s", "conv2d", "precision", "recall", "Grad-CAM",
                     "what its filters look for", "receptive fields", "first two principal components"):
            assert text in page

    def test_it_is_well_formed_and_needs_no_other_file(self, page):
        tags = Tags(page)
        assert not tags.wrong
        assert not tags.open
        for tag, attributes in tags.found:
            for name in ("src", "href"):
                assert attributes.get(name, "data:").startswith("data:")
            if tag == "img":
                assert attributes["alt"]
            assert tag != "script"
        assert "url(" not in page
        assert "prefers-color-scheme: dark" in page
        for svg in re.findall("<svg.*?</svg>", page):
            xml.dom.minidom.parseString(svg)

    def test_its_numbers_are_those_of_the_run(self, run, page):
        results = json.loads((run / "run.json").read_text())
        assert f"{results['test_accuracy']:.4f}: " in page
        cells = re.findall(r'<td class="[^"]*" style="[^"]*">(\d*)</td>', page)
        matrix = np.array([int(cell or 0) for cell in cells]).reshape(10, 10)
        assert matrix.sum() == results["test_images"]
        assert np.trace(matrix) / matrix.sum() == results["test_accuracy"]
        wrong = matrix.sum() - np.trace(matrix)
        assert page.count(", taken for ") == 2 * min(wrong, 24)  # in the caption, and for those who do not see it
        assert f"{results['learning_rate']:.6g}" in page

    def test_it_says_what_the_curves_of_new_images_mean(self, run, tmp_path):
        train = ("train", "digits", "--limit", 200, "--epochs", 2, "--seed", 0, "--quiet")
        for validate, text in ((0.1, "better on new images"), (0, "With --validate 0.1, `autoconv train` holds out")):
            autoconv_(*train, "--validate", validate, "--out", tmp_path / "run")
            autoconv_("report", tmp_path / "run", "--out", tmp_path / "a.html", "--quiet")
            page = (tmp_path / "a.html").read_text(encoding="utf-8")
            assert text in page
            assert ("validation" in page.split("<h2>Classes")[0]) == bool(validate)

    @pytest.mark.parametrize(("losses", "text"), [
        ([0.5, 0.3, 0.2, 0.25, 0.4], "The net stopped getting better on new images after epoch 3 of 5 (val_loss"),
        ([0.5, 0.3], "until the last epoch"), ([0.5, np.nan], "after epoch 1 of 2"), ([0.5], ""), ([np.nan] * 3, "")])
    def test_the_sentence_is_about_the_lowest_loss(self, losses, text):
        assert text in describe_validation({"val_loss": losses})
        assert bool(describe_validation({"val_loss": losses})) == bool(text)
        assert describe_validation({"loss": losses}) == ""

    def test_names_are_text_never_markup(self, run, tmp_path):
        other = tmp_path / "run"
        other.mkdir()
        for file in run.iterdir():
            if file.is_file():
                (other / file.name).write_bytes(file.read_bytes())
        results = json.loads((run / "run.json").read_text())
        results["classes"][3] = "<script>alert(1)</script>"
        (other / "run.json").write_text(json.dumps(results))
        autoconv_("report", other, "--out", tmp_path / "a.html", "--quiet")
        assert all(tag != "script" for tag, _ in Tags((tmp_path / "a.html").read_text()).found)

    def test_a_folder_of_photos(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        rng = np.random.default_rng(0)
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
                image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
        autoconv_("train", tmp_path / "photos", "--image-size", 16, "--epochs", 1, "--out", tmp_path / "run")
        autoconv_("report", tmp_path / "run", "--out", tmp_path / "a.html")
        assert ": cats" in (tmp_path / "a.html").read_text() or ": dogs" in (tmp_path / "a.html").read_text()
        printed = autoconv_("inspect", tmp_path / "run", tmp_path / "photos" / "cats" / "1.png", "--out",
                            tmp_path / "b.html")
        assert "1.png" in printed

    def test_what_cannot_be_is_said(self, run, tmp_path):
        assert "must end in .html" in autoconv_("report", run, "--out", tmp_path / "a.pdf", code=2)
        assert "is not a run" in autoconv_("report", tmp_path, "--out", tmp_path / "a.html", code=1)
        assert "cannot be written" in autoconv_("report", run, "--out", tmp_path / "no" / "a.html", code=1)
        other = tmp_path / "run"
        other.mkdir()
        for file in ("model.safetensors", "run.json"):
            (other / file).write_bytes((run / file).read_bytes())
        assert "history.csv" in autoconv_("report", other, "--out", tmp_path / "a.html", code=1)


class TestPages:
    @pytest.mark.parametrize("shape", [(3, 5, 3), (3, 5, 1), (1, 1, 3)])
    def test_a_png_holds_the_pixels(self, shape, tmp_path):
        image = pytest.importorskip("PIL.Image")
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        (tmp_path / "a.png").write_bytes(png.encode(pixels))
        read = np.asarray(image.open(tmp_path / "a.png"))
        np.testing.assert_array_equal(read, pixels[..., 0] if shape[2] == 1 else pixels)
        gray = np.repeat(pixels[..., :1], 3, -1)
        assert png.encode(gray) == png.encode(gray[..., :1])

    def test_what_is_no_picture_is_refused(self):
        for wrong in (np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8),
                      np.zeros((0, 2, 3), np.uint8)):
            with pytest.raises(ValueError, match="A PNG needs uint8 pixels"):
                png.encode(wrong)

    @pytest.mark.parametrize("rows", [
        {"a": [1.0]}, {"a": [0.0, 0.0]}, {"a": [1e-9, 2e-9, 3e-9], "b": [float("nan")] * 3}, {"<a>": list(range(200))}])
    def test_lines_of_any_numbers_stay_in_the_chart(self, rows):
        svg = charts.lines("a & b", rows, "epoch")
        parsed = xml.dom.minidom.parseString(svg)
        *_, height = map(float, parsed.documentElement.getAttribute("viewBox").split())
        for line in parsed.getElementsByTagName("polyline"):
            for point in line.getAttribute("points").split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= charts.WIDTH
                assert 0 <= y <= height

    def test_one_epoch_alone_is_written_beside_its_dots(self):
        """There is no line to see, and two values that are alike are written one below the other."""
        svg = xml.dom.minidom.parseString(
            charts.lines("loss", {"training": [0.51234], "validation": [0.51233], "gone": [float("nan")]}, "epoch"))
        texts = {text.firstChild.data: float(text.getAttribute("y")) for text in svg.getElementsByTagName("text")}
        assert abs(texts["training 0.51234"] - texts["validation 0.51233"]) >= 12
        assert not any("nan" in text for text in texts)
        assert "training 0.5" not in charts.lines("loss", {"training": [0.5, 0.4]}, "epoch")

    def test_text_is_escaped(self):
        made = document.table(["<a>"], [["&"]]) + document.facts({"<b>": "\"'"}) + document.picture(
            np.zeros((1, 1, 1), np.uint8), 'x" onload="y', "<i>")
        assert not {"a", "b", "i"} & {tag for tag, _ in Tags(made).found}
        assert all("onload" not in attributes for _, attributes in Tags(made).found)
