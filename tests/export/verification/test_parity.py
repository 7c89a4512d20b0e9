"""The parity check accepts the same student only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distill.export.runners import Outputs
from distill.export.verification.parity import Parity, ParityResult, ParitySample, Tolerances, generated_samples
from distill.labels import Label
from distill.spec import DepthSpec
from distill.tasks import DepthKind, Task
from tests.fakes.runner import CLASSES, SPEC, FakeRunner


class Altered(FakeRunner):
    """The fake runner with changed outputs."""

    def __init__(self, change: Callable[[Outputs], object], **options: object) -> None:
        super().__init__(engine="altered", **options)
        self._change = change

    def _run(self, images: np.ndarray) -> Outputs:
        outputs = super()._run(images)
        self._change(outputs)
        return outputs


def sample(*, labeled: bool = True) -> ParitySample:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    if not labeled:
        return ParitySample("x", rgb, {})
    outputs = FakeRunner()(rgb[None])
    sure = np.ones((24, 32), bool)
    values = {
        Task.DEPTH: outputs["depth"][0] * 1.2,
        Task.NORMALS: outputs["normals"][0],
        Task.SEMANTIC: outputs["semantic"][0],
    }
    labels = {
        task: Label(
            task, value, sure, sure.astype(np.float32), depth_kind=DepthKind.METRIC if task is Task.DEPTH else None
        )
        for task, value in values.items()
    }
    return ParitySample("x", rgb, labels)


def compare(
    change: Callable[[Outputs], object], *, labeled: bool = True, tolerances: Tolerances | None = None
) -> tuple[ParityResult, dict[Task, Any]]:
    parity = Parity(FakeRunner(), Altered(change), tolerances)
    parity.update(sample(labeled=labeled))
    result = parity.result()
    return result, {row.task: row for row in result.tasks}


def test_equal_runners_pass() -> None:
    result, rows = compare(lambda outputs: None)
    assert result.passed and result.samples == 1
    assert all(
        row.pixel_difference == 0 and row.difference == 0 and row.max_abs_difference == 0 for row in rows.values()
    )
    assert rows[Task.SEMANTIC].reference == pytest.approx(1.0)
    assert result.to_dict()["tasks"][0]["passed"] is True


@pytest.mark.parametrize("labeled", [True, False])
def test_each_task_can_fail(labeled: bool) -> None:
    def far(outputs: Outputs) -> None:
        outputs["depth"][:, :2] *= 1.3

    def tilted(outputs: Outputs) -> None:
        _x, y, z = np.moveaxis(outputs["normals"], -1, 0).copy()
        angle = np.radians(0.2)
        outputs["normals"][..., 1] = y * np.cos(angle) + z * np.sin(angle)
        outputs["normals"][..., 2] = z * np.cos(angle) - y * np.sin(angle)

    def other(outputs: Outputs) -> None:
        outputs["semantic"][:, 0, :5] = (outputs["semantic"][:, 0, :5] + 1) % len(CLASSES)

    for task, change in ((Task.DEPTH, far), (Task.NORMALS, tilted), (Task.SEMANTIC, other)):
        result, rows = compare(change, labeled=labeled)
        assert not result.passed
        assert [name for name, row in rows.items() if not row.passed] == [task]
    assert rows[Task.SEMANTIC].pixel_difference == pytest.approx(5 / (24 * 32))


def test_a_tilt_within_the_tolerance_passes() -> None:
    def tilted(outputs: Outputs) -> None:
        outputs["normals"][..., 1] += np.radians(0.03) * outputs["normals"][..., 2]

    assert compare(tilted)[0].passed
    assert not compare(tilted, tolerances=Tolerances({Task.NORMALS: 0.01}))[0].passed


def test_nan_fails() -> None:
    for name, task in (("depth", Task.DEPTH), ("normals", Task.NORMALS)):

        def broken(outputs: Outputs, name: str = name) -> None:
            outputs[name][:, 0] = np.nan

        rows = compare(broken, labeled=False)[1]
        assert not rows[task].passed and math.isinf(rows[task].max_abs_difference)


def test_rounding_near_zero_is_no_difference() -> None:
    def rounded(by: float) -> ParityResult:
        def change(outputs: Outputs) -> None:
            outputs["depth"][...] = by

        parity = Parity(Altered(lambda outputs: outputs["depth"].fill(6e-7)), Altered(change))
        parity.update(sample(labeled=False))
        return parity.result()

    assert rounded(1.2e-6).passed and rounded(1e-3).passed
    assert not rounded(2e-3).passed and not rounded(math.nan).passed


def test_a_comparison_without_images_fails() -> None:
    assert not Parity(FakeRunner(), FakeRunner()).result().passed
    assert not ParityResult("a", "b", 0, ()).passed


def test_relative_depth_is_compared_in_its_own_range() -> None:
    spec = SPEC.model_copy(update={"depth": DepthSpec(depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, unit="none")})

    def shifted(by: float) -> ParityResult:
        def change(outputs: Outputs) -> None:
            outputs["depth"] += np.float32(by)

        parity = Parity(FakeRunner(spec), Altered(change, spec=spec))
        parity.update(sample(labeled=False))
        return parity.result()

    assert shifted(0.04).passed and not shifted(0.06).passed


def test_labels_may_have_other_sizes_and_classes() -> None:
    full = sample()
    coarse = full.labels[Task.DEPTH]
    coarse = Label(
        Task.DEPTH, coarse.value[::2, ::2], coarse.valid[::2, ::2], coarse.confidence[::2, ::2], DepthKind.METRIC
    )
    alien = full.labels[Task.SEMANTIC]
    alien = Label(Task.SEMANTIC, alien.value, alien.valid, alien.confidence, classes=("cat",))
    parity = Parity(FakeRunner(), FakeRunner())
    parity.update(ParitySample("x", full.rgb, {Task.DEPTH: coarse, Task.SEMANTIC: alien}))
    rows = {row.task: row for row in parity.result().tasks}
    assert rows[Task.DEPTH].reference is not None and rows[Task.SEMANTIC].reference is None


def test_generated_images_have_odd_sizes() -> None:
    sizes = {probe.rgb.shape[:2] for probe in generated_samples(SPEC)}
    assert (32, 32) in sizes and any(height % 2 and width % 2 for height, width in sizes)
