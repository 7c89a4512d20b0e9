"""Several teachers as one: by weight, as a cascade, fused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.config import load_config
from distill.config.ensemble import EnsembleConfig
from distill.errors import UsageError
from distill.labels import Label
from distill.labels.conversions import convert_depth
from distill.shards import Sample, read_manifest, read_samples
from distill.tasks import DepthKind, Task
from distill.teachers.codecs.depth import encode_depth_rgb
from distill.teachers.labeling.job import Job
from distill.workflows.label.run import run_label
from distill.workflows.teachers.load import load_teacher

SIZE_HW = (96, 128)
PRICE_USD = 0.134


def scene(number: int) -> np.ndarray:
    """Meters: a box before a slanted wall."""
    depth = np.linspace(4, 6, SIZE_HW[1], dtype=np.float32)[None].repeat(SIZE_HW[0], 0)
    top, left = 20 + 2 * number, 30 + 3 * number
    depth[top : top + 40, left : left + 40] = 2.0
    return depth


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Ten photos; maps of two free teachers (the first knows nothing about odd photos), answers of a expensive one."""
    for folder in ("photos", "cheap", "other", "answers"):
        (tmp_path / folder).mkdir()
    rows = []
    for number in range(10):
        depth = scene(number)
        shade = (255 - 35 * depth).astype(np.uint8)
        Image.fromarray(np.stack([shade, shade // 2, 255 - shade], -1)).save(tmp_path / "photos" / f"{number}.png")
        blank = np.full(SIZE_HW, 3000, np.uint16)
        good = np.rint(depth * 1000).astype(np.uint16)
        Image.fromarray(blank if number % 2 else good).save(tmp_path / "cheap" / f"{number}.png")
        Image.fromarray(np.rint(depth * 1050).astype(np.uint16)).save(tmp_path / "other" / f"{number}.png")
        Image.fromarray(encode_depth_rgb(depth)).save(tmp_path / "answers" / f"{number}.png")
        rows.append({"photo": f"photos/{number}.png", "task": "depth", "answer": f"answers/{number}.png"})
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    for name, license in (("cheap", "Apache-2.0"), ("other", "CC-BY-NC-4.0")):
        (tmp_path / f"{name}.yaml").write_text(
            f"kind: maps\nname: {name}\nlicense: {license}\n"
            f"depth: {{pattern: '../{name}/{{stem}}.png', scale: 0.001}}\n"
        )
    (tmp_path / "expensive.yaml").write_text(
        f"kind: replay\nanswers: answers.json\nmodel: expensive\ncost_usd: {PRICE_USD}\nlicense: restricted (terms)\n"
    )
    return tmp_path


def run(world: Path, out: str, blend: str, **more: object) -> tuple[dict, list[Sample]]:
    (world / "mix.yaml").write_text(f"kind: ensemble\ndepth: {blend}\n")
    config, folder = load_teacher(world / "mix.yaml")
    job = Job(out=world / out, config=config, folder=folder, inputs=(str(world / "photos"),), previews=0, **more)
    result = run_label(job, workers=1)
    return result.to_dict() | {"text": result.to_text()}, list(read_samples(world / out))


def teachers_of(samples: list[Sample]) -> dict[str, str]:
    return {sample.key: sample.meta["records"][0]["teacher"] for sample in samples}


def test_each_photo_has_one_teacher_drawn_by_weight(world: Path) -> None:
    blend = "{strategy: weight, teachers: [{teacher: cheap.yaml, weight: 7}, {teacher: other.yaml, weight: 3}]}"
    result, samples = run(world, "out", blend)
    assert result["labeled"] == 10
    assert set(teachers_of(samples).values()) <= {"cheap", "other"}
    again = run(world, "again", blend)[1]
    assert teachers_of(again) == teachers_of(samples)
    assert all(len(sample.meta["records"]) == 1 for sample in samples)


def test_draws_follow_the_weights() -> None:
    from distill.images import Photo
    from distill.teachers.base import TeacherResult
    from distill.teachers.ensemble import EnsembleTeacher, Member

    class Says:
        """A teacher that gives its own name."""

        license, terms, classes, tasks = "MIT", "", (), (Task.DEPTH,)
        max_parallel, min_size_hw, answer_usd = 1, None, 0.0

        def __init__(self, name: str) -> None:
            self.name = name

        def label(self, photo: Photo) -> list[TeacherResult]:
            ones = np.ones((2, 2), np.float32)
            label = Label(Task.DEPTH, ones, ones > 0, ones, DepthKind.METRIC)
            return [TeacherResult({Task.DEPTH: label}, [{"teacher": self.name}])]

    member = {"teacher": {"kind": "maps"}}
    config = load_config(EnsembleConfig, {"depth": {"strategy": "weight", "teachers": [member, member]}})
    mixed = EnsembleTeacher(config, {Task.DEPTH: [Member(Says("a"), 7, 0, 0), Member(Says("b"), 3, 0, 0)]})
    counts: Counter[Any] = Counter()
    for number in range(2000):
        photo = Photo(str(number), "", b"", "png", np.zeros((2, 2, 3), np.uint8), f"{number:064x}", {})
        counts[mixed.label(photo)[0].records[0]["teacher"]] += 1
    assert 0.66 < counts["a"] / 2000 < 0.74


def test_cascade_skips_the_expensive_teacher_and_reports_savings(world: Path) -> None:
    blend = "{strategy: cascade, min_quality: 0.5, teachers: [cheap.yaml, expensive.yaml]}"
    result, samples = run(world, "out", blend)
    names = teachers_of(samples)
    assert {key: name for key, name in names.items() if int(key) % 2 == 0} == dict.fromkeys("02468", "cheap")
    assert {name for key, name in names.items() if int(key) % 2} == {"replay of expensive"}
    assert result["cost_usd"] == pytest.approx(5 * PRICE_USD)
    assert result["skipped"] == {"replay of expensive": 5} and result["skipped_usd"] == pytest.approx(5 * PRICE_USD)
    assert "did without 5 answers of replay of expensive, which would have cost 0.67 USD" in result["text"]
    for sample in samples:
        assert np.median(np.abs(sample.label(Task.DEPTH).value - scene(int(sample.key)))) < 0.05
    manifest = read_manifest(world / "out")
    assert set(manifest.licenses) == {"Apache-2.0", "restricted (terms)"}


def test_fallback_if_no_label_passes(world: Path) -> None:
    teachers = "teachers: [cheap.yaml, expensive.yaml], min_quality: 1.0"
    kept, samples = run(world, "best", f"{{strategy: cascade, {teachers}}}")
    assert (
        kept["labeled"] == 10 and len(kept["notes"]) == 10 and "no teacher's label passes" in kept["notes"][0]["reason"]
    )
    assert {name for key, name in teachers_of(samples).items() if int(key) % 2} == {"replay of expensive"}
    none, _ = run(world, "none", f"{{strategy: cascade, fallback: none, {teachers}}}")
    assert none["labeled"] == 0 and len(none["unanswered"]) == 10


def test_fused_labels_have_all_records_and_licenses(world: Path) -> None:
    result, samples = run(world, "out", "{strategy: fuse, teachers: [other.yaml, expensive.yaml]}")
    assert result["labeled"] == 10
    for sample in samples:
        label = sample.label(Task.DEPTH)
        assert {record["license"] for record in sample.meta["records"]} == {"CC-BY-NC-4.0", "restricted (terms)"}
        # 5 % apart is half a sigma: they agree, and not entirely.
        assert 0.5 < label.confidence[label.valid].mean() < 1
        assert np.median(label.value / scene(int(sample.key))) == pytest.approx(1.0, abs=0.06)
        # One of its labels was read from colors, whose validity is a part of its quality.
        assert all("color_validity" in record["quality_parts"] for record in sample.meta["records"])


def test_different_depth_kinds_need_a_common_one(world: Path) -> None:
    relative = (
        "{kind: maps, name: relative, depth: {pattern: '../other/{stem}.png', depth_kind: affine_invariant_depth}}"
    )
    teachers = f"teachers: [cheap.yaml, {relative}]"
    with pytest.raises(UsageError, match="different depth kinds"):
        run(world, "out", f"{{strategy: fuse, {teachers}}}")
    result, samples = run(world, "both", f"{{strategy: fuse, depth_kind: affine_invariant_depth, {teachers}}}")
    assert result["labeled"] == 10
    assert {sample.meta["depth_kind"] for sample in samples} == {"affine_invariant_depth"}


def test_failing_teacher_leaves_the_others(world: Path) -> None:
    (world / "cheap" / "3.png").unlink()
    result, samples = run(world, "out", "{strategy: fuse, teachers: [cheap.yaml, other.yaml]}")
    assert result["labeled"] == 10
    assert [row["name"] for row in result["unanswered"]] == ["3.png"]
    assert teachers_of(samples)["3"] == "other"
    assert not any("color_validity" in record["quality_parts"] for record in samples[0].meta["records"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: ensemble\n", "name at least one"),
        ("kind: ensemble\nlicense: MIT\ndepth: {strategy: fuse, teachers: [cheap.yaml]}\n", "keys of each teacher"),
        ("kind: ensemble\ndepth: {strategy: fuse, teachers: ['os:system']}\n", "cannot name code"),
        (
            "kind: ensemble\ndepth: {strategy: fuse, teachers: [{kind: callable, function: 'os:system'}]}\n",
            "cannot name code",
        ),
        ("kind: ensemble\nnormals: {strategy: fuse, teachers: [cheap.yaml]}\n", "cheap cannot do normals"),
        ("kind: ensemble\ndepth: {strategy: fuse, teachers: [mix.yaml]}\n", "ensemble cannot have|unknown|nested"),
        ("kind: ensemble\ndepth: {strategy: fuse, teachers: [nowhere.yaml]}\n", "nowhere.yaml"),
        ("kind: ensemble\ndepth: {strategy: vote, teachers: [cheap.yaml]}\n", "depth.strategy"),
    ],
)
def test_errors_in_ensemble_configs(world: Path, text: str, words: str) -> None:
    if "[mix.yaml]" in text:
        (world / "inner.yaml").write_text("kind: ensemble\ndepth: {strategy: fuse, teachers: [cheap.yaml]}\n")
        text = text.replace("mix.yaml", "inner.yaml")
    (world / "mix.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        config, folder = load_teacher(world / "mix.yaml")
        Job(out=world / "o", config=config, folder=folder, inputs=(str(world / "photos"),)).teacher  # noqa: B018


def test_a_changed_image_of_a_member_is_decoded_again(world: Path) -> None:
    run(world, "out", "{strategy: fuse, teachers: [cheap.yaml, expensive.yaml]}")
    before = (world / "out" / "shard-000000.tar").read_bytes()
    Image.fromarray(encode_depth_rgb(scene(1))).save(world / "answers" / "0.png")
    run(world, "out", "{strategy: fuse, teachers: [cheap.yaml, expensive.yaml]}")
    assert (world / "out" / "shard-000000.tar").read_bytes() != before


def metric(values: list[float]) -> Label:
    value = np.array([values], np.float32)
    valid = np.isfinite(value)
    return Label(Task.DEPTH, value, valid, valid.astype(np.float32), DepthKind.METRIC)


def test_metric_depth_is_converted_to_relative_kinds() -> None:
    label = metric([1.0, 2.0, 4.0, 500.0])
    disparity = convert_depth(label, DepthKind.AFFINE_INVARIANT_DISPARITY)
    assert np.allclose(disparity.value, [[1.0, 0.5, 0.25, 0.0]]) and disparity.valid.all()
    scale = convert_depth(label, DepthKind.SCALE_INVARIANT)
    assert np.allclose(scale.value[:, :3], [[0.25, 0.5, 1.0]]) and scale.valid.tolist() == [[True, True, True, False]]
    affine = convert_depth(label, DepthKind.AFFINE_INVARIANT_DEPTH)
    assert np.allclose(affine.value[:, :3], [[0, 1 / 3, 1.0]])
    with pytest.raises(UsageError, match="cannot be converted"):
        convert_depth(disparity, DepthKind.AFFINE_INVARIANT_DEPTH)
    with pytest.raises(UsageError, match="cannot be converted"):
        convert_depth(affine, DepthKind.METRIC)
