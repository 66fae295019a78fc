"""`Running`: what the methods of a model that train and evaluate share, from one compile() to the next."""

import threading
from typing import Any

from .compiled import Goal, Score
from .step import Steps
from .sums import Sums


class Running:
    """What fit, evaluate and the *_on_batch methods share until the next compile(): losses, metrics, sums, steps."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.goals: list[Goal] = []
        self.scores: list[Score] = []
        self.sums: dict[str, Sums] = {}  # of training and of evaluation: a callback may evaluate while fit runs
        self.made_for: Any = None  # the device, and what `compile` was given, that they are of
        self.nan_seen = False
        self.lock = threading.RLock()  # one evaluation at a time: they share the sums

    def __reduce__(self) -> tuple:
        return Running, ()  # a copy of a model makes its own
