"""The English of pages, docstrings and comments has none of the phrases that readers had to read twice."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("autoconv", "bench", "docsite", "ptx") for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PHRASES = re.compile(  # "where" for "if", German word order, and words that programs do not have
    r"\b(fits? not|but for|so far as|where (it|there) is (not?|none)|nobody|whoever|without a word|in turns|"
    r"on the shell|tells? apart|told apart|what (fits|it counts))\b", re.IGNORECASE)
HEADLESS = re.compile(r"(What|How|Which|Where|Whose)\b")  # a docstring begins with a verb, a noun or a formula
LOOSE = re.compile(r"#\s*(of|to|than|with which|by which|in which)\s")  # a comment begins with its noun


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def comments(text):
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def continues(number, lines):
    """Whether a comment goes on from the comment in the line before."""
    return number > 1 and lines[number - 2].lstrip().startswith("#")


def test_docstrings_and_comments_name_what_they_are_about():
    found = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        for number, docstring in docstrings(ast.parse(text)):
            headless = HEADLESS.match(docstring)
            found += [(path, number, match[0]) for match in (headless, *PHRASES.finditer(docstring)) if match]
        for number, comment in comments(text):
            loose = None if continues(number, lines) else LOOSE.match(comment)
            found += [(path, number, match[0]) for match in (loose, *PHRASES.finditer(comment)) if match]
    assert not [f"{path.relative_to(ROOT)}:{number}: {words}" for path, number, words in found]


def test_pages_have_none_of_these_phrases():
    found = []
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        found += [f"{page.relative_to(ROOT)}: {match[0]}" for match in PHRASES.finditer(prose)]
    assert not found
