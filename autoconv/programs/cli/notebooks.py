"""`autoconv notebooks`: writes the pages of the documentation as Jupyter notebooks."""

from pathlib import Path

import click

from .lines import echo


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
def notebooks(folder: Path) -> None:
    """Write each page of the documentation that contains code into DIR as a Jupyter notebook.

    The notebooks contain the text, the code, and the outputs and pictures as the pages show them.
    Open them with JupyterLab: pip install jupyterlab && jupyter lab DIR. A notebook that DIR
    contains already is left unchanged, because it may contain your work. To get it again, delete
    it first.
    """
    from .. import jupyter  # imported here because it is slow

    count = 0
    for path, is_new in jupyter.write(folder):
        echo(f"wrote {path}" if is_new else
             f"{path} exists and was left unchanged. To get it again, delete it first.")
        count += is_new
    echo(f"{count} notebooks were written. Open them with: jupyter lab {folder}")
