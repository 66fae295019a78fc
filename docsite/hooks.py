"""Hooks that mkdocs calls. They add the pages of the API and the notebooks of pages with code, and turn links to files
of the project into links to pages.

The pages link to files by their path in the repository, because many readers read them there.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # mkdocs does not add this folder

from autoconv.programs import jupyter  # noqa: E402
from docsite import reference  # noqa: E402

OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # files of the project -> pages
NOTEBOOKS = {page.relative_to(jupyter.docs_folder()).as_posix(): page for page in jupyter.pages_of_notebooks()}
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and notebooks that are not stored in docs/."""
    for page, text in reference.pages().items():
        files.append(File.generated(config, page, content=text))
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for name, page in NOTEBOOKS.items():
        files.append(File.generated(config, _notebook_of(name), content=jupyter.to_json(page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to source files into links to the API reference, and links to other project files into links to their
    pages. Offers the page's notebook for download below the title.
    """
    here = page.file.src_uri
    in_project = {page: source for source, page in OUTSIDE.items()}.get(here, f"docs/{here}")
    pages = {**OUTSIDE, **reference.sources()}

    def led(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_project), link[0]))
        if target in pages:
            target = f"docs/{pages[target]}"
        elif in_project.startswith("docs/"):
            return link[0]
        return posixpath.relpath(target, posixpath.join("docs", posixpath.dirname(here)))

    markdown = LINK.sub(led, markdown)
    if here in NOTEBOOKS:
        name = posixpath.basename(_notebook_of(here))
        offer = f'<a href="{name}" download>Download this page as a Jupyter notebook</a>'
        markdown = markdown.replace("\n", f"\n\n{offer}\n", 1)
    return markdown


def _notebook_of(page: str) -> str:
    return posixpath.splitext(page)[0] + ".ipynb"
