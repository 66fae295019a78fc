"""The pages with code as Jupyter notebooks: `autoconv notebooks DIR`, and what the site offers for download."""

import json

import pytest
from click.testing import CliRunner

from autoconv.programs import jupyter
from autoconv.programs.cli import main

PAGES = jupyter.pages_of_notebooks()
PAGE = """\
# A page

Text with a link to [the lectures](lectures/README.md#A1), [nets](nets.md#C4) and [elsewhere](https://example.org).

```python
print(1)
```

```text
1
```

- In a list:

  ```python
  draw("dot.svg")
  ```

![A dot](pictures/dot.svg)

```python
# signs.py
SIGNS = "+-"
```

<!-- needs cifar10 -->
```python
print(2)
```

The end.
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "dot.svg").write_text("<svg/>")
    monkeypatch.setattr(jupyter, "pages_of_notebooks", lambda: (page, tmp_path / "nets.md"))
    return page


def test_a_page_becomes_text_code_outputs_and_pictures(page):
    cells = jupyter.notebook(page)["cells"]
    assert [(cell["cell_type"], cell["source"]) for cell in cells[2:]] == [
        ("markdown", "# A page\n\nText with a link to the lectures, [nets](nets.ipynb) and "
                     "[elsewhere](https://example.org)."),
        ("code", "print(1)"), ("markdown", "- In a list:"), ("code", 'draw("dot.svg")'),
        ("code", 'display.SVG("dot.svg")'), ("code", '%%writefile signs.py\n# signs.py\nSIGNS = "+-"'),
        ("code", "print(2)"), ("markdown", "The end.")]
    assert cells[3]["outputs"][0]["text"] == "1\n"
    assert cells[6]["outputs"][0]["data"] == {"image/svg+xml": "<svg/>"}
    assert cells[8]["metadata"] == {"tags": ["needs-cifar10"]}


def test_the_first_cell_installs(page):
    first = jupyter.notebook(page)["cells"][0]["source"]
    assert "%pip install" in first
    assert str(page.parent) not in first


def test_the_command_writes_all_and_keeps_what_is_there(tmp_path):
    folder = tmp_path / "course"
    done = CliRunner().invoke(main, ["notebooks", str(folder)])
    assert done.exit_code == 0
    written = sorted(path.relative_to(folder) for path in folder.rglob("*.ipynb"))
    assert written == [page.relative_to(jupyter.docs_folder()).with_suffix(".ipynb") for page in PAGES]
    assert f"{len(PAGES)} notebooks were written" in done.output
    mine, other = folder / "first-steps.ipynb", folder / "inside.ipynb"
    mine.write_text("my work")
    other.unlink()
    done = CliRunner().invoke(main, ["notebooks", str(folder)])
    assert "first-steps.ipynb exists and was left unchanged" in done.output
    assert mine.read_text() == "my work"
    assert json.loads(other.read_text(encoding="utf-8"))["nbformat"] == 4
    done = CliRunner().invoke(main, ["notebooks", str(mine)])
    assert done.exit_code == 2
    assert "is a file" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("page", [
    pytest.param(page, id=page.stem, marks=[] if page.stem in ("pooling", "files") else pytest.mark.soak)
    for page in PAGES])
def test_a_notebook_runs_in_jupyter(page, tmp_path):
    """In a kernel of its own, displaying the pictures of the page. Cells that need a data set are skipped."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.from_dict(jupyter.notebook(page))
    nbformat.validate(book)
    skipped = {"install", *(f"needs-{block.needs}" for block in jupyter.blocks(page.read_text(encoding="utf-8")))}
    book.cells = [cell for cell in book.cells if not skipped & set(cell.metadata.get("tags", ()))]
    wanted = _displayed(book)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert _displayed(book) == wanted


def _displayed(book):
    """The kinds of the pictures that the cells display, in order."""
    return [kind for cell in book.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())
            if kind.startswith("image/")]
