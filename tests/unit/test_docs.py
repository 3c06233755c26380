"""The documents say nothing that the command line does not understand, and leave no command out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.command_lines import commands, parse

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]

IN_BLOCK = re.compile(r"^(?: {4})?(?:\$ )?(replctl .*)$", re.MULTILINE)
IN_TEXT = re.compile(r"`(replctl [^`]*)`")
CODE = re.compile(r"^```(?s:.*?)^```$|(?:^ {4}.*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
NOT_OURS = re.compile(r" {2,}.*| *[#|>&;].*")


def command_lines(text: str) -> Iterator[str]:
    """Those of code blocks and those between backquotes, without what the shell does with them and remarks."""
    found = [line for block in CODE.findall(text) for line in IN_BLOCK.findall(block)]
    for line in found + IN_TEXT.findall(CODE.sub("", text)):
        yield NOT_OURS.sub("", line.replace("\n", " ").strip())


def shown() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in dict.fromkeys(command_lines(page.read_text())):
            yield str(page.relative_to(REPOSITORY)), line


@pytest.mark.parametrize(("page", "line"), list(shown()))
def test_every_command_line_is_understood(page: str, line: str) -> None:
    parse(shlex.split(line)[1:])


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_a_page_which_the_index_names(name: str) -> None:
    assert (DOCS / "commands" / f"{name}.md").read_text().startswith(f"# replctl {name}")
    assert f"(commands/{name}.md)" in (DOCS / "README.md").read_text()


def test_no_page_is_of_a_command_that_is_not_there() -> None:
    assert {page.stem for page in (DOCS / "commands").glob("*.md")} == set(commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, part in LINK.findall(page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not part or part in anchors(path), f"{target}#{part}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_document() -> None:
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
