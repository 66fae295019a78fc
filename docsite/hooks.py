"""What mkdocs calls: pictures that the pages' code makes, and pages that are made of the package itself."""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `mkdocs` alone does not look there

from docsite import blocks, commands, keras_table, reference  # noqa: E402

OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # files of the project -> pages
_work: list[tempfile.TemporaryDirectory] = []  # where the pictures lie until the build has copied them


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made, and the files that the other pages' code writes."""
    for page, text in {"keras.md": keras_table.page(), "commands.md": commands.page(), **reference.pages()}.items():
        files.append(File.generated(config, page, content=text))
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    docs = Path(config.docs_dir)
    _work.append(tempfile.TemporaryDirectory())
    for written in blocks.pages(docs):
        folder = Path(_work[-1].name) / written.relative_to(docs).with_suffix("")
        folder.mkdir(parents=True)
        blocks.run(written, folder)
        for made in sorted(blocks.pictures(folder)):
            address = (written.parent.relative_to(docs) / made.name).as_posix()
            if files.get_file_from_path(address) is not None:
                raise blocks.WrongPageError(f"{written.name} writes {address}, which is there already.")
            files.append(File.generated(config, address, abs_src_path=str(made)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the project lead to their pages."""
    for source, target in OUTSIDE.items():
        markdown = markdown.replace(f"](../{source}", f"]({target}").replace(f"]({source}", f"]({target}")
    if page.file.src_uri in OUTSIDE.values():
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    return markdown


def on_post_build(**_: Any) -> None:
    """The pictures were copied."""
    while _work:
        _work.pop().cleanup()
