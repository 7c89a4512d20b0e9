"""Engine `onnx`: an ONNX file for ONNX Runtime, in float32, half precision or int8."""

from __future__ import annotations

from distill.config.export import TargetConfig
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, prepare_graph, save_graph, tolerances_from


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build, check and name the artifact."""
    made = prepare_graph(context, config, "u8s8")
    path = context.scratch_dir() / file_name(context, target, ".onnx")
    save_graph(made.graph, context.spec_for(target, config.precision), path)
    parity = made.emulated_parity or context.check_parity(path, tolerances_from(config))
    half = config.precision in ("fp16", "bf16")
    return finalize(context, target, config, path, parity, made, runnable=not half)
