"""`distill label --calibrate`, and what later runs make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.commands.label import read_thresholds
from distill.errors import UsageError
from distill.shards import read_samples
from distill.tasks import Task
from distill.workflows.label.options import read_quality_filter
from tests.builders.cli import distill


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose answers are good or bad by chance, and the truth about its scenes."""
    folder = tmp_path_factory.mktemp("calibrate")
    config = {
        "kind": "synthetic",
        "scenes": 14,
        "size_hw": [96, 128],
        "tasks": ["semantic", "normals"],
        "faults": {"wrong_legend_probability": 0.4, "color_noise_sigma": 6.0, "edge_halo_px": 1.5},
    }
    (folder / "noisy.yaml").write_text(yaml.safe_dump(config))
    distill("label", "--teacher", folder / "noisy.yaml", "--set", "truth=true", "--out", folder / "truth")
    return folder


def test_a_calibration_is_learned_kept_beside_the_config_and_used(work: Path) -> None:
    learned = distill("label", "--teacher", work / "noisy.yaml", "--calibrate", work / "truth", "--out", work / "none")
    assert Path(learned["calibration"]) == work / "noisy.calibration.json"
    assert learned["tasks"]["semantic"]["labels"] == 14
    assert learned["tasks"]["normals"]["pixel_error_after"] < learned["tasks"]["normals"]["pixel_error_before"] + 0.05
    assert not (work / "none").exists()
    distill(
        "label",
        "--teacher",
        work / "noisy.yaml",
        "--set",
        "first=100",
        "--set",
        "scenes=8",
        "--check",
        "--out",
        work / "scored",
    )
    records = [record for sample in read_samples(work / "scored") for record in sample.meta["records"]]
    assert records and all("expected_error" in record and 0 <= record["quality"] <= 1 for record in records)
    # Another threshold on the same answers: fewer labels, and each missing one is accounted for.
    scores = sorted(record["quality"] for record in records if record["task"] == "semantic")
    least = sum(scores[len(scores) // 2 - 1 :][:2]) / 2  # records are rounded
    strict = distill(
        "label", "--teacher", work / "noisy.yaml", "--set", "first=100", "--set", "scenes=8",
        "--min-quality", f"semantic={least}", "--out", work / "strict",
    )  # fmt: skip
    below = sum(score < least for score in scores)
    assert below and strict["labels"]["semantic"] == len(scores) - below
    assert len([row for row in strict["unanswered"] if "quality" in row["reason"]]) == below


def test_doubtful_labels_weigh_less(work: Path) -> None:
    common = ["label", "--teacher", work / "noisy.yaml", "--set", "scenes=3", "--task", "normals"]
    distill(*common, "--check", "--out", work / "plain")
    distill(*common, "--full-weight-above", "1", "--out", work / "weighed")

    def mean(name: str) -> float:
        samples = list(read_samples(work / name))
        return sum(float(sample.label(Task.NORMALS).confidence.mean()) for sample in samples) / len(samples)

    assert mean("weighed") < mean("plain")


def test_truth_that_shares_nothing_is_refused(work: Path) -> None:
    other = ["--teacher", "synthetic", "--set", "first=500", "--set", "scenes=2"]
    distill("label", *other, "--out", work / "other")
    failed = distill("label", work / "other", *other, "--calibrate", work / "truth", "--out", work / "x", code=2)
    assert "shares no labeled photo" in failed["error"]


def test_few_labels_teach_nothing(work: Path, tmp_path: Path) -> None:
    distill("label", "--teacher", "synthetic", "--set", "scenes=3", "--set", "truth=true", "--out", tmp_path / "truth")
    failed = distill(
        "label", "--teacher", "synthetic", "--calibrate", tmp_path / "truth",
        "--calibration", tmp_path / "c.json", "--out", tmp_path / "x", code=1,
    )  # fmt: skip
    assert "calibrated" in json.dumps(failed)
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize("word", ["x", "depth", "depth=2", "lidar=0.5", "-0.1", "depth=x"])
def test_wrong_thresholds_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--min-quality"):
        read_thresholds("--min-quality", [word])


def test_thresholds_by_task() -> None:
    found = read_thresholds("--min-quality", ["0.3", "depth=0.6"])
    assert found[Task.DEPTH] == 0.6 and found[Task.NORMALS] == 0.3


def test_labels_are_always_scored_and_rejected_only_with_checks() -> None:
    nothing: dict[str, Any] = {"min_quality": {}, "full_weight_above": {}, "calibration": None}
    plain = read_quality_filter(check=True, **nothing)
    assert plain.register and plain.least(Task.DEPTH) == 0.05
    unchecked = read_quality_filter(check=False, **nothing)
    assert not unchecked.register and unchecked.least(Task.DEPTH) == 0
    strict = read_quality_filter(check=True, **nothing | {"min_quality": {Task.DEPTH: 0.5}})
    assert strict.least(Task.DEPTH) == 0.5 and strict.least(Task.NORMALS) == 0.05
    assert read_quality_filter(check=True, **nothing, learn=True).least(Task.DEPTH) == 0
