"""Writes the generated parts of docs/, which are the comparison with Keras, the commands and all pictures."""

import sys
import tempfile
from pathlib import Path

from autoconv.programs import jupyter
from docsite import blocks, made


def main() -> None:
    """Writes every file that is missing or has changed, and prints its path."""
    for path, text in made.texts().items():
        if not made.same_text(path, text):
            path.write_text(text, encoding="utf-8")
            _say(path)
    for page in jupyter.pages(made.DOCS):
        with tempfile.TemporaryDirectory() as folder:
            blocks.run(page, Path(folder))
            shown = page.parent / "pictures"
            for picture in sorted(blocks.pictures(Path(folder))):
                if not made.same_picture(shown / picture.name, picture):
                    shown.mkdir(exist_ok=True)
                    (shown / picture.name).write_bytes(picture.read_bytes())
                    _say(shown / picture.name)
    for path in made.left_over():
        path.unlink()
        _say(path)


def _say(path: Path) -> None:
    sys.stdout.write(f"{path.relative_to(made.DOCS.parent)}\n")


if __name__ == "__main__":
    main()
