"""Filtering: fields of real samples, and tasks that are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.datasets.operations.filter import filter
from distill.datasets.shard_set import open
from distill.errors import DistillError, UsageError
from distill.tasks import Task
from tests.builders.label_sets import photo, sample, write_set


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    samples = [
        sample(photo(1, "day/a.jpg"), quality=0.9, license="MIT"),
        sample(photo(2, "day/b.jpg"), quality=0.4, license="CC-BY-NC-4.0"),
        sample(photo(3, "night/c.jpg"), [Task.DEPTH], quality=None, license="odd"),
        sample(photo(4, "night/d.mp4#7"), [Task.SEMANTIC], quality=0.8, license="MIT", seed=3),
    ]
    write_set(tmp_path / "set", samples)
    return tmp_path / "set"


def kept(shards: Path, where: str, **options: object) -> list[str]:
    out = shards.parent / "out"
    filter(shards, where, out=out, **options)
    names = [str(one.meta["name"]) for one in open(out)]
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    return names


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("quality.depth > 0.6", ["day/a.jpg"]),
        ("quality.depth > 0.6 and 'car' in classes and license != 'noncommercial'", ["day/a.jpg"]),
        ("license == 'unknown' or 'CC-BY-NC-4.0' in licenses", ["day/b.jpg", "night/c.jpg"]),
        ("'depth' not in tasks", ["night/d.mp4#7"]),
        ("instances >= 3", ["day/a.jpg", "day/b.jpg"]),
        ("folder == 'night' and frame is None", ["night/c.jpg"]),
        ("video == 'night/d.mp4' and frame == 7", ["night/d.mp4#7"]),
        ("width > height and valid.normals > 0.5", ["day/a.jpg", "day/b.jpg"]),
        ("share['traffic light'] > 0.2 and confidence.semantic > 0.3 and 'day' in name", ["day/a.jpg", "day/b.jpg"]),
        ("depth_kind == 'metric' and quality.depth is None", ["night/c.jpg"]),
    ],
)
def test_fields(shards: Path, where: str, names: list[str]) -> None:
    assert kept(shards, where) == names


def test_samples_without_a_value_are_counted(shards: Path, tmp_path: Path) -> None:
    result = filter(shards, "not (quality.depth > 0.6)", out=tmp_path / "x", plan=True)
    assert result.sets[0].samples == 1 and "2 samples lack a value of quality.depth" in result.to_text()
    assert not (tmp_path / "x").exists()


def test_labels_of_other_tasks_are_left_out_with_all_that_belongs_to_them(shards: Path, tmp_path: Path) -> None:
    before = open(shards)[0]
    result = filter(shards, out=tmp_path / "x", tasks=["semantic"])
    found = open(tmp_path / "x")
    assert found.manifest.tasks == (Task.SEMANTIC,) and found.manifest.instance_classes == () and len(found) == 3
    first = found[0]
    assert sorted(first.files) == ["jpg", "json", "semantic.confidence.png", "semantic.png"]
    assert first.files["semantic.png"] == before.files["semantic.png"]
    assert not first.meta.get("instances") and not first.meta.get("depth_kind")
    assert [row["task"] for row in first.meta["records"]] == ["semantic"]
    assert "1 samples have no label of semantic" in result.to_text()


@pytest.mark.parametrize(
    ("where", "options", "message"),
    [
        ("quality.semantik > 1", {}, "did you mean quality.semantic"),
        ("'tree' in classes", {}, "'tree' never occurs in classes"),
        ("quality.depth > 5", {}, "would have no sample"),
        ("", {}, "nothing to filter by"),
        ("", {"tasks": ["referring"]}, "has no referring labels"),
    ],
)
def test_wrong_conditions(shards: Path, tmp_path: Path, where: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        filter(shards, where, out=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_a_damaged_sample_is_not_copied(shards: Path, tmp_path: Path) -> None:
    tar = min(shards.glob("*.tar"))
    data = tar.read_bytes()
    at = data.index(open(shards)[0].files["depth.png"]) + 60
    tar.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(DistillError, match=r"sample day_a is not as it was written .*--salvage"):
        filter(shards, "width > 1", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
