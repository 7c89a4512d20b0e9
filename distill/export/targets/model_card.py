"""Model card of an exported file: outputs, input, scores, and the terms of its training labels.

It states only the contents of the spec and measured scores; publishers of the file add their own facts and choose its
license. The header is the metadata that Hugging Face reads.
"""

from __future__ import annotations

import math
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

_VALIDATION = "validation photos of the training set, against labels of the teachers, not against ground truth"

_LICENSE_MEANING = {
    LicenseClass.COMMERCIAL: "commercial use is allowed, with notices at most",
    LicenseClass.RESTRICTED: "commercial use is allowed under conditions; read the terms",
    LicenseClass.NON_COMMERCIAL: "no commercial use",
    LicenseClass.RESEARCH: "research only",
    LicenseClass.UNKNOWN: "not stated; clarify before use",
}


def write_model_card(
    path: Path,
    spec: StudentSpec,
    *,
    file: str,
    parity: Sequence[Mapping[str, Any]] = (),
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write the card; arguments as of `model_card_text`."""
    write_atomic(path, model_card_text(spec, file=file, parity=parity, scores=scores).encode())


def model_card_text(
    spec: StudentSpec,
    *,
    file: str,
    parity: Sequence[Mapping[str, Any]] = (),
    scores: Mapping[str, float] | None = None,
    license_file: str = "",
) -> str:
    """Card as Markdown with the header for model hubs.

    Args:
        spec: The student's spec.
        file: Name of the exported file.
        parity: Rows of the comparison with the student: task, measure, reference, candidate.
        scores: Scores on validation photos by name, such as ``depth_delta1``; against labels, not ground truth.
        license_file: Name of the file with the license notices, next to the card; empty without one.
    """
    header: dict[str, Any] = {
        "license": "other",
        "license_name": f"labels-{strictest_license_class(spec)}",
        **({"license_link": license_file} if license_file else {}),
        "library_name": "onnx",
        "tags": ["distill", *map(str, spec.tasks)],
    }
    results = _model_index(spec, scores or {})
    tag = next((TASKS[task].hub_tag for task in spec.tasks if TASKS[task].hub_tag), "")
    if tag:
        header["pipeline_tag"] = tag
    if results:
        header["model-index"] = [{"name": spec.name, "results": results}]
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False).strip() + "\n---",
        f"# {spec.name}",
        f"`{file}`: {', '.join(spec.tasks)} of one image; backbone {spec.backbone}.",
        "## Input and output",
        _input_and_output(spec),
        *(["## Scores", _scores(scores)] if scores else []),
        "## Training labels",
        license_table(spec),
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


def _model_index(spec: StudentSpec, scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """Results in the form of Hugging Face: one entry per task with a score."""
    found = []
    for task in spec.tasks:
        metrics = [
            {"type": name.removeprefix(f"{task}_"), "value": round(value, 6), "name": name}
            for name, value in scores.items()
            if name.startswith(f"{task}_") and math.isfinite(value)
        ]
        if metrics:
            kind = TASKS[task].hub_tag or str(task)
            data = {"type": "label-shards", "name": _VALIDATION}
            found.append({"task": {"type": kind, "name": str(task)}, "dataset": data, "metrics": metrics})
    return found


def _scores(scores: Mapping[str, float]) -> str:
    rows = [f"| {_line(name)} | {value:.4g} |" for name, value in scores.items()]
    return "\n".join([f"On {_VALIDATION}.", "", "| measure | value |", "|---|---|", *rows])


def _input_and_output(spec: StudentSpec) -> str:
    lines = [
        f"- input `{spec.input.name}`: {spec.input.dtype} {spec.input.color}, {spec.input.layout}, images of any "
        f"size; resized to {spec.input.size_hw[1]}x{spec.input.size_hw[0]} pixels",
        "- resizing and normalization are part of the file; outputs have the size of the image",
    ]
    for task in spec.tasks:
        lines.append(f"- `{task}`: {_line(getattr(spec, task).describe())}; `{task}_confidence` in [0, 1]")
    return "\n".join([*lines, "- the complete spec is in the file, under the metadata key `distill.spec`"])


def license_table(spec: StudentSpec) -> str:
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
