"""The pages of docs/: their code runs, prints what they say, draws what they show; nothing is missing on the site."""

import inspect
import re
from pathlib import Path

import pytest

from autoconv import layers, models
from autoconv.arguments import outside
from autoconv.programs import jupyter
from autoconv.programs.cli import main
from docsite import blocks, commands, keras_arguments, keras_names, keras_table, made, reference

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
WRITTEN, CODE = sorted(DOCS.rglob("*.md")), jupyter.pages(DOCS)
ADDED = {DOCS / page for page in ("contributing.md", "changelog.md", *reference.pages())}
ROWS = [f"{note}{number}" for note, count in (("A", 10), ("B", 8), ("C", 4), ("D", 5), ("E", 8))
        for number in range(1, count + 1)]


def text(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page(page, tmp_path):
    """It runs, prints what the page says, and draws the pictures that the page shows, those and no others."""
    pytest.importorskip("matplotlib")
    blocks.run(page, tmp_path)
    drawn = {picture.name for picture in blocks.pictures(tmp_path)}
    assert set(made.shown(page)) == drawn
    for name in drawn:
        assert made.same_picture(page.parent / "pictures" / name, tmp_path / name), f"{name} differs: python -m docsite"


def test_a_page_whose_code_fails_or_prints_something_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(blocks.WrongPageError, match=r"page.md, line 4 printed\n1\n\nThe page says\n2"):
        blocks.run(page, tmp_path)
    page.write_text("```python\nx = 1\n```\n\nand\n\n```python\n1 / 0\n```\n")
    with pytest.raises(blocks.WrongPageError, match=r"page.md, line 8: ZeroDivisionError"):
        blocks.run(page, tmp_path)


def test_every_row_of_the_lectures_has_its_place():
    index = text(DOCS / "lectures" / "README.md")
    rows = dict(re.findall(r"^\| ([A-E]\d+) \| (\[.*) \|$", index, re.MULTILINE))
    assert list(rows) == ROWS
    for row, places in rows.items():
        links = re.findall(r"\]\((\w+\.md)#([\w-]+)\)", places)
        assert links[0][1] == row
        for page, anchor in links:
            heading = rf'^##+ <a id="{anchor}"></a>'
            assert re.search(heading, text(DOCS / "lectures" / page), re.MULTILINE), (page, anchor)


def test_every_page_is_in_the_navigation():
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (path.relative_to(DOCS).as_posix() for path in {*WRITTEN, *ADDED}):
        assert re.search(rf"[ -]{re.escape(page)}$", navigation, re.MULTILINE), f"{page} is missing in mkdocs.yml"


def test_the_reference_shows_what_a_class_has_from_classes_on_no_page():
    for page, name in (("layers", "save_own_variables"), ("optimizers", "save_own_variables")):
        assert reference.pages()[f"api/{page}.md"].count(f"        - {name}\n") == 1  # where all others have it from
    for name in ("fit", "train_step"):
        entry = rf"^::: autoconv\.train\.\w+\.{name}$"
        assert len(re.findall(entry, reference.pages()["api/models.md"], re.MULTILINE)) == 1


def test_the_site_takes_nothing_from_elsewhere():
    settings = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert "http" not in settings
    assert not re.search(r"https?:|@import", (DOCS / "css" / "site.css").read_text(encoding="utf-8"))


# Tables that are made.


def test_every_command_has_its_help():
    page = commands.page()
    for name, command in main.commands.items():
        assert f"\n## autoconv {name}\n" in page
        assert all(option.opts[0] in page for option in command.params if option.param_type_name == "option")


def test_every_public_class_is_compared_with_keras_or_said_to_be_ours():
    page = keras_table.page()
    for module in keras_table.SHOWN_MODULES:
        for name in keras_table.names(module):
            assert re.search(rf"^\| `{name}` \||Keras has no .*`{name}`", page, re.MULTILINE) or any(
                path.endswith(f".{name}") for path in keras_table.KERAS), f"{module}.{name}"


@pytest.mark.parametrize(("name", "kind", "needed"), [
    ("Conv2D", layers.Conv2D, {"filters": 1, "kernel_size": 1}), ("Dense", layers.Dense, {"units": 1}),
    ("MaxPooling2D", layers.MaxPooling2D, {}), ("BatchNormalization", layers.BatchNormalization, {}),
    ("Dropout", layers.Dropout, {"rate": 0.5}), ("ReLU", layers.ReLU, {}), ("Flatten", layers.Flatten, {}),
])
def test_what_the_table_says_of_a_layer_is_true(name, kind, needed):
    """An argument that is absent is a TypeError, one that has only its default a ValueError, the others are taken."""
    compared = keras_table.comparisons("layers")[name]
    for argument in compared.absent:
        with pytest.raises(TypeError, match=argument):
            kind(**needed, **{argument: "something"})
    assert "autocast" in compared.same
    for argument in compared.default_alone:
        with pytest.raises(ValueError, match="regularizer" if argument.endswith("_regularizer") else argument):
            kind(**{**needed, argument: "something"})
    defaults = keras_table.KERAS[f"layers.{name}"]
    known = inspect.signature(kind).parameters
    for argument in compared.same:
        if argument in known and defaults[argument] is not None:
            assert repr(known[argument].default) == defaults[argument]


def test_what_the_table_says_of_others_is_true():
    compared = keras_table.comparisons("models")["Model.fit"]
    assert {"x", "y", "batch_size", "epochs", "validation_split"} <= set(compared.same)
    with pytest.raises(TypeError, match="max_shard_size"):
        models.Sequential([layers.Input((1,)), layers.Dense(1)]).save_weights("m.safetensors", max_shard_size=2)
    assert "max_shard_size" in keras_table.comparisons("models")["Model.save_weights"].absent
    assert not keras_table.comparisons("models")["Model.compile"].absent
    assert "ema_momentum" in keras_table.comparisons("optimizers")["Adam"].same
    assert {"axis", "label_smoothing"} <= set(keras_table.comparisons("losses")["CategoricalCrossentropy"].same)


@pytest.mark.parametrize("module", [module for module in keras_arguments.MODULES if keras_names.names(module)])
def test_each_name_of_keras_is_there_or_has_a_reason(module):
    """The reason is also what the error says."""
    for name in keras_names.names(module):
        if not keras_names.is_there(module, name):
            assert keras_names.reason(module, name), name
            if name not in vars(keras_names.ours(module)) and name != "device":  # which was there in version 0.1
                with pytest.raises(AttributeError, match=re.escape(keras_names.reason(module, name))):
                    getattr(keras_names.ours(module), name)
        assert not keras_names.is_there(module, name) or name not in outside.REASON


def test_keras_s_arguments_are_those_of_the_installed_keras():
    keras = pytest.importorskip("keras")
    if keras.__version__ != keras_table.KERAS["version"]:
        pytest.skip(f"Keras {keras_table.KERAS['version']} was written down, {keras.__version__} is installed")
    conv = inspect.signature(keras.layers.Conv2D).parameters
    written = keras_table.KERAS["layers.Conv2D"]
    assert all(written[name] in (None, repr(p.default)) for name, p in conv.items() if p.kind is not p.VAR_KEYWORD)


def test_every_public_name_is_in_the_reference():
    pages = reference.pages()
    for module, page in ((name, pages[f"api/{name.replace('.', '-')}.md"]) for name in reference.MODULES):
        for name in reference.public_names(reference.load(module)):
            assert re.search(rf"\.{name}$|`{name}` is", page, re.MULTILINE), f"{module}.{name}"
