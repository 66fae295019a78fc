"""`python -m bench.sprint`: what it says of a record."""

import pytest

from bench import sprint


@pytest.fixture
def runs(monkeypatch):
    """Runs that are made up: each framework's accuracy, and what was run."""
    accuracies, ran = {"autoconv": [0.992, 0.990, 0.989], "torch": [0.990, 0.991, 0.986]}, []

    def run(name, seed, threads, folder, dataset, *more):
        ran.append((name, seed, dataset, *more))
        seconds = 0.5 + 0.1 * seed
        return sprint.Run(accuracies[name][seed], seconds, seconds + 1)

    monkeypatch.setattr(sprint, "run", run)
    monkeypatch.setattr(sprint, "save", lambda *arguments: None)
    monkeypatch.setattr(sprint, "find_spec", ["torch", "keras"].__contains__)
    return accuracies, ran


def test_means_ranges_and_times_of_each_framework(runs, capsys):
    assert sprint.main(["--seeds", "3", "--threads", "2", "--peers", "torch"]) == 0
    heading, _, ours, theirs = capsys.readouterr().out.splitlines()
    assert "2 threads, 3 seeds" in heading
    assert ours.split("  ")[0] == "autoconv"
    assert "0.9903 (0.9890 .. 0.9920)" in ours
    assert "0.60 (0.50 .. 0.70)" in ours
    assert "1.60 (1.50 .. 1.70)" in ours
    assert "0.9890 (0.9860 .. 0.9910)" in theirs
    command = "mnist", "--recipe", "sprint", "--epochs", "1"
    assert runs[1][:2] == [(name, 0, *command, "--limit", "2000") for name in ("autoconv", "torch")]
    assert runs[1][2:] == [(name, seed, *command) for seed in range(3) for name in ("autoconv", "torch")]


def test_frameworks_that_are_not_installed_are_left_out(runs, capsys):
    assert sprint.main(["--seeds", "1", "--peers", "jax", "keras-jax"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("not installed: jax, keras-jax. pip install")
    assert {name for name, *_ in runs[1]} == {"autoconv"}


def test_a_mean_below_the_target_fails(runs):
    runs[0]["autoconv"] = [0.9899, 0.9899, 0.99]
    assert sprint.main(["--seeds", "3"]) == 1


def test_the_frameworks_learn_by_the_recipe_of_the_command_line():
    from autoconv.optimizers.schedules import OneCycle
    from autoconv.programs.cli.train import RECIPES
    from bench import sprint_peers

    recipe = RECIPES["sprint"]
    assert (recipe["batch_size"], recipe["label_smoothing"]) == (sprint_peers.BATCH_SIZE, sprint_peers.SMOOTHING)
    rates = OneCycle(recipe["lr"], 625)
    assert sprint_peers.rates(625) == pytest.approx([rates(step) for step in range(625)])


@pytest.mark.parametrize("name", ["torch", "keras", "jax"])
def test_a_framework_trains_the_same_net(name, monkeypatch):
    for variable, value in (("KERAS_BACKEND", "tensorflow"), ("TF_CPP_MIN_LOG_LEVEL", "3")):
        monkeypatch.setenv(variable, value)  # so that they are what they were afterwards
    pytest.importorskip(name)
    import numpy as np

    from bench import sprint_peers

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 1920).astype(np.uint8)
    images = np.zeros((1920, 28, 28), np.uint8)
    images[np.arange(1920), 2 * labels + 3, 8:20] = 255
    arrays = {"train": images, "train_labels": labels, "test": images[:300], "test_labels": labels[:300]}
    seconds, accuracy = sprint_peers.FRAMEWORKS[name](arrays, 0, 1)
    assert seconds > 0
    assert accuracy > 0.9


def test_the_recipes_for_cifar10_have_their_own_peers(runs, capsys):
    runs[0]["torch-compile"] = [0.9] * 3
    assert sprint.main(["--dataset", "cifar10", "--recipe", "best", "--epochs", "2", "--seeds", "1", "--limit", "5000",
                        "--peers", "torch-compile"]) == 0
    assert "cifar10, 2 epochs" in capsys.readouterr().out
    command = "cifar10", "--recipe", "best", "--epochs", "2", "--limit", "5000"
    assert runs[1][2:] == [(name, 0, *command) for name in ("autoconv", "torch-compile")]
    with pytest.raises(SystemExit):
        sprint.main(["--dataset", "cifar10", "--peers", "jax"])
    assert "--peers must be among torch, torch-compile. Received: jax." in capsys.readouterr().err


def test_pytorch_trains_the_net_for_cifar10_by_the_recipe():
    pytest.importorskip("torch")
    import numpy as np

    from autoconv.programs.cli.train import CIFAR10, MUON
    from autoconv.utils import whitening_filters
    from bench import cifar10_peers as peers

    recipe = CIFAR10["sprint"]
    assert (recipe["batch_size"], recipe["label_smoothing"]) == (peers.BATCH_SIZE, peers.SMOOTHING)
    assert {"learning_rate": peers.RATE, "momentum": peers.MOMENTUM, "rms_rate": None, "weight_decay": peers.DECAY,
                    "adam_lr_ratio": peers.ADAM_RATE, "adam_beta_2": peers.ADAM_BETAS[1]} == MUON
    labels = np.arange(200, dtype=np.uint8) % 10
    images = np.random.default_rng(0).integers(0, 60, (200, 32, 32, 3), np.uint8)
    images[np.arange(200), :, :, labels % 3] += 19 * labels[:, None, None]
    arrays = {"train": images, "train_labels": labels[:, None], "test": images, "test_labels": labels[:, None],
              "filters": whitening_filters(images / 255 * 4 - 2)}
    seconds, accuracy, mirrored = peers.train(arrays, 0, 1, 30, False)
    assert seconds > 0
    assert min(accuracy, mirrored) > 0.5
