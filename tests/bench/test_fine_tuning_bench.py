"""`python -m bench.fine_tuning`: its pictures, the order of its runs and its table."""

import pytest

pytest.importorskip("PIL", reason="pictures need the extra images")

from bench import fine_tuning


def test_times_and_accuracies_of_each_framework(monkeypatch, capsys):
    ran = []

    def run(name, seed, threads, folder, head_epochs, all_epochs):
        assert len(list(folder.glob("photos/train/class_9/*.jpg"))) == 5
        assert len(list(folder.glob("photos/test/class_0/*.jpg"))) == 1
        ran.append((name, seed, head_epochs, all_epochs))
        head = [0.5, 0.25] if name == "autoconv" else [2.0, 2.0]
        return {"epoch_seconds": [*head, 9.0, 8.0], "compile_s": 1.5 if name == "autoconv" else 0.0, "total_s": 20.0,
                "test_accuracy": 0.8 + 0.1 * seed}

    monkeypatch.setattr(fine_tuning, "run", run)
    monkeypatch.setattr(fine_tuning, "train_body", lambda folder, epochs: None)
    monkeypatch.setattr(fine_tuning, "find_spec", ["torch"].__contains__)
    fine_tuning.main(["--pictures", "50", "--head-epochs", "2", "--all-epochs", "2", "--seeds", "2", "--peers", "keras",
                      "torch"])
    heading, _, ours, theirs, missing = capsys.readouterr().out.splitlines()
    assert "2 seeds" in heading
    assert ours.split() == ["autoconv", "2.00", "0.25", "8.00", "20.0", "0.8500", "(0.8000", "..", "0.9000)"]
    assert theirs.split()[:3] == ["torch", "2.00", "2.00"]
    assert "not installed: keras" in missing
    warmed, *timed = ran
    assert warmed == ("autoconv", 0, 1, 1)
    assert timed == [(name, seed, 2, 2) for seed in range(2) for name in ("autoconv", "torch")]
