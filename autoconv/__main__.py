"""`python -m autoconv` is the same as `autoconv`."""

from .cli import main

main(prog_name="autoconv")
