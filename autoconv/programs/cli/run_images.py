"""Loads the test images of a run as arrays."""

from pathlib import Path

import numpy as np

from ...files.json_text import JsonObject
from . import data, photos


def load_test_images(results: JsonObject) -> tuple[np.ndarray, np.ndarray]:
    """Returns a run's test images (N, H, W, C) of bytes, and their labels (N,)."""
    if "folder" not in results:
        data_dir = results["data_dir"] and Path(results["data_dir"])
        images = data.load(results["dataset"], data_dir, results["limit"])
        return data.adapt_images(images.x_test, results["model"]), images.y_test
    dataset = photos.held_out(results)
    dataset.batch_size = results["batch_size"]
    batches = [(np.rint(x).astype(np.uint8), np.argmax(y, -1)) for x, y in dataset]
    x, y = (np.concatenate(parts) for parts in zip(*batches))
    return x, y
