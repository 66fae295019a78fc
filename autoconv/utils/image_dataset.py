"""Loads batches of pictures from folders. Threads decode the pictures in advance."""

import copy
import os
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import random
from ..arguments.modules import NoAttributeError
from ..arguments.shapes import check_count
from ..engine.ranks import Ranks
from ..engine.tensor import no_grad
from . import class_folders
from .class_folders import Files
from .labels import to_categorical
from .pixels import CHANNELS, Decoding, UnreadableImage, pillow

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = 3  # batches decoded ahead of the current one
PIECE = 8  # pictures that a thread decodes per task
_FILTERS = {"bilinear": "BILINEAR", "nearest": "NEAREST", "bicubic": "BICUBIC", "area": "BOX", "lanczos3": "LANCZOS"}


class BatchArray(np.ndarray):
    """An array of a batch, with the method `numpy` that tensors have."""

    def numpy(self) -> np.ndarray:
        """Returns the same values as a plain NumPy array, without copying them."""
        return self.view(np.ndarray)


class ImageDataset:
    """Batches (images, labels) of picture files, or batches of images if there are no labels. The
    images are float32 (N, height, width, channels) with values 0..255.

    One iteration is one epoch. The order of the files depends on the seed and on `epoch`, the
    epoch's number. `workers` threads decode the files. An unreadable file raises UnreadableImage.
    If `on_unreadable` is set, it is called with (path, reason) instead, and the file is skipped.
    `skipped_files` lists the skipped files, and `len` counts the batches without skipped files.
    `take`, `map` and `cache` return copies, as in tf.data, and decode nothing themselves.
    """

    def __init__(self, files: Files, decoding: Decoding, label_mode: str | None,
                 batch_size: int | None, shuffle: bool, seed: int) -> None:
        self.file_paths = files.paths
        self.class_names = files.class_names
        self.batch_size = batch_size
        self.epoch = 0
        self.workers = processors()
        self._unreadable_reasons: dict[int, str] | None = None  # reasons by file number
        self._position: list[int] | None = None  # [epoch, batches returned]
        self._skip_count = 0  # batches that a resumed iteration skips
        self.skipped_files: dict[str, str] = {}
        self.on_unreadable: Callable[[str, str], None] | None = None
        self._decoding = decoding
        self._cached: dict[int, np.ndarray] | None = None  # samples by file number, yielded instead of decoded images
        self._sample: tuple[tuple[int, ...], Any] = (self.image_shape, np.float32)  # shape and dtype of a sample
        self._functions: tuple[Callable, ...] = ()  # functions of `map`, applied to each batch
        self._limit: int | None = None  # batches per epoch
        self._shuffle = shuffle
        self._seed = seed
        self._labels = None if label_mode is None else np.asarray(files.labels)
        if self._labels is not None and label_mode == "categorical":
            self._labels = to_categorical(self._labels, len(files.class_names or ())).astype("float32")
        elif self._labels is not None and label_mode == "binary":
            self._labels = self._labels.astype("float32")[:, None]

    def __len__(self) -> int:
        count = len(self.file_paths) - len(self.skipped_files)
        batches = -(-count // (self.batch_size or 1))
        return batches if self._limit is None else min(batches, self._limit)

    def __getattr__(self, name: str) -> NoReturn:
        raise NoAttributeError(self, name)

    def __repr__(self) -> str:
        classes = "" if self.class_names is None else f" in {len(self.class_names)} classes"
        return f"<ImageDataset of {len(self.file_paths)} files{classes}, {self.image_shape}>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image: (height, width, channels)."""
        return *self._decoding.size, CHANNELS[self._decoding.color_mode]

    def take(self, count: int) -> "ImageDataset":
        """Returns a copy of this dataset with only the first `count` batches of each epoch, or all for count=-1."""
        dataset = copy.copy(self)
        if count != -1:
            check_count("count", count, 0, "-1 or ")
        dataset._limit = len(self) if count == -1 else min(len(self), count)
        return dataset

    def map(self, map_func: Callable[..., Any], num_parallel_calls: object = None,
            deterministic: object = None) -> "ImageDataset":
        """Returns a copy that yields `map_func(images, labels)`, or `map_func(images)` without labels, for each batch.

        `map_func` receives arrays, runs without a gradient tape, and may call layers. It returns what a batch may be:
        (images, labels) or images. The arguments of tf.data for parallel calls have no effect.
        """
        dataset = copy.copy(self)
        dataset._functions = *self._functions, map_func
        return dataset

    def prefetch(self, buffer_size: object = None) -> "ImageDataset":
        """Returns this dataset, because threads always decode the next batches in advance."""
        return self

    def cache(self, predict: Callable[["ImageDataset"], np.ndarray] | None = None) -> "ImageDataset":
        """Returns a copy of this dataset that keeps the decoded images in memory, in the first epoch that uses them.
        Functions of `map` are applied after that, so random ones change the images anew in each epoch.

        If `predict`, for example the `predict` of a frozen model, is given, the copy yields its outputs instead of
        images, in the same batches. `predict` is called once, with a dataset of all images in a fixed order. It
        returns an array (N, ...), which is kept in memory.
        """
        dataset = copy.copy(self)
        if predict is None:
            dataset._cached = {} if self._cached is None else self._cached
            return dataset
        ordered = copy.copy(self)
        ordered._shuffle = False
        ordered._limit = None
        ordered._labels = self._labels if self._functions else None
        outputs = predict(ordered)
        numbers = [i for i, path in enumerate(self.file_paths) if path not in ordered.skipped_files]
        dataset._cached = dict(zip(numbers, outputs, strict=True))
        dataset._sample = outputs.shape[1:], outputs.dtype
        dataset._functions = ()
        return dataset

    def __iter__(self) -> Iterator[Any]:
        position, rows, size = *self._begin(), self.batch_size or PIECE * self.workers
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        try:
            for images, numbers in _refill_batches(self._decode_batches(batches, self._skip), size):
                batch = images if self._labels is None else (images, self._labels[numbers])
                for item in [batch] if self.batch_size is not None else images if self._labels is None else zip(*batch):
                    position[1] += 1
                    yield self._finish(item)
        finally:
            self._end(position)

    def _finish(self, batch: Any) -> Any:
        """Returns a batch as `BatchArray`s, or the result of the functions of `map` for it."""
        if isinstance(batch, tuple):  # the label of a single image is a number
            batch = tuple(part.view(BatchArray) if isinstance(part, np.ndarray) else part for part in batch)
        else:
            batch = batch.view(BatchArray)
        with no_grad():
            for function in self._functions:
                batch = function(*batch) if isinstance(batch, tuple) else function(batch)
        return batch

    def _begin(self) -> tuple[list[int], list[int]]:
        """Starts an iteration. Returns its position [epoch, batches returned] and its file numbers."""
        position = self._position = [self.epoch, self._skip_count]
        epoch, offset = position
        self.epoch = epoch + 1
        self._skip_count = 0
        order = np.arange(len(self.file_paths))
        if self._shuffle:
            order = random.permutation(len(order), random.epoch_stream((self._seed, 0), epoch))
        rows = [int(i) for i in order if self.file_paths[i] not in self.skipped_files]
        size = self.batch_size or 1
        return position, rows[offset * size : None if self._limit is None else self._limit * size]

    def _end(self, position: list[int]) -> None:
        if self._position is position:
            self._position = None

    def shared_by(self, ranks: Ranks) -> Iterator[tuple[Any, int]]:
        """Returns an iterator over pairs of this rank's part of a batch and the batch's size, from
        rank 0's position. Before the first iteration the ranks find all unreadable
        pictures. A picture that becomes unreadable later raises UnreadableImage. Raises ValueError
        if the ranks' files or arguments differ.
        """
        if self.batch_size is None:
            raise ValueError("Training on several processes needs an image dataset with batches. Received: "
                             "batch_size=None. Pass a batch_size when you create the dataset.")
        if self._unreadable_reasons is None:
            self._check_alike(ranks)
            numbers = range(ranks.rank, len(self.file_paths), ranks.size)
            reasons = {i: error.reason for i, error in self._find_unreadable(numbers)}
            union = {i: reason for each in ranks.exchange(reasons) for i, reason in each.items()}
            self._skip([UnreadableImage(self.file_paths[i], union[i]) for i in sorted(union)], ranks.rank == 0)
            self._unreadable_reasons = union
        state = ranks.broadcast((self.epoch, self._skip_count, self._seed, self._skipped_numbers()))
        self.epoch, self._skip_count, self._seed, skip_reasons = state
        self.skipped_files = {self.file_paths[i]: reason for i, reason in skip_reasons}
        return self._parts(ranks)

    def _check_alike(self, ranks: Ranks) -> None:
        settings = {"files": len(self.file_paths), "shuffle": self._shuffle, "seed": self._seed
                    if self._shuffle else None, "checksum of the files' names": self._names(),
                    "batch_size": self.batch_size, "image_shape": self.image_shape}
        first, *rest = ranks.exchange(settings)
        for number, other in enumerate(rest, 1):
            for name in settings:
                if other[name] != first[name]:
                    raise ValueError(f"All ranks need the same pictures in the same order. Rank 0 has {name} = "
                                     f"{first[name]!r}. Rank {number} has {other[name]!r}. Use the same folder and "
                                     "arguments, including `seed`, on all ranks.")

    def _find_unreadable(self, numbers: Sequence[int]) -> Iterator[tuple[int, UnreadableImage]]:
        """Yields the number and the error of each unreadable file. Decodes to 1 x 1 pixels."""
        read = self._decoding._replace(size=(1, 1)).read

        def check_file(i: int) -> UnreadableImage | None:
            try:
                read(self.file_paths[i])
            except UnreadableImage as error:
                return error
            return None

        with self._pool() as pool:
            for start in range(0, len(numbers), PIECE * self.workers):
                chunk = numbers[start : start + PIECE * self.workers]
                yield from ((i, error) for i, error in zip(chunk, pool.map(check_file, chunk)) if error is not None)

    def _parts(self, ranks: Ranks) -> Iterator[tuple[Any, int]]:
        (position, rows) = self._begin()
        size = self.batch_size or 1
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        parts = [(batch, ranks.part(len(batch))) for batch in batches]
        own_rows = [batch[part.start : part.start + part.samples] for batch, part in parts]
        results = self._decode_batches(own_rows, _refuse)
        try:
            for batch, (images, ids) in zip(batches, results):
                position[1] += 1
                yield self._finish(images if self._labels is None else (images, self._labels[ids])), len(batch)
        finally:
            self._end(position)

    def get_state(self) -> dict[str, Any]:
        """Returns the position, which may be within an epoch, as plain data for `set_state`."""
        epoch, offset = self._position or (self.epoch, self._skip_count)
        return {"epoch": epoch, "given": offset, "seed": self._seed,
                "skipped": self._skipped_numbers(), "files": self._names()}

    def _skipped_numbers(self) -> list[list[Any]]:
        """Returns each skipped file's number and reason. Numbers stay valid in a moved folder."""
        return [[i, self.skipped_files[path]] for i, path in enumerate(self.file_paths) if path in self.skipped_files]

    def _names(self) -> int:
        """Returns a checksum of the files' folder and file names, in order."""
        names = ["/".join(Path(path).parts[-2:]) for path in self.file_paths]
        return zlib.crc32("\n".join(names).encode("utf-8", "replace"))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a state that `get_state` returned. Raises ValueError if the files or the
        seed have changed.
        """
        current = self.get_state()
        for label, name in (("files", "files"), ("seed", "seed")):
            if state[name] != current[name]:
                raise ValueError(f"The image dataset must have the same {label} as when its state "
                                 f"was saved. Received: {len(self.file_paths):,} files and "
                                 f"seed={self._seed}. Restore the files and the seed.")
        self.epoch = int(state["epoch"])
        self._skip_count = int(state["given"])
        self._position = None
        # With several ranks, all unreadable files are known. The saved state may lack some of them.
        reasons = {**{int(i): str(reason) for i, reason in state["skipped"]}, **(self._unreadable_reasons or {})}
        self.skipped_files = {self.file_paths[i]: reason for i, reason in sorted(reasons.items())}

    def check_readable(self) -> None:
        """Raises the first file's UnreadableImage if no file can be read."""
        errors = []
        for path in self.file_paths:
            try:
                self._decoding.read(path)
                return
            except UnreadableImage as error:
                errors.append(error)
        raise errors[0]

    def check(self) -> None:
        """Decodes the files, and raises the UnreadableImage of the first unreadable file."""
        for _, error in self._find_unreadable(range(len(self.file_paths))):
            raise error

    def _pool(self) -> "ThreadPoolExecutor":
        """Returns a new pool of decoding threads."""
        from concurrent.futures import ThreadPoolExecutor  # imported here, as it imports logging

        return ThreadPoolExecutor(self.workers, "autoconv-decode")

    def _decode_batches(self, batches: Sequence[list[int]],
                        skip: Callable[[list[UnreadableImage]], None]) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Yields each batch's images and file numbers. Calls `skip` with the decoding errors."""
        pool = self._pool()
        pending = iter(batches)
        running: deque[tuple[list[int], np.ndarray, list[Future]]] = deque()
        try:
            while True:
                while len(running) <= AHEAD and (rows := next(pending, None)):
                    images = np.empty((len(rows), *self._sample[0]), self._sample[1])
                    pieces = [slice(i, i + PIECE) for i in range(0, len(rows), PIECE)]
                    running.append((rows, images, [pool.submit(self._read, rows[p], images[p]) for p in pieces]))
                if not running:
                    return
                rows, images, futures = running.popleft()
                errors = [error for piece in futures for error in piece.result()]
                numbers = [i for i, error in zip(rows, errors) if error is None]
                skip([error for error in errors if error is not None])
                if len(numbers) < len(rows):
                    images = images[[error is None for error in errors]]
                if numbers:
                    yield images, numbers
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, rows: list[int], images: np.ndarray) -> list[UnreadableImage | None]:
        """Decodes files into `images`. Returns each file's error, or None if there is none."""
        errors: list[UnreadableImage | None] = []
        for i, image in zip(rows, images):
            try:
                cached = None if self._cached is None else self._cached.get(i)
                image[...] = self._decoding.read(self.file_paths[i]) if cached is None else cached
                if cached is None and self._cached is not None:
                    self._cached[i] = image.copy()
                errors.append(None)
            except UnreadableImage as error:
                errors.append(error)
        return errors

    def _skip(self, errors: list[UnreadableImage], report: bool = True) -> None:
        for error in errors:
            if self.on_unreadable is None:
                raise error
            if error.path not in self.skipped_files:  # not already found by another iteration
                self.skipped_files[error.path] = error.reason
                if report:
                    self.on_unreadable(error.path, error.reason)


