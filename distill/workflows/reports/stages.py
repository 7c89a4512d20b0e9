"""Sections of a report from the JSON results of single steps; contents are checked, since files may be anybody's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.files import read_json, write_atomic
from distill.report import (
    Bars,
    Block,
    Cell,
    Code,
    Curve,
    Curves,
    Fold,
    KeyValues,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    to_html,
)
from distill.run_dir import machine, versions
from distill.workflows.reports.bench import busy_warning
from distill.workflows.reports.pictures import (
    color_legends,
    label_galleries,
    legend_classes,
    training_samples,
    video_blocks,
    worst_galleries,
)
from distill.workflows.reports.read import FOREIGN_CONTENT, MAX_BYTES, is_number

MAX_ROWS = 30
_MAX_JSON = 60_000
_PERCENTILES = "p50 is the median call: half of the calls are faster. images/s is the batch divided by the mean call, "
_PERCENTILES += "which slow calls raise; on a busy machine it is lower than p50 suggests."


def stage_sections(title: str, stem: str, values: Any, folder: Path, base: Path) -> list[Section]:
    """Sections of one file, and its JSON below a fold.

    Args:
        title: Title of the first section.
        stem: Name of the file without suffix.
        values: Content of the file.
        folder: Folder of the file, for the pictures in it.
        base: Folder of the page, from which videos are linked.
    """
    builder = _BUILDERS.get(stem)
    if builder is None:
        return [Section(title, [_json_fold(values, f"{stem}.json")])]
    try:
        sections = builder(title, values, folder, base)
        to_html(Report(title, sections))
    except FOREIGN_CONTENT:
        note = Text(f"{stem}.json has another content than distill writes; it is shown as it is.", "note")
        return [Section(title, [note, _json_fold(values, f"{stem}.json")])]
    if sections:
        first, *others = sections
        sections = [Section(first.title, [*first.blocks, _json_fold(values, f"{stem}.json")]), *others]
    return sections


def write_train_page(run: Path) -> Path:
    """Write ``train.html`` into a run's folder: curves, samples and the student; return its path."""
    sections = []
    for stem, title in (("train", "Training"), ("history", "Curves"), ("spec", "Student")):
        if (run / f"{stem}.json").is_file():
            sections += stage_sections(title, stem, read_json(run / f"{stem}.json", MAX_BYTES), run, run)
    path = run / "train.html"
    write_atomic(
        path, to_html(Report(f"Training of {run.resolve().name}", sections, "", {**machine(), **versions()})).encode()
    )
    return path


def _json_fold(values: Any, name: str) -> Fold:
    try:
        text = json.dumps(values, indent=1, ensure_ascii=False)
    except RecursionError:
        return Fold(name, [Text("nested too deeply to be shown", "note")])
    text = text if len(text) <= _MAX_JSON else f"{text[:_MAX_JSON]}\n... ({len(text):,} characters in the file)"
    return Fold(f"All values ({name})", [Code(text)])


