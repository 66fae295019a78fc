"""What the tests of MPI have each rank do: `python -m mpi4py mpi_program.py CASE FOLDER [WORD ...]`, or alone without
mpiexec. Each rank writes what it found to FOLDER/CASE-RANK.json, and its weights to CASE-RANK.npy.
"""

import json
import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from autoconv import callbacks, layers, metrics, models, optimizers, parallel, set_precision, utils
from autoconv.engine.ranks import ALONE

SAMPLES, BATCH, EPOCHS = 103, 20, 4  # the last batch has 3 samples: with 4 ranks fewer than ranks
X = np.random.default_rng(0).normal(size=(SAMPLES, 8, 8, 2))
Y = np.random.default_rng(1).integers(0, 4, SAMPLES)
WEIGHTS = np.random.default_rng(2).random(SAMPLES)


class Mistakes(metrics.Metric):
    """By NumPy, and no mean: what only all samples of a batch together give."""

    def reset_state(self):
        self.most = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.most = max(self.most, int((y_pred.argmax(-1) != np.asarray(y_true).reshape(-1)).sum()))

    def result(self):
        return float(self.most)


def net(dtype="float64", normalized=False, **how):
    x = y = layers.Input((8, 8, 2), dtype=dtype)
    y = layers.RandomFlip(dtype=dtype)(y)
    y = layers.Conv2D(6, 3, activation="relu", dtype=dtype)(y)
    if normalized:  # each of the ways in which its passes are joined
        y = before = layers.BatchNormalization(dtype=dtype, **how)(y)
        y = layers.BatchNormalization(dtype=dtype, **how)(layers.Conv2D(6, 3, padding="same", dtype=dtype)(y))
        y = layers.ReLU(dtype=dtype)(layers.Add(dtype=dtype)([y, before]))
        y = layers.BatchNormalization(dtype=dtype, **how)(layers.Conv2D(7, 1, dtype=dtype)(y))
        y = layers.MaxPooling2D(strides=1, dtype=dtype)(layers.ReLU(dtype=dtype)(y))
        y = layers.ReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype, **how)(y))
        y = layers.ZeroPadding2D(1, dtype=dtype)(y)
    y = layers.Conv2D(5, 3, strides=2, dtype=dtype)(layers.Dropout(0.3, dtype=dtype)(y))
    y = layers.Dense(9, activation="tanh", dtype=dtype)(layers.Flatten(dtype=dtype)(y))
    return models.Model(x, layers.Dense(4, "softmax", dtype=dtype)(layers.Dropout(0.4, seed=7, dtype=dtype)(y)))


def compiled(ranks, seed=11, optimizer=None, **how):
    utils.set_random_seed(seed + ranks.rank)  # rank 0's is everyone's
    model = net(**how).distribute(ranks)
    model.compile(optimizer or optimizers.Adam(0.01), "sparse_categorical_crossentropy",
                  metrics=["accuracy", Mistakes()])
    return model


def fitted(model, x=X, y=Y, **how):
    given = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, "sample_weight": WEIGHTS[: len(x)],
             "validation_data": (X[:31], Y[:31]), **how}
    return model.fit(x, y, **given).history


def trains(ranks, folder):
    """All that training consists of, with buckets of each size."""
    model = compiled(ranks)
    history = fitted(model)
    tested = model.evaluate(X, Y, batch_size=BATCH, verbose=0)
    asked = model.predict(X, verbose=0)
    one = model.train_on_batch(X[:9], Y[:9])
    return model, {"history": history, "tested": tested, "asked": asked.tolist(), "one": one}


def normalizes(ranks, folder):
    """Moving averages are the mean of the ranks'."""
    model = compiled(ranks, normalized=True)
    return model, {"history": fitted(model)}


def synchronizes(ranks, folder):
    """The mean and variance of the whole batch."""
    model = compiled(ranks, normalized=True, synchronized=True)
    return model, {"history": fitted(model), "recorded": model.recording_report()["train"]["forward"]}


