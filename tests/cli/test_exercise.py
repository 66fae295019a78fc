"""`autoconv exercise`: what it lists and prints, and how it answers right, wrong and broken files."""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from exercise_answers import ANSWERS

from autoconv.datasets import digits
from autoconv.programs import exercises
from autoconv.programs.cli import main

EVERY = [exercise for sheet in exercises.sheets() for exercise in sheet.exercises]
NUMBERS = {exercise.title: number for number, exercise in enumerate(EVERY, 1)}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exercises.md").read_text(encoding="utf-8")
ODD = ["None", "'a'", "[]", "float('nan')", "object()", "lambda *_: None", "{}", "[[1, 2], [3]]", "10**400", "1j"]


@pytest.fixture
def answer(tmp_path):
    """Writes an answer and checks it: the output, after a look at the exit code."""
    def run(text, *arguments, code, name="answer.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return command(*arguments, tmp_path / name, code=code)

    return run


def command(*arguments, code=0):
    result = CliRunner().invoke(main, ["exercise", *map(str, arguments)])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result.output


def test_the_list_has_every_exercise_by_note():
    lines = command().splitlines()
    assert [line for line in lines if line.startswith("Note")] == [sheet.title for sheet in exercises.sheets()]
    assert [line[6:] for line in lines if re.match(r" +\d+  ", line)] == list(ANSWERS)
    assert len(exercises.sheets()) == 5


@pytest.mark.parametrize("title", ANSWERS)
def test_a_task_names_what_to_define(title):
    printed = command(NUMBERS[title])
    exercise = EVERY[NUMBERS[title] - 1]
    assert printed.startswith(f"{NUMBERS[title]}. {title}\n")
    for name in exercise.answers:
        assert re.search(rf"^{name}: |def {name}\(", printed, re.MULTILINE)
    assert f"autoconv exercise {NUMBERS[title]} answer.py" in printed


@pytest.mark.parametrize("title", ANSWERS)
def test_a_right_answer(title, answer):
    assert answer(ANSWERS[title][0], NUMBERS[title], code=0).startswith("Right.")


@pytest.mark.parametrize(("title", "text", "hint"), [
    pytest.param(title, *wrong, id=f"{title}: {wrong[1]}")
    for title, (_, mistakes) in ANSWERS.items() for wrong in mistakes])
def test_a_wrong_answer_gets_the_hint_for_its_mistake(title, text, hint, answer):
    printed = answer(text, NUMBERS[title], code=1)
    printed = printed[printed.index("Wrong. "):]
    assert hint in printed
    for number in solution(ANSWERS[title][0]) - solution(text):
        assert not re.search(rf"(?<![\d.]){re.escape(f'{number:g}')}(?![\d.]*\d)", printed), "the hint has the solution"


def solution(text):
    """The numbers from 10 on that an answer gives as such."""
    values = [node.value for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    literal = [value for value in values if isinstance(value, ast.Constant | ast.Tuple | ast.List)]
    return {node.value for value in literal for node in ast.walk(value)
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value >= 10}


@pytest.mark.parametrize("title", ANSWERS)
def test_an_odd_answer_is_wrong_and_nothing_fails(title, answer):
    exercise = EVERY[NUMBERS[title] - 1]
    for value in ODD:
        printed = answer("\n".join(f"{name} = {value}" for name in exercise.answers), NUMBERS[title], code=1)
        assert re.match(r"Wrong\. \S", printed)


@pytest.mark.parametrize("exercise", [each for each in EVERY if "expect" in each.check.__code__.co_names],
                         ids=lambda exercise: exercise.title)
def test_each_known_mistake_gets_its_own_hint(exercise, tmp_path, monkeypatch):
    """None equals the right result, and no two of a call are equal."""
    calls = []
    monkeypatch.setitem(exercise.check.__globals__, "expect", lambda *call: calls.append(call))
    (tmp_path / "answer.py").write_text(ANSWERS[exercise.title][0])
    exercises.check(exercise, tmp_path / "answer.py")
    assert calls
    for name, answer, right, mistakes in calls:
        exercises.expect(name, answer, right, mistakes)
        for hint, result in mistakes.items():
            with pytest.raises(exercises.Wrong) as wrong:
                exercises.expect(name, result, right, mistakes)
            assert str(wrong.value) == hint


@pytest.mark.parametrize(("answer", "right"), [
    (2.0004, 2.0), ([0.333], [1 / 3]), (9 * (1 / 3) / 3, 1), (np.float32(1.5), 1.5), ([True, False], [1, 0])])
def test_rounding_is_allowed(answer, right):
    exercises.expect("result", answer, right)


@pytest.mark.parametrize(("answer", "right"), [
    (2.002, 2.0), (2000.002, 2000.0), (24.0004, 24), (2230274, 2230272), ("18", 18), (18 + 0j, 18), ([18], 18)])
def test_another_number_is_wrong(answer, right):
    with pytest.raises(exercises.Wrong, match=r"^`result`"):
        exercises.expect("result", answer, right)


@pytest.mark.parametrize(("text", "said"), [
    ("import numpy as np\nresult = np.zeros(3", "answer.py, line 2: SyntaxError: '(' was never closed"),
    ("x = 1\nresult = nump.zeros(3)\n",
     "answer.py, line 2: NameError: name 'nump' is not defined\n    result = nump.zeros(3)\n"),
    ("reslut = 1", "answer.py must define result. Did you mean 'reslut'? It defines: reslut."),
    ("", "answer.py must define result. It defines: nothing."),
    ("exit(3)", "answer.py, line 1: SystemExit: 3"),
    ("open('nothing.txt')", "answer.py, line 1: FileNotFoundError"),
])
def test_an_answer_that_fails_is_told_where(text, said, answer):
    printed = answer(text, 1, code=1)
    assert printed.startswith("Error: ")
    assert said in printed


def test_a_function_that_fails_is_told_where(answer):
    text = "def conv2d(image, kernel, bias, stride):\n    return image @ bias[99]\n"
    printed = answer(text, NUMBERS["Write conv2d with loops"], code=1)
    assert "answer.py, line 2: IndexError: index 99 is out of bounds" in printed


def test_an_answer_may_import_a_file_beside_it(tmp_path, answer):
    (tmp_path / "my_numbers.py").write_text("result = [[7, 14], [10, 7]]")
    assert answer("from my_numbers import result", 1, code=0) == "Right.\n"


def test_a_function_may_import_a_file_beside_it(tmp_path, answer):
    (tmp_path / "my_sums.py").write_text("from exercise_answers import CONV2D\nexec(CONV2D)")
    path = sys.path.copy()
    text = "import sys\nsys.path.insert(0, 'elsewhere')\ndef conv2d(*arguments):\n    import my_sums\n"
    assert answer(f"{text}    return my_sums.conv2d(*arguments)\n", 8, code=0) == "Right.\n"
    assert sys.path == path


def test_wrong_usage(tmp_path):
    assert "NUMBER must be from 1 to 24. Received: 25. `autoconv exercise` lists" in command(25, code=2)
    assert "'answer.py' is not a valid integer" in command("answer.py", code=2)
    assert "does not exist" in command(1, tmp_path / "answer.py", code=2)


# Exercises of a lecturer.


def test_the_page_shows_what_the_commands_print(tmp_path, monkeypatch):
    """Its files are written, and each command prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    commands = 0
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        if language == "python" and text.startswith("# "):
            (tmp_path / text.split()[1]).write_text(text, encoding="utf-8")
        for line, printed in re.findall(r"^\$ autoconv exercise (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            code = int(printed.startswith(("Wrong.", "Error: ")))
            assert command(*line.split(), code=code).strip() == printed.strip()
            commands += 1
    assert commands == 7


@pytest.mark.parametrize(("text", "said"), [
    ("", "must contain an exercise, which is a function with the decorator"),
    ("1 / 0", "mine.py, line 1: ZeroDivisionError: division by zero"),
    ("from autoconv.programs.exercises import exercise\n@exercise\ndef one(x):\n    '''Do.'''\n",
     'mine.py, line 2: TypeError: An exercise needs a title, as in @exercise("Convolve by hand").'),
    ("from autoconv.programs.exercises import exercise\n@exercise('One')\ndef one(x):\n    pass\n",
     "mine.py, line 2: ValueError: An exercise needs a task. Add a docstring to one."),
    *[(f"from autoconv.programs.exercises import exercise\n@exercise('One')\ndef one({parameters}):\n    'Do.'\n",
       "mine.py, line 2: ValueError: An exercise needs one plain parameter per name that an answer defines, as in "
       f"def one(result). Received: def one({parameters}).") for parameters in ("", "*x", "x, **more", "x, *, y")],
])
def test_a_lecturer_s_mistake_is_told_where(text, said, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    assert said in command("--from", tmp_path / "mine.py", code=1)


def test_a_check_that_fails_is_told_where(tmp_path, answer):
    (tmp_path / "mine.py").write_text("from autoconv.programs.exercises import exercise, require\n@exercise('One')\n"
                                      "def one(x):\n    '''Do.'''\n    require(x > 0, 'Positive.')\n")
    assert "mine.py, line 5: TypeError" in answer("x = 'a'", "--from", tmp_path / "mine.py", 1, code=1)


def test_the_shown_command_can_be_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("week 3.py").write_text("from autoconv.programs.exercises.note_b import receptive_field\n")
    assert "`autoconv exercise --from 'week 3.py' 1 answer.py` checks" in command("--from", "week 3.py")
    assert "\nautoconv exercise --from 'week 3.py' 1 answer.py" in command("--from", "week 3.py", 1)


def test_built_in_exercises_can_be_used_again(tmp_path):
    (tmp_path / "mine.py").write_text("from autoconv.programs.exercises.note_b import receptive_field, small_net\n")
    assert command("--from", tmp_path / "mine.py").startswith(
        "mine.py\n   1  The receptive field\n   2  A small net\n")


def test_the_unseen_digits_are_not_in_the_data_set():
    images, labels = exercises.unseen_digits()
    assert images.shape == (300, 28, 28, 1)
    assert (np.bincount(labels) == 30).all()
    known = {image.tobytes() for part, _ in digits.load_data() for image in part}
    assert not known & {image.astype(np.uint8).tobytes() for image in images}
