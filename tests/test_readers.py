"""Whatever is in a file, it is read right or refused: in two seconds and 200 MB, without a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from readers import READERS, Reader, tried

pytest.importorskip("PIL")
PROGRAM = Path(__file__).with_name("readers.py")


def outcomes(names, count, timeout):
    """What became of the files, by reader. They are read in a process of its own: it may crash, or hang."""
    done = subprocess.run([sys.executable, PROGRAM, ",".join(names), str(count)], capture_output=True, text=True,
                          timeout=timeout, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-2000:]}"
    return [line for line in lines if "name" in line]


def check(found):
    for of in found:
        assert of["wrong"] == 0, (of["name"], of["first"])
        assert of["read"] < of["files"], of


def test_damaged_and_hostile_files_are_read_right_or_refused():
    found = outcomes([], 60, 200)
    assert [of["name"] for of in found] == [reader.name for reader in READERS]
    check(found)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_thousands_of_damaged_files(name):
    found = outcomes([name], 2000, 1800)
    print(json.dumps(found))  # noqa: T201 - pytest -s shows the figures
    assert found[0]["files"] >= 2000
    check(found)


def test_the_table_finds_what_is_wrong():
    """A reader that forgets its checks is told from one that does not."""
    def careless(folder):
        data = (folder / "x").read_bytes()
        return data[sum(data[:64])], b"x" * 400_000_000 if len(data) > 100 else b""

    wrong = [outcome.wrong for outcome in tried(Reader("careless", lambda: bytes(100), "x", careless), 20)]
    assert any("IndexError" in said for said in wrong)
    if sys.platform == "linux":
        assert any("MB" in said for said in wrong)
