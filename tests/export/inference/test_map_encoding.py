"""Maps are stored like labels."""

from __future__ import annotations

import numpy as np

from distill.export.inference.map_encoding import describe_maps, encode_outputs
from distill.labels import decode
from distill.tasks import Task
from tests.fakes.runner import CLASSES, SPEC, FakeRunner


def answers(size_hw: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rgb = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return rgb, {name: value[0] for name, value in FakeRunner()(rgb[None]).items()}


def test_maps_are_read_back_as_labels() -> None:
    _, outputs = answers((20, 30))
    files = encode_outputs(outputs, SPEC, confidence=True)
    assert set(files) == {f"{task}{end}.png" for task in SPEC.dense_tasks for end in ("", ".confidence")}
    depth = decode(Task.DEPTH, files)
    assert np.allclose(depth.value, outputs["depth"], rtol=2e-3) and depth.valid.all()
    assert np.allclose(depth.confidence, 0.5, atol=1 / 255)
    normals = decode(Task.NORMALS, files)
    assert np.einsum("hwc,hwc->hw", normals.value, outputs["normals"]).min() > 0.9999
    assert np.array_equal(decode(Task.SEMANTIC, files).value, outputs["semantic"])


def test_nan_is_stored_as_invalid() -> None:
    _, outputs = answers((8, 8))
    outputs["depth"][0, 0] = np.nan
    outputs["normals"][0, 1] = np.nan
    files = encode_outputs(outputs, SPEC)
    assert np.argwhere(~decode(Task.DEPTH, files).valid).tolist() == [[0, 0]]
    assert np.argwhere(~decode(Task.NORMALS, files).valid).tolist() == [[0, 1]]


def test_every_map_has_a_description() -> None:
    described = describe_maps(SPEC)
    assert set(described) == set(SPEC.dense_tasks) and described["semantic"]["classes"] == list(CLASSES)
    assert described["depth"]["unit"] == "m"
