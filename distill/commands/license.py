"""`distill license`: under which terms labels, and students that learned from them, were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.licenses import LicenseClass, allows, license_class

if TYPE_CHECKING:
    from distill.spec import StudentSpec

_UNKNOWN = "unknown"
_MAX_SHOWN = 5
"""Samples named on the screen for each license; --json names up to a hundred."""
_MAX_EXAMPLES = 100


@dataclass
class LicenseEntry:
    """One license, and what is under it.

    Attributes:
        samples: How many samples hold a label under it; None where only a spec says that there are some.
        examples: The first of them, as FOLDER: KEY.
    """

    license: str
    terms: str = ""
    teachers: dict[str, None] = field(default_factory=dict)
    samples: int | None = None
    examples: list[str] = field(default_factory=list)

    @property
    def kind(self) -> LicenseClass:
        """The class."""
        return license_class(self.license)

    def add_sample(self, where: str) -> None:
        """One sample more."""
        self.samples = (self.samples or 0) + 1
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(where)


def license(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of shards, tars, run folders, or exported files.", metavar="PATH...")
    ],
    require: Annotated[
        LicenseClass | None, typer.Option(help="Exit 1 if anything is under terms that allow less; names the sample.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """List the licenses of labels, sample by sample, or of a student's teachers.

    Every sample carries the license of each of its labels, so this works on shards however they were merged, split or
    filtered, with or without dataset.json. These are facts as the teachers' configs state them, and no legal advice.

    Examples:
        distill license shards

        distill license shards runs/nano --require commercial
    """
    console = Console(as_json=as_json)
    entries = _merged(entry for path in paths for entry in read_licenses(path))
    refused = [entry for entry in entries if require is not None and not allows(entry.license, require)]
    values = {
        "ok": not refused,
        "require": str(require) if require else None,
        "licenses": [_as_dict(entry) for entry in entries],
        "refused": [_as_dict(entry) for entry in refused],
    }
    console.result(values, _format_result(entries, refused, require))
    if refused:
        raise typer.Exit(1)


def read_licenses(path: Path) -> list[LicenseEntry]:
    """The licenses of a folder of shards, of a tar, of a run folder, or of an exported file.

    Raises:
        UsageError: None of these.
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
            f"{path}: holds neither shards nor a student's spec",
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
    """What a run folder or an exported file says about itself."""
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
    beside = path / "spec.json" if path.is_dir() else path if path.name == "spec.json" else path.parent / "spec.json"
    return read_spec(beside) if beside.is_file() else None


def _merged(entries: Iterator[LicenseEntry]) -> list[LicenseEntry]:
    """One entry per license, the strictest last."""
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


def _as_dict(entry: LicenseEntry) -> dict[str, Any]:
    return {
        "license": entry.license,
        "class": str(entry.kind),
        "terms": entry.terms,
        "teachers": list(entry.teachers),
        "samples": entry.samples,
        "examples": entry.examples,
    }


def _format_result(entries: list[LicenseEntry], refused: list[LicenseEntry], require: LicenseClass | None) -> str:
    from distill.report.markdown import text_table

    rows = [
        [e.license, str(e.kind), "" if e.samples is None else e.samples, ", ".join(e.teachers), e.terms or "not stated"]
        for e in entries
    ]
    lines = [text_table(["license", "class", "samples", "teachers", "terms"], rows)]
    if require is not None and not refused:
        lines.append(f"all of it satisfies {require}")
    for entry in refused:
        lines.append(f"{entry.license} ({entry.kind}) does not satisfy {require}:")
        lines += [f"  {where}" for where in entry.examples[:_MAX_SHOWN]] or [f"  taught by {', '.join(entry.teachers)}"]
        if (entry.samples or 0) > _MAX_SHOWN:
            lines.append(f"  ... and {(entry.samples or 0) - _MAX_SHOWN} more")
    return "\n".join(lines)
