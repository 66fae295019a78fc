"""Fine-tunes MobileNetV2 on a folder of pictures with Keras or PyTorch, as their users do it, for
bench.fine_tuning.

`python -m bench.fine_tuning_peers NAME SEED THREADS FOLDER HEAD ALL BEGUN` prints results with the same
names as autoconv's --json. FOLDER is the folder that bench.fine_tuning wrote. HEAD and ALL are the
numbers of epochs that train the head and all layers, and BEGUN is time.time() at the start of this
process. The frozen layers run in inference mode in every epoch.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import photo_nets
from .specs import Scale
from .workloads import Workload

SIZE, CLASSES, BODY_CLASSES = 96, 10, 12
BATCH_SIZE, HEAD_RATE, ALL_RATE, DROPOUT = 32, 3e-3, 3e-4, 0.2  # Adam, with constant rates
WORKLOAD = Workload("fine-tuning", (SIZE, SIZE, 3), BODY_CLASSES,
                    (Scale(1 / 255), *photo_nets.CLASSIFIERS["mobilenet_v2"]), (BATCH_SIZE,), brightest=255.0)

Result = tuple[list[float], float]  # the seconds of each epoch, and the test accuracy


def load_weights(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "weights.npz") as weights:
        return [weights[name] for name in weights.files]


def keras(folder: Path, seed: int, threads: int, head_epochs: int, all_epochs: int) -> Result:
    """Trains with Keras on TensorFlow, which decodes the pictures in advance."""
    import keras
    import tensorflow as tf

    from .peers import keras_tf  # selects TensorFlow as Keras's backend

    peer = keras_tf.plain(WORKLOAD, threads, "train", seed)
    peer.load(load_weights(folder))
    train, test = (keras.utils.image_dataset_from_directory(
        folder / "photos" / part, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, shuffle=part == "train", seed=seed,
        verbose=False).prefetch(tf.data.AUTOTUNE) for part in ("train", "test"))
    body = keras.Model(peer.net.input, peer.net.layers[-3].output)  # without dropout and classifier
    body.trainable = False
    images = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.Dropout(DROPOUT)(body(images, training=False))
    tuned = keras.Model(images, keras.layers.Dense(CLASSES, activation="softmax")(features))
    everything = keras.Model(images, tuned.layers[-1](tuned.layers[-2](body(images))))
    seconds: list[float] = []
    for model, rate, epochs in ((tuned, HEAD_RATE, head_epochs), (everything, ALL_RATE, all_epochs)):
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        for _ in range(epochs):
            begun = time.perf_counter()
            model.fit(train, shuffle=False, verbose=0)  # the data set shuffles
            seconds.append(time.perf_counter() - begun)
        body.trainable = True
    return seconds, everything.evaluate(test, verbose=0)[1]


def torch(folder: Path, seed: int, threads: int, head_epochs: int, all_epochs: int) -> Result:
    """Trains with PyTorch, on images in the layout channels_last. Processes decode the pictures."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader

    from .peers import pytorch

    class Pictures(torch.utils.data.Dataset):
        def __init__(self, part: Path) -> None:
            names = sorted(path.name for path in part.iterdir())
            self.files = [(path, i) for i, name in enumerate(names) for path in sorted((part / name).iterdir())]

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            path, label = self.files[i]
            return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1), label

    peer = pytorch.channels_last(WORKLOAD, threads, "train", seed)
    peer.load(load_weights(folder))
    body = peer.net[:-2]  # without dropout and classifier
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(1280, CLASSES))
    train, test = (DataLoader(Pictures(folder / "photos" / part), BATCH_SIZE, part == "train", num_workers=threads,
                              persistent_workers=True) for part in ("train", "test"))

    def convert(x: torch.Tensor) -> torch.Tensor:
        return x.float().contiguous(memory_format=torch.channels_last)

    seconds: list[float] = []
    for is_frozen, rate, epochs in ((True, HEAD_RATE, head_epochs), (False, ALL_RATE, all_epochs)):
        body.train(not is_frozen).requires_grad_(not is_frozen)
        weights_to_train = [weight for weight in (*body.parameters(), *head.parameters()) if weight.requires_grad]
        optimizer = torch.optim.Adam(weights_to_train, rate)
        for _ in range(epochs):
            begun = time.perf_counter()
            for x, y in train:
                optimizer.zero_grad()
                cross_entropy(head(body(convert(x))), y).backward()
                optimizer.step()
            seconds.append(time.perf_counter() - begun)
    body.eval()
    head.eval()
    with torch.inference_mode():
        right = sum(int((head(body(convert(x))).argmax(1) == y).sum()) for x, y in test)
    return seconds, right / len(test.dataset)  # type: ignore[arg-type]


FRAMEWORKS: dict[str, Callable[[Path, int, int, int, int], Result]] = {"keras": keras, "torch": torch}


def main() -> None:
    name, seed, threads, folder, head_epochs, all_epochs, begun = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # redirects everything that the framework prints to standard error
    seconds, accuracy = FRAMEWORKS[name](Path(folder), int(seed), int(threads), int(head_epochs), int(all_epochs))
    print(json.dumps({"test_accuracy": accuracy, "epoch_seconds": seconds, "compile_s": 0.0,
                      "total_s": time.time() - float(begun)}), file=out, flush=True)


if __name__ == "__main__":
    main()
