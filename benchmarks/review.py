"""A review of synthetic labels with planted faults: what its first page shows, and what its verdicts are worth.

    python benchmarks/review.py --out benchmarks/results/review.md

or in parts, each with --first, --scenes and --save, and the page from them with --parts.

One label in ten of each task is decoded from a faulty image (`FAULTS`, each in turn); all others have the faults of the
preset ``light``. With the default checks, most faulty images are rejected and named by the job; without them
(``distill label --no-check``) all reach the set. A label is bad if its true error reaches the limits of
`benchmarks/quality.py`, whatever was planted. The first `--reviewed` scenes are the set under review: its labels are
ordered as by ``distill review``. A person sees the first page of each task, and gives 60 verdicts from the truth: on
this page and on the 30 labels of ``--most-informative``. The calibration from these verdicts is compared on the
other scenes with one from the true errors of the whole set, and one from verdicts on the whole set. The latter is the
harder comparison: with few bad labels, `calibrate` moves its limit to the median error, and ranks good labels too.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from machine import results_page
from quality import BAD, faults_of
from sklearn.metrics import roc_auc_score

from distill.config.synthetic import PRESETS, SyntheticConfig
from distill.datasets.review.items import ReviewItem, most_informative
from distill.datasets.review.verdicts import ReviewedSet, Verdict, Verdicts
from distill.errors import DistillError
from distill.images import Photo, decode_rgb, encode_map
from distill.report.blocks import Table
from distill.runtime.progress import SilentReporter
from distill.tasks import Task
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.quality.calibration import UNCALIBRATED, TaskCalibration, calibrate, read_calibration
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.synthetic.generator import SYNTHETIC_CLASSES, SyntheticGenerator, SyntheticTruth
from distill.teachers.synthetic.rendering import scene_photo
from distill.teachers.tasks import teacher_task
from distill.workflows.label.calibrate_verdicts import calibrate_from_verdicts

FAULTS = ("another scene", "strong distortions", "mirrored", "part of another scene")
ONE_IN, PAGE = 10, 30
MOST_APART = 0.02
"""Largest difference between the AUROC of both calibrations."""


class FaultyGenerator:
    """Synthetic generator that plants a fault in one image of ten of each task."""

    def __init__(self, config: SyntheticConfig) -> None:
        self._light = SyntheticGenerator(config.model_copy(update={"faults": PRESETS["light"]}))
        self._strong = SyntheticGenerator(config.model_copy(update={"faults": faults_of(1.0)}))

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """As for the synthetic teacher."""
        return self._light.prompt_specs(photo)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """Generated image, with its fault if there is one."""
        fault = fault_of(int(photo.origin["scene"]), prompt_spec.task)
        if fault == "strong distortions":
            return self._strong.generate(photo, prompt_spec, seed=seed, sample=sample)
        answer = self._light.generate(photo, prompt_spec, seed=seed, sample=sample)
        if not fault:
            return answer
        rgb, _ = decode_rgb(answer.data, answer.name)
        if fault == "mirrored":
            return replace(answer, data=encode_map(np.ascontiguousarray(rgb[:, ::-1])))
        other = replace(photo, origin={**photo.origin, "scene": int(photo.origin["scene"]) + 100_000})
        strange = self._light.generate(other, prompt_spec, seed=seed, sample=sample)
        if fault == "another scene":
            return strange
        height, width = rgb.shape[:2]
        there = cv2.resize(decode_rgb(strange.data, strange.name)[0], (width, height), interpolation=cv2.INTER_NEAREST)
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1, -1)
        return replace(answer, data=encode_map(np.where(mask[..., None] == 1, there, rgb)))


def fault_of(scene: int, task: Task) -> str:
    """The fault of a label; empty for most. Each block of ten scenes has one fault of each task, at any place of it."""
    block, place = divmod(scene, ONE_IN)
    number = list(Task).index(task)
    planted = int(np.random.default_rng([block, number, 7]).integers(ONE_IN))
    return FAULTS[(block + number) % len(FAULTS)] if place == planted else ""


@dataclass(frozen=True)
class Judged:
    """One image: what was planted, and of its label the parts of the score and the true error; None: rejected."""

    scene: int
    task: Task
    fault: str
    parts: dict[str, float] | None = None
    error: float = 0.0
    checked: bool = True

    @property
    def is_bad(self) -> bool:
        """Whether a careful person rejects the label."""
        return self.error >= BAD[self.task]


def judge_scene(index: int, config: SyntheticConfig, *, checked: bool) -> list[Judged]:
    """Label one scene with the default checks or without any, and compare with the truth."""
    photo = scene_photo(index, config)
    teacher = GenerativeTeacher(
        FaultyGenerator(config),
        name="faulty",
        license="",
        tasks=config.tasks,
        classes=SYNTHETIC_CLASSES,
        quality_filter=QualityFilter() if checked else None,
    )
    truths = {label.task: label for label in SyntheticTruth(config).predict(photo)}
    found: dict[Task, Judged] = {
        task: Judged(index, task, fault_of(index, task), checked=checked) for task in config.tasks
    }
    try:
        (result, *_) = teacher.label(photo)
    except DistillError:
        return list(found.values())
    for task, label in result.labels.items():
        verdict = teacher_task(task).label_error(label, teacher_task(task).restrict(truths[task], label))
        record = next(record for record in result.records if record["task"] == str(task))
        if verdict is None:
            found.pop(task)
        else:
            found[task] = replace(found[task], parts=dict(record["quality_parts"]), error=verdict.error)
    return list(found.values())


def item_of(position: int, one: Judged) -> ReviewItem:
    """The label as the review lists it."""
    parts = one.parts or {}
    return ReviewItem(position, str(one.scene), one.task, str(one.scene), UNCALIBRATED.score(parts), parts)


def verdicts_on(items: list[ReviewItem], labels: list[Judged]) -> Verdicts:
    """What a careful person says: labels with a bad error are rejected."""
    rows = [
        Verdict(
            key=item.key,
            task=item.task,
            verdict="reject" if labels[item.position].is_bad else "accept",
            quality=item.quality,
            quality_parts=dict(item.parts),
        )
        for item in items
    ]
    return Verdicts(reviewed=ReviewedSet(sha256="0" * 64), verdicts=tuple(rows))


def rows_of(task: Task, reviewed: list[Judged], held_out: list[Judged]) -> tuple[list[str | int], list[str | int]]:
    """Rows of both tables: the first page, and the calibrations."""
    planted, labels = [one for one in reviewed if one.fault], [one for one in reviewed if one.parts is not None]
    items = sorted(
        (item_of(position, one) for position, one in enumerate(labels)), key=lambda item: (item.quality, item.position)
    )
    page = [labels[item.position] for item in items[:PAGE]]
    bad = [one for one in labels if one.is_bad]
    missed = Counter(one.fault or "none planted" for one in bad if one not in page)
    seen = sum(one.is_bad for one in page)
    first: list[str | int] = [str(task), len(planted), sum(one.parts is None for one in planted)]
    first += [len(labels), len(bad), seen, f"{seen / len(bad):.0%}" if bad else "-"]
    first.append(", ".join(f"{count} {name}" for name, count in missed.items()) or "-")

    chosen = [*items[:PAGE], *most_informative(items[PAGE:], PAGE)]
    given = verdicts_on(chosen, labels)
    count = sum(one.verdict == "reject" for one in given.verdicts)
    test = [one for one in held_out if one.parts is not None]
    with_truth = calibrate([one.parts or {} for one in labels], [one.error for one in labels], limit=BAD[task])
    from_verdicts, from_all = (fitted(task, verdicts) for verdicts in (given, verdicts_on(items, labels)))
    second: list[str | int] = [str(task), len(given.verdicts), count, len(test), sum(one.is_bad for one in test)]
    values = [auroc(rule, test) for rule in (UNCALIBRATED, with_truth, from_all, from_verdicts)]
    second += [f"{value:.3f}" if value is not None else "-" for value in values]
    *_, truth, everything, judged = values
    second += ["-" if judged is None or best is None else f"{judged - best:+.3f}" for best in (truth, everything)]
    return first, second


def fitted(task: Task, given: Verdicts) -> TaskCalibration | None:
    """Calibration from verdicts, through the files that a person has; None: they do not suffice."""
    with tempfile.TemporaryDirectory() as folder:
        verdicts, path = Path(folder) / "verdicts.json", Path(folder) / "calibration.json"
        verdicts.write_text(given.model_dump_json())
        try:
            calibrate_from_verdicts(verdicts, path, SilentReporter())
        except DistillError:
            return None
        return read_calibration(path).tasks[task]


def tables_of(found: list[Judged], count: int, *, checked: bool) -> list[Table]:
    """Both tables of the sets with or without checks."""
    by_task: dict[Task, list[Judged]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one.scene):
        if one.checked is checked:
            by_task[one.task].append(one)
    pages, calibrations = [], []
    for task, labels in by_task.items():
        first, second = rows_of(
            task,
            [one for one in labels if one.scene < count],
            [one for one in labels if one.scene >= count],
        )
        pages.append(first)
        calibrations.append(second)
    how = "default checks" if checked else "without checks"
    columns = ["task", "planted", "of them rejected", "labels in the set", "bad", "bad on page 1", "seen", "not seen"]
    shown = Table(columns, pages, title=f"First page ({how})")
    columns = ["task", "verdicts", "rejections", "held-out labels", "bad"]
    columns += ["AUROC plain", "true errors", "verdicts on all", "60 verdicts", "against errors", "against all"]
    return [shown, Table(columns, calibrations, title=f"Calibration from 60 verdicts and from truth ({how})")]


def auroc(rule: TaskCalibration | None, labels: list[Judged]) -> float | None:
    """Of the scores on good and bad labels."""
    bad = [one.is_bad for one in labels]
    if rule is None or len(set(bad)) < 2:
        return None
    return float(roc_auc_score(bad, [-rule.score(one.parts or {}) for one in labels]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--reviewed", type=int, default=300, help="scenes of the set under review")
    parser.add_argument("--save", type=Path, help="keep the measurements of these scenes in a file")
    parser.add_argument("--parts", type=Path, nargs="*", default=[], help="write the page from such files")
    parser.add_argument("--size", type=int, nargs=2, default=(144, 192))
    given = parser.parse_args()
    config = SyntheticConfig(size_hw=tuple(given.size), tasks=tuple(BAD), first=0)
    found: list[Judged] = [one for file in given.parts for one in pickle.loads(file.read_bytes())]
    for index in range(given.first, given.first + given.scenes) if not given.parts else ():
        found += [one for checked in (True, False) for one in judge_scene(index, config, checked=checked)]
    if given.save:
        given.save.write_bytes(pickle.dumps(found))
        return
    tables = [table for checked in (True, False) for table in tables_of(found, given.reviewed, checked=checked)]
    scenes = {one.scene for one in found}
    limits = ", ".join(f"{task} {error:g}" for task, error in BAD.items())
    notes = (
        f"{len(scenes)} scenes of {given.size[1]}x{given.size[0]} px; the first {given.reviewed} are reviewed, the "
        f"others held out. Planted in one label of ten of each task, in turn: {', '.join(FAULTS)}. A label is bad from "
        f"{limits}; a planted fault may leave a good label (a shift that was corrected). 60 verdicts: those on the "
        f"first page of {PAGE}, and on the {PAGE} most informative of the others. Wanted: 90 % of the bad labels on "
        f"the first page, and differences of at least -{MOST_APART}."
    )
    results_page("Review of planted faults", notes, tables, given.out)


if __name__ == "__main__":
    main()
