"""Quality scores against true label errors, on synthetic scenes with all faults.

    python benchmarks/quality.py --out benchmarks/results/quality.md

or in parts, each with --first, --scenes and --save, and the page from them with --parts.

Every image gets faults of its own strength; some show another scene or are constant. The first half of the scenes
calibrates the score, the second half is scored: AUROC for bad labels, Spearman's rank correlation between score and
true error, and calibration error of the stated pixel confidence. A second table shows good and bad labels below the
default minimum scores, and the largest minimum that loses at most 2 % of the good labels.
"""

from __future__ import annotations

import argparse
import pickle
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from machine import results_page
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.errors import DistillError
from distill.images import Photo, decode_rgb, encode_map
from distill.report.blocks import Table
from distill.tasks import Task
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.quality.calibration import UNCALIBRATED, TaskCalibration, calibrate
from distill.teachers.quality.filter import MIN_QUALITY, QualityFilter
from distill.teachers.synthetic.generator import SYNTHETIC_CLASSES, SyntheticGenerator, SyntheticTruth
from distill.teachers.synthetic.rendering import scene_photo
from distill.teachers.tasks import teacher_task

BAD = {
    Task.DEPTH: 0.05,
    Task.NORMALS: 5.0,
    Task.SEMANTIC: 0.05,
    Task.INSTANCE: 0.3,
    Task.REFERRING: 0.05,
    Task.EDGES: 0.3,
}
"""True error from which a label counts as bad: AbsRel, degrees, share of wrong or missing pixels, 1 - mask quality."""
OTHER_SCENE, FLAT = 0.06, 0.04
"""Shares of answers about another scene, and of answers that say the same everywhere."""
PIXELS = 2000
MOST_LOST = 0.02
"""Fraction of the good labels that a default minimum score may lose."""


def faults_of(dose: float) -> FaultsConfig:
    """Faults from none (0) to worse than the preset ``heavy`` (1)."""
    return FaultsConfig(
        jpeg_probability=0.5,
        jpeg_quality=max(20, round(95 - 70 * dose)),
        color_noise_sigma=10 * dose**2,
        color_drift=20 * dose**2,
        edge_halo_px=2.5 * dose,
        drift_probability=dose,
        shift_px=20 * dose,
        zoom=0.07 * dose,
        aspect=0.02 * dose,
        output_size="other",
        wrong_legend_probability=0.5 * dose**2,
        missing_instance_probability=0.4 * dose**2,
    )


