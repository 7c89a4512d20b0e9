"""Model card of an exported file: outputs, input, and the terms of its training labels.

It states only the contents of the spec; publishers of the file add their own facts and choose its license.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distill.escaping import for_markdown
from distill.files import write_atomic
from distill.licenses import LicenseClass, license_class
from distill.spec import StudentSpec
from distill.tasks import TASKS

MODEL_CARD = "model_card.md"

_LICENSE_MEANING = {
    LicenseClass.COMMERCIAL: "commercial use is allowed, with notices at most",
    LicenseClass.RESTRICTED: "commercial use is allowed under conditions; read the terms",
    LicenseClass.NON_COMMERCIAL: "no commercial use",
    LicenseClass.RESEARCH: "research only",
    LicenseClass.UNKNOWN: "not stated; clarify before use",
}


def write_model_card(path: Path, spec: StudentSpec, *, file: str, parity: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the card.

    Args:
        path: Output file.
        spec: The student's spec.
        file: Name of the exported file.
        parity: Rows of the comparison with the student: task, measure, reference, candidate.
    """
    write_atomic(path, model_card_text(spec, file=file, parity=parity).encode())


def model_card_text(spec: StudentSpec, *, file: str, parity: Sequence[Mapping[str, Any]] = ()) -> str:
    """Card as Markdown with the header for model hubs."""
    header = {
        "license": "other",
        "license_name": f"labels-{strictest_license_class(spec)}",
        "library_name": "onnx",
        "tags": ["distill", *map(str, spec.tasks)],
    }
    tag = next((TASKS[task].hub_tag for task in spec.tasks if TASKS[task].hub_tag), "")
    if tag:
        header["pipeline_tag"] = tag
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False).strip() + "\n---",
        f"# {spec.name}",
        f"`{file}`: {', '.join(spec.tasks)} of one image; backbone {spec.backbone}.",
        "## Input and output",
        _input_and_output(spec),
        "## Training labels",
        _licenses(spec),
        *([f"Teachers: {_line(spec.provenance['teachers'])}."] if "teachers" in spec.provenance else []),
        *([f"Photos: {_line(spec.provenance['photos'])}."] if "photos" in spec.provenance else []),
    ]
    if parity:
        parts += ["## Comparison with the trained student", _parity(parity)]
    return "\n\n".join(parts) + "\n"


def strictest_license_class(spec: StudentSpec) -> LicenseClass:
    """Most restrictive license class of all training labels."""
    order = list(LicenseClass)
    kinds = [license_class(license) for license in spec.licenses] or [LicenseClass.UNKNOWN]
    return max(kinds, key=order.index)


def _input_and_output(spec: StudentSpec) -> str:
    lines = [
        f"- input `{spec.input.name}`: {spec.input.dtype} {spec.input.color}, {spec.input.layout}, images of any "
        f"size; resized to {spec.input.size_hw[1]}x{spec.input.size_hw[0]} pixels",
        "- resizing and normalization are part of the file; outputs have the size of the image",
    ]
    for task in spec.tasks:
        lines.append(f"- `{task}`: {_line(getattr(spec, task).describe())}; `{task}_confidence` in [0, 1]")
    return "\n".join([*lines, "- the complete spec is in the file, under the metadata key `distill.spec`"])


def _licenses(spec: StudentSpec) -> str:
    """One row per license of the labels."""
    rows = ["| license of labels | class | terms |", "|---|---|---|"]
    for license in spec.licenses or ("unknown",):
        kind = license_class(license)
        terms = _line(spec.terms.get(license) or "not stated")
        rows.append(f"| {_line(license)} | {kind}: {_LICENSE_MEANING[kind]} | {terms} |")
    note = (
        "These are the terms that the configs of its teachers state. What they mean for a model that learned from such "
        "labels, and what the photos and the backbone's weights add, is not decided here."
    )
    return "\n".join([*rows, "", note])


def _line(text: str) -> str:
    return for_markdown(text).replace("|", "\\|").replace("\n", " ")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parity(rows: Sequence[Mapping[str, Any]]) -> str:
    table = ["| task | measure | student | this file |", "|---|---|---|---|"]
    for row in rows:
        before, after = (_number(row[key]) for key in ("reference", "candidate"))
        table.append(f"| {row['task']} | {row['measure']} | {before} | {after} |")
    return "\n".join(table)
