"""A layer's variables as plain values: written and read by number, and given to a call from outside."""

from collections.abc import MutableMapping
from typing import Any

from ..tensor import Parameter, replaced


class States:
    """What a layer can do with the values of its variables."""

    name: str
    built: bool

    @property
    def metrics(self) -> list[Any]:
        """The metrics in this layer's attributes, and in those of the layers within."""
        return self._held_metrics()  # type: ignore[attr-defined]

    @property
    def metrics_variables(self) -> list[Any]:
        """The variables of `metrics`."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Writes this layer's own variables as arrays "0", "1", ... into `store`, a dict."""
        for place, weight in enumerate(self._own_weights()):  # type: ignore[attr-defined]
            store[str(place)] = weight.numpy()

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Reads what `save_own_variables` wrote. Raises ValueError for another number of variables."""
        mine = self._own_weights()  # type: ignore[attr-defined]
        if len(store) != len(mine):
            if not mine and not self.built:
                raise ValueError(f"Layer {self.name!r} was never built and thus it doesn't have any variables. However "
                                 f"there are {len(store)} for it: build it first.")
            raise ValueError(f"Layer {self.name!r} expected {len(mine)} variables, but received {len(store)} variables "
                             f"during loading. Expected: {[weight.name for weight in mine]}")
        for place, weight in enumerate(mine):
            weight.assign(store[str(place)])

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
        pairs: list[tuple[Parameter, Any]] = []
        for what, given in (("trainable_variables", trainable_variables),
                            ("non_trainable_variables", non_trainable_variables)):
            mine = getattr(self, what)
            if len(given) != len(mine):
                raise ValueError(f"Argument `{what}` must be a list of tensors corresponding 1:1 to "
                                 f"{type(self).__name__}().{what}. Received list with length {len(given)}, but "
                                 f"expected {len(mine)} variables.")
            pairs += [(variable, value) for variable, value in zip(mine, given)]
        with replaced(pairs):
            outputs = self(*args, **kwargs)  # type: ignore[operator]
            after = [variable.value for variable in self.non_trainable_variables]  # type: ignore[attr-defined]
            losses = self.losses if return_losses else None  # type: ignore[attr-defined]
        return (outputs, after, losses) if return_losses else (outputs, after)