class DosedGenerator:
    """Synthetic teacher with a fault strength drawn per image."""

    def __init__(self, config: SyntheticConfig) -> None:
        self._config, self._plain = config, SyntheticGenerator(config)
        self._made: dict[tuple[str, str], GeneratedImage] = {}

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """As for the synthetic teacher."""
        return self._plain.prompt_specs(photo)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """Generated image with the fault strength of this photo and task; the same when requested again."""
        key = (photo.key, prompt_spec.prompt)
        if key not in self._made:
            self._made[key] = self._generate(photo, prompt_spec, seed=seed, sample=sample)
        return self._made[key]

    def _generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int) -> GeneratedImage:
        dice = np.random.default_rng([int(photo.origin["scene"]), list(Task).index(prompt_spec.task), 5])
        dose, roll = float(dice.uniform()), float(dice.uniform())
        generator = SyntheticGenerator(self._config.model_copy(update={"faults": faults_of(dose)}))
        if roll < OTHER_SCENE and prompt_spec.task is not Task.REFERRING:
            photo = replace(photo, origin={**photo.origin, "scene": int(photo.origin["scene"]) + 100_000})
        answer = generator.generate(photo, prompt_spec, seed=seed, sample=sample)
        if OTHER_SCENE <= roll < OTHER_SCENE + FLAT:
            generated, _ = decode_rgb(answer.data, answer.name)
            generated[:] = generated[generated.shape[0] // 2, generated.shape[1] // 2]
            answer = replace(answer, data=encode_map(generated))
        return answer


@dataclass
class Seen:
    """Measurements of one task: parts, error and pixels of labels; errors of rejected images."""

    parts: list[dict[str, float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    confidence: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)
    rejected: list[tuple[int, float]] = field(default_factory=list)

    def extend(self, other: Seen) -> None:
        """Add the measurements of other scenes."""
        for name in ("parts", "errors", "confidence", "right", "scenes", "rejected"):
            getattr(self, name).extend(getattr(other, name))


def measure_parts(index: int, config: SyntheticConfig, seen: dict[Task, Seen]) -> None:
    """Label one scene with and without checks and compare both with the truth."""
    photo = scene_photo(index, config)
    truths = {label.task: label for label in SyntheticTruth(config).predict(photo)}
    generator = DosedGenerator(config)
    plain, checked = (
        GenerativeTeacher(
            generator,
            name="t",
            license="",
            tasks=config.tasks,
            classes=SYNTHETIC_CLASSES,
            quality_filter=quality_filter,
        )
        for quality_filter in (None, QualityFilter(min_quality=dict.fromkeys(Task, 0.0)))
    )
    try:
        (unchecked, *_), (result, *_) = plain.label(photo), checked.label(photo)
    except DistillError:
        return
    for task, label in unchecked.labels.items():
        if task not in result.labels:
            verdict = teacher_task(task).label_error(label, teacher_task(task).restrict(truths[task], label))
            if verdict is not None:
                seen[task].rejected.append((index, verdict.error))
    for task, label in result.labels.items():
        verdict = teacher_task(task).label_error(label, teacher_task(task).restrict(truths[task], label))
        if verdict is None:
            continue
        record = next(record for record in result.records if record["task"] == str(task))
        places = np.random.default_rng(0).permutation(np.flatnonzero(verdict.known))[:PIXELS]
        found = seen[task]
        found.parts.append(record["quality_parts"])
        found.errors.append(verdict.error)
        found.confidence.append(label.confidence.ravel()[places])
        found.right.append(verdict.right.ravel()[places])
        found.scenes.append(index)


def gap(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error in ten bins."""
    bins = np.clip((confidence * 10).astype(int), 0, 9)
    stated, true = (np.bincount(bins, values, minlength=10) for values in (confidence, right))
    return float(np.abs(stated - true).sum() / len(bins))


def row_of(task: Task, found: Seen, half: int) -> list[str | int]:
    """Table row of one task."""
    scenes, errors = np.array(found.scenes), np.array(found.errors)
    train, test = np.flatnonzero(scenes < half), np.flatnonzero(scenes >= half)
    calibration = calibrate(
        [found.parts[i] for i in train],
        errors[train].tolist(),
        limit=BAD[task],
        confidence=np.concatenate([found.confidence[i] for i in train]),
        right=np.concatenate([found.right[i] for i in train]),
    )
    rejected = np.array([error for index, error in found.rejected if index >= half])
    row: list[str | int] = [str(task), len(test), int((errors[test] >= BAD[task]).sum())]
    row += [len(rejected), int((rejected >= BAD[task]).sum())]
    for rule in (UNCALIBRATED, calibration):
        row += ranked(rule, found, test, rejected, task)
    own = np.concatenate([found.confidence[i] for i in test])
    right = np.concatenate([found.right[i] for i in test])
    row += [f"{gap(own, right):.3f}", f"{gap(calibration.calibrate_confidence(own), right):.3f}"]
    row.append(", ".join(f"{name} {weight:.1f}" for name, weight in calibration.weights.items()))
    return row


def losses_of(task: Task, found: Seen) -> list[str | int]:
    """Table row of one task: labels below the default minimum score."""
    errors = np.array(found.errors)
    scores = np.array([UNCALIBRATED.score(part) for part in found.parts])
    good, bad = scores[errors < BAD[task]], scores[errors >= BAD[task]]
    least = MIN_QUALITY[task]
    rejected = sum(error < BAD[task] for _, error in found.rejected)
    row: list[str | int] = [str(task), f"{least:g}", f"{(good < least).sum()} of {len(good)}"]
    row += [f"{(bad < least).sum()} of {len(bad)}", f"{np.quantile(good, MOST_LOST):.2f}", int(rejected)]
    return row


def ranked(rule: TaskCalibration, found: Seen, test: np.ndarray, rejected: np.ndarray, task: Task) -> list[str]:
    """AUROC over labels and rejected images (score 0), AUROC and rank correlation over labels only."""
    errors = np.array(found.errors)[test]
    scores = np.array([rule.score(found.parts[i]) for i in test])
    bad = errors >= BAD[task]
    every_bad = np.concatenate([bad, rejected >= BAD[task]])
    every_score = np.concatenate([scores, np.zeros(len(rejected))])
    return [
        f"{roc_auc_score(every_bad, -every_score):.3f}",
        f"{roc_auc_score(bad, -scores):.3f}" if 0 < bad.sum() < bad.size else "-",
        f"{-spearmanr(scores, errors).statistic:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--save", type=Path, help="keep the measurements of these scenes in a file")
    parser.add_argument("--parts", type=Path, nargs="*", default=[], help="write the page from such files")
    parser.add_argument("--size", type=int, nargs=2, default=(288, 384))
    given = parser.parse_args()
    config = SyntheticConfig(size_hw=tuple(given.size), tasks=tuple(BAD), first=0)
    seen: dict[Task, Seen] = defaultdict(Seen)
    for file in given.parts:
        for task, part in pickle.loads(file.read_bytes()).items():
            seen[task].extend(part)
    for index in range(given.first, given.first + given.scenes) if not given.parts else ():
        measure_parts(index, config, seen)
    if given.save:
        given.save.write_bytes(pickle.dumps(dict(seen)))
        return
    half = int(np.median([scene for found in seen.values() for scene in found.scenes]))
    rows = [row_of(task, seen[task], half) for task in BAD if task in seen]
    columns = ["task", "held-out labels", "bad", "rejected", "bad"]
    for name in ("plain", "calibrated"):
        columns += [f"AUROC {name}", f"labels only {name}", f"rank correlation {name}"]
    columns += ["pixel confidence off by", "calibrated", "weights"]
    limits = ", ".join(f"{task} {error:g}" for task, error in BAD.items())
    scenes = {scene for found in seen.values() for scene in found.scenes}
    notes = (
        f"{len(scenes)} scenes of {given.size[1]}x{given.size[0]} px from number {min(scenes)} on, the second "
        f"half held out; a label is bad from {limits}. AUROC counts rejected images as scored 0; 'labels only' "
        "leaves them out."
    )
    losses = Table(
        ["task", "minimum", "good labels below", "bad labels below", "2 % of good below", "good but rejected"],
        [losses_of(task, seen[task]) for task in BAD if task in seen],
        title="Default minimum scores",
    )
    results_page("Quality scores against true errors", notes, [Table(columns, rows), losses], given.out)


if __name__ == "__main__":
    main()