def _refuse(errors: list[UnreadableImage]) -> None:
    """Raises the first error, because a single rank cannot skip a picture."""
    for error in errors:
        raise error


def _refill_batches(batches: Iterator[tuple[np.ndarray, list[int]]],
                    size: int) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yields the images in full batches, in which the next images replace skipped files."""
    images = np.empty(0)
    numbers = list[int]()
    for new, rows in batches:
        if numbers:
            new = np.concatenate([images, new])
            rows = numbers + rows
        if len(rows) >= size:
            yield new[:size], rows[:size]
            new = new[size:]
            rows = rows[size:]
        images = new
        numbers = rows
    if numbers:
        yield images, numbers


def image_dataset_from_directory(
    directory: str | os.PathLike, labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int", class_names: Sequence[str] | None = None,
    color_mode: str = "rgb", batch_size: int | None = 32, image_size: tuple[int, int] = (256, 256),
    shuffle: bool = True, seed: int | None = None, validation_split: float | None = None,
    subset: str | None = None, interpolation: str = "bilinear", follow_links: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False,
    data_format: str | None = None, format: str = "tf", verbose: bool = True,
) -> Any:
    """Returns the pictures in a folder as an `ImageDataset`, or as two datasets for subset="both".

    Arguments are as in Keras. labels: "inferred" from the subfolders' names, a list of numbers in
    the files' order, or None. label_mode: "int", "categorical", "binary" or None. batch_size: None
    for single images. A seed splits the files as in Keras. Files named .webp are included.

    Enlarged pictures have Keras's pixels, but JPEGs may differ slightly. Unlike in Keras, shrinking
    uses every pixel, except with "nearest". Pictures are turned upright (EXIF). Transparent pixels
    become white. Raises ValueError for wrong arguments, ImportError without Pillow.
    """
    image_size = _check(labels, label_mode, color_mode, image_size, batch_size,
                        interpolation.lower(), validation_split, subset, shuffle, seed)
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio`, `crop_to_aspect_ratio` can be set to `True`.")
    if format != "tf" or data_format not in (None, "channels_last"):
        raise ValueError("Only format='tf' and data_format='channels_last' are supported. "
                         f"Received: format={format!r}, data_format={data_format!r}. Leave out both.")
    pillow("Image")
    label_mode = None if labels is None else label_mode
    files = class_folders.find(directory, labels if label_mode else None, class_names, follow_links)
    if label_mode == "binary" and len(files.class_names or ()) != 2:
        raise ValueError(f"label_mode='binary' needs exactly 2 classes. Received: class_names={files.class_names}.")
    seed = int(np.random.randint(1_000_000)) if seed is None else seed
    parts = class_folders.split(files, directory, validation_split, subset, shuffle, seed)
    if verbose:
        sys.stdout.write(class_folders.describe(files, parts, subset))
    decoding = Decoding(image_size, color_mode, _FILTERS[interpolation.lower()],
                        crop_to_aspect_ratio, pad_to_aspect_ratio)
    datasets = [ImageDataset(part, decoding, label_mode, batch_size, shuffle and i == 0, seed)
                for i, part in enumerate(parts)]
    return datasets if subset == "both" else datasets[0]


def _check(labels: object, label_mode: object, color_mode: object, image_size: Any, batch_size: Any,
           interpolation: str, fraction: Any, subset: object, shuffle: bool,
           seed: Any) -> tuple[int, int]:
    """Returns `image_size` as two numbers. Raises ValueError for wrong arguments, as Keras does."""
    if not (labels is None or isinstance(labels, list | tuple) or (isinstance(labels, str) and labels == "inferred")):
        raise ValueError("`labels` argument should be a list/tuple of integer labels, of the same size as the number "
                         "of image files in the target directory, 'inferred' (from the names of the subdirectories) or "
                         f"None (no labels). Received: labels={labels}")
    for name, value, choices in (("label_mode", label_mode, ("int", "categorical", "binary", None)),
                                 ("color_mode", color_mode, tuple(CHANNELS)),
                                 ("interpolation", interpolation, tuple(_FILTERS)),
                                 ("subset", subset, ("training", "validation", "both", None))):
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value}")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(_is_count(n) for n in size):
        raise ValueError("Invalid `image_size` value. Expected a tuple of 2 integers of at least "
                         f"1. Received: image_size={image_size}")
    if batch_size is not None and not _is_count(batch_size):
        raise ValueError(f"`batch_size` must be an integer of at least 1, or None. Received: batch_size={batch_size}")
    if fraction and not 0 < fraction < 1:
        raise ValueError(f"`validation_split` must be between 0 and 1, received: {fraction}")
    if bool(fraction) != (subset is not None):
        raise ValueError("If `subset` is set, `validation_split` must be set, and inversely.")
    if seed is not None and not (seed == 0 or (_is_count(seed) and seed < 2**32)):
        raise ValueError(f"`seed` must be an integer from 0 to 2**32 - 1. Received: seed={seed}")
    if fraction and shuffle and seed is None:
        raise ValueError("If using `validation_split` and shuffling the data, you must provide a `seed` argument, to "
                         "make sure that there is no overlap between the training and validation subset.")
    return int(size[0]), int(size[1])


def _is_count(n: Any) -> bool:
    return hasattr(n, "__index__") and not isinstance(n, bool) and n >= 1


def processors() -> int:
    """Returns the number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
