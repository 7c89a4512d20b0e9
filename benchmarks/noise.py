"""Accuracy lost to wrong labels, and recovered by the noisy-label filter: one command, three trainings.

    distill label --teacher synthetic --set truth=true --set scenes=480 --out shards/clean
    distill label --teacher synthetic --set truth=true --set first=1000000 --set scenes=100 --out shards/test
    python benchmarks/noise.py --clean shards/clean --test shards/test --work runs/noise

A fifth of all labels is made wrong as a whole, task by task: classes, axes or near and far swapped; shifted by 15 % of
the image; flat. Wrong labels claim full confidence. The same student is then trained on correct labels, on these, and
on these with `loss.noisy_labels.sigma`; all are scored against exact truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.config import load_config
from distill.config.train import TrainConfig
from distill.console import Console
from distill.labels import Label, encode
from distill.report.blocks import Table
from distill.shards import Manifest, Sample, read_manifest, read_samples, write_manifest, write_shard
from distill.tasks import Task
from distill.workflows.evaluate.run import EvalOptions, run_evaluate
from distill.workflows.train.run import run_train

SHARE = 0.2
SHIFT = 0.15
PLAIN: dict[str, Any] = {
    "name": "noise",
    "tasks": ["depth", "normals", "semantic"],
    "student": {"preset": "nano", "size_hw": [96, 128]},
    "data": {"val_fraction": 0.1, "batch_size": 8},
    "train": {
        "epochs": 40,
        "num_validations": 4,
        "threads": 1,
        "accelerator": "cpu",
        "logger": "none",
        "sample_images": 0,
    },
}
AWARE = ("loss.noisy_labels.sigma=3", "loss.noisy_labels.start=0.1")
SCORES = {"depth": "abs_rel", "normals": "mean_deg", "semantic": "miou"}


def corrupt(label: Label, how: str, rng: np.random.Generator) -> Label:
    """Wrong label: ``swapped``, ``shifted`` or ``flat``."""
    value = label.value.copy()
    if how == "shifted":
        steps = [round(SHIFT * side) * int(rng.choice((-1, 1))) for side in label.size_hw]
        value = np.roll(value, steps, axis=(0, 1))
    elif label.task is Task.DEPTH:
        near, far = np.percentile(value[label.valid], (2, 80))
        value = (
            np.full_like(value, np.median(value[label.valid]))
            if how == "flat"
            else np.clip(near + far - value, near, far)
        )
    elif label.task is Task.NORMALS:
        value = np.zeros_like(value) + np.array([0, 0, 1], np.float32) if how == "flat" else value[..., [1, 0, 2]]
    elif how == "flat":
        value[:] = rng.integers(len(label.classes))
    else:
        table = np.arange(256)
        table[: len(label.classes)] = rng.permutation(len(label.classes))
        value = table[value].astype(value.dtype)
    return Label(label.task, value, label.valid, label.confidence, label.depth_kind, label.classes)


def spoil_shards(source: Path, target: Path, seed: int = 0) -> dict[str, int]:
    """Copy a set with a fraction of wrong labels; return their number by kind."""
    target.mkdir(parents=True, exist_ok=True)
    manifest, rng = read_manifest(source), np.random.default_rng(seed)
    counts: dict[str, int] = {}
    samples = []
    for sample in read_samples(source):
        files = dict(sample.files)
        for task in sample.tasks:
            if rng.random() < SHARE:
                how = str(rng.choice(("swapped", "shifted", "flat")))
                counts[f"{task} {how}"] = counts.get(f"{task} {how}", 0) + 1
                files |= encode(corrupt(sample.label(task, manifest), how, rng))
        samples.append(Sample(sample.key, files))
    entry = write_shard(target / "shard-000000.tar", samples)
    write_manifest(target, Manifest.model_validate({**manifest.model_dump(), "shards": (entry,)}))
    return counts


def score(run: Path, test: Path) -> dict[str, float]:
    """Headline scores of a run against the truth."""
    found = run_evaluate(EvalOptions(predictors=[run], truth=test, worst=0)).to_dict()["tasks"]
    return {task: found[task]["scores"][run.name][metric] for task, metric in SCORES.items()}


def main() -> None:
    """Corrupt, train three times, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=Path, required=True, help="shards with right labels, to learn from")
    parser.add_argument("--test", type=Path, required=True, help="shards with exact truth of other scenes")
    parser.add_argument("--work", type=Path, required=True, help="folder for the spoiled shards and the runs")
    parser.add_argument("--set", action="append", default=[], help="override a key of all three configs")
    parser.add_argument("--out", type=Path, help="also write the page here")
    options = parser.parse_args()
    counts = spoil_shards(options.clean, options.work / "spoiled")
    console, scores, histories = Console(), {}, {}
    for name, shards, extra in (
        ("right labels", options.clean, ()),
        ("a fifth wrong, plain", options.work / "spoiled", ()),
        ("a fifth wrong, noise-aware", options.work / "spoiled", AWARE),
    ):
        run = options.work / name.replace(" ", "-").replace(",", "")
        config = load_config(TrainConfig, {**PLAIN, "shards": [str(shards)]}, [*options.set, *extra])
        histories[name] = run_train(config, run, console).history
        scores[name] = score(run, options.test)
        console.info(f"{name}: {scores[name]}")
    report(scores, histories, counts, options)


def report(scores: dict[str, dict[str, float]], histories: Any, counts: dict[str, int], options: Any) -> None:
    """Table, and the fraction of the loss that remains."""
    right, plain, aware = scores.values()
    rows: list[list[Any]] = []
    for task, metric in SCORES.items():
        cost = plain[task] - right[task]
        left = (aware[task] - right[task]) / cost if cost else float("nan")
        rows.append([f"{task} {metric}", right[task], plain[task], aware[task], left])
    last = histories["a fifth wrong, noise-aware"][-1]
    spoiled = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    excluded = ", ".join(f"{task} {last[f'noisy_{task}']:.1%}" for task in SCORES)
    notes = (
        f"{last['epoch']} epochs each; noise-aware: {' '.join(AWARE)}. Scores against exact truth of other "
        f"scenes. Wrong labels: {spoiled}. Excluded in the end: {excluded}."
    )
    table = Table(["", *scores, "of the plain loss is left"], rows)
    results_page("What wrong labels cost, and what is saved", notes, [table], options.out)


if __name__ == "__main__":
    main()
