"""The net and the recipe of `autoconv train mnist --recipe sprint` in other frameworks, for
bench.sprint.

`python -m bench.sprint_peers NAME SEED THREADS FOLDER BEGUN` prints results with the same names as
autoconv's --json. FOLDER has MNIST as .npy files, and BEGUN is time.time() at the start of this
process. PyTorch runs a handwritten loop (channels_last, fused Adam). Keras runs its own `fit` on
TensorFlow or JAX, compiled, with 25 steps per call if possible.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

BATCH_SIZE, PEAK, WARMUP, SMOOTHING, EPSILON = 96, 0.012, 0.25, 0.1, 1e-7
SCALE, OFFSET = 1 / 78.6, -0.424

Arrays = dict[str, np.ndarray]


def rates(steps: int) -> np.ndarray:
    """Returns the learning rate of each step. The rate rises from a tenth of the peak to the peak, and
    then falls to 0.
    """
    return np.interp(np.arange(steps) / steps, [0, WARMUP, 1], [0.1 * PEAK, PEAK, 0.0])


def torch(arrays: Arrays, seed: int, threads: int) -> tuple[float, float]:
    """Trains with PyTorch. Returns the seconds of training and the test accuracy."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    net = nn.Sequential(nn.Conv2d(1, 16, 4, 2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=PEAK, eps=EPSILON, fused=True)
    train, test = (torch.from_numpy(arrays[name])[:, None] for name in ("train", "test"))
    labels = torch.from_numpy(arrays["train_labels"].astype(np.int64))
    begun = time.perf_counter()
    batches = torch.randperm(len(train)).split(BATCH_SIZE)
    for rows, rate in zip(batches, rates(len(batches)).tolist()):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        x = train[rows].float() * SCALE + OFFSET
        F.cross_entropy(net(x), labels[rows], label_smoothing=SMOOTHING).backward()
        optimizer.step()
    taken = time.perf_counter() - begun
    with torch.inference_mode():
        found = torch.cat([net(x.float() * SCALE + OFFSET).argmax(1) for x in test.split(1000)])
    return taken, float((found.numpy() == arrays["test_labels"]).mean())


def keras(arrays: Arrays, seed: int, threads: int, backend: str = "tensorflow") -> tuple[float, float]:
    """Trains with Keras. Returns the seconds of training and the test accuracy. The seconds include
    compiling in the first 25 steps, because the net is trained only once.
    """
    os.environ.update(KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    train, labels = arrays["train"][..., None], keras.utils.to_categorical(arrays["train_labels"], 10)

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            share = keras.ops.cast(step, "float32") / -(-len(train) // BATCH_SIZE)
            return PEAK * keras.ops.minimum(0.1 + 0.9 * share / WARMUP, (1 - share) / (1 - WARMUP))

    net = keras.Sequential([
        layers.Input((28, 28, 1)), layers.Rescaling(SCALE, OFFSET),
        layers.Conv2D(16, 4, strides=2, activation="relu"), layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(), layers.Conv2D(32, 3, activation="relu"), layers.Flatten(),
        layers.Dense(10, kernel_initializer="zeros"),
    ])
    net.compile(keras.optimizers.Adam(OneCycle()), metrics=["accuracy"],
                loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING),
                **({"steps_per_execution": 25} if backend == "tensorflow" else {}))
    begun = time.perf_counter()
    net.fit(train, labels, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    taken = time.perf_counter() - begun
    found = net.predict(arrays["test"][..., None], batch_size=1000, verbose=0).argmax(1)
    return taken, float((found == arrays["test_labels"]).mean())


def jax(arrays: Arrays, seed: int, threads: int) -> tuple[float, float]:
    """Trains with JAX. Returns the seconds of training, including compiling, and the test accuracy.
    The whole step, including the gathering of its batch, is one jitted function.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    def net(weights, x):
        x = x.astype(jnp.float32)[..., None] * SCALE + OFFSET
        for i, strides in enumerate((2, 1, 1)):
            w, b = weights[2 * i : 2 * i + 2]
            y = lax.conv_general_dilated(x, w, (strides, strides), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(y + b)
            if i == 1:
                x = x[:, :10, :10].reshape(-1, 5, 2, 5, 2, 32).max((2, 4))
        return x.reshape(len(x), -1) @ weights[6] + weights[7]

    def loss(weights, x, labels):
        shares = jax.nn.log_softmax(net(weights, x))
        right = jnp.take_along_axis(shares, labels[:, None], 1).mean()
        return -(1 - SMOOTHING) * right - SMOOTHING * shares.mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(weights, means, squares, images, labels, rows, rate, count):
        gradients = jax.grad(loss)(weights, images[rows], labels[rows])
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
        squares = [0.999 * v + 0.001 * g * g for v, g in zip(squares, gradients)]
        rate *= jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        moved = [w - rate * m / (jnp.sqrt(v) + EPSILON) for w, m, v in zip(weights, means, squares)]
        return moved, means, squares

    random, weights = np.random.default_rng(seed), []
    for *window, c, f in ((4, 4, 1, 16), (3, 3, 16, 32), (3, 3, 32, 32)):
        limit = (6 / (np.prod(window) * (c + f))) ** 0.5
        weights += [jnp.array(random.uniform(-limit, limit, (*window, c, f)), jnp.float32), jnp.zeros(f)]
    weights += [jnp.zeros((288, 10)), jnp.zeros(10)]
    train, labels = jnp.array(arrays["train"]), jnp.array(arrays["train_labels"], jnp.int32)
    means, squares = ([jnp.zeros_like(w) for w in weights] for _ in range(2))
    begun = time.perf_counter()
    order = random.permutation(len(train)).astype(np.int32)
    batches = np.split(order, range(BATCH_SIZE, len(train), BATCH_SIZE))
    for i, (rows, rate) in enumerate(zip(batches, rates(len(batches)).astype(np.float32)), 1):
        weights, means, squares = step(weights, means, squares, train, labels, rows, rate, np.float32(i))
    jax.block_until_ready(weights)
    taken = time.perf_counter() - begun
    answer = jax.jit(lambda weights, x: net(weights, x).argmax(1))
    test = arrays["test"]
    found = np.concatenate([answer(weights, test[i : i + 1000]) for i in range(0, len(test), 1000)])
    return taken, float((found == arrays["test_labels"]).mean())


def keras_on_jax(arrays: Arrays, seed: int, threads: int) -> tuple[float, float]:
    return keras(arrays, seed, threads, "jax")


FRAMEWORKS: dict[str, Callable[[Arrays, int, int], tuple[float, float]]] = {
    "torch": torch, "keras": keras, "jax": jax, "keras-jax": keras_on_jax}


def main() -> None:
    name, seed, threads, folder, begun = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # redirects everything that the framework prints to standard error
    arrays = {key: np.load(f"{folder}/{key}.npy") for key in ("train", "train_labels", "test", "test_labels")}
    taken, accuracy = FRAMEWORKS[name](arrays, int(seed), int(threads))
    print(json.dumps({"test_accuracy": accuracy, "epoch_seconds": [taken], "total_s": time.time() - float(begun)}),
          file=out, flush=True)


if __name__ == "__main__":
    main()
