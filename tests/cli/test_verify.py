"""`autoconv verify`: the same bits as the table, and what it says if they differ."""

import json
import sys

import pytest
from click.testing import CliRunner

from autoconv.kernels import device, trace
from autoconv.programs import cli, fingerprints
from autoconv.utils import pixels


def run(*options):
    return CliRunner().invoke(cli.main, ["verify", *options])


def test_this_machine_computes_the_bits_of_the_table():
    """If a change to autoconv is meant to change results: autoconv verify --json
    autoconv/programs/fingerprints.json, and say so in CHANGELOG.md.
    """
    result = run()
    assert result.exit_code == 0, result.output
    assert "All nets have the weights" in result.output
    lines = result.output.splitlines()[:-1]
    assert [line.split()[:2] for line in lines] == [[name, "same"] for name in (*fingerprints.NETS, "pictures")]


def test_pictures_are_left_out_where_pillow_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    result = run()
    assert result.exit_code == 0, result.output
    assert "pictures   not compared: Pillow is missing" in result.output


def test_a_pixel_that_another_pillow_rounds_otherwise_is_found(monkeypatch):
    read = pixels.Decoding.read
    monkeypatch.setattr(pixels.Decoding, "read", lambda self, file: read(self, file) ^ (self.filter == "LANCZOS"))
    result = run()
    assert result.exit_code == 1
    assert "pictures   different  the rgb picture resized to 32 x 32 by lanczos is" in result.output
    assert "Pillow has resized the pictures: its version rounds otherwise" in result.output


@pytest.mark.parametrize(("module", "kernel", "place", "result"), [
    ("depthwise", "depthwise_conv2d", 3, "the output of the layer depthwise_conv2d is"),
    ("depthwise", "depthwise_conv2d_weight_grad", 2, "the gradient of depthwise_conv2d/kernel is"),
    ("pointwise", "silu", 1, "the output of the layer activation_1 is"),
])
def test_one_wrong_bit_is_found_where_it_is(module, kernel, place, result, monkeypatch):
    kernels = device.get("cpu").kernels(module)
    right = getattr(kernels, kernel)

    def wrong(*arguments, **options):
        right(*arguments, **options)
        out = trace.resolve(arguments)[place]
        out.view("uint32").reshape(-1)[0] ^= 1

    monkeypatch.setattr(kernels, kernel, wrong)
    output = run()
    assert output.exit_code == 1
    lines = output.output.splitlines()
    assert [line.split()[1] for line in lines[:4]] == ["same", "different", "same", "same"]
    assert lines[1].split(None, 2)[2].startswith(result)
    assert "in separable. If you have not changed autoconv's code" in output.output
    assert "report it" in output.output


def test_the_hashes_are_written_as_a_table(tmp_path):
    assert run("--json", str(tmp_path / "hashes.json")).exit_code == 0
    assert json.loads((tmp_path / "hashes.json").read_text()) == fingerprints.read_table()
