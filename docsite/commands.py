"""Writes the page of the command line: the --help text of each command."""

import click

from autoconv.programs.cli import main

START = """# Command line

The command `autoconv` is installed with the package. This page shows the output of `autoconv COMMAND --help` for each
command.
"""


def page() -> str:
    """Returns the page as Markdown."""
    width = {"terminal_width": 100, "max_content_width": 100}
    parts = [START, f"```text\n{_help(main, 'autoconv', None, width)}\n```"]
    context = click.Context(main, info_name="autoconv", **width)
    for name, command in main.commands.items():
        parts.append(f"## autoconv {name}\n\n```text\n{_help(command, name, context, width)}\n```")
    return "\n\n".join(parts) + "\n"


def _help(command: click.Command, name: str, parent: click.Context | None, width: dict[str, int]) -> str:
    settings = {"help_option_names": ["-h", "--help"], "show_default": True}
    return command.get_help(click.Context(command, info_name=name, parent=parent, **settings, **width))
