"""A callback that writes event files for TensorBoard."""

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..arguments import extras
from ..arguments.shapes import check_count
from .callback import Callback, Logs


class TensorBoard(Callback):
    """Writes event files for TensorBoard, with Keras's names. The folders train and validation of
    `log_dir` receive the scalars epoch_loss, epoch_<metric> and epoch_learning_rate.
    `tensorboard --logdir logs` shows them.

    histogram_freq: the number of epochs between histograms of weights, 0 for none. write_graph:
    whether to write the table of `model.summary`. write_images: whether to write the filters of the
    first convolution, as often as histograms, or each epoch if histogram_freq is 0.
    write_steps_per_second: whether to write epoch_steps_per_second. update_freq: when to write
    batch_loss and batch_<metric>, the epoch's means up to a step: after each "batch", after this
    many steps, or never ("epoch").

    Raises ExtraError without tensorboardX. Raises ValueError for an invalid frequency, and for
    Keras's arguments profile_batch, embeddings_freq and embeddings_metadata, which are not
    supported.
    """

    fixed_arguments: ClassVar[dict[str, Any]] = {"profile_batch": 0, "embeddings_freq": 0, "embeddings_metadata": None}

    def __init__(
        self, log_dir: str | Path = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False, update_freq: str | int = "epoch",
        profile_batch: Any = 0, embeddings_freq: int = 0, embeddings_metadata: Any = None,
    ) -> None:
        arguments = {"profile_batch": profile_batch, "embeddings_freq": embeddings_freq,
                     "embeddings_metadata": embeddings_metadata}
        for name, default in self.fixed_arguments.items():
            if arguments[name] != default:
                raise ValueError(f"TensorBoard supports only {name}={default!r}. Received: {name}={arguments[name]!r}.")
        check_count("histogram_freq", histogram_freq, 0)
        if update_freq != "epoch" and update_freq != "batch":
            check_count("update_freq", update_freq, 1, "'epoch', 'batch' or ")
        _tensorboardx()
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.update_freq = update_freq
        self.write_graph, self.write_images = write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self._writers: dict[str, Any] = {}
        self._began, self._steps = 0.0, 0  # the epoch's start time, and the number of steps before it
        if update_freq != "epoch":  # a step's values are read only for callbacks with this method
            self.on_train_batch_end = self._write_batch  # type: ignore[method-assign]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._writer("train")  # raises before the first step if no file can be written
        if self.write_graph:
            self.model.summary(print_fn=lambda text: self._writer("train").add_text(  # as a Markdown code block
                "model", "\n".join(f"    {line}" for line in text.splitlines()), 0))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._began, self._steps = time.perf_counter(), int(self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        if self.write_steps_per_second:
            steps = int(self.model.optimizer.iterations) - self._steps
            values["steps_per_second"] = steps / (time.perf_counter() - self._began)
        for name, value in values.items():
            folder = "validation" if name.startswith("val_") else "train"
            self._writer(folder).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for path, weight in self.model.named_weights().items():
                values = weight.numpy()
                finite = values[np.isfinite(values)]
                if finite.size:
                    self._writer("train").add_histogram(f"{path}/histogram", finite, epoch)
        if self.write_images and epoch % (self.histogram_freq or 1) == 0:
            self._write_filters(epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write_batch(self, batch: int, logs: Logs | None = None) -> None:
        """Writes the values after a training step if `update_freq` selects this step."""
        step = int(self.model.optimizer.iterations)
        if self.update_freq == "batch" or step % int(self.update_freq) == 0:
            for name, value in (logs or {}).items():
                self._writer("train").add_scalar(f"batch_{name}", value, step)

    def _write_filters(self, epoch: int) -> None:
        """Writes one picture per filter of the first kernel with four axes, (KH, KW, C, F). Unless
        C is 1 or 3, a filter's channels are placed side by side. All pictures use one scale, from
        the smallest value (black) to the largest (white).
        """
        kernels = ((path, weight) for path, weight in self.model.named_weights().items() if weight.ndim == 4)
        path, weight = next(kernels, ("", None))
        if weight is None:
            return
        values = weight.numpy()
        low, high = values.min(), values.max()
        if not np.isfinite(high - low):
            return
        pictures = np.moveaxis((values - low) / (high - low if high > low else 1), 3, 0)  # (F, KH, KW, C)
        if pictures.shape[3] not in (1, 3):
            f, kh, kw, maps = pictures.shape
            pictures = np.moveaxis(pictures, 3, 2).reshape(f, kh, maps * kw, 1)
        self._writer("train").add_images(f"{path}/image", pictures, epoch, dataformats="NHWC")

    def _writer(self, folder: str) -> Any:
        """Returns the writer for a folder of `log_dir`, and creates it at the first call."""
        if folder not in self._writers:
            self._writers[folder] = _tensorboardx().SummaryWriter(str(self.log_dir / folder))
        return self._writers[folder]


def _tensorboardx() -> Any:
    return extras.load("tensorboardX", "tensorboardX", "tensorboard", "callbacks.TensorBoard")
