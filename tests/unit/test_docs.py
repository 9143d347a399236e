"""The pages: what they link to is there, and the settings they name exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.settings import unknown_variables

CHECKOUT = Path(__file__).parents[2]
_FOLDERS = ("docs", "docker", "k8s", "connector", "tests", "schemas")
PAGES = sorted(
    [*CHECKOUT.glob("*.md"), *(page for name in _FOLDERS for page in (CHECKOUT / name).rglob("*.md"))]
)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"\bCONNECTOR_[A-Z]+__[A-Z_]*[A-Z]\b(?![_*{…|])")


def _links(page: Path) -> Iterator[str]:
    text = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", page.read_text("utf-8")))
    return (link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link))


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, spaces to hyphens, other punctuation dropped, repetitions numbered."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", _FENCED.sub("", page.read_text("utf-8")), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip()
        name, number = words.replace(" ", "-"), 0
        while (anchor := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    """Each relative link is a file or folder of the repository, and its anchor a heading of that page."""
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(CHECKOUT), f"{link} leaves the repository"
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in _anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_settings_that_a_page_names_exist(page: Path) -> None:
    """A reader who sets one is not told that there is no such setting."""
    assert unknown_variables(_VARIABLE.findall(page.read_text("utf-8"))) == {}


def test_every_page_is_in_the_list_of_the_readme() -> None:
    """A page that nobody links to is not read; decisions are listed as a folder."""
    listed = {(CHECKOUT / link.partition("#")[0]).resolve() for link in _links(CHECKOUT / "README.md")}
    pages = {page for page in (CHECKOUT / "docs").rglob("*.md") if not {page, page.parent} & listed}
    assert {str(page.relative_to(CHECKOUT)) for page in pages} == set()
