"""Image kernels: the lectures' numbers, pictures in and out, and what is refused."""

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import pictures
from autoconv.programs.cli import main

image_module = pytest.importorskip("PIL.Image")

PHOTO = [[105, 102, 100, 97, 96], [103, 99, 103, 101, 102], [101, 98, 104, 102, 100], [99, 101, 106, 104, 99],
         [104, 104, 104, 100, 98]]
STRIPES = [[0.3, 0.5, 0.9, 1.0], [1, 1, 1, 1], [0.9, 0.9, 0.5, 0.3], [0.2, 0, 0, 0]]


def autoconv_(*args, code=0):
    result = CliRunner().invoke(main, ["filter", *map(str, args)])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture
def photo(tmp_path):
    """A picture of 20 x 12 pixels, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", pixels


@pytest.mark.parametrize(("image", "kernel", "parameters", "first"), [
    (PHOTO, "sharpen", {"padding": "same"}, 320),
    (PHOTO, "0 -1 0 / -1 5 -1 / 0 -1 0", {"padding": "same"}, 320),
    ([[0, 1, 0], [0, 0, 1], [1, 1, 0]], "edge", {}, 3),
    ([[180, 187, 186], [125, 108, 121], [126, 98, 123]], "sobel-top", {}, 295),
    ([[190, 185, 187], [186, 185, 185], [121, 143, 155]], "sharpen", {}, 226),
    (STRIPES, "line-h", {}, 1.3),
    (np.full((5, 5), 90), "blur", {}, 90),
    (np.full((5, 5), 90), "gaussian", {}, 90),
])
def test_values_are_those_of_the_lectures(image, kernel, parameters, first):
    assert pictures.convolve(image, kernel, **parameters)[0, 0, 0] == pytest.approx(first, rel=1e-6)


def test_opposite_sides_have_opposite_signs_and_flat_areas_are_black():
    for a, b in (("sobel-top", "sobel-bottom"), ("sobel-left", "sobel-right")):
        np.testing.assert_array_equal(pictures.convolve(PHOTO, a), -pictures.convolve(PHOTO, b))
    flat = np.full((6, 6), 77)
    for name in ("edge", "outline", "sobel-top", "sobel-left"):
        assert not pictures.filter(flat, name).any()
    np.testing.assert_array_equal(pictures.filter(flat, "identity", padding="same"), flat)


def test_a_picture_is_clipped_or_stretched():
    assert pictures.filter([[10, 250]], [[2]]).tolist() == [[20, 255]]
    assert pictures.filter([[10, 250]], [[-1]]).tolist() == [[0, 0]]
    assert pictures.filter([[10, 250]], [[-1]], absolute=True).tolist() == [[10, 250]]
    assert pictures.filter([[10, 130, 250]], [[-1]], scale=True).tolist() == [[255, 128, 0]]
    assert pictures.filter([[7, 7]], [[1]], scale=True).tolist() == [[0, 0]]


def test_each_channel_is_filtered_by_itself(photo):
    path, pixels = photo
    five = np.arange(25).reshape(5, 5) / 300
    whole = pictures.filter(path, five, padding="same", strides=2, dilation_rate=2)
    assert whole.shape == (6, 10, 3)
    for channel in range(3):
        alone = pictures.filter(pixels[..., channel], five, padding="same", strides=2, dilation_rate=2)
        np.testing.assert_array_equal(whole[..., channel], alone)


@pytest.mark.parametrize("kernel", ["1 2 / 3", "1 a / 2 3", "1 nan", "1 / / 2", [[1, 2], [3]], [], [[]], [["a"]], 5,
                                    [[float("inf")]]])
def test_what_is_no_matrix_is_refused(kernel):
    with pytest.raises(ValueError, match="A kernel must be a matrix, with rows of equal length"):
        pictures.filter(PHOTO, kernel)


def test_a_kernel_may_have_fractions():
    thirds = np.full((2, 3), 1 / 3, np.float32)
    for kernel, values in (("1/3 1/3 1/3 / 1/3 1/3 1/3", thirds), ("1/3, 1/3, 1/3", thirds[:1]),
                           ("1 -1/2 / .5 2", [[1, -0.5], [0.5, 2]]), ("1 2/3 4", [[1, 2], [3, 4]])):
        np.testing.assert_array_equal(pictures.convolve(np.pad([[1.0]], (2, 3)), kernel),
                                      pictures.convolve(np.pad([[1.0]], (2, 3)), values))


@pytest.mark.parametrize(("kernel", "said"), [
    ("1 2 / 3", "Row 1 has 2 numbers, but row 2 has 1"),
    ("1 2 / 1/0 3", "Row 2 is '1/0 3', which is not a list of numbers"),
    ("1 2 / 3 x", "Row 2 is '3 x'"), ("1 2 / / 3 4", "row 2 has 0")])
def test_a_wrong_row_of_a_kernel_is_named(kernel, said):
    with pytest.raises(ValueError, match=said):
        pictures.filter(PHOTO, kernel)


def test_an_unknown_kernel_is_answered_with_the_nearest(photo):
    with pytest.raises(ValueError, match=r"Unknown kernel: 'sharpn'\. Did you mean 'sharpen'"):
        pictures.filter(PHOTO, "sharpn")
    assert "Did you mean 'emboss'" in autoconv_(photo[0], "--kernel", "embos", code=2)


def test_the_command_names_its_file_after_the_picture(photo, tmp_path, monkeypatch):
    path, pixels = photo
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # not beside the picture: that may be a folder to train on
    printed = autoconv_(path, "--kernel", "sobel-top", "--absolute")
    out = tmp_path / "here" / "photo-sobel-top.png"
    assert f"wrote 18 x 10 pixels to {out}" in printed
    values = pictures.convolve(pixels, "sobel-top")
    assert f"values from {values.min():.1f} to {values.max():.1f}" in printed
    np.testing.assert_array_equal(np.asarray(image_module.open(out)), np.abs(values).clip(0, 255))


def test_several_kernels_stand_side_by_side(photo, tmp_path):
    path, pixels = photo
    out = tmp_path / "out.png"
    autoconv_(path, "--kernel", "identity", "--kernel", "0.2 0.2 0.2 0.2 0.2", "--out", out, "--quiet")
    written = np.asarray(image_module.open(out))
    assert written.shape == (12, 18 + 8 + 16, 3)
    np.testing.assert_array_equal(written[:10, :18], pixels[1:-1, 1:-1])
    np.testing.assert_array_equal(written[:, 26:], pictures.filter(pixels, np.full((1, 5), 0.2)))
    assert (written[:, 18:26] == 255).all()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("P", 3), ("CMYK", 3), ("RGBA", 3)])
def test_pictures_of_every_mode(mode, channels, photo, tmp_path):
    image = image_module.open(photo[0]).convert(mode)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    assert pictures.filter(path, "identity").shape == (10, 18, channels)


def test_16_bits_become_8(tmp_path):
    image_module.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert pictures.filter(tmp_path / "deep.png", [[1]]).ravel().tolist() == [0, 255]


def test_transparent_parts_are_white(tmp_path):
    image_module.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)).save(tmp_path / "clear.png")
    assert pictures.filter(tmp_path / "clear.png", [[1]])[0].tolist() == [[255] * 3, [9] * 3]


def test_what_is_no_picture_is_named(photo, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(photo[0].read_bytes()[:200])
    for name, said in (("text.png", "its format is unknown to Pillow"), ("cut.png", "cannot be read"),
                       ("gone.png", "No such file")):
        printed = autoconv_(tmp_path / name, code=1)
        assert said in printed
        assert name in printed
    assert "must end in .png" in autoconv_(photo[0], "--out", tmp_path / "a.b", code=1)
    assert "cannot be written" in autoconv_(photo[0], "--out", tmp_path / "no" / "a.png", code=1)
    assert "The window must fit" in autoconv_(photo[0], "--dilation", 9, code=1)
    with pytest.raises(ValueError, match=r"an array of numbers of shape \(H, W\) or \(H, W, C\)"):
        pictures.filter(np.zeros(3), "blur")


def test_without_pillow_the_extra_is_named(photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    assert "pip install 'autoconv[images]'" in autoconv_(photo[0], code=1)