def reads_photos(ranks, folder):
    """A folder, of which each rank decodes a part; one picture is broken, and left out by all."""
    from PIL import Image

    photos = folder / f"photos-{ranks.rank}"  # the same ones
    for label in ("a", "b"):
        (photos / label).mkdir(parents=True)
        for i in range(26):
            noise = np.random.default_rng([i, ord(label)]).integers(0, 256, (9, 10, 3), np.uint8)
            Image.fromarray(noise).save(photos / label / f"{i:02}.png")
    (photos / "b" / "07.png").write_bytes(b"no picture")
    utils.set_random_seed(5)
    x = layers.Input((8, 8, 3), dtype="float64")
    y = layers.Conv2D(4, 3, activation="relu", dtype="float64")(layers.Rescaling(1 / 255, dtype="float64")(x))
    y = layers.Dropout(0.3, dtype="float64")(layers.Flatten(dtype="float64")(y))
    model = models.Model(x, layers.Dense(2, "softmax", dtype="float64")(y)).distribute(ranks)
    model.compile(optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    reports, decoded = [], []

    def dataset(seed):
        found = utils.image_dataset_from_directory(photos, image_size=(8, 8), batch_size=8, seed=seed, verbose=False)
        found.on_unreadable = lambda path, reason: reports.append(Path(path).name)
        return found

    train, read = dataset(1), type(dataset(1)._decoding).read
    type(train._decoding).read = lambda decoding, path: (decoding.size == (8, 8) and decoded.append(path), read(
        decoding, path))[1]
    history = model.fit(train, epochs=3, validation_data=dataset(2), verbose=0).history
    batches = [(X[i : i + 8, :, :, [0, 1, 0]], Y[i : i + 8] % 2) for i in range(0, 40, 8)]
    more = model.fit(iter(batches), verbose=0).history
    return model, {"history": {**history, "more": more["loss"]}, "tested": model.evaluate(iter(batches), verbose=0),
                   "reports": reports, "decoded": len(decoded)}


def calls_back(ranks, folder):
    """Rank 0's callbacks decide for all."""
    calls = []

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append([batch, logs["loss"]])

        def on_epoch_end(self, epoch, logs=None):
            logs["alone"] = self.model.evaluate(X, Y, verbose=0)[0]  # rank 0 by itself
            if epoch == 1:
                self.model.set_weights([w * 0.5 for w in self.model.get_weights()])

    stopping = callbacks.EarlyStopping("loss", min_delta=10, patience=2, restore_best_weights=True)
    model = compiled(ranks)
    history = fitted(model, epochs=9, callbacks=[
        Watch(), stopping, callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
        callbacks.CSVLogger(folder / "log.csv")])
    return model, {"history": history, "calls": calls, "rate": float(model.optimizer.learning_rate)}


def begins(ranks, folder):
    """A training that ends in its third epoch, in the middle, with its state saved."""
    class Ends(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 14:
                backup.stop_requested = True

    model, backup = compiled(ranks), callbacks.BackupAndRestore(folder / "states", delete_checkpoint=False)
    try:
        fitted(model, callbacks=[Ends(), backup])
    except KeyboardInterrupt:
        return model, {"iterations": int(model.optimizer.iterations)}
    raise AssertionError("nobody stopped it")


def goes_on(ranks, folder):
    """That training, from any number of ranks on."""
    model = compiled(ranks, seed=99)
    class Ends(callbacks.Callback):  # the one that ended it did remember nothing
        pass

    return model, {"history": fitted(model, resume=folder / "states", callbacks=[Ends()])}


def differs(ranks, folder):
    """One rank has other data, another argument, another net: all say which."""
    last, said = ranks.rank == ranks.size - 1, []
    for how in ({"x": X + last}, {"batch_size": BATCH + last}, {"epochs": EPOCHS + last}, {"rate": 0.01 + last / 10}):
        how, rate = dict(how), how.get("rate", 0.01)
        how.pop("rate", None)
        try:
            fitted(compiled(ranks, optimizer=optimizers.SGD(rate)), **how)
        except ValueError as error:
            said.append(str(error))
    return None, {"said": said}


def compresses(ranks, folder):
    """Gradients as float16: near, and the same bits on all ranks."""
    ranks = parallel.MPI(compression="float16", bucket_bytes=500) if ranks.size > 1 else ranks
    model = compiled(ranks, dtype="float32")
    return model, {"history": fitted(model)}


def on_gpu(ranks, folder):
    """Gradients that go through pinned memory, on a GPU or on one whose PTX runs in NumPy."""
    from autoconv.kernels.cuda import device as device_cuda
    from ptx.device import interpreted

    with nullcontext() if device_cuda.usable() else interpreted():
        found = {}
        set_precision("highest")
        for device in ("cpu", "cuda"):
            utils.set_random_seed(3)
            x = layers.Input((6, 6, 2))
            y = layers.Flatten()(layers.Conv2D(3, 3, activation="tanh")(x))
            model = models.Model(x, layers.Dense(4, "softmax")(y)).to(device).distribute(ranks)
            model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy")
            model.fit(X[:40, :6, :6].astype(np.float32), Y[:40], batch_size=8, epochs=2, verbose=0)
            found[device] = np.concatenate([np.asarray(w).reshape(-1) for w in model.get_weights()])
        return model.to("cpu"), {"apart": float(abs(found["cuda"] - found["cpu"]).max())}


def sums(ranks, folder):
    """Arrays of many sizes, several at once: the bits of adding them in the order of ranks."""
    begun = []
    for i, size in enumerate([1, 2, 3, 7, 100, 4096, 5000, 100_001] * 2):
        every = [np.random.default_rng([i, rank]).normal(size=size).astype(np.float32) for rank in range(ranks.size)]
        total = every[0]
        for other in every[1:]:
            total = total + other
        begun.append((np.array(every[ranks.rank]), total))
        ranks.start(begun[-1][0])
        if i % 5 == 4:
            ranks.progress()
    mean = [np.full((2, 3), 1.0 + ranks.rank, np.float32), np.full(4, 2.0 * ranks.rank)]
    ranks.start_mean(mean)
    ranks.finish()
    right = [bool(np.array_equal(*pair)) for pair in begun]
    return None, {"right": right, "mean": [a.tolist() for a in mean],
                  "sum": ranks.sum(np.arange(3.0) + ranks.rank).tolist(),
                  "exchanged": ranks.exchange({"rank": ranks.rank, "much": "x" * 10**6 * ranks.rank})[-1]["rank"],
                  "told": ranks.broadcast(["of", ranks.rank])}


def hangs(ranks, folder):
    """A rank that does not come is named."""
    import time

    ranks = parallel.MPI(timeout=1.0)
    if ranks.rank == ranks.size - 1:
        time.sleep(60)
    fitted(compiled(ranks))
    return None, {}


def fails(ranks, folder):
    """An exception on one rank alone ends all."""
    class Fails(layers.Layer):
        def call(self, x, training=False):
            if training and ranks.rank == 1 and model.optimizer.iterations == 3:
                raise OSError("No space left on this rank")
            return x

    x = layers.Input((8, 8, 2))
    model = models.Model(x, layers.Dense(4, "softmax")(layers.Flatten()(Fails()(x)))).distribute(ranks)
    model.compile("sgd", "sparse_categorical_crossentropy")
    fitted(model)
    return None, {}


def dies(ranks, folder):
    """As by the system, where memory ends."""
    if ranks.rank == ranks.size - 1:
        os.kill(os.getpid(), 9)
    fitted(compiled(ranks))
    return None, {}


CASES = {case.__name__: case for case in (trains, normalizes, synchronizes, reads_photos, calls_back, begins, goes_on,
                                          differs, compresses, on_gpu, sums, hangs, fails,
                                          dies)}


def main(folder, *names):
    warnings.simplefilter("error")
    ranks = parallel.MPI(bucket_bytes=800) if os.environ.get("AUTOCONV_TEST_RANKS") else ALONE
    for name in names:
        model, found = CASES[name](ranks, Path(folder))
        place = Path(folder) / f"{name}-{ranks.rank}"
        place.with_suffix(".json").write_text(json.dumps(found))
        if model is not None:
            np.save(place.with_suffix(".npy"), np.concatenate([w.reshape(-1) for w in model.get_weights()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
