"""Export of a student to one checked ONNX file: uint8 images of any size as input, final values as output.

Depends on torch modules and ``spec.json`` only, not on configs or training.
"""

from __future__ import annotations

import ast
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from distill import __version__
from distill.errors import DistillError, UsageError
from distill.export.onnx.graph import lower_ir_version, silenced
from distill.export.onnx.prepare_module import example_input, prepare_for_export
from distill.export.runners.base import first_line
from distill.files import write_atomic
from distill.spec import METADATA_KEY, StudentSpec

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
"""Metadata key of the modules around an operation: a Python list of strings."""
MAX_BYTES = 2**31 - 1
"""Limit of a protobuf message, and so of a file without external data."""


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """Facts about an exported file.

    Attributes:
        path: The file.
        size_bytes: Its size.
        opset: Version of the operator set.
        ops: Number of nodes by operator.
        seconds: Duration of export and check.
    """

    path: Path
    size_bytes: int
    opset: int
    ops: dict[str, int]
    seconds: float


def export_onnx(module: nn.Module, spec: StudentSpec, path: Path, *, opset: int | None = None) -> OnnxReport:
    """Write the student as ONNX with dynamic batch, height and width; the write is atomic.

    The module is not changed: train-time branches are merged in a copy.

    Args:
        module: Takes uint8 (b, h, w, 3), returns a dictionary with `spec.output_names`.
        spec: Its spec, embedded under the metadata key ``distill.spec``.
        path: Output file.
        opset: Version of the operator set; None: the exporter's choice.

    Raises:
        DistillError: The graph cannot be expressed in ONNX, fails the checker or is over 2 GB.
    """
    start = time.perf_counter()
    student = prepare_for_export(module, spec)
    proto = _trace(student, spec, opset)
    _name_layers(proto)
    _strip_traces(proto)
    _embed(proto, spec)
    lower_ir_version(proto)
    size_bytes = proto.ByteSize()
    if size_bytes > MAX_BYTES:
        raise DistillError(
            f"{path}: the student is {size_bytes / 1e9:.1f} GB, over the 2 GB that one ONNX file can hold"
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise DistillError(
            f"{path}: the exported graph fails the ONNX checker: {first_line(error)}",
            hint="choose another backbone or --opset",
        ) from error
    write_atomic(path, proto.SerializeToString())
    return OnnxReport(
        path=path,
        size_bytes=size_bytes,
        opset=next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
        ops=dict(Counter(node.op_type for node in proto.graph.node).most_common()),
        seconds=time.perf_counter() - start,
    )


def _trace(student: nn.Module, spec: StudentSpec, opset: int | None) -> Any:
    dimensions = {0: "batch"} if spec.input.fixed_size_hw else {0: "batch", 1: "height", 2: "width"}
    try:
        with silenced():
            program = torch.onnx.export(
                student,
                (example_input(spec),),
                input_names=[spec.input.name],
                output_names=list(spec.output_names),
                opset_version=opset,
                dynamo=True,
                dynamic_shapes=(dimensions,),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises its own errors and torch's internal ones
        raise DistillError(
            f"the student ({spec.backbone}) cannot be expressed in ONNX: {first_line(error)}",
            hint="choose another backbone or --opset; DISTILL_DEBUG=1 shows where",
        ) from error
    assert program is not None
    proto = program.model_proto
    written = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and written != opset:
        raise UsageError(
            f"--opset {opset}: the exporter cannot write it, it wrote {written}", hint=f"choose --opset {written}"
        )
    return proto


def _name_layers(proto: Any) -> None:
    """Name each node after its module in the student, as in ``neck.smooths.1.2/Conv``.

    Pre-processing is named ``picture/...``, post-processing ``values/...``.
    """
    taken: Counter[str] = Counter()
    before = True
    for node in proto.graph.node:
        scopes = [entry.value for entry in node.metadata_props if entry.key == _SCOPES_KEY]
        layer = _layer(ast.literal_eval(scopes[0])) if scopes else ""
        before = before and not layer
        name = f"{layer or ('picture' if before else 'values')}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"


def _layer(scopes: list[str]) -> str:
    """Innermost module among the scopes of a node; the last scope is the operation itself."""
    paths = [path for path in scopes[:-1] if path.startswith("module.")]
    return paths[-1].removeprefix("module.") if paths else ""


def _strip_traces(proto: Any) -> None:
    """Remove the exporter's notes at each node: stack traces with local paths, 165 kB in a small student."""
    graphs = [proto.graph]
    for function in proto.functions:
        del function.metadata_props[:]
        graphs.append(function)
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
        for field in ("value_info", "input", "output", "initializer"):
            for entry in getattr(graph, field, ()):
                if hasattr(entry, "metadata_props"):
                    del entry.metadata_props[:]
                entry.doc_string = ""


def _embed(proto: Any, spec: StudentSpec) -> None:
    proto.producer_name, proto.producer_version = "distill", __version__
    proto.graph.name = spec.name
    proto.doc_string = ""
    values = {
        METADATA_KEY: spec.to_json(),
        "distill.licenses": ", ".join(spec.licenses),
        "distill.provenance": ", ".join(f"{key}: {value}" for key, value in spec.provenance.items()),
    }
    onnx.helper.set_model_props(proto, {key: value for key, value in values.items() if value})
