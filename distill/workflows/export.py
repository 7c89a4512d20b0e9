"""Several targets in one go: made, gated, timed side by side, and laid out in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.runtime.progress import Reporter
from distill.workflows.parity_samples import training_shards

if TYPE_CHECKING:
    from distill.config.export import TargetConfig
    from distill.export.runners import Runner
    from distill.export.targets.artifact import Artifact
    from distill.export.targets.context import ExportContext
    from distill.export.verification.parity import ParityResult
    from distill.export.verification.timing import Timing

_BATCHES = (1, 8)
_TORCH = "torch"
_METHOD = (
    "scores are of the artifact itself, on the same pictures as the original's; p50 of one picture, images/s in batches"
    " of 8, arrays in, final maps out, all artifacts in turns"
)


def run_exports(
    run: Path,
    targets: Mapping[str, TargetConfig],
    reporter: Reporter,
    *,
    out: Path | None = None,
    images: Path | None = None,
    num_images: int = 50,
    calibrate: Path | None = None,
    seconds: float = 1.0,
    threads: int | None = None,
    opset: int | None = None,
    sensitivity: bool = False,
    min_speedup: float | None = None,
    size_hw: tuple[int, int] | None = None,
    fixed_size_hw: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Make, gate and time every target; the result as `--json` prints it, also in ``export.json``.

    `size_hw` is another working size than the trained one, `fixed_size_hw` the only size of pictures that files take.

    Raises:
        UsageError: No trained student there, or --out is a file.
        DistillError: The student cannot be exported at all.
    """
    from distill.export.targets.build import build_artifact, reject_if_slow
    from distill.images import write_atomic
    from distill.run_dir import machine, open_run_dir, versions
    from distill.spec import write_spec
    from distill.workflows.export_context import build_context

    folder = out or run / "export"
    if folder.suffix or folder.is_file():
        raise UsageError(
            f"--out {folder}: all but the plain --to onnx write several files", hint="give --out the name of a folder"
        )
    open_run_dir(folder)
    asked = set(targets)
    targets = _with_float32_references(targets, reporter)
    context, source = build_context(
        run, folder, images, num_images, calibrate, threads, opset, reporter, size_hw, fixed_size_hw
    )
    context.measure_blocks = sensitivity
    try:
        made = []
        for name, config in targets.items():
            reporter.info(f"{name}: making and gating it")
            made.append(build_artifact(context, name, config))
        timings = _time(context, made, seconds, threads, reporter) if seconds else []
    finally:
        context.close()
    speedups = {name: config.min_speedup if min_speedup is None else min_speedup for name, config in targets.items()}
    made = [reject_if_slow(artifact, made, timings, speedups[artifact.target]) for artifact in made]
    write_spec(folder / "spec.json", context.spec)
    reference = next((artifact.parity for artifact in made if artifact.parity), None)
    result = {
        "folder": str(folder),
        "method": _METHOD,
        "images": source,
        "num_images": len(context.samples),
        "input_size_hw": list(context.spec.input.size_hw),
        "passed": all(artifact.status in ("passed", "refused") for artifact in made)
        and any(artifact.status == "passed" for artifact in made if artifact.target in asked),
        "torch": {"scores": _scores(reference, "reference"), **_speed(_TORCH, timings)},
        "targets": [_row(artifact, timings) for artifact in made],
        "machine": machine(),
        "versions": versions(),
    }
    write_atomic(folder / "export.json", json.dumps(result, indent=2, default=str).encode())
    return result


