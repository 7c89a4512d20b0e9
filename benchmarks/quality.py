"""Whether the quality score tells good labels from bad ones, on synthetic scenes with doses of every fault.

    python benchmarks/quality.py --out benchmarks/results/quality.md

Each answer gets faults of a random strength. The first half of the scenes calibrates the score, the second half is
scored: AUROC for bad labels, and Spearman's rank correlation between score and true error.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import results_page
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from distill.errors import DistillError
from distill.images import Photo, decode_rgb
from distill.labels import Label, is_far
from distill.recipe.synthetic import FaultsRecipe, SyntheticRecipe
from distill.report.blocks import Table
from distill.tasks import Task
from distill.teachers.decoders import decode_answer
from distill.teachers.generators.synthetic.generator import SyntheticGenerator, SyntheticTruth
from distill.teachers.generators.synthetic.view import scene_photo
from distill.teachers.quality import UNCALIBRATED, assess, calibrate
from distill.teachers.register import estimate, place

TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
BAD = {Task.DEPTH: 0.03, Task.NORMALS: 4.0, Task.SEMANTIC: 0.05}
"""True error from which a label counts as bad: AbsRel, degrees, share of wrong or missing classes."""


def faults_of(dose: float) -> FaultsRecipe:
    """Faults from none (0) to worse than the preset ``heavy`` (1)."""
    return FaultsRecipe(
        jpeg_share=0.5,
        jpeg_quality=max(20, round(95 - 70 * dose)),
        colour_noise_sigma=10 * dose**2,
        colour_drift=20 * dose**2,
        edge_halo_px=2.5 * dose,
        drift_share=dose,
        shift_px=20 * dose,
        zoom=0.07 * dose,
        aspect=0.02 * dose,
        canvas="other",
        wrong_legend_share=0.5 * dose**2,
    )


def true_error(label: Label, truth: Label) -> float:
    """Mean error over the photo as a student would feel it: weighted by confidence, and what is missing counts half."""
    rows, columns = (
        ((np.arange(label.size_hw[i]) + 0.5) * truth.size_hw[i] / label.size_hw[i]).astype(int) for i in (0, 1)
    )
    picked = np.ix_(rows, columns)
    value, known = truth.value[picked], truth.valid[picked]
    kept = known & label.valid
    if label.task is Task.DEPTH:
        kept &= ~is_far(truth)[picked] & ~is_far(label)
        wrong = np.abs(label.value - value) / np.maximum(value, 0.1)
    elif label.task is Task.NORMALS:
        wrong = np.degrees(np.arccos(np.clip((label.value * value).sum(axis=-1), -1, 1)))
    else:
        names = {name: number for number, name in enumerate(truth.classes)}
        wrong = (
            np.array([names[name] for name in label.classes] + [255] * (256 - len(label.classes)))[label.value] != value
        )
    missing = 1 - kept.sum() / max(1, known.sum()) if label.task is Task.SEMANTIC else 0.0
    return float(wrong[kept].mean() + 0.5 * missing) if kept.any() else float("inf")


def taught(photo: Photo, recipe: SyntheticRecipe, index: int) -> Iterator[tuple[Label, dict[str, float]]]:
    """(label, parts) of every task that could be read."""
    generator, found = SyntheticGenerator(recipe), {}
    for question in generator.questions(photo):
        answer = generator.paint(photo, question, seed=index)
        painted, _ = decode_rgb(answer.data, answer.name)
        placement = estimate(photo.rgb, painted, question.canvas)
        label = place(decode_answer(painted, question), photo.size_hw, question.canvas, placement)
        found[question.task] = (label, placement)
    for label, placement in found.values():
        others = [other for other, _ in found.values() if other is not label]
        yield label, dict(assess(label, photo.rgb, placement=placement, others=others).parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 384))
    given = parser.parse_args()
    dice = np.random.default_rng(0)
    seen: dict[Task, list[tuple[dict[str, float], float]]] = defaultdict(list)
    for index in range(given.scenes):
        # A dose per task: other tasks of the same photo are good or bad independently.
        photo = truths = None
        for task in TASKS:
            faults = faults_of(float(dice.uniform()))
            recipe = SyntheticRecipe(size_hw=tuple(given.size), tasks=TASKS, faults=faults)
            photo = photo or scene_photo(index, recipe)
            truths = truths or {label.task: label for label in SyntheticTruth(recipe).predict(photo)}
            try:
                for label, parts in taught(photo, recipe, index):
                    if label.task is task:
                        seen[task].append((parts, true_error(label, truths[task])))
            except DistillError:
                continue
    rows = []
    for task, labels in seen.items():
        half = len(labels) // 2
        calibration = calibrate([p for p, _ in labels[:half]], [e < BAD[task] for _, e in labels[:half]])
        errors = np.array([e for _, e in labels[half:]])
        bad = errors >= BAD[task]
        row: list[str | int] = [str(task), len(errors), int(bad.sum())]
        for rule in (UNCALIBRATED, calibration):
            scores = np.array([rule.score(p) for p, _ in labels[half:]])
            row += [f"{roc_auc_score(bad, -scores):.3f}", f"{-spearmanr(scores, errors).statistic:.3f}"]
        row.append(", ".join(f"{name} {weight:.1f}" for name, weight in calibration.weights.items()))
        rows.append(row)
    columns = [
        "task",
        "held-out labels",
        "bad",
        "AUROC plain",
        "Spearman plain",
        "AUROC calibrated",
        "Spearman calibrated",
    ]
    limits = ", ".join(f"{task} {error:g}" for task, error in BAD.items())
    notes = f"{given.scenes} scenes of {given.size[1]}x{given.size[0]} px; bad from {limits}."
    results_page("Quality scores against true errors", notes, [Table([*columns, "weights"], rows)], given.out)


if __name__ == "__main__":
    main()