def _label(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    tiles = [
        Metric(_cell(values["labeled"]), "photos labeled", f"of {values['photos']}"),
        Metric(_cell(values["answers"]), "answers read", f"{len(values['unanswered'])} gave no label"),
        Metric(f"{float(values['cost_usd']):.2f} USD", "paid to the teacher"),
    ]
    rows = [
        [task, _cell(count), _cell(values["valid_fraction"].get(task)), _cell(values["quality"].get(task))]
        for task, count in values["labels"].items()
    ]
    galleries = label_galleries(folder, values)
    sections = [
        Section(title, [Metrics(tiles), Table(["task", "labels", "pixels with a value", "mean quality"], rows)])
    ]
    legends = color_legends(list(values["labels"]), legend_classes(folder))
    sections += [Section("Labels to look at first", [*legends, *galleries])] if galleries else []
    refused = [
        [str(row["name"]), str(row.get("task", "")), str(row["reason"])]
        for key in ("failed", "unanswered", "notes")
        for row in values[key]
    ]
    if refused:
        table = Table(["photo", "task", "reason"], refused[: 10 * MAX_ROWS])
        sections.append(Section("Photos and answers without a label", [Fold(f"{len(refused)} rows", [table])]))
    return sections


def _dataset(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    shards = values["shards"]
    facts: dict[str, Cell] = {"samples": sum(shard["samples"] for shard in shards), "shards": len(shards)}
    facts |= {f"{task} labels": count for task, count in values["counts"].items()}
    names = ("depth_kind", "classes", "referring", "instance_classes", "teachers", "licenses")
    facts |= {name.replace("_", " "): joined(values[name]) for name in names if values.get(name)}
    prompts = [str(text) for text in values.get("prompts", {}).values()][:MAX_ROWS]
    return [Section(title, [KeyValues(facts), *([Fold("Prompts", [Code("\n\n".join(prompts))])] if prompts else [])])]


_BETTER = {"loss": "lower", "abs_rel": "lower", "mean_deg": "lower", "error": "lower"}
_BETTER |= {"delta1": "higher", "miou": "higher", "score": "higher", "close": "higher", "f1": "higher", "iou": "higher"}


def _history(title: str, rows: Sequence[Mapping[str, Any]], folder: Path, base: Path) -> list[Section]:
    """One plot per quantity, with training and validation curves; single loss terms are below a fold."""
    quantities: dict[str, list[Curve]] = {}
    x_name = "step" if all("step" in row for row in rows) else "epoch"
    for name in dict.fromkeys(key for row in rows for key in row):
        side, _, quantity = name.partition("_")
        if side not in ("train", "val"):
            continue
        points = [(row[x_name], row[name]) for row in rows if is_number(row.get(name)) and is_number(row.get(x_name))]
        curve = Curve("training" if side == "train" else "validation", [x for x, _ in points], [y for _, y in points])
        quantities.setdefault(quantity, []).append(curve)
    better = {name: next((way for end, way in _BETTER.items() if name.endswith(end)), "") for name in quantities}
    plots = {name: Curves(name, curves, x_name, "", better=better[name]) for name, curves in quantities.items()}
    main = [plot for name, plot in plots.items() if better[name]]
    terms = [plot for name, plot in plots.items() if not better[name]]
    last = {key: value for key, value in rows[-1].items() if is_number(value) and not key.startswith("train_")}
    blocks: list[Block] = [*main, *([Fold("Single terms of the loss", terms)] if terms else [])]
    samples = training_samples(folder)
    return [
        Section(title, [*blocks, KeyValues(last, "At the end")]),
        *([Section("Validation samples while training", samples)] if samples else []),
    ]


def _train(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    names = {"epochs": "epochs", "steps": "steps", "elapsed_s": "seconds", "split": "split"}
    facts = {label: _cell(values[name]) for name, label in names.items()}
    warnings = [Text(str(values[name]), "warning") for name in ("failure", "weak") if values.get(name)]
    return [Section(title, [*warnings, KeyValues(facts)])]


def _spec(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    tasks = [name for name in ("depth", "normals", "semantic", "instance", "edges") if values.get(name)]
    height, width = values["input"]["size_hw"]
    facts: dict[str, Cell] = {
        "name": str(values["name"]),
        "backbone": str(values["backbone"]),
        "tasks": ", ".join(tasks),
        "works at": f"{width} x {height} pixels",
        "licenses of the labels": joined(values.get("licenses", [])),
        "teachers": str(values.get("provenance", {}).get("teachers", "")),
    }
    if isinstance(values.get("semantic"), dict):
        facts["classes"] = joined(values["semantic"]["classes"])
    return [Section(title, [KeyValues(facts)])]


def _evaluate(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    from distill.evaluation.report import build_report

    page = build_report(values, worst_galleries(folder, values))
    first, *others = page.sections
    return [
        Section(title, [Text(page.summary), *first.blocks]),
        *(Section(f"{title}: {section.title}", section.blocks) for section in others),
    ]


def _export(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    rows, checks = list[list[Cell]](), list[list[Cell]]()
    for target in values["targets"]:
        size = target.get("size_bytes")
        row: list[Cell] = [str(target["target"]), str(target.get("precision", "")), str(target["status"])]
        row += [
            size / 1e6 if is_number(size) else None,
            *(_cell(target.get(key)) for key in ("p50_ms", "images_per_s")),
        ]
        rows.append([*row, str(target.get("reason") or "")])
        for check in (target.get("parity") or {}).get("tasks", []):
            keys = ("task", "measure", "reference", "candidate", "pixel_difference", "tolerance", "passed")
            checks.append([str(target["target"]), *(_cell(check.get(key)) for key in keys)])
    columns = ["target", "precision", "status", "MB", "p50 ms", "images/s", "reason"]
    parity = ["target", "task", "measure", "checkpoint", "exported", "largest difference", "tolerance", "passed"]
    note = "Every file is compared with the checkpoint on the same images before it gets its name."
    return [Section(title, [Table(columns, rows), *([Table(parity, checks, "Same results?", note)] if checks else [])])]


def _bench(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    rows = [
        [
            str(row["model"]),
            str(row["scope"]).replace("_", " "),
            _cell(row["batch"]),
            *(_cell(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "mean_ms", "images_per_s")),
        ]
        for row in values["timings"]
    ]
    columns = ["model", "timed", "batch", "p50 ms", "p95 ms", "p99 ms", "mean ms", "images/s"]
    series = {name: [row[f"{name}_ms"] for row in values["timings"]] for name in ("p50", "p95", "p99")}
    names = [f"{row[1]}, batch {row[2]}" + (f", {row[0]}" if len(values["models"]) > 1 else "") for row in rows]
    return [
        Section(
            title,
            [
                *busy_warning(values["machine"]),
                Bars("milliseconds per call", names, series, "ms", better="lower"),
                Table(columns, rows, note=_PERCENTILES),
                *pareto(values["models"], values["timings"]),
            ],
        )
    ]


def pareto(models: Sequence[Mapping[str, Any]], timings: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Speed against each score, of models that have scores; empty with fewer than two."""
    rates = {
        name: max(row["images_per_s"] for row in timings if row["model"] == name and row["scope"] == "engine")
        for name in [model["name"] for model in models]
    }
    scored = [model for model in models if isinstance(model.get("scores"), dict)]
    if len(scored) < 2:
        return []
    plots: list[Block] = []
    for metric in scored[0]["scores"]:
        curves = [
            Curve(model["name"], [rates[model["name"]]], [model["scores"][metric]])
            for model in scored
            if is_number(model["scores"].get(metric))
        ]
        plots.append(Curves(f"speed and {metric}", curves, "images/s", metric, log_x=True, markers_only=True))
    return plots


def _predictions(title: str, values: Mapping[str, Any], folder: Path, base: Path) -> list[Section]:
    facts = {
        "model": str(values.get("model", "")),
        "engine": str(values.get("engine", "")),
        "images": _cell(values["images"]),
        "images/s": _cell(values["images_per_s"]),
        "slowest stage": str(values.get("bottleneck", "")),
    }
    return [Section(title, [*video_blocks(folder, values, base), KeyValues(facts)])]


def _cell(value: Any) -> Cell:
    return (
        value if value is None or isinstance(value, (str, int, float, bool)) else json.dumps(value, ensure_ascii=False)
    )


def joined(value: Any) -> str:
    """A list as text, shortened."""
    if isinstance(value, str):
        return value
    text = ", ".join(str(item) for item in value[:MAX_ROWS])
    return text if len(value) <= MAX_ROWS else f"{text}, ... ({len(value)} in total)"


_BUILDERS: Mapping[str, Callable[[str, Any, Path, Path], list[Section]]] = {
    "label": _label,
    "dataset": _dataset,
    "history": _history,
    "train": _train,
    "spec": _spec,
    "evaluate": _evaluate,
    "export": _export,
    "bench": _bench,
    "predictions": _predictions,
}
