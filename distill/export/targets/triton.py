"""Engine `triton`: a model repository for Triton Inference Server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from distill.config.export import TargetConfig
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, prepare_graph, save_graph, tolerances_from
from distill.spec import StudentSpec

_TYPES = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.UINT16: "TYPE_UINT16",
    onnx.TensorProto.INT32: "TYPE_INT32",
}


def write_repository(save: Callable[[Path], None], graph: Any, spec: StudentSpec, max_batch: int, folder: Path) -> Path:
    """Write ``NAME/config.pbtxt``, ``NAME/1/model.onnx`` and ``NAME/1/spec.json``; returns the model's path.

    Args:
        save: Writes the ONNX file.
        graph: The graph in it.
        spec: The spec.
        max_batch: Maximum batch size of the server.
        folder: The repository, for ``tritonserver --model-repository``.
    """
    version = folder / spec.name / "1"
    version.mkdir(parents=True, exist_ok=True)
    save(version / "model.onnx")
    (version / "spec.json").write_text(spec.to_json())
    (folder / spec.name / "config.pbtxt").write_text(config_pbtxt(graph, spec, max_batch))
    return version / "model.onnx"


def config_pbtxt(graph: Any, spec: StudentSpec, max_batch: int) -> str:
    """Text of ``config.pbtxt``; dims exclude the batch, dynamic sides are -1."""
    inputs = [_tensor(entry) for entry in graph.graph.input]
    by_name = {entry.name: entry for entry in graph.graph.output}
    outputs = [_tensor(by_name[name]) for name in spec.output_names]
    both = [",\n".join(inputs), ",\n".join(outputs)]
    return f"""name: {json.dumps(spec.name)}
backend: "onnxruntime"
max_batch_size: {max_batch}
input [
{both[0]}
]
output [
{both[1]}
]
dynamic_batching {{ }}
instance_group [ {{ kind: KIND_AUTO }} ]
"""


def _tensor(entry: Any) -> str:
    sides = [side.dim_value if side.HasField("dim_value") else -1 for side in entry.type.tensor_type.shape.dim][1:]
    kind = _TYPES[entry.type.tensor_type.elem_type]
    return f"  {{ name: {json.dumps(entry.name)}, data_type: {kind}, dims: [ {', '.join(map(str, sides))} ] }}"


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build the artifact, check it and move it to its name."""
    spec = context.spec_for(target, config.precision)
    folder = context.scratch_dir() / file_name(context, target, ".repository")
    made = prepare_graph(context, config, "s8s8")
    graph = made.graph
    path = write_repository(lambda file: save_graph(graph, spec, file), graph, spec, config.profile.max_batch, folder)
    parity = made.emulated_parity or context.check_parity(path, tolerances_from(config))
    return finalize(context, target, config, folder, parity, made, "not tested with a Triton server", runnable=False)
