"""Report of run folders: the JSON results of all steps on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.files import read_json, write_atomic
from distill.report import Block, Cell, Curve, Curves, KeyValues, Metric, Metrics, Report, Section, Table, Text, to_html
from distill.report import to_json as report_to_json
from distill.workflows.arguments import to_path

_MAX_BYTES = 4 * 1024 * 1024
_MAX_ROWS = 30


@dataclass(frozen=True, slots=True)
class CollectedReport:
    """A report that was written.

    Attributes:
        path: The HTML file.
        report: Its content.
        num_runs: Number of run folders.
    """

    path: Path
    report: Report
    num_runs: int

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"out": str(self.path), **json.loads(report_to_json(self.report))}

    def to_text(self) -> str:
        """Format for a terminal."""
        return f"wrote {self.path}: {len(self.report.sections)} sections from {self.num_runs} runs"


def write_collected_report(runs: Sequence[Path], out: Path, title: str = "") -> CollectedReport:
    """Collect the results of run folders, and write them to an HTML file.

    Raises:
        UsageError: A folder does not exist or contains no result, or `out` is a file other than a page.
    """
    out = to_path(out)
    if out.exists() and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: exists and is not a page of HTML", hint="give --out a name that ends in .html")
    report = collect_report(runs, title)
    write_atomic(out, to_html(report).encode())
    return CollectedReport(out, report, len(runs))


def collect_report(runs: Sequence[Path], title: str = "") -> Report:
    """Collect the results of run folders in one report.

    Raises:
        UsageError: A folder does not exist or contains no result.
    """
    sections, overview = [], dict[str, dict[str, Cell]]()
    environment: dict[str, Cell] = {}
    for run in runs:
        found = read_results(run)
        for name, values in found.items():
            where = f"{run.name or run}/{name}" if len(runs) > 1 else name
            sections += _sections(_title(where), name, values)
            for label, value in _headline_metrics(name, values).items():
                overview.setdefault(run.name or str(run), {}).setdefault(label, value)
            if isinstance(values, dict):
                environment |= _environment(values)
    if overview:
        sections.insert(0, Section("Overview", [_overview(overview)]))
    names = ", ".join(run.name or str(run) for run in runs)
    return Report(title or f"Results of {names}", sections, "", environment)


def read_results(run: Path) -> dict[str, Any]:
    """Read the JSON results of a folder and of its subfolders, by name without suffix, in the order of the steps.

    Raises:
        UsageError: The folder does not exist, contains no result, or a result is damaged.
    """
    if not run.is_dir():
        raise UsageError(f"{run}: no such folder", hint="name folders that distill wrote")
    paths = [path for pattern in ("*.json", "*/*.json") for path in run.glob(pattern) if _is_result(path, run)]
    if not paths:
        raise UsageError(f"{run}: no results in it (no .json of label, train, evaluate, export or bench)")
    found = {}
    for path in sorted(paths, key=lambda path: (_reading_order(path.stem), path)):
        try:
            found[str(path.relative_to(run).with_suffix(""))] = read_json(path, _MAX_BYTES)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path}: not readable as JSON: {getattr(error, 'strerror', None) or error}",
                hint="remove it, or run the verb again",
            ) from error
    return found


def _is_result(path: Path, run: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(run).parts) or path.stem.endswith(".provenance"):
        return False
    if not path.resolve().is_relative_to(run.resolve()):
        # The page is handed on, and must not show files that the folder does not hold.
        raise UsageError(f"{path}: a link to a file outside of the folder", hint="copy the file, or remove the link")
    return path.is_file() and path.stat().st_size <= _MAX_BYTES


_OTHER_CONTENT = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, StopIteration)
"""Raised at a file that has the name of a result, and another content."""
_ORDER = ("label", "dataset", "spec", "history", "train", "evaluate", "export", "parity", "bench", "predictions")


def _reading_order(stem: str) -> int:
    return _ORDER.index(stem) if stem in _ORDER else len(_ORDER)


_TITLES = {
    "label": "Labels",
    "dataset": "Data set",
    "spec": "Student",
    "history": "Training",
    "evaluate": "Evaluation",
    "export": "Export",
    "bench": "Speed",
    "predictions": "Predictions",
}


def _title(where: str) -> str:
    folder, _, stem = where.rpartition("/")
    name = _TITLES.get(stem, stem.replace("_", " ").capitalize())
    return f"{name} ({folder})" if folder else name


def _sections(title: str, name: str, values: Any) -> list[Section]:
    """Sections for one file: curves and scores are recognized, everything else is shown as tables."""
    special: dict[str, Callable[[str, Any], list[Section]]] = {
        "dataset": _dataset,
        "history": _history,
        "evaluate": _evaluation,
    }
    stem = name.rpartition("/")[2]
    if stem in special:
        try:
            sections = special[stem](title, values)
            to_html(Report(title, sections))
            return sections
        except _OTHER_CONTENT:
            pass
    try:
        return [Section(title, _generic_blocks(values))]
    except RecursionError:
        return [Section(title, [Text("nested too deeply to be shown", "note")])]


def _dataset(title: str, values: dict[str, Any]) -> list[Section]:
    """Summary of a folder of shards, without the checksums."""
    shards = values["shards"]
    facts: dict[str, Cell] = {"samples": sum(shard["samples"] for shard in shards), "shards": len(shards)}
    facts |= {f"{task} labels": count for task, count in values["counts"].items()}
    names = ("depth_kind", "classes", "referring", "instance_classes", "teachers", "licenses")
    facts |= {name: _joined(values[name]) for name in names if values.get(name)}
    prompts: list[Sequence[Cell]] = [[text] for text in values.get("prompts", {}).values()]
    return [Section(title, [KeyValues(facts), *([Table(["prompts"], prompts[:_MAX_ROWS])] if prompts else [])])]


def _history(title: str, rows: list[dict[str, Any]]) -> list[Section]:
    """One plot per quantity, with training and validation curves."""
    quantities: dict[str, list[Curve]] = {}
    x_name = "step" if all("step" in row for row in rows) else "epoch"
    for name in dict.fromkeys(key for row in rows for key in row):
        side, _, quantity = name.partition("_")
        if side not in ("train", "val"):
            continue
        points = [(row[x_name], row[name]) for row in rows if _is_number(row.get(name))]
        curve = Curve("training" if side == "train" else "validation", [x for x, _ in points], [y for _, y in points])
        quantities.setdefault(quantity, []).append(curve)
    plots: list[Block] = [Curves(name, curves, x_name, name) for name, curves in quantities.items()]
    last = {key: value for key, value in rows[-1].items() if _is_number(value)}
    return [Section(title, [*plots, KeyValues(last, "At the end")])]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _evaluation(title: str, values: dict[str, Any]) -> list[Section]:
    from distill.evaluation.report import build_report

    page = build_report(values, {})
    first, *others = page.sections
    result = Section(title, [Text(page.summary), *first.blocks])
    return [result, *(Section(f"{title}: {section.title}", section.blocks) for section in others)]


def _generic_blocks(values: Any) -> list[Block]:
    """Blocks for any JSON: scalars as key-value pairs, lists of objects as tables."""
    if isinstance(values, list):
        return [_rows_table("", values)] if values and all(isinstance(row, dict) for row in values) else []
    if not isinstance(values, dict):
        return [Text(str(values))]
    scalars, tables = dict[str, Cell](), list[Block]()
    for name, value in _flat(values):
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            tables.append(_rows_table(name, value))
        elif isinstance(value, list):
            scalars |= {name: _joined(value)} if value else {}
        else:
            scalars[name] = value
    return [*([KeyValues(scalars)] if scalars else []), *tables]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten nested objects to dotted names; the environment, shown once at the end, is left out."""
    pairs = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            pairs += _flat(value, f"{name}.") if name not in _ENVIRONMENT_KEYS else []
        else:
            pairs.append((name, value))
    return pairs


