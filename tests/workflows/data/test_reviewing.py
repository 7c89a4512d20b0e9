"""Verdicts and a calibration applied to a set: new scores from stored parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import distill
from distill.datasets.review.verdicts import ReviewedSet, Verdict, Verdicts, set_digest
from distill.datasets.shard_set import ShardSet, open
from distill.datasets.verification import verify
from distill.errors import UsageError
from distill.shards import Sample
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set


def scored(seed: int) -> Sample:
    """A sample whose labels have parts of a score; odd ones have borders beside those of the photo."""
    made = sample(photo(seed), [Task.DEPTH, Task.NORMALS], seed=seed, quality=0.5)
    meta = json.loads(made.files["json"])
    for record in meta["records"]:
        record["expected_error"] = 0.3
        if record["task"] == "depth":
            record["quality_parts"] = {"edge_alignment": 0.2 if seed % 2 else 0.8, "content": 1.0}
    return Sample(made.key, {**made.files, "json": json.dumps(meta).encode()})


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [scored(i) for i in range(12)])


@pytest.fixture
def verdicts(shards: ShardSet, tmp_path: Path) -> Path:
    rows = [
        Verdict(
            key=one.key,
            task=Task.DEPTH,
            verdict="reject" if number % 2 else "accept",
            quality_parts=one.meta["records"][0]["quality_parts"],
        )
        for number, one in enumerate(shards)
    ]
    path = tmp_path / "verdicts.json"
    path.write_text(Verdicts(reviewed=ReviewedSet(sha256=set_digest(shards.manifest)), verdicts=rows).model_dump_json())
    return path


def test_scores_of_a_set_follow_its_review(shards: ShardSet, verdicts: Path, tmp_path: Path, cli: Cli) -> None:
    rule, out = tmp_path / "calibration.json", tmp_path / "new"
    code, _, _ = cli("label", "--teacher", "synthetic", "--calibrate", verdicts, "--calibration", rule)
    assert code == 0
    code, _ = cli.json(
        "data", "apply", shards.folder, verdicts, "--out", out, "--rejected-weight", 0.5, "--calibration", rule
    )
    assert code == 0 and verify(out).num_faults == 0
    for number, one in enumerate(open(out)):
        depth, normals = one.meta["records"]
        assert (depth["quality"] < 0.5) == bool(number % 2) and "expected_error" not in depth
        assert normals["quality"] == 0.5 and normals["expected_error"] == 0.3, "a task without a calibration"


def test_a_wrong_calibration_is_refused(shards: ShardSet, verdicts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a calibration"):
        distill.data.apply(shards.folder, verdicts, out=tmp_path / "new", calibration=verdicts)
    assert not (tmp_path / "new").exists()
