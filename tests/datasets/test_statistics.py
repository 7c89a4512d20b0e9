"""Statistics of a set against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.datasets.counting import DEPTH_EDGES_M, ten_bins
from distill.datasets.statistics import SetStats
from distill.errors import UsageError
from distill.shards import Sample, read_samples
from distill.tasks import DepthKind, Task
from tests.builders.label_sets import CLASSES, photo, sample, write_set

TASKS = (Task.DEPTH, Task.SEMANTIC, Task.INSTANCE, Task.EDGES, Task.NORMALS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples; the last one has depth only, of another teacher and license."""
    folder = tmp_path_factory.mktemp("data") / "set"
    full = [sample(photo(seed), TASKS, seed=seed) for seed in (1, 2)]
    other = sample(photo(3), (Task.DEPTH,), seed=3, license="CC-BY-NC-4.0", teacher="net", quality=0.31)
    write_set(folder, [*full, other], shard_size=2)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> SetStats:
    return distill.data.stats(folder)


def test_coverage_sizes_and_origins(found: SetStats, folder: Path) -> None:
    assert found.samples == 3 and found.unreadable == 0
    assert {str(task): row.labels for task, row in found.tasks.items()} == {
        "depth": 3,
        **dict.fromkeys(("normals", "semantic", "instance", "edges"), 2),
    }
    values = found.to_dict()
    assert values["tasks"]["semantic"]["coverage"] == pytest.approx(2 / 3)
    assert values["photo_sizes"] == {"36x48": 3} and values["photo_formats"] == {"jpg": 3}
    assert values["teachers"] == {"hand": 10, "net": 1} and values["licenses"] == {"MIT": 2, "CC-BY-NC-4.0": 1}
    assert values["bytes"] == sum(path.stat().st_size for path in folder.glob("*.tar"))


def test_class_balance_in_pixels_and_images(found: SetStats, folder: Path) -> None:
    labels = [one.label(Task.SEMANTIC) for one in read_samples(folder) if Task.SEMANTIC in one.tasks]
    rows = {row["name"]: row for row in found.to_dict()["tasks"]["semantic"]["classes"]}
    assert tuple(rows) == CLASSES
    for number, name in enumerate(CLASSES):
        pixels = [np.count_nonzero((label.value == number) & label.valid) for label in labels]
        assert rows[name]["pixels"] == sum(pixels) and rows[name]["images"] == np.count_nonzero(pixels)
    assert sum(row["fraction"] for row in rows.values()) == pytest.approx(1)


def test_instances_count_with_their_hidden_parts(found: SetStats, folder: Path) -> None:
    metas = [one.meta["instances"] for one in read_samples(folder) if Task.INSTANCE in one.tasks]
    rows = {row["name"]: row for row in found.to_dict()["tasks"]["instance"]["classes"]}
    cars = [row for meta in metas for row in meta if row["class"] == "car"]
    assert rows["car"]["instances"] == len(cars) == 4 and rows["car"]["images"] == 2
    assert rows["car"]["pixels"] == sum(row["pixels"] for row in cars)


def test_the_histogram_of_metric_depth_is_in_meters(found: SetStats, folder: Path) -> None:
    labels = [one.label(Task.DEPTH) for one in read_samples(folder)]
    meters = np.concatenate([label.value[label.valid] for label in labels])
    rows = found.to_dict()["tasks"]["depth"]["histogram"]
    assert [row["from"] for row in rows] == list(DEPTH_EDGES_M) and rows[-1]["to"] is None
    expected = np.histogram(meters, [*DEPTH_EDGES_M, np.inf])[0]
    assert [row["pixels"] for row in rows] == expected.tolist()


def test_relative_depth_and_edges_have_ten_bins(tmp_path: Path, found: SetStats) -> None:
    kind = DepthKind.AFFINE_INVARIANT_DISPARITY
    write_set(tmp_path / "set", [sample(photo(1), (Task.DEPTH,), kind=kind)])
    values = distill.data.stats(tmp_path / "set").to_dict()
    assert values["depth_kind"] == str(kind)
    rows = values["tasks"]["depth"]["histogram"]
    assert [row["from"] for row in rows] == [round(0.1 * number, 3) for number in range(10)] and rows[-1]["to"] == 1
    edges = found.to_dict()["tasks"]["edges"]
    assert len(edges["histogram"]) == 10
    assert sum(row["pixels"] for row in edges["histogram"]) == found.tasks[Task.EDGES].valid
    assert "histogram" not in found.to_dict()["tasks"]["semantic"]


def test_quality_and_confidence(found: SetStats, folder: Path) -> None:
    depth = found.to_dict()["tasks"]["depth"]
    assert depth["quality_histogram"] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert depth["mean_quality"] == pytest.approx((0.9 + 0.9 + 0.31) / 3)
    labels = [one.label(Task.DEPTH) for one in read_samples(folder)]
    levels = np.concatenate([np.rint(255 * label.confidence[label.valid]).astype(int) for label in labels])
    assert depth["confidence_histogram"] == ten_bins(np.bincount(levels, minlength=256))
    assert sum(depth["confidence_histogram"]) == found.tasks[Task.DEPTH].valid


def test_damaged_maps_are_counted_and_left_out(tmp_path: Path) -> None:
    good, bad = (sample(photo(seed), (Task.DEPTH,), seed=seed) for seed in (1, 2))
    write_set(tmp_path / "set", [good, Sample(bad.key, {**bad.files, "depth.png": b"no map"})])
    found = distill.data.stats(tmp_path / "set")
    assert found.unreadable == 1 and found.tasks[Task.DEPTH].labels == 1
    assert "distill data verify" in found.to_text()


def test_the_text_shows_every_part(found: SetStats) -> None:
    text = found.to_text()
    for word in ("36x48 (3)", "66.7 %", "semantic class", "traffic light", "depth value", "CC-BY-NC-4.0", "net"):
        assert word in text


def test_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder of shards"):
        distill.data.stats(tmp_path)
