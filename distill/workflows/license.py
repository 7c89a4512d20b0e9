"""Licenses of labels, and of students that were trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.licenses import LicenseClass, allows, license_class

if TYPE_CHECKING:
    from distill.spec import StudentSpec

_UNKNOWN = "unknown"
_SHOWN = 5
"""Samples in `LicenseReport.to_text` for each license; --json lists up to a hundred."""
_MAX_EXAMPLES = 100


@dataclass
class LicenseEntry:
    """One license, and the samples or students under it.

    Attributes:
        license: Name of the license.
        terms: Link to its terms.
        teachers: Teachers whose labels are under it, as an ordered set.
        samples: Number of samples with a label under it; None for a student, whose spec does not count them.
        examples: The first samples, as FOLDER: KEY.
    """

    license: str
    terms: str = ""
    teachers: dict[str, None] = field(default_factory=dict)
    samples: int | None = None
    examples: list[str] = field(default_factory=list)

    @property
    def kind(self) -> LicenseClass:
        """Class of the license."""
        return license_class(self.license)

    def add_sample(self, where: str) -> None:
        """Count a sample."""
        self.samples = (self.samples or 0) + 1
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(where)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "license": self.license,
            "class": str(self.kind),
            "terms": self.terms,
            "teachers": list(self.teachers),
            "samples": self.samples,
            "examples": self.examples,
        }


@dataclass(frozen=True)
class LicenseReport:
    """Licenses of labels and students.

    Attributes:
        entries: One entry per license, the strictest last.
        require: License class that all must satisfy; None: no requirement.
        refused: Entries that do not satisfy it.
    """

    entries: Sequence[LicenseEntry]
    require: LicenseClass | None
    refused: Sequence[LicenseEntry]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "ok": not self.refused,
            "require": str(self.require) if self.require else None,
            "licenses": [entry.to_dict() for entry in self.entries],
            "refused": [entry.to_dict() for entry in self.refused],
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        from distill.report.markdown import text_table

        rows: list[list[Any]] = [
            [
                entry.license,
                str(entry.kind),
                "" if entry.samples is None else entry.samples,
                ", ".join(entry.teachers),
                entry.terms or "not stated",
            ]
            for entry in self.entries
        ]
        lines = [text_table(["license", "class", "samples", "teachers", "terms"], rows)]
        if self.require is not None and not self.refused:
            lines.append(f"all licenses satisfy {self.require}")
        for entry in self.refused:
            lines.append(f"{entry.license} ({entry.kind}) does not satisfy {self.require}:")
            examples = [f"  {example}" for example in entry.examples[:_SHOWN]]
            lines += examples or [f"  teachers: {', '.join(entry.teachers)}"]
            if (entry.samples or 0) > _SHOWN:
                lines.append(f"  ... and {(entry.samples or 0) - _SHOWN} more")
        return "\n".join(lines)


def list_licenses(paths: Sequence[Path], require: LicenseClass | None = None) -> LicenseReport:
    """List the licenses of shards, run folders and exported files.

    Raises:
        UsageError: A path is none of these.
        DistillError: A tar is damaged.
    """
    entries = _merged(entry for path in paths for entry in read_licenses(path))
    refused = [entry for entry in entries if require is not None and not allows(entry.license, require)]
    return LicenseReport(entries, require, refused)


def read_licenses(path: Path) -> list[LicenseEntry]:
    """Read the licenses of a folder of shards, a tar, a run folder or an exported file.

    Raises:
        UsageError: The path is none of these.
        DistillError: A tar is damaged.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder", hint="give shards, a run folder or an exported file")
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.suffix == ".tar" else []
    if tars:
        return list(_shard_licenses(tars).values())
    spec = _find_spec(path)
    if spec is None:
        raise UsageError(
            f"{path}: contains neither shards nor the spec of a student",
            hint="give a folder that distill label or distill train wrote, or an exported file",
        )
    return [
        LicenseEntry(
            license, spec.terms.get(license, ""), dict.fromkeys(filter(None, [spec.provenance.get("teachers")]))
        )
        for license in spec.licenses or (_UNKNOWN,)
    ]


def _shard_licenses(tars: list[Path]) -> dict[str, LicenseEntry]:
    from distill.shards import read_meta

    found: dict[str, LicenseEntry] = {}
    for tar in tars:
        for key, meta in read_meta(tar):
            records = meta.get("records") or [{}]
            under = {}
            for record in records:
                license = str(record.get("license") or _UNKNOWN)
                entry = found.setdefault(license, LicenseEntry(license))
                entry.terms = entry.terms or str(record.get("terms") or "")
                entry.teachers[str(record.get("teacher", "an unknown teacher"))] = None
                under[license] = entry
            for entry in under.values():
                entry.add_sample(f"{tar}: {key}")
    return found


def _find_spec(path: Path) -> StudentSpec | None:
    """Spec of a run folder or an exported file; None where there is none."""
    from distill.spec import METADATA_KEY, parse_spec, read_spec

    if path.suffix == ".onnx":
        import onnx

        try:
            proto = onnx.load_model(str(path), load_external_data=False)
        except Exception as error:  # protobuf's own kinds
            raise UsageError(f"{path}: not an ONNX file", hint="export the student again") from error
        text = {entry.key: entry.value for entry in proto.metadata_props}.get(METADATA_KEY)
        if text is not None:
            return parse_spec(text, str(path))
    file = path / "spec.json" if path.is_dir() else path if path.name == "spec.json" else path.parent / "spec.json"
    return read_spec(file) if file.is_file() else None


def _merged(entries: Iterator[LicenseEntry]) -> list[LicenseEntry]:
    """Merge entries of the same license; the strictest is last."""
    found: dict[str, LicenseEntry] = {}
    for entry in entries:
        known = found.setdefault(entry.license, LicenseEntry(entry.license))
        known.terms = known.terms or entry.terms
        known.teachers |= entry.teachers
        if entry.samples is not None:
            known.samples = (known.samples or 0) + entry.samples
        known.examples = [*known.examples, *entry.examples][:_MAX_EXAMPLES]
    order = list(LicenseClass)
    return sorted(found.values(), key=lambda entry: (order.index(entry.kind), entry.license))
