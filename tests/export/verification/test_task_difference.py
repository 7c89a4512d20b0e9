"""Instances are compared by their pixels, not by their numbers, in the parity check and in the kit's checker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.export.onnx.exporter import export_onnx
from distill.export.runners import ModuleRunner, open_runner
from distill.export.targets.openvino import export_openvino
from distill.export.tensorrt_kit.check import disagreement, instance_mismatch
from distill.export.verification.parity import Parity, generated_samples
from distill.export.verification.task_difference import TaskDifference
from distill.labels import Label
from distill.spec import InstanceSpec
from distill.tasks import IGNORE_INSTANCE, Task
from tests.builders.students import small_student
from tests.fakes.runner import CLASSES, SPEC

INSTANCES = SPEC.model_copy(update={"instance": InstanceSpec(classes=("thing",))})


def picture() -> np.ndarray:
    """Background 0, three instances: 32, 16 and 16 of 128 pixels."""
    ids = np.zeros((8, 16), np.uint8)
    ids[:4, :8], ids[4:, :4], ids[4:, 8:12] = 3, 1, 7
    return ids


def outputs(ids: np.ndarray) -> dict[str, np.ndarray]:
    return {"instance": ids, "instance_confidence": np.full(ids.shape, 0.5, np.float32)}


def label(ids: np.ndarray, names: dict[int, str]) -> Label:
    sure = np.ones(ids.shape, bool)
    return Label(Task.INSTANCE, ids.astype(np.uint16), sure, sure.astype(np.float32), instance_classes=names)


@given(st.permutations(range(1, 9)))
def test_instance_numbers_are_ignored(numbers: list[int]) -> None:
    renumber = np.array([0, *numbers], np.uint8)
    assert not instance_mismatch(picture(), renumber[picture()]).any()


def test_merged_split_and_missing_instances_differ() -> None:
    good = picture()
    merged = np.where(good == 7, 1, good)  # as large as the first: one of the two has lost its own
    assert instance_mismatch(good, merged).sum() in (16, 32)
    split = good.copy()
    split[0, :8] = 9  # 8 of the 32 pixels of instance 3
    assert instance_mismatch(good, split).sum() == 8
    assert instance_mismatch(good, np.where(good == 7, 0, good)).sum() == 16
    assert instance_mismatch(good, np.zeros_like(good)).sum() == 64
    expected = outputs(good)
    assert disagreement(expected, outputs(split), differences={"instance": "instances"}) == {"instance": 8 / 128}


def test_scores_ignore_classes_without_an_output() -> None:
    tally = TaskDifference(Task.INSTANCE, INSTANCES)
    good = picture()
    truth = good.astype(np.uint16)
    truth[7, 15] = IGNORE_INSTANCE
    lost = np.where(good == 1, 0, good)
    # Instance 1 is a wall, of which the student tells no instances; the candidate is not charged with losing it.
    tally.update(outputs(good), outputs(lost), label(truth, {1: "wall", 3: "thing", 7: "thing"}))
    assert tally.measure == "pmf1" and tally.pixel_difference == 16 / 128
    assert tally.scores()[0] == pytest.approx(1.0, abs=1e-3) and tally.scores()[0] == tally.scores()[1]
    tally.update(outputs(good), outputs(lost), label(truth, dict.fromkeys((1, 3, 7), "thing")))
    reference, candidate = tally.scores()
    assert reference is not None and candidate is not None and candidate < reference - 0.05


def test_parity_check_includes_instances(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install distill[openvino]")
    student = small_student(Task.DEPTH, Task.SEMANTIC, Task.INSTANCE)
    path = export_onnx(student, student.spec, tmp_path / "small.onnx").path
    export_openvino(path, student.spec, tmp_path / "small.xml")
    assert student.spec.instance is not None and student.spec.instance.classes == CLASSES[1:]
    for suffix in (".onnx", ".xml"):
        with open_runner(path.with_suffix(suffix), threads=1) as candidate:
            parity = Parity(ModuleRunner(student, student.spec), candidate)
            for sample in generated_samples(student.spec):
                parity.update(sample)
        result = parity.result()
        assert [row.task for row in result.tasks] == [Task.DEPTH, Task.SEMANTIC, Task.INSTANCE]
        assert result.passed, result
