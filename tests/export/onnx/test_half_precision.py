"""Half precision: bad layers are found and kept in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from distill.export.onnx.bisect import find_first_bad
from distill.export.onnx.exporter import export_onnx
from distill.export.onnx.graph import Graph, group_of, in_network, layer_of
from distill.export.onnx.half_precision import Precision, convertible_nodes, emulate_half_precision, to_half_precision
from distill.export.onnx.mixed_precision import to_mixed_precision
from distill.export.runners import ModuleRunner, open_runner
from distill.export.verification.parity import Parity, ParityResult, Tolerances, generated_samples
from distill.students.model.student import Student
from distill.tasks import Task

BUDGETS = Tolerances({Task.DEPTH: 0.005, Task.NORMALS: 0.5, Task.SEMANTIC: 0.02})


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def proto(onnx_file: Path) -> onnx.ModelProto:
    return onnx.load(onnx_file)


@pytest.fixture(scope="module")
def fragile(student: Student) -> Student:
    """A student whose last layer before the heads has values of 10^5, which the heads scale back."""
    broken = copy.deepcopy(student)
    with torch.no_grad():
        smooths: Any = broken.neck.smooths
        smooth = smooths[0]
        smooth[0].weight.mul_(1e3)
        smooth[1].weight.mul_(1e3)
        heads: Any = broken.heads
        for head in heads.values():
            head.layers[0][0].weight.div_(1e6)
    return broken


@pytest.fixture(scope="module")
def fragile_proto(fragile: Student, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(export_onnx(fragile, fragile.spec, tmp_path_factory.mktemp("fragile") / "fragile.onnx").path)


def compare(student: Student, folder: Path) -> Callable[[onnx.ModelProto], ParityResult]:
    reference = ModuleRunner(student, student.spec, threads=2)

    def compare(candidate: onnx.ModelProto) -> ParityResult:
        onnx.save(candidate, folder / "candidate.onnx")
        with open_runner(folder / "candidate.onnx", threads=2) as runner:
            parity = Parity(reference, runner, BUDGETS)
            for sample in generated_samples(student.spec, 3):
                parity.update(sample)
            return parity.result()

    return compare


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_real_and_emulated_graphs_are_the_student_rounded(proto: onnx.ModelProto, precision: Precision) -> None:
    graph = Graph(proto)
    low = convertible_nodes(graph)
    assert {group_of(node).partition(".")[0] for node in graph.proto.graph.node if node.name in low} == {
        "backbone",
        "neck",
        "heads",
    }
    real, emulated = to_half_precision(proto, low, precision), emulate_half_precision(proto, low, precision)
    assert len(real.SerializeToString()) < 0.62 * len(proto.SerializeToString())
    types = Graph(real).types
    assert all(types[entry.name] == types_of[entry.name] for types_of in [graph.types] for entry in real.graph.output)
    names = [entry.name for entry in proto.graph.output]
    ours, theirs = graph.run(images(), names), Graph(emulated).run(images(), names)
    differences = {name: np.abs(ours[name].astype(float) - theirs[name]).max() for name in names}
    assert 0 < differences["depth"] < (0.05 if precision == "fp16" else 0.5)


def test_a_real_float16_graph_runs(proto: onnx.ModelProto) -> None:
    real = to_half_precision(proto, convertible_nodes(Graph(proto)), "fp16")
    session = onnxruntime.InferenceSession(real.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["depth"], {"image": images()})[0]
    assert found.dtype == np.float32
    assert np.abs(found - Graph(proto).run(images(), ["depth"])["depth"]).max() < 0.05


def test_an_overflowing_layer_is_found_by_name_and_kept_in_float32(
    fragile: Student, fragile_proto: onnx.ModelProto, tmp_path: Path
) -> None:
    said: list[str] = []
    lowered = to_mixed_precision(fragile_proto, "fp16", images(), compare(fragile, tmp_path), log=said.append)
    assert not lowered.parity_before.passed
    assert lowered.bad_layers[0].layer.startswith("neck.smooths.0") and lowered.bad_layers[0].op == "Conv"
    assert np.isinf(lowered.bad_layers[0].error) and lowered.bad_layers[0].largest > 65504
    assert "neck.smooths.0" in said[0] and "kept in float32" in said[0]
    assert lowered.parity.passed
    assert 2 <= len(lowered.float32_nodes) <= 6 and lowered.fraction > 0.9
    kept = {node.name for node in lowered.half_graph.graph.node if node.name in lowered.float32_nodes}
    assert kept == set(lowered.float32_nodes)


def test_a_good_student_needs_no_float32_layers(student: Student, proto: onnx.ModelProto, tmp_path: Path) -> None:
    lowered = to_mixed_precision(proto, "fp16", images(), compare(student, tmp_path))
    assert lowered.parity.passed and lowered.parity_before is lowered.parity
    assert not lowered.bad_layers and not lowered.float32_nodes and lowered.fraction == 1.0


def test_the_search_finds_any_planted_fault(proto: onnx.ModelProto) -> None:
    graph = Graph(proto)
    convolutions = [
        node
        for node in graph.proto.graph.node
        if node.op_type == "Conv" and in_network(node) and ".se." not in node.name
    ]
    assert find_first_bad(graph, graph, images()) is None
    for node in convolutions[:: len(convolutions) // 5]:
        planted = onnx.ModelProto()
        planted.CopyFrom(proto)
        weight = next(entry for entry in planted.graph.initializer if entry.name == node.input[1])
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * -3, weight.name))
        found = find_first_bad(graph, Graph(planted), images())
        assert found is not None and found.node == node.name and found.layer == layer_of(node)
