"""`python -m bench.homework`: which scripts it runs, in which order, and its tables."""

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bench import environment, homework, homework_script

SCRIPT = '''"""A docstring
of two lines."""

from autoconv import layers, models  # a comment

# A comment.
model = models.Sequential([
    layers.Input((2,)),
    layers.Dense(1),
])
text = """a text
of two lines"""
model.compile("sgd", "mse")
model.fit([[1.0, 2.0]], [[3.0]], verbose=0)
print("epoch 1: 0.250 s, loss 0.3")
print("loss 0.5")
'''


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path / "script.py"


def test_blank_lines_comments_and_docstrings_are_no_code(script):
    assert homework.count_lines(script) == 11


def test_a_script_is_run_in_its_own_process(script):
    result = homework.run(script, "autoconv", 1, script)
    assert (result["last"], result["epoch_s"], result["lines"]) == ("loss 0.5", [0.25], 11)
    assert 0.25 < result["train_s"] < result["process_s"]


def test_keras_runs_the_same_script_with_its_own_imports(monkeypatch, tmp_path, capsys):
    """The module `keras` of this test has a few of Keras's names. Nothing of autoconv can be imported but the digits.
    """
    class Model:
        def fit(self):
            return 7

    (tmp_path / "script.py").write_text("from autoconv import Model, layers\nfrom autoconv.datasets import digits\n"
                                        "print(layers, Model().fit(), digits.load_data()[0][0].sum())\n",
                                        encoding="utf-8")
    np.savez(tmp_path / "digits.npz", **{f"{x}_{part}": np.ones(3) for x in "xy" for part in ("train", "test")})
    for name in ("autoconv", "autoconv.datasets"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(Model=Model, layers="Keras"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(environment, "confine", lambda threads: None)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "script.py"), "keras", "1", str(tmp_path / "digits.npz")])
    homework_script.main()
    assert json.loads(capsys.readouterr().out)["last"] == "Keras 7 3.0"


def test_each_framework_runs_in_each_round_and_the_medians_are_compared(monkeypatch, capsys):
    ran = []

    def run(script, framework, threads, data):
        ran.append((script.name, framework))
        seconds = {"autoconv": 1.0, "keras": 3.0, "torch": 2.0}[framework] * (10 if len(ran) < 4 else 1)
        return {"lines": {"autoconv": 40, "keras": 50, "torch": 60}[framework], "process_s": 2 * seconds,
                "train_s": seconds, "epoch_s": [9.0, seconds], "last": f"loss 0.{len(framework)}"}

    monkeypatch.setattr(homework, "run", run)
    monkeypatch.setattr(homework, "find_spec", lambda name: name)
    homework.main(["--only", "gan", "unet", "--rounds", "3", "--threads", "2"])
    assert ran[0] == ("gan.py", "autoconv")  # compiles the kernels
    order = [("gan.py", "autoconv"), ("gan_keras.py", "keras"), ("gan_torch.py", "torch")]
    assert ran[1:10] == [*order, *order[::-1], *order]
    assert ran[11:15] == [("unet.py", "autoconv"), ("unet.py", "keras"), ("unet.py", "keras"), ("unet.py", "autoconv")]
    out = capsys.readouterr().out
    assert "| `gan` | 40 / 50 | 2.0 / 6.0 | 3.00 | 1.0 / 3.0 | 3.00 | loss 0.8 / 0.5 |" in out
    assert "| torch | 60 | 2.000 | 2.00 | loss 0.5 |" in out


def test_a_framework_that_is_not_installed_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(homework, "find_spec", lambda name: None)
    monkeypatch.setattr(homework, "run", lambda *_: {"lines": 9, "process_s": 2.0, "train_s": 1.0, "epoch_s": [],
                                                     "last": "loss 0.5"})
    homework.main(["--only", "gan", "--rounds", "1"])
    out = capsys.readouterr().out
    assert "| `gan` | 9 | 2.0 |  | 1.0 |  | loss 0.5 |" in out
    assert "not installed: keras, torch" in out
