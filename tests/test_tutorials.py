"""The commands of the tutorials, run in order as they are on the page, on a few photos and for seconds."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from distill.datasets.review.items import list_items
from distill.datasets.review.verdicts import Verdict, Verdicts
from distill.datasets.shard_set import open as open_set
from distill.runtime.progress import SilentReporter
from distill.shards import read_manifest
from distill.workflows.review.run import reviewed_set
from tests.builders.cli import Cli

SHORTER = {"train.minutes=3": ["train.minutes=0.05", "data.val_fraction=0.4"]}


def commands_of(page: Path) -> list[list[str]]:
    """Words of every line that starts with ``distill``."""
    found = re.findall(r"^    distill (.*)$", page.read_text(), re.M)
    lines = [shlex.split(line, comments=True) for line in found]
    return [[part for word in line for part in SHORTER.get(word, [word])] for line in lines]


def test_two_teachers_and_one_student(
    repository: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = real_data / "seg_camvid"
    for part, count in (("train", 4), ("val", 1)):
        images = sorted((source / part / "images").iterdir())
        for image in images[:: len(images) // count][:count]:
            for kind, name in (("images", image.name), ("labels", f"{image.stem}.png")):
                (tmp_path / "camvid" / part / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(source / part / kind / name, tmp_path / "camvid" / part / kind / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_MODELS", str(real_data / "models"))
    for words in commands_of(repository / "docs" / "two_teachers.md"):
        code, out, errors = Cli()(*words)
        assert code == 0, f"distill {shlex.join(words)}: {errors}{out}"
    manifest = read_manifest(tmp_path / "shards" / "both")
    assert manifest.samples == 4 and set(manifest.tasks) == {"depth", "semantic"}
    assert (
        len(list((tmp_path / "predictions").glob("*.jpg"))) + len(list((tmp_path / "predictions").glob("*.png"))) >= 1
    )
    code, _, errors = Cli()("train", "--shards", "shards/depth", "--shards", "shards/classes", "--out", "x")
    assert code == 2 and "distill data merge" in errors


def test_review_of_a_set(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands_of(repository / "docs" / "review.md"):
        if "--serve" in words:  # has no end
            continue
        code, out, errors = Cli()(*words)
        assert code == 0, f"distill {shlex.join(words)}: {errors}{out}"
        if words[0] == "review" and not Path("verdicts.json").exists():
            write_verdicts(Path("shards"), Path("verdicts.json"))
    assert read_manifest(tmp_path / "reviewed").counts["depth"] < read_manifest(tmp_path / "shards").counts["depth"]
    assert not (tmp_path / "planned").exists() and (tmp_path / "undecided.html").stat().st_size > 10_000


def write_verdicts(shards: Path, path: Path) -> None:
    """What a person downloads from the page: the worse half of each task is rejected, the better one accepted."""
    source = open_set(shards)
    verdicts = [
        Verdict(
            key=item.key,
            task=item.task,
            verdict="reject" if place < len(items) / 2 else "accept",
            quality=item.quality,
            quality_parts=dict(item.parts),
        )
        for items in list_items(source, (), SilentReporter()).values()
        for place, item in enumerate(items)
    ]
    path.write_text(Verdicts(reviewed=reviewed_set(source), verdicts=verdicts).model_dump_json())
