"""Means over several steps: moving averages of the weights, which can take their place, and means of gradients."""

from collections.abc import Callable, Sequence
from typing import Any

from ..variable import Variable
from .flat import FlatParameters


class Averages:
    """What an optimizer does with `use_ema`, in its slot `average`, and with `gradient_accumulation_steps`, in the slot
    `accumulated`.
    """

    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    gradient_accumulation_steps: int | None
    flat: FlatParameters | None
    _swapped: Variable
    _steps: Callable[[], int]
    _state: dict[str, Any]
    _updates: Callable[[], int]

    @property
    def swapped(self) -> bool:
        """Whether the moving averages are in the place of the weights: see `swap_averages`."""
        return self._swapped.data.item()

    @swapped.setter
    def swapped(self, value: bool) -> None:
        self._swapped.data[()] = value

    def finalize_variable_values(self, var_list: Sequence[Variable] | None = None) -> None:
        """Makes the weights their moving averages, where `use_ema` keeps some: what `fit` does at its end."""
        if self.swapped:  # they are there already; what lies in their place is of no use any more
            self.flat.device.kernels("arith").copy(self.flat.data, self._state["average"])  # type: ignore[union-attr]
            self.swapped = False
        elif self.use_ema and self.flat is not None and self._steps():
            self.flat.device.kernels("update").adopt(self.flat.data, self._state["average"], 1.0)

    def swap_averages(self) -> None:
        """Puts the moving averages in the place of the weights, and the weights in theirs; twice changes nothing."""
        if self.flat is not None and self._steps():
            self.swapped = not self.swapped
            copy, average = self.flat.device.kernels("arith").copy, self._state["average"]
            weights = self.flat.zeros()
            copy(self.flat.data, weights)
            copy(average, self.flat.data)
            copy(weights, average)

    def _keep_average(self, flat: Any) -> None:
        k, dynamic = flat.device.kernels("update"), flat.device.dynamic
        k.moving_average(self._state["average"], flat.data, dynamic(self._average_momentum))
        if self.ema_overwrite_frequency:
            k.adopt(flat.data, self._state["average"], dynamic(self._is_overwritten))

    def _average_momentum(self) -> float:
        return self.ema_momentum if self._updates() else 0.0

    def _is_overwritten(self) -> float:
        return float((self._updates() + 1) % (self.ema_overwrite_frequency or 1) == 0)

    def _accumulated(self) -> bool:
        """Adds the gradient to those before; whether these are all, so that the gradient is now their mean."""
        flat: Any = self.flat
        k, total, count = flat.device.kernels("arith"), self._state["accumulated"], self.gradient_accumulation_steps
        k.add(total, flat.gradient, total)
        if (self._steps() + 1) % count:  # type: ignore[operator]
            return False
        k.divide(total, total.dtype.type(count), flat.gradient)
        total[...] = 0
        return True
