"""Write the review page of a set of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.datasets.review.items import ReviewItem, list_items, most_informative
from distill.datasets.review.page import item_id, to_page
from distill.datasets.review.pictures import item_pictures
from distill.datasets.review.verdicts import ReviewedSet, Verdict, read_verdicts, set_digest
from distill.datasets.shard_set import ShardSet, open
from distill.errors import DistillError, UsageError
from distill.files import write_atomic
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task
from distill.workflows.arguments import to_path
from distill.workflows.review.generated import GeneratedImages

DEFAULT_LIMIT = 30
"""Labels of each task on a page: one screen of thumbnails, 2 to 5 MB."""
_MANY_BYTES = 25_000_000
"""Pages beyond do not fit into a mail."""


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """A review page that was written.

    Attributes:
        out: The HTML file.
        labels: Labels on the page, by task.
        total: Labels in the set, by task.
        num_bytes: Of the page.
        damaged: Labels that could not be shown, with the reason.
        shards: The set.
    """

    out: Path
    labels: Mapping[str, int]
    total: Mapping[str, int]
    num_bytes: int
    damaged: Mapping[str, str]
    shards: Path

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "out": str(self.out),
            "labels": dict(self.labels),
            "total": dict(self.total),
            "bytes": self.num_bytes,
            "damaged": dict(self.damaged),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        counts = ", ".join(f"{count} of {self.total[task]} {task}" for task, count in self.labels.items())
        lines = [f"wrote {self.out}: {counts} labels, {self.num_bytes / 1e6:.1f} MB"]
        lines += [f"not shown: {label}: {reason}" for label, reason in list(self.damaged.items())[:10]]
        if self.num_bytes > _MANY_BYTES:
            lines.append("the page is large; --limit makes it smaller, --serve shows any number of labels")
        lines.append("open it, judge the labels, and download the verdicts; then")
        lines.append(f"  distill data apply {self.shards} verdicts.json --out reviewed")
        return "\n".join(lines)


def review(
    shards: str | Path,
    *,
    out: str | Path = "review.html",
    task: Sequence[Task | str] = (),
    limit: int = DEFAULT_LIMIT,
    informative: bool = False,
    answers: str | Path | None = None,
    verdicts: str | Path | None = None,
    reporter: Reporter | None = None,
) -> ReviewResult:
    """Write one HTML file on which a person judges the labels of a set, worst score first.

    The page needs no server and no network. It shows photo, generated image, label and confidence with the values
    under the pointer, and downloads the verdicts as ``verdicts.json``, which `distill.data.apply` and the calibration
    of quality scores read.

    Args:
        shards: Folder of shards.
        out: The page.
        task: Tasks whose labels are shown; empty: all.
        limit: Labels of each task.
        informative: Show the labels whose verdicts are expected to change a calibration most, not the worst ones.
        answers: Folder that the names of answers in the set are relative to, for the generated images; without it,
            the previews of the labeling job are used where there are any.
        verdicts: Earlier verdicts on this set, to go on with.
        reporter: Receives the progress.

    Raises:
        UsageError: Not a folder of shards, a task that it does not have, or verdicts on another set.
        DistillError: No label can be shown, or the disk is full.

    Example:
        >>> distill.review("shards", out="review.html", limit=50).labels
    """
    reporter, source, path = reporter or SilentReporter(), open(shards), to_path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: is not a page of HTML", hint="give --out a name that ends in .html")
    if limit < 1:
        raise UsageError(f"a page of {limit} labels shows nothing", hint="give --limit 1 or more")
    found = list_items(source, [Task(name) for name in task], reporter)
    chosen = [item for items in found.values() for item in (most_informative if informative else _first)(items, limit)]
    images = GeneratedImages(source.folder, to_path(answers) if answers is not None else None)
    shown: list[ReviewItem] = []
    pictures: dict[str, Mapping[str, Any]] = {}
    damaged: dict[str, str] = {}
    for item in reporter.track(chosen, "review: draw", len(chosen)):
        try:
            sample = source[item.position]
            drawn = item_pictures(item, sample, source.manifest, images.find(item, sample))
        except DistillError as error:
            damaged[f"{item.task} of {item.key}"] = error.message
            continue
        pictures[item_id(len(shown))] = drawn
        shown.append(item)
    if not shown:
        raise DistillError(f"{source.folder}: no label can be shown", hint=f"distill data verify {source.folder}")
    totals = {task: len(items) for task, items in found.items()}
    page = to_page(
        reviewed_set(source), shown, totals, pictures=pictures, verdicts=earlier_verdicts(source, verdicts)
    ).encode()
    write_atomic(path, page)
    return ReviewResult(
        out=path,
        labels={str(task): sum(item.task is task for item in shown) for task in found},
        total={str(task): count for task, count in totals.items()},
        num_bytes=len(page),
        damaged=damaged,
        shards=source.folder,
    )


def reviewed_set(shards: ShardSet) -> ReviewedSet:
    """What the verdicts state of a set."""
    manifest = shards.manifest
    return ReviewedSet(name=shards.folder.resolve().name, sha256=set_digest(manifest), teachers=manifest.teachers)


def earlier_verdicts(shards: ShardSet, path: str | Path | None) -> tuple[Verdict, ...]:
    """Verdicts of a file on this set; none without a file.

    Raises:
        UsageError: It cannot be read, or is about another set.
    """
    if path is None:
        return ()
    given = read_verdicts(to_path(path))
    if given.reviewed.sha256 != set_digest(shards.manifest):
        raise UsageError(f"{path}: judges another set than {shards.folder}", hint="leave --verdicts out")
    return given.verdicts


def _first(items: Sequence[ReviewItem], count: int) -> Sequence[ReviewItem]:
    return items[:count]
