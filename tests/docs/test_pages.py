"""The pages as one reads them in the repository: every link, place and picture is there, and no markup is left raw."""

import re
from pathlib import Path

import pytest

from docsite import made

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)(?:#([^)]+))?\)")
OF_THE_SITE_ALONE = {"an included file": r"^ *--8<--", "an admonition": r"^ *(!!!|\?\?\?) ",
                     "attributes": r"\{ *[#:.]\w", "a docstring": r"^:::",
                     "tabs": r'^=== "', "HTML with Markdown in it": r"<\w+[^>]* markdown"}


def prose(page):
    """The page without its code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "`code`", text)


def places(page):
    """The names of the places of a page: of each heading, as GitHub makes them, and those that are given by hand."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = [re.sub(r"<[^>]+>", "", heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(
        re.findall(r'<a id="([\w-]+)">', text))


def by_path(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_every_link_leads_somewhere(page):
    for target, place in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not place or place in places(path), f"{page.name} links to {target}#{place}"


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_nothing_is_written_for_the_site_alone(page):
    for what, pattern in OF_THE_SITE_ALONE.items():
        assert not re.search(pattern, prose(page), re.MULTILINE), f"{page.name} has {what}"


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_every_picture_is_there(page):
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose(page)):
        assert (page.parent / picture).stat().st_size > 500


def test_every_picture_is_shown():
    assert made.left_over() == []


def test_the_pages_that_are_made_are_up_to_date():
    for page, text in made.texts().items():
        assert made.same_text(page, text), f"{by_path(page)} is out of date: python -m docsite"