def _joined(value: list[Any] | str) -> str:
    if isinstance(value, str):
        return value
    text = ", ".join(str(item) for item in value[:_MAX_ROWS])
    return text if len(value) <= _MAX_ROWS else f"{text}, ... ({len(value)} in total)"


def _rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    flat = [dict(_flat(row)) for row in rows[:_MAX_ROWS]]
    columns = list(dict.fromkeys(name for row in flat for name in row)) or ["value"]
    cells = [[_cell(row.get(name)) for name in columns] for row in flat]
    note = f"The first {_MAX_ROWS} of {len(rows)} rows." if len(rows) > _MAX_ROWS else ""
    return Table(columns, cells, title, note)


def _cell(value: Any) -> Cell:
    return (
        value if value is None or isinstance(value, (str, int, float, bool)) else json.dumps(value, ensure_ascii=False)
    )


_ENVIRONMENT_KEYS = ("machine", "versions", "environment")


def _environment(values: Mapping[str, Any]) -> dict[str, Cell]:
    groups = [values[name] for name in _ENVIRONMENT_KEYS if isinstance(values.get(name), dict)]
    return {key: _cell(value) for group in groups for key, value in group.items()}


def _headline_metrics(name: str, values: Any) -> dict[str, Cell]:
    """Metrics by which runs are compared."""
    stem = name.rpartition("/")[2]
    if stem != "evaluate" or not isinstance(values, dict):
        return {}
    from distill.tasks import TASKS, Task

    found: dict[str, Cell] = {}
    try:
        for task, result in values.get("tasks", {}).items():
            info = TASKS[Task(task)]
            first = next(iter(result["scores"].values()))
            found[info.headline_title] = _cell(first.get(info.headline))
    except _OTHER_CONTENT:
        return {}
    return found


def _overview(numbers: Mapping[str, Mapping[str, Cell]]) -> Block:
    """Tiles for one run, or a table for several."""
    if len(numbers) == 1:
        return Metrics([Metric(value, label) for label, value in next(iter(numbers.values())).items()])
    labels = list(dict.fromkeys(label for row in numbers.values() for label in row))
    return Table(["run", *labels], [[run, *(row.get(label) for label in labels)] for run, row in numbers.items()])
