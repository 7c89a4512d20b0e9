"""Engine `openvino`: an ``.xml`` file with its ``.bin``, converted from ONNX."""

from __future__ import annotations

import io
import os
from pathlib import Path

import onnx

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.onnx.resize_rewrite import rewrite_resize_as_matmul
from distill.export.runners.base import first_line
from distill.export.runners.openvino import RT_INFO
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, prepare_graph, tolerances_from
from distill.optional import require
from distill.spec import StudentSpec


def export_openvino(onnx_path: Path, spec: StudentSpec, path: Path, *, compress: bool = False) -> Path:
    """Convert an ONNX file; int8 stays int8. The ``.xml`` is written after its ``.bin`` is complete.

    Args:
        onnx_path: Written by `save_graph`.
        spec: Stored in the model's run-time information.
        path: Ends in ``.xml``.
        compress: Store weights in half precision, for half the size; engines still compute in float32.

    Raises:
        DistillError: OpenVINO is not installed, or cannot express the graph.
    """
    openvino = require("openvino", extra="openvino", why="export for it")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.xml")
    try:
        proto = onnx.load(onnx_path)
        rewrite_resize_as_matmul(proto, spec.input.size_hw)
        model = openvino.convert_model(io.BytesIO(proto.SerializeToString()))
        model.set_rt_info(spec.to_json(), list(RT_INFO))
        openvino.save_model(model, temporary, compress_to_fp16=compress)
        temporary.with_suffix(".bin").replace(path.with_suffix(".bin"))
        temporary.replace(path)
    except Exception as error:  # OpenVINO raises RuntimeError for everything, file system errors included
        raise DistillError(
            f"{path}: OpenVINO cannot convert {onnx_path.name}: {first_line(error)}",
            hint="choose another backbone, or update openvino",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_suffix(".bin").unlink(missing_ok=True)
    return path


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build the artifact, check it and move it to its name."""
    made = prepare_graph(context, config, "u8s8")
    folder = context.scratch_dir()
    onnx.save(made.graph, folder / "source.onnx")
    path = export_openvino(
        folder / "source.onnx",
        context.spec_for(target, config.precision),
        folder / file_name(context, target, ".xml"),
        compress=config.precision in ("fp16", "bf16"),
    )
    return finalize(context, target, config, path, context.check_parity(path, tolerances_from(config)), made)
