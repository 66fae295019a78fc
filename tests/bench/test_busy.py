"""`python -m bench.busy`: each framework alone and beside busy programs, which end with it."""

import json
import time
from pathlib import Path

import pytest

from bench import busy, peers, show


@pytest.fixture
def fakes(monkeypatch):
    """The fake peers, by name, and no time to wake up in."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    monkeypatch.setattr(busy, "AWAKE", 0.05)
    monkeypatch.setattr(busy, "SECONDS", 0.01)
    monkeypatch.setattr(peers, "PEERS", {name: peers.Entry(name, f"fake_peers:{name}", (), ("click",))
                                         for name in ("Honest", "Lazy")})


def test_times_alone_and_beside_programs(fakes, tmp_path, capsys):
    file = tmp_path / "busy.json"
    assert busy.main(["--rounds", "1", "--threads", "1", "--peers", "Honest", "--json", str(file)]) == 0
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert line[0] == "Honest"
    assert all(float(number.replace(",", "")) > 0 for number in line[1:])
    found = json.loads(file.read_text())["results"][0]["peers"]["Honest"]
    assert found["status"] == "timed"
    assert [len(found["seconds"][load]) for load in "012"] == [1, 1, 1]


def test_what_does_not_train_is_not_timed(fakes, capsys):
    assert busy.main(["--rounds", "1", "--threads", "1", "--peers", "Lazy"]) == 1
    assert "weights are unchanged" in capsys.readouterr().out


def test_the_programs_are_busy_and_end(monkeypatch):
    monkeypatch.setattr(busy, "AWAKE", 0.5)
    programs = []

    def interrupted():
        with busy.busy(2, 1) as running:
            programs.extend(running)
            time.sleep(0.2)
            assert [program.poll() for program in running] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [program.poll() is not None for program in programs] == [True, True]


def test_the_command_in_results_names_no_file_of_this_machine():
    assert show.command(["--rounds", "3", "--json", "/home/me/a.json", "--quick"]) == "--rounds 3 --quick"
    assert show.command(["--json=/home/me/a.json", "--peers", "torch"]) == "--peers torch"
