"""A layer's variables as plain values: written and read by number, and given to a call from outside."""

from collections.abc import Mapping
from typing import Any

from ..engine.variable import Stateful, Variable


class States(Stateful):
    """What a layer can do with the values of its variables."""

    name: str
    built: bool

    @property
    def metrics(self) -> list[Any]:
        """The metrics in this layer's attributes, and in those of the layers within; of a model that is compiled first
        the mean of the loss, one metric with all that `compile` was given, and the means of several outputs' losses.
        """
        return [*self._compiled_metrics(), *self._held_metrics()]  # type: ignore[attr-defined]

    def _compiled_metrics(self) -> list[Any]:
        return []

    @property
    def metrics_variables(self) -> list[Variable]:
        """The variables of `metrics`."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def _own_variables(self) -> list[Variable]:
        return self._own_weights()  # type: ignore[attr-defined]

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Reads what `save_own_variables` wrote. Raises ValueError for another number of variables."""
        mine = self._own_variables()
        if len(store) != len(mine):
            if not mine and not self.built:
                raise ValueError(f"Layer {self.name!r} was never built and thus it doesn't have any variables. However "
                                 f"there are {len(store)} for it: build it first.")
            raise ValueError(f"Layer {self.name!r} expected {len(mine)} variables, but received {len(store)} variables "
                             f"during loading. Expected: {[weight.name for weight in mine]}")
        super().load_own_variables(store)

    def stateless_call(
        self, trainable_variables: list[Any], non_trainable_variables: list[Any], *args: Any,
        return_losses: bool = False, **kwargs: Any,
    ) -> tuple:
        """What a call gives with these values in the variables' place: (outputs, the values that its non-trainable
        variables would have after it), with `return_losses` its losses, too. The layer stays as it was.
        """
        if not self.built:
            raise ValueError(f"To call stateless_call, {type(self).__name__} must be built (i.e. its variables must "
                             "have been already created). You can build it by calling it on some data.")
        mine: Any = self
        with self.holding(trainable_variables=(mine.trainable_variables, trainable_variables),
                          non_trainable_variables=(mine.non_trainable_variables, non_trainable_variables)):
            outputs = mine(*args, **kwargs)
            after = [variable.value for variable in mine.non_trainable_variables]
            losses = mine.losses if return_losses else None
        return (outputs, after, losses) if return_losses else (outputs, after)
