"""A callback that replaces weights by their moving averages."""

from typing import Any

from .callback import Callback, Logs


class SwapEMAWeights(Callback):
    """Replaces the weights by the optimizer's moving averages (`use_ema=True`) during evaluation
    and prediction. With `swap_on_epoch=True`, also replaces them at the end of each epoch, so that
    callbacks save the averages.

    Raises ValueError if the optimizer keeps no averages.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._set_swapped(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._set_swapped(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._set_swapped(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._set_swapped(False)

    on_predict_begin = on_test_begin
    on_predict_end = on_train_end = on_test_end

    def get_state(self) -> dict[str, Any]:
        return {"swapped": self.model.optimizer.is_swapped}

    def set_state(self, state: Any) -> None:
        self.model.optimizer.is_swapped = state["swapped"]

    def _set_swapped(self, is_swapped: bool) -> None:
        optimizer = self.model.optimizer
        if optimizer is None or not optimizer.use_ema:
            raise ValueError("SwapEMAWeights must be used with an optimizer that keeps moving "
                             f"averages, such as Adam(use_ema=True). Received: {optimizer!r}.")
        if is_swapped != optimizer.is_swapped:
            optimizer.swap_averages()
