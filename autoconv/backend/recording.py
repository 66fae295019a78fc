"""`Recording`: the kernel calls that some code comes down to, noted once, to be run again."""

from collections.abc import Callable
from typing import Any

from .turns import turn


class Recording:
    """Calls `(function, arguments)` in their order. To run them `again` does the same on what their arrays hold then.

    `whole`: nothing went on beside them that another run would miss.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Callable, tuple]] = []
        self.whole = True

    def note(self, function: Callable, arguments: tuple) -> None:
        self.calls.append((function, arguments))

    def again(self) -> None:
        with turn:
            for function, arguments in self.calls:
                function(*arguments)

    def __bool__(self) -> bool:
        return bool(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def vary(self, draw: Callable[[], Any], dtype: Any) -> Any:
        """What stands for a number that `draw` gives anew for each run."""
        self.whole = False  # arguments are noted by value
        return draw()
