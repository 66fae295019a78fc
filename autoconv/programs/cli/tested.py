"""Loads the test images of a run as arrays."""

from pathlib import Path

import numpy as np

from ...files.json_text import JsonObject
from . import data, photos


def images(trained: JsonObject) -> tuple[np.ndarray, np.ndarray]:
    """Returns a run's test images (N, H, W, C) of bytes, and their labels (N,)."""
    if "folder" not in trained:
        data_dir = trained["data_dir"] and Path(trained["data_dir"])
        found = data.load(trained["dataset"], data_dir, trained["limit"])
        return data.as_taken(found.x_test, trained["model"]), found.y_test
    dataset = photos.held_out(trained)
    dataset.batch_size = trained["batch_size"]
    batches = [(np.rint(x).astype(np.uint8), np.argmax(y, -1)) for x, y in dataset]
    x, y = (np.concatenate(parts) for parts in zip(*batches))
    return x, y
