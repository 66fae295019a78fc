"""`python -m autoconv` is the same as `autoconv`."""

from .programs.cli import main

if __name__ == "__main__":  # a process that is spawned from this one imports this file as well
    main(prog_name="autoconv")
