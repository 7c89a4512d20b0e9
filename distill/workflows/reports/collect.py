"""Report of a project: the results of all steps as linked pages, or as one page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.files import write_atomic
from distill.report import (
    Block,
    Cell,
    Code,
    Link,
    Links,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    to_html,
)
from distill.report import to_json as report_to_json
from distill.workflows.arguments import to_path
from distill.workflows.reports.costs import best_throughput, cost_blocks
from distill.workflows.reports.read import FOREIGN_CONTENT, read_commands, read_results
from distill.workflows.reports.stages import joined, stage_sections

PAGES = {
    "labels": ("Labels", ("label", "dataset")),
    "training": ("Training", ("train", "history", "spec")),
    "evaluation": ("Evaluation", ("evaluate",)),
    "export": ("Export", ("export", "parity")),
    "speed": ("Speed", ("bench",)),
    "predictions": ("Predictions", ("predictions",)),
    "other": ("Other results", ()),
}
"""Name of a page to its title and the files that it shows; the last one shows all others."""
_SECTION_TITLES = {"dataset": "Data set", "spec": "Student", "history": "Curves"}
_STAGE_OF = {stem: page for page, (_, stems) in PAGES.items() for stem in stems}
_GENERATOR = "<meta name='generator' content='distill'>"


@dataclass(frozen=True, slots=True)
class CollectedReport:
    """A report that was written.

    Attributes:
        path: The HTML file, or the ``index.html`` of a folder of pages.
        report: Its content, on one page.
        num_runs: Number of run folders.
        pages: All files that were written.
    """

    path: Path
    report: Report
    num_runs: int
    pages: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "out": str(self.path),
            "pages": [str(path) for path in self.pages],
            **json.loads(report_to_json(self.report)),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        count = len(self.report.sections)
        return f"wrote {self.path}: {len(self.pages)} pages, {count} sections from {self.num_runs} runs"


@dataclass(slots=True)
class _Project:
    """Results of all folders, and the sections made of them."""

    results: list[tuple[str, str, Any]] = field(default_factory=list)  # (run, stem, content)
    sections: dict[str, list[Section]] = field(default_factory=lambda: {name: [] for name in PAGES})
    commands: list[str] = field(default_factory=list)
    environment: dict[str, Cell] = field(default_factory=dict)

    def contents(self, stem: str) -> list[dict[str, Any]]:
        """Contents of all files of a name that hold an object."""
        return [values for _, name, values in self.results if name == stem and isinstance(values, dict)]


def write_collected_report(
    runs: Sequence[Path], out: Path, title: str = "", *, first: Sequence[Section] = ()
) -> CollectedReport:
    """Collect the results of run folders in a folder of linked pages; in one page if `out` ends in ``.html``.

    Args:
        runs: Folders of results.
        out: Folder or page.
        title: Title of the summary.
        first: Sections to show after the overview.

    Raises:
        UsageError: A folder does not exist or contains no result, or `out` is a file other than a page.
    """
    out = to_path(out)
    single = out.suffix.lower() in (".html", ".htm")
    if out.is_file() and not single:
        raise UsageError(f"{out}: exists and is not a folder", hint="give --out a folder, or a name that ends in .html")
    index = out if single else out / "index.html"
    if not single and index.exists() and _GENERATOR not in index.read_text(errors="replace")[:2000]:
        raise UsageError(f"{index}: was not written by distill", hint="choose another --out")
    title = title or f"Results of {', '.join(run.name or str(run) for run in runs)}"
    project = _collect(runs, out.parent if single else out)
    overview, *others = _summary(project, {}) or [Section("Overview", [])]
    summary = [overview, *first, *others]
    whole = Report(title, [*summary, *(section for part in project.sections.values() for section in part)])
    whole = replace(whole, facts=project.environment, summary=_lead(project))
    if single:
        write_atomic(out, to_html(whole).encode())
        return CollectedReport(out, whole, len(runs), (out,))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be used as a folder: {error.strerror}", hint="choose another --out") from error
    written = []
    for name, page in _pages(project, whole).items():
        path = out / f"{name}.html"
        write_atomic(path, to_html(page).encode())
        written.append(path)
    return CollectedReport(index, whole, len(runs), tuple(written))


def collect_report(runs: Sequence[Path], title: str = "") -> Report:
    """Collect the results of run folders on one page.

    Raises:
        UsageError: A folder does not exist or contains no result.
    """
    project = _collect(runs, Path())
    names = ", ".join(run.name or str(run) for run in runs)
    sections = [*_summary(project, {}), *(section for part in project.sections.values() for section in part)]
    return Report(title or f"Results of {names}", sections, _lead(project), project.environment)


def _pages(project: _Project, whole: Report) -> dict[str, Report]:
    """The summary and one page per step that has results, each with links to all others."""
    shown = {name: PAGES[name][0] for name, sections in project.sections.items() if sections}
    links = [Link("index.html", "Summary"), *(Link(f"{name}.html", text) for name, text in shown.items())]
    pages = {"index": replace(whole, sections=_summary(project, shown))}
    for name, text in shown.items():
        pages[name] = Report(text, project.sections[name], whole.title)
    return {
        name: replace(page, pages=[replace(link, current=link.target == f"{name}.html") for link in links])
        for name, page in pages.items()
    }


def _collect(runs: Sequence[Path], base: Path) -> _Project:
    project = _Project()
    found_in = [(run, read_results(run)) for run in runs]
    counts = Counter(name.rpartition("/")[2] for _, found in found_in for name in found)
    for run, found in found_in:
        project.commands += [command for command in read_commands(run) if command not in project.commands]
        for name, values in found.items():
            folder, _, stem = name.rpartition("/")
            if stem == "spec" and folder and "spec" in found:
                continue  # the copy next to an exported file
            project.results.append((run.name or str(run), stem, values))
            page = _STAGE_OF.get(stem, "other")
            title = _SECTION_TITLES.get(stem) or (PAGES[page][0] if page != "other" else _plain(stem))
            where = "/".join([*([run.name or str(run)] if len(runs) > 1 else []), *([folder] if folder else [])])
            title = f"{title} ({where})" if where and counts[stem] > 1 else title
            project.sections[page] += stage_sections(title, stem, values, run / folder, base)
            if isinstance(values, dict):
                project.environment |= _environment(values)
    return project


def _plain(stem: str) -> str:
    return stem.replace("_", " ").capitalize()


def _summary(project: _Project, shown: Mapping[str, str]) -> list[Section]:
    """Sections of the first page."""
    blocks: list[Block] = [*_result_blocks(project)]
    if shown:
        notes = {name: ", ".join(section.title for section in project.sections[name][:3]) for name in shown}
        blocks.append(Links([Link(f"{name}.html", text, notes[name]) for name, text in shown.items()]))
    sections = [Section("Overview", blocks)] if blocks else []
    labels, train, bench = (project.contents(stem) for stem in ("label", "train", "bench"))
    if labels or bench:
        try:
            cost = cost_blocks(labels, train[0] if train else None, bench[0] if bench else None)
        except FOREIGN_CONTENT:
            cost = [Text("The cost is not shown: label.json or bench.json has another content.", "note")]
        sections.append(Section("Cost", cost))
    provenance = _provenance(project)
    return [*sections, *([Section("Where it comes from", provenance)] if provenance else [])]


def _lead(project: _Project) -> str:
    """One sentence: what was done."""
    labels, evaluations = project.contents("label"), project.contents("evaluate")
    parts = []
    try:
        if labels:
            parts.append(f"{sum(row['labeled'] for row in labels):,} photos were labeled")
        if project.contents("train"):
            parts.append(f"a student was trained for {project.contents('train')[0]['elapsed_s'] / 60:.1f} minutes")
        if evaluations:
            parts.append(f"it was scored on {evaluations[0]['images']:,} images with ground truth")
    except FOREIGN_CONTENT:
        return ""
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _result_blocks(project: _Project) -> list[Block]:
    """How good and how fast: tiles for one run, a table for several."""
    overview: dict[str, dict[str, Cell]] = {}
    notes: dict[str, str] = {}
    for run, stem, values in project.results:
        if not isinstance(values, dict):
            continue
        try:
            if stem == "evaluate":
                for label, (value, note) in _scores(values).items():
                    overview.setdefault(run, {}).setdefault(label, value)
                    notes.setdefault(label, note)
            elif stem == "bench":
                overview.setdefault(run, {}).setdefault("images/s", float(f"{best_throughput(values):.4g}"))
                notes.setdefault("images/s", f"{values['machine']['processor']}, engine alone")
        except FOREIGN_CONTENT:
            continue
    if not overview:
        return []
    row = {label: value for values in overview.values() for label, value in values.items()}
    if len(row) == sum(map(len, overview.values())):  # no score of two runs
        return [Metrics([Metric(value, label, notes[label]) for label, value in row.items()])]
    labels = list(dict.fromkeys(label for row in overview.values() for label in row))
    return [Table(["run", *labels], [[run, *(row.get(label) for label in labels)] for run, row in overview.items()])]


def _scores(values: Mapping[str, Any]) -> dict[str, tuple[Cell, str]]:
    """Headline score of the first predictor by title, and those of the others as a note."""
    from distill.metrics.base import HIGHER, task_metric
    from distill.report import format_cell
    from distill.tasks import TASKS, Task

    found: dict[str, tuple[Cell, str]] = {}
    for name, result in values["tasks"].items():
        info = TASKS[Task(name)]
        first, *others = result["scores"]
        value = result["scores"][first].get(info.headline)
        arrow = task_metric(Task(name)).columns[info.headline][1]
        parts = [f"{other} {format_cell(result['scores'][other].get(info.headline))}" for other in others[:2]]
        parts += ["higher is better" if arrow == HIGHER else "lower is better"]
        if value is None or isinstance(value, (int, float, str)):
            found[info.headline_title] = (value, ", ".join(parts))
    return found


def _provenance(project: _Project) -> list[Block]:
    """Teachers, licenses and commands."""
    blocks: list[Block] = []
    rows: list[list[Cell]] = []
    for values in project.contents("dataset"):
        terms = values.get("terms")
        for license_class in values.get("licenses") or () if isinstance(values.get("licenses"), list) else ():
            term = terms.get(license_class, "") if isinstance(terms, dict) and isinstance(license_class, str) else ""
            teachers = values.get("teachers")
            row: list[Cell] = [joined(teachers) if isinstance(teachers, list) else "", str(license_class), str(term)]
            rows += [row] if row not in rows else []
    if rows:
        blocks.append(Table(["teachers", "license of the labels", "terms"], rows))
    if project.commands:
        blocks.append(Code("\n".join(project.commands), "Commands"))
    return blocks


_ENVIRONMENT_KEYS = ("machine", "versions", "environment")


def _environment(values: Mapping[str, Any]) -> dict[str, Cell]:
    groups = [values[name] for name in _ENVIRONMENT_KEYS if isinstance(values.get(name), dict)]
    return {
        str(key): value
        for group in groups
        for key, value in group.items()
        if value is None or isinstance(value, (str, int, float, bool))
    }
