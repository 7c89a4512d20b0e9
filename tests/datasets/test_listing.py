"""Sets in and below folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import distill
from distill.errors import UsageError
from tests.builders.label_sets import photo, sample, write_set


def test_sets_jobs_and_damaged_manifests_are_listed(tmp_path: Path) -> None:
    for name in ("a/one", "two", ".hidden"):
        write_set(tmp_path / name, [sample(photo(1))])
    (tmp_path / "job" / ".stats").mkdir(parents=True)
    (tmp_path / "job" / ".stats" / "plan.json").write_text("{}")
    (tmp_path / "job" / "shard-000000.tar").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "dataset.json").write_text('{"format": 1}')
    found = distill.data.ls([tmp_path, tmp_path / "a"])
    rows = {str(entry.folder.relative_to(tmp_path)): entry for entry in found.sets}
    assert set(rows) == {"a/one", "two", "job", "old"}
    assert rows["two"].samples == 1 and dict(rows["two"].counts)["depth"] == 1 and rows["two"].licenses == ("MIT",)
    assert "distill data seal" in rows["job"].problem and rows["job"].shards == 1
    assert rows["old"].problem.startswith("format 1")
    text = found.to_text()
    assert "a/one" in text and "seal" in text and len(found.to_dict()["sets"]) == 4


def test_nothing_is_said_in_a_sentence(tmp_path: Path) -> None:
    assert distill.data.ls(tmp_path).to_text() == "no set of shards"
    with pytest.raises(UsageError, match="no such folder"):
        distill.data.ls(tmp_path / "missing")
