"""Writing a review page: what is on it, generated images, damaged samples, wrong use."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distill
from distill.datasets.review.verdicts import ReviewedSet, Verdict, Verdicts, set_digest
from distill.datasets.shard_set import ShardSet
from distill.errors import UsageError
from distill.images import encode_map
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [sample(photo(i), seed=i, quality=1 - i / 10) for i in range(6)])


def content(page: Path) -> dict[str, Any]:
    text = page.read_text().partition("<script id='data' type='application/json'>")[2]
    values: dict[str, Any] = json.loads(text.partition("</script>")[0])
    return values


def test_worst_labels_of_each_task(shards: ShardSet, tmp_path: Path) -> None:
    result = distill.review(shards.folder, out=tmp_path / "page.html", limit=2)
    data = content(result.out)
    depth = [item for item in data["items"] if item["task"] == "depth"]
    assert [item["quality"] for item in depth] == pytest.approx([0.5, 0.6])
    assert result.labels == dict.fromkeys(map(str, shards.manifest.tasks), 2) and result.total["depth"] == 6
    shown = data["pictures"][depth[0]["id"]]
    assert base64.b64decode(shown["photo"].partition(",")[2])[:2] == b"\xff\xd8"
    assert shown["width"] == 48 and shown["generated"] == "" and "distill data apply" in result.to_text()


def test_generated_images_of_a_folder_only(tmp_path: Path) -> None:
    image = encode_map(np.full((30, 40, 3), 200, np.uint8))
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "a.png").write_bytes(image)
    (tmp_path / "secret.png").write_bytes(image)
    samples = [sample(photo(i), [Task.DEPTH]) for i in range(3)]
    for one, answer in zip(samples, ("a.png", "../secret.png", "\0"), strict=True):
        meta = dict(one.meta)
        meta["records"] = [dict(meta["records"][0]) | {"answer": answer}]
        one.files["json"] = json.dumps(meta).encode()
        one.__dict__.pop("meta", None)
    write_set(tmp_path / "set", samples)
    result = distill.review(tmp_path / "set", out=tmp_path / "p.html", answers=tmp_path / "answers")
    has_image = [bool(one["generated"]) for one in content(result.out)["pictures"].values()]
    assert has_image == [True, False, False]


def test_damaged_samples_are_named(shards: ShardSet, tmp_path: Path) -> None:
    tar = min(shards.folder.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    place = data.index(b"\x89PNG", data.index(b"depth.png"))
    data[place + 40 : place + 60] = bytes(20)
    tar.write_bytes(bytes(data))
    result = distill.review(shards.folder, out=tmp_path / "p.html")
    assert list(result.damaged) == ["depth of photo_a"] and result.labels["depth"] == 5
    assert "not shown: depth of photo_a" in result.to_text()


def test_earlier_verdicts_are_on_the_page(shards: ShardSet, tmp_path: Path) -> None:
    verdicts = Verdicts(
        reviewed=ReviewedSet(sha256=set_digest(shards.manifest)),
        verdicts=(Verdict(key=shards[0].key, task=Task.DEPTH, verdict="reject"),),
    )
    (tmp_path / "v.json").write_text(verdicts.model_dump_json())
    result = distill.review(shards.folder, out=tmp_path / "p.html", verdicts=tmp_path / "v.json")
    assert content(result.out)["verdicts"][0]["verdict"] == "reject"
    other = verdicts.model_copy(update={"reviewed": ReviewedSet(sha256="0" * 64)})
    (tmp_path / "v.json").write_text(other.model_dump_json())
    with pytest.raises(UsageError, match="another set"):
        distill.review(shards.folder, out=tmp_path / "p.html", verdicts=tmp_path / "v.json")


def test_command(shards: ShardSet, tmp_path: Path, cli: Cli) -> None:
    code, values = cli.json("review", shards.folder, "--out", tmp_path / "p.html", "--task", "depth", "--limit", 3)
    assert code == 0 and values["labels"] == {"depth": 3} and values["bytes"] == (tmp_path / "p.html").stat().st_size
    code, _, errors = cli("review", shards.folder, "--out", tmp_path / "p.txt")
    assert code == 2 and "not a page of HTML" in errors
    code, _, errors = cli("review", tmp_path, "--out", tmp_path / "p.html")
    assert code == 2 and len(errors.strip().splitlines()) <= 2
