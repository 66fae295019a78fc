"""Exercises that check themselves. Each file `note_*.py` contains those for one lecture note.

An exercise is a function with the decorator `exercise`. Its docstring is the task, its parameters
are the names that the learner's file must define, and its body checks their values.
"""

from .answers import Sheet, check, sheets
from .marking import Exercise, Wrong, exercise, expect, expect_shape, require
from .unseen import require_accuracy, unseen_digits

__all__ = ["Exercise", "Sheet", "Wrong", "check", "exercise", "expect", "expect_shape", "require",
           "require_accuracy", "sheets", "unseen_digits"]
