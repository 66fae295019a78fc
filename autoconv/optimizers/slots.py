"""The slots of an optimizer: flat arrays beside that of the parameters, made and moved."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..variable import Variable
from .flat import FlatParameters


class Slots:
    """What an optimizer can do with its slots, which have names."""

    use_ema: bool
    gradient_accumulation_steps: int | None
    flat: FlatParameters | None
    _added: list[Variable]
    _known: list[Variable]
    _resting: dict[int, dict[str, np.ndarray]]
    _state: dict[str, Any]  # the slots by name
    _slots: tuple[str, ...] = ()  # the names of those of this kind of optimizer
    _first: ClassVar[dict[str, str]] = {}  # the attribute whose value a slot begins with, where that is not 0
    _apart: ClassVar[tuple[str, ...]] = ("velocity_hat",)  # slots that Keras makes after all others

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that it keeps beside the parameters."""
        of_all = (("average",) * self.use_ema, ("accumulated",) * bool(self.gradient_accumulation_steps))
        return (*self._slots, *(slot for slots in of_all for slot in slots))

    def _slot(self, slot: str) -> Any:
        """A slot's flat array; one of length zero where this optimizer has no such slot."""
        return self._state[slot] if slot in self._slots else self.flat.data[:0]  # type: ignore[union-attr]

    def _make_slots(self) -> None:
        """Those that are not there yet: a setting that was switched on later may need one more."""
        flat: Any = self.flat
        for slot in self.slots:
            if slot not in self._state:
                self._state[slot] = flat.zeros()
                if slot in self._first:
                    for part in flat.split(self._state[slot]):
                        part[...] = getattr(self, self._first[slot])

    def _move(self, parameters: Sequence[Variable]) -> None:
        """Follows the parameters to another device, with the slots."""
        self.flat = FlatParameters(parameters)
        self._state = {slot: self.flat.device.array(values) for slot, values in self._state.items()}

    def _lay_out(self, parameters: Sequence[Variable]) -> None:
        """Lays out these of the known parameters with their slots; the slots of the others rest."""
        slots, known = self._slots_by_number(), {id(parameter): i for i, parameter in enumerate(self._known)}
        self.flat, self._state = FlatParameters(parameters), {}
        self._make_slots()
        for slot, flat in self._state.items():
            for parameter, part in zip(parameters, self.flat.split(flat)):
                values = slots[known[id(parameter)]]
                if slot in values:
                    part[...] = self.flat.device.asarray(values[slot], part.dtype)
        trained = set(map(id, parameters))
        self._resting = {i: slots[i] for i, parameter in enumerate(self._known) if id(parameter) not in trained}

    def _slots_by_number(self) -> dict[int, dict[str, np.ndarray]]:
        """Copies of the slots of all known parameters, by their numbers."""
        flat: Any = self.flat
        known, found = {id(parameter): i for i, parameter in enumerate(self._known)}, dict(self._resting)
        parts = {slot: flat.split(array) for slot, array in self._state.items()}
        for i, parameter in enumerate(flat.parameters):
            found[known[id(parameter)]] = {slot: np.array(flat.device.numpy(each[i])) for slot, each in parts.items()}
        return found

    def slot_order(self, count: int | None = None) -> list[tuple[str, int]]:
        """The slots with the numbers of their parameters, in the order of Keras's variables: the averages and sums of
        gradients first, then all slots of a parameter together, but for those in `_apart`. count: of parameters.
        """
        numbers = range(len(self.flat.parameters) if count is None and self.flat is not None else count or 0)
        slots = [slot for slot in self._slots if slot in self._state]
        together = [slot for slot in slots if slot not in self._apart]
        alone = [slot for slot in slots if slot in self._apart]
        return [*((slot, i) for slot in ("average", "accumulated") if slot in self._state for i in numbers),
                *((slot, i) for i in numbers for slot in together), *((slot, i) for slot in alone for i in numbers)]