def plan_exports(
    run: Path,
    targets: Mapping[str, TargetConfig],
    out: Path | None,
    images: Path | None,
    num_images: int,
    reporter: Reporter,
) -> None:
    """Say what would be made."""
    from distill.spec import read_spec

    spec = read_spec(run / "spec.json")
    size_bytes = (run / "weights.safetensors").stat().st_size if (run / "weights.safetensors").is_file() else 0
    rows: list[dict[str, Any]]
    shares = {"fp32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.3, "fp8": 1.1}
    rows = [
        {
            "target": name,
            "engine": config.engine,
            "precision": config.precision,
            "size_bytes": int(size_bytes * shares[config.precision]),
            "minutes": 2 if config.engine == "aoti" or config.precision == "int8" else 0.5,
        }
        for name, config in targets.items()
    ]
    source = str(images or training_shards(run) or "generated")
    values = {
        "folder": str(out or run / "export"),
        "images": source,
        "num_images": num_images,
        "usd": 0,
        "targets": rows,
    }
    lines = [
        f"would write {spec.name} ({spec.backbone}) into {values['folder']} and compare each file with the original on"
        f" {num_images} pictures from {source}, at no cost:"
    ]
    lines += [
        f"  {row['target']}: {row['engine']} {row['precision']}, about {row['size_bytes'] / 1e6:.1f} MB,"
        f" {row['minutes']} minutes"
        for row in rows
    ]
    reporter.result(values, "\n".join(lines))


def format_result(result: dict[str, Any]) -> str:
    """The table for people."""
    from distill.report.markdown import text_table

    measures = list(result["torch"]["scores"])
    columns = ["target", "verdict", *measures, "p50 ms", "images/s", "MB"]
    torch = result["torch"]
    rows: list[list[Any]] = [
        [_TORCH, "", *torch["scores"].values(), torch["p50_ms"], torch["images_per_s"], None],
        *(
            [
                row["target"],
                row["status"],
                *(row["scores"].get(measure) for measure in measures),
                row["p50_ms"],
                row["images_per_s"],
                row["size_bytes"] / 1e6 if row["size_bytes"] else None,
            ]
            for row in result["targets"]
        ),
    ]
    said = [f"{row['target']}: {text}" for row in result["targets"] for text in (row["reason"], *row["notes"]) if text]
    head = f"{result['folder']}: {result['num_images']} pictures from {result['images']}; {result['method']}"
    return "\n".join([head, "", text_table(columns, rows), "", *said]).rstrip()


def _with_float32_references(targets: Mapping[str, TargetConfig], reporter: Reporter) -> dict[str, TargetConfig]:
    """The targets, with the float32 sibling of each int8 one before it: what it must be faster than."""
    from distill.config.export import TARGETS, load_target

    found: dict[str, TargetConfig] = {}
    for name, config in targets.items():
        sibling = config.engine
        has_one = any(other.engine == sibling and other.precision == "fp32" for other in targets.values())
        if config.precision == "int8" and sibling in TARGETS and sibling in ("onnx", "openvino") and not has_one:
            reporter.info(f"{sibling}: made too, to compare {name} with")
            found.setdefault(*load_target(sibling))
        found[name] = config
    return found


def _time(
    context: ExportContext, made: Sequence[Artifact], seconds: float, threads: int | None, reporter: Reporter
) -> list[Timing]:
    """All that passed and runs here, and the original, in turns."""
    from distill.export.runners import open_runner
    from distill.export.verification.timing import time_runners

    with ExitStack() as stack:
        runners: dict[str, Runner] = {_TORCH: context.reference.wrapped}
        for artifact in made:
            if artifact.status == "passed" and artifact.runnable and artifact.path is not None:
                runners[artifact.target] = stack.enter_context(open_runner(artifact.path, threads=threads))
        with reporter.progress("timing", len(_BATCHES)) as progress:
            return time_runners(
                runners,
                _BATCHES,
                [context.spec.input.default_hw],
                seconds=seconds,
                advance=progress.advance,
                scope=("engine",),
            )


def _row(artifact: Artifact, timings: Sequence[Timing]) -> dict[str, Any]:
    return {
        "target": artifact.target,
        "engine": artifact.engine,
        "precision": artifact.precision,
        "path": str(artifact.path) if artifact.path else None,
        "size_bytes": artifact.size_bytes,
        "status": artifact.status,
        "reason": artifact.reason,
        "notes": list(artifact.notes),
        "sensitivity": [asdict(row) for row in artifact.sensitivity],
        "scores": _scores(artifact.parity, "candidate"),
        "parity": artifact.parity.to_dict() if artifact.parity else None,
        **_speed(artifact.target, timings),
    }


def _scores(parity: ParityResult | None, side: str) -> dict[str, float | None]:
    """``depth delta1``: score; the disagreement with the original where there are no labels."""
    if parity is None:
        return {}
    return {f"{row.task} {row.measure}": getattr(row, side) for row in parity.tasks}


def _speed(model: str, timings: Sequence[Timing]) -> dict[str, float | None]:
    by_batch = {timing.batch: timing for timing in timings if timing.model == model}
    alone, together = by_batch.get(_BATCHES[0]), by_batch.get(_BATCHES[-1])
    return {
        "p50_ms": round(alone.percentile_ms(50), 3) if alone else None,
        "images_per_s": round(together.images_per_s, 1) if together else None,
    }
