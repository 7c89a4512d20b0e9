"""Calibration from verdicts: no ground truth, and no photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.datasets.review.verdicts import ReviewedSet, Verdict, Verdicts
from distill.tasks import Task
from distill.teachers.quality.calibration import UNCALIBRATED, read_calibration
from tests.builders.cli import Cli


def verdicts(path: Path, count: int, *, all_good: bool = False) -> Path:
    """A person accepts labels by their edges; the default weights count colors most, which say nothing here."""
    rng = np.random.default_rng(4)
    rows = []
    for number in range(count):
        parts = {"color_validity": float(rng.uniform(0.5, 1)), "edge_alignment": float(rng.uniform(0, 1))}
        good = all_good or parts["edge_alignment"] > 0.5
        rows.append(
            Verdict(
                key=str(number),
                task=Task.DEPTH,
                verdict="accept" if good else "reject",
                quality_parts=parts,
                quality=0.5,
            )
        )
    masked = Verdict(key="masked", task=Task.DEPTH, ignore_classes=("car",), quality_parts={"edge_alignment": 0.0})
    given = Verdicts(reviewed=ReviewedSet(sha256="0" * 64, teachers=("painter",)), verdicts=(*rows, masked))
    path.write_text(given.model_dump_json())
    return path


def test_scores_follow_the_verdicts(tmp_path: Path, cli: Cli) -> None:
    given, out = verdicts(tmp_path / "verdicts.json", 60), tmp_path / "calibration.json"
    code, text, _ = cli("label", "--teacher", "synthetic", "--calibrate", given, "--calibration", out)
    assert code == 0 and "60 verdicts" in text
    (found,) = read_calibration(out).tasks.values()
    good, bad = ({"color_validity": 0.75, "edge_alignment": edge} for edge in (0.7, 0.3))
    assert found.score(good) - found.score(bad) > UNCALIBRATED.score(good) - UNCALIBRATED.score(bad)
    assert found.expected_error(0.5) is None and read_calibration(out).teacher == "painter"


def test_too_few_or_one_sided_verdicts(tmp_path: Path, cli: Cli) -> None:
    for count, all_good, words in ((5, False, "5 labels"), (30, True, "all 30 labels were accepted")):
        given = verdicts(tmp_path / "v.json", count, all_good=all_good)
        code, _, errors = cli("label", "--teacher", "synthetic", "--calibrate", given, "--out", tmp_path / "o")
        assert code == 1 and words in errors and "no task could be calibrated" in errors
