"""Maintenance of an answer store: list, verify, export and clean up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.workflows.arguments import to_path

if TYPE_CHECKING:
    from distill.teachers.store.answers import AnswerStore
    from distill.teachers.store.maintenance import StoreReport

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class StoreListing:
    """Content of an answer store.

    Attributes:
        answers: Number of answers.
        bytes: Their size.
        kinds: Number of answers by kind: image, refused, empty, unreadable, damaged.
        requests: Requests by model and state, with their cost.
        problems: Requests that failed, or gave no image.
    """

    answers: int
    bytes: int
    kinds: Mapping[str, int]
    requests: Sequence[Mapping[str, Any]]
    problems: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "answers": self.answers,
            "bytes": self.bytes,
            "kinds": dict(self.kinds),
            "requests": list(self.requests),
            "problems": list(self.problems),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        lines = [f"{self.answers} answers, {self.bytes / 1e6:.1f} MB ({kinds})"]
        for row in self.requests:
            uncertain = f", perhaps {row['uncertain_usd']:.2f} more" if row["uncertain_usd"] else ""
            lines.append(
                f"  {row['model']}: {row['requests']} {row['state']} in {row['attempts']} calls for "
                f"{row['cost_usd']:.2f} USD{uncertain}"
            )
        lines += [
            f"  {row['subject']} ({row['task']}) {row['state']}: {row['detail']}" for row in self.problems[:_SHOWN]
        ]
        if len(self.problems) > _SHOWN:
            lines.append(f"  ... and {len(self.problems) - _SHOWN} more; --json lists all")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Verification:
    """Outcome of reading every answer of a store."""

    found: StoreReport

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "intact": self.found.intact,
            "answers": self.found.answers,
            "damaged": [{"key": key, "reason": reason} for key, reason in self.found.damaged],
            "missing": self.found.missing,
            "orphans": [path.name for path in self.found.orphans],
            "leftovers": [path.name for path in self.found.leftovers],
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        found = self.found
        lines = [f"{found.answers} answers are intact"]
        lines += [f"damaged: {reason} ({key[:16]})" for key, reason in found.damaged[:_SHOWN]]
        if found.damaged:
            lines.append("request them again: `distill answers gc STORE --forget damaged --yes`, then label as before")
        lines += [f"missing: {key[:16]} was answered, and is not in the store" for key in found.missing[:_SHOWN]]
        if found.orphans or found.leftovers:
            count = len(found.orphans) + len(found.leftovers)
            lines.append(f"{count} files of interrupted runs; `distill answers gc` removes them")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class AnswersExport:
    """Outcome of an export for the replay teacher.

    Attributes:
        out: Folder with the images and ``answers.yaml``.
        counts: Number of exported, damaged and imageless answers.
    """

    out: Path
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"out": str(self.out), **self.counts}

    def to_text(self) -> str:
        """Format for a terminal."""
        manifest = self.out / "answers.yaml"
        damaged = f", {self.counts['damaged']} damaged" if self.counts["damaged"] else ""
        return (
            f"{self.counts['answers']} answers and {manifest}; {self.counts['left_out']} without an image left out"
            f"{damaged}\nread them with: distill label PHOTOS --teacher replay --answers {shlex.quote(str(manifest))}"
        )


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Outcome of a clean-up.

    Attributes:
        removed: Whether files were removed; otherwise they were only counted.
        counts: Number of files by kind.
    """

    removed: bool
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"removed": self.removed, **self.counts}

    def to_text(self) -> str:
        """Format for a terminal."""
        listed = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"removed {listed}" if self.removed else f"would remove {listed}; --yes removes them"


def open_store(folder: Path) -> AnswerStore:
    """Open an existing answer store.

    Raises:
        UsageError: There is no such folder.
    """
    from distill.teachers.store.answers import AnswerStore

    if not to_path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder", hint="name the folder that `distill label --store` used")
    return AnswerStore(folder)


def list_store(store: AnswerStore) -> StoreListing:
    """Count the answers, their size and their cost."""
    from distill.teachers.store.ledger import open_to_read
    from distill.teachers.store.maintenance import DAMAGED
    from distill.teachers.store.records import AnswerCorrupt

    count, size, kinds = 0, 0, dict[str, int]()
    for key in store.all_keys():
        try:
            meta = store.meta(key) or {}
        except AnswerCorrupt:
            meta = {"kind": DAMAGED}
        count += 1
        size += int(meta.get("bytes", 0))
        kinds[str(meta.get("kind"))] = kinds.get(str(meta.get("kind")), 0) + 1
    requests: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    if (store.folder / "ledger.sqlite").is_file():
        with open_to_read(store.folder) as ledger:
            requests = ledger.totals()
            problems = [row for row in ledger.rows() if row["state"] in ("failed", "refused", "empty")]
    return StoreListing(count, size, kinds, requests, problems)


def verify_store(store: AnswerStore) -> Verification:
    """Read every byte of the store."""
    from distill.teachers.store.maintenance import verify

    return Verification(verify(store))


def export_store(store: AnswerStore, out: Path) -> AnswersExport:
    """Write the images and a manifest for the replay teacher."""
    from distill.teachers.store.maintenance import export_answers

    to_path(out)
    return AnswersExport(out, export_answers(store, out))


def clean_store(store: AnswerStore, forget: Sequence[str], *, apply: bool) -> Cleanup:
    """Remove files of interrupted runs, and answers of the kinds in `forget`; only count them unless `apply`."""
    from distill.teachers.store.maintenance import collect_garbage

    return Cleanup(apply, collect_garbage(store, forget=tuple(forget), apply=apply))
