"""The README is one page that starts with a picture, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MOST_WORDS, PICTURE_BEFORE, MOST_PICTURE_BYTES = 900, 80, 150_000


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_one_page_before_the_folds(readme: str) -> None:
    assert len(readme.partition("<details>")[0].split()) <= MOST_WORDS


def test_a_picture_is_on_the_first_screen(readme: str, repository: Path) -> None:
    before, _, rest = readme.partition("![")
    path = repository / re.match(r"[^\]]+\]\(([^)]+)\)", rest)[1]  # type: ignore[index]
    assert len(before.split()) < PICTURE_BEFORE and 0 < path.stat().st_size < MOST_PICTURE_BYTES


def test_links_to_files_exist(readme: str, repository: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", readme)
    files = [target for target in targets if "://" not in target]
    assert len(files) > 10 and [target for target in files if not (repository / target).exists()] == []


def test_folds_are_closed(readme: str) -> None:
    assert readme.count("<details>") == readme.count("</details>") == readme.count("<summary>") > 0
