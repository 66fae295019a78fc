"""Random public calls: after each, a model's file of each format is refused, or goes on as the model does."""

import importlib.util
import os
import random
import warnings

import numpy as np
import pytest

from autoconv import layers, models, optimizers, utils

X = np.random.default_rng(1).random((8, 6), np.float32)
SUFFIXES = [".safetensors", *([".keras", ".h5"] if importlib.util.find_spec("h5py") else [])]
REASONS = ("Only one of clipnorm", "would be loaded with trainable=")  # why a file is refused
OPTIMIZERS = ("SGD", "Adam", "Nadam", "RMSprop", "Adagrad", "AdamW")


def layer(draw):
    return draw.choice([
        lambda: layers.Dense(4, draw.choice(["relu", "tanh", None])), layers.BatchNormalization,
        lambda: layers.Dropout(0.3, seed=draw.choice([None, 7])), lambda: layers.GaussianNoise(0.1, seed=3),
        lambda: models.Sequential([layers.Dense(4), layers.Dropout(0.2, seed=5)])])()


def compile_it(model, draw):
    kind = getattr(optimizers, draw.choice(OPTIMIZERS))
    options = {"momentum": 0.9} if kind is optimizers.SGD else {}
    model.compile(kind(draw.choice([0.01, 0.1]), use_ema=draw.random() < 0.2, **options), "mse")


def freeze(model, draw):
    draw.choice([model, *model.layers]).trainable = draw.random() < 0.4


def set_clip(model, draw):
    setattr(model.optimizer, draw.choice(["clipnorm", "clipvalue", "global_clipnorm"]), draw.choice([None, 0.5]))


def set_seed(model, draw):
    for each in model.layers:
        if isinstance(each, layers.Dropout):
            each.seed = draw.choice([None, 1, 2])


def pop(model, draw):
    if len(model.layers) > 1:
        model.pop()


CALLS = (compile_it, freeze, set_clip, set_seed, pop, lambda model, draw: model.add(layer(draw)),
         lambda model, draw: steps(model), lambda model, draw: setattr(model.optimizer, "learning_rate", 0.05))


def steps(model):
    """The losses of three steps; None if the model's optimizer must be made anew."""
    utils.set_random_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nothing to train
            target = np.ones((4, *model.output_shape[1:]), np.float32)
            return [np.asarray(model.train_on_batch(X[i:i + 4], target)).tolist() for i in range(3)]
    except ValueError as error:
        assert "Create a new optimizer" in str(error)  # noqa: PT017
        return None


def run(seed, folder):
    draw = random.Random(seed)
    utils.set_random_seed(seed)
    model = models.Sequential([layers.Input((6,)), layers.Dense(4), layer(draw)])
    compile_it(model, draw)
    refused = 0
    for _ in range(draw.randrange(2, 7)):
        draw.choice(CALLS)(model, draw)
        copies = []
        for suffix in SUFFIXES:
            path = folder / f"{seed}{suffix}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of an optimizer that must be made anew
                    model.save(path)
            except ValueError as error:
                assert any(reason in str(error) for reason in REASONS)  # noqa: PT017
                refused += 1
                continue
            copies.append((suffix, models.load_model(path)))
        found = steps(model)
        for suffix, copy in copies:
            other = steps(copy)
            assert found is None or found == other, (seed, suffix)
        if found is None:
            compile_it(model, draw)
    return refused


@pytest.mark.parametrize("seed", range(20))
def test_a_file_goes_on_as_the_model_does_or_is_refused(seed, tmp_path):
    run(seed, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_thousand_sequences(tmp_path):
    for seed in range(int(os.environ.get("AUTOCONV_SEQUENCES", "1000"))):
        run(seed, tmp_path)
