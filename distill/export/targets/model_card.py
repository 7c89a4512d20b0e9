"""The model card beside an exported file: what it answers, how to feed it, and under which terms it was taught.

States what the spec says and no more; whoever publishes the file adds what they know, and chooses its license.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distill.images import write_atomic
from distill.licenses import LicenseClass, license_class
from distill.spec import StudentSpec
from distill.tasks import Task

MODEL_CARD = "model_card.md"
_PIPELINE_TAGS = {
    Task.DEPTH: "depth-estimation",
    Task.SEMANTIC: "image-segmentation",
    Task.INSTANCE: "image-segmentation",
}
_LICENSE_MEANING = {
    LicenseClass.COMMERCIAL: "commercial use is allowed, with notices at most",
    LicenseClass.RESTRICTED: "commercial use is allowed under conditions; read the terms",
    LicenseClass.NON_COMMERCIAL: "no commercial use",
    LicenseClass.RESEARCH: "research only",
    LicenseClass.UNKNOWN: "nobody said; ask before you use it",
}


def write_model_card(path: Path, spec: StudentSpec, *, file: str, parity: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the card.

    Args:
        path: Where.
        spec: The student's spec.
        file: Name of the exported file.
        parity: Rows of the proof that the file answers as the student does: task, measure, reference, candidate.
    """
    write_atomic(path, model_card_text(spec, file=file, parity=parity).encode())


def model_card_text(spec: StudentSpec, *, file: str, parity: Sequence[Mapping[str, Any]] = ()) -> str:
    """The card as Markdown, with the header that model hubs read."""
    header = {
        "license": "other",
        "license_name": f"labels-{strictest_license_class(spec)}",
        "library_name": "onnx",
        "tags": ["distill", *map(str, spec.tasks)],
    }
    tag = next((_PIPELINE_TAGS[task] for task in spec.tasks if task in _PIPELINE_TAGS), None)
    if tag is not None:
        header["pipeline_tag"] = tag
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False).strip() + "\n---",
        f"# {spec.name}",
        f"`{file}`: {', '.join(spec.tasks)} out of one picture; backbone {spec.backbone}.",
        "## Input and output",
        _input_and_output(spec),
        "## What it was taught with",
        _licenses(spec),
        *([f"Teachers: {spec.provenance['teachers']}."] if "teachers" in spec.provenance else []),
        *([f"Photos it learned from: {spec.provenance['photos']}."] if "photos" in spec.provenance else []),
    ]
    if parity:
        parts += ["## The same answers as the student that was trained", _parity(parity)]
    return "\n\n".join(parts) + "\n"


def strictest_license_class(spec: StudentSpec) -> LicenseClass:
    """The class of the terms that allow least, among all that the labels were made under."""
    order = list(LicenseClass)
    kinds = [license_class(license) for license in spec.licenses] or [LicenseClass.UNKNOWN]
    return max(kinds, key=order.index)


def _input_and_output(spec: StudentSpec) -> str:
    lines = [
        f"- input `{spec.input.name}`: {spec.input.dtype} {spec.input.color}, {spec.input.layout}, pictures of any "
        f"size; it works at {spec.input.size_hw[1]}x{spec.input.size_hw[0]} pixels",
        "- resizing and normalization are inside, and outputs come at the picture's size",
    ]
    if spec.depth is not None:
        unit = "meters of z-depth" if spec.depth.unit == "m" else f"{spec.depth.depth_kind}, without a unit"
        lines.append(f"- `depth`: {unit}; `depth_confidence` in [0, 1]")
    if spec.normals is not None:
        lines.append(f"- `normals`: unit vectors, {spec.normals.frame}; `normals_confidence` in [0, 1]")
    if spec.semantic is not None:
        lines.append(f"- `semantic`: ids of {', '.join(spec.semantic.classes)}; `semantic_confidence` in [0, 1]")
    if spec.instance is not None:
        lines.append(f"- `instance`: ids, 0 is background, of {', '.join(spec.instance.classes)}")
    return "\n".join([*lines, "- the whole spec is inside the file, under the metadata key `distill.spec`"])


def _licenses(spec: StudentSpec) -> str:
    """One row per license of the labels."""
    rows = ["| license of labels | class | terms |", "|---|---|---|"]
    for license in spec.licenses or ("unknown",):
        kind = license_class(license)
        rows.append(f"| {license} | {kind}: {_LICENSE_MEANING[kind]} | {spec.terms.get(license) or 'not stated'} |")
    note = (
        "These are the terms that the configs of its teachers state. What they mean for a model that learned from such "
        "labels, and what the photos and the backbone's weights add, is not decided here."
    )
    return "\n".join([*rows, "", note])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parity(rows: Sequence[Mapping[str, Any]]) -> str:
    table = ["| task | measure | student | this file |", "|---|---|---|---|"]
    for row in rows:
        before, after = (_number(row[key]) for key in ("reference", "candidate"))
        table.append(f"| {row['task']} | {row['measure']} | {before} | {after} |")
    return "\n".join(table)
