"""The pictures of the documents: each is shown and described, and holds nothing of the machine that it was taken on."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).parents[2]
PICTURES = sorted((REPOSITORY / "docs" / "pictures").glob("*.svg"))
GALLERY = (REPOSITORY / "docs" / "pictures" / "README.md").read_text()
SCRIPT = (REPOSITORY / "tools" / "pictures").read_text()


def test_every_picture_is_in_the_gallery_and_is_taken_by_the_script() -> None:
    names = {path.stem for path in PICTURES}
    assert set(re.findall(r"\]\(([a-z0-9-]+)\.svg\)", GALLERY)) == names
    assert set(re.findall(r"take[a-z_]*\(\"([a-z0-9-]+)\"", SCRIPT)) == names


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_can_be_drawn_and_has_words_of_replctl_alone(path: Path) -> None:
    words = "\n".join(ET.fromstring(path.read_text()).itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "replctl" in words
    assert not re.search(r"/tmp/(?!replctl)|/root|/work|Traceback", words)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_loads_nothing(path: Path) -> None:
    assert not re.search(r"(?:href|url|src)\W+https?:", path.read_text())
