"""`distill evaluate`: what is scored, against what, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.errors import DistillError, UsageError
from distill.evaluation.protocol import Crop, crop_mask, remap_classes, resize_label
from distill.evaluation.scorers import EvalProtocol
from distill.labels import Label
from distill.labels.instance_layers import sort_layers, stack_masks
from distill.metrics import Alignment, DepthMetrics
from distill.shards import Sample, read_manifest, read_samples, write_manifest, write_shard
from distill.tasks import FAR_DEPTH_M, DepthKind, Task
from distill.workflows.evaluate.run import EvalOptions, run_evaluate
from tests.builders.truth import (
    CLASSES,
    SIZE_HW,
    LabelMaker,
    depth,
    make_label,
    make_shards,
    random_scene,
)


def evaluate(*predictors: Path, truth: Path, **more: Any) -> dict[str, Any]:
    return run_evaluate(EvalOptions(predictors=predictors, truth=truth, **more)).to_dict()


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return make_shards(tmp_path / "truth")


def test_truth_against_itself_is_perfect(truth: Path) -> None:
    tasks = evaluate(truth, truth=truth)["tasks"]
    assert tasks["depth"]["scores"]["truth"]["delta1"] == 1.0
    assert tasks["depth"]["scores"]["truth"]["abs_rel"] == 0.0
    assert tasks["normals"]["scores"]["truth"]["mean_deg"] < 1e-4
    assert tasks["semantic"]["scores"]["truth"]["miou"] == 1.0


def test_a_known_error_is_measured_and_compared(truth: Path, tmp_path: Path) -> None:
    def worse(factor: float) -> LabelMaker:
        return lambda index, rng: [depth(random_scene(rng)[0] * factor)]

    student = make_shards(tmp_path / "student", worse(1.2))
    teacher = make_shards(tmp_path / "teacher", worse(1.1))
    found = evaluate(student, teacher, truth=truth)["tasks"]
    assert list(found) == ["depth"]
    # The stored depth is quantized to 16 bits: 0.0002 relative at 9 m.
    assert found["depth"]["scores"]["student"]["abs_rel"] == pytest.approx(0.2, abs=1e-3)
    assert found["depth"]["ratios"]["teacher"]["abs_rel"] == pytest.approx(2.0, abs=2e-2)
    assert found["depth"]["scores"]["student"]["alignment"] == "none"
    assert found["depth"]["scores"]["student"]["pixels"] == 3 * 20 * 32


def test_a_relative_teacher_is_aligned_and_so_is_everyone_beside_it(truth: Path, tmp_path: Path) -> None:
    disparity = make_shards(
        tmp_path / "relative",
        lambda _, rng: [depth(0.8 / random_scene(rng)[0] + 0.1, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)],
    )
    found = evaluate(disparity, truth=truth, baseline=truth)["tasks"]["depth"]["scores"]
    assert found["relative"]["abs_rel"] < 1e-3
    assert {row["alignment"] for row in found.values()} == {"scale_shift_disparity"}
    with pytest.raises(UsageError, match="cannot be scored with alignment none"):
        evaluate(disparity, truth=truth, protocol=EvalProtocol(alignment=Alignment.NONE))


def test_invalid_predictions_lower_the_coverage_and_nothing_else(truth: Path, tmp_path: Path) -> None:
    def half(_: int, rng: np.random.Generator) -> list[Label]:
        valid = np.zeros(SIZE_HW, bool)
        valid[:, :16] = True
        return [depth(random_scene(rng)[0], valid)]

    found = evaluate(make_shards(tmp_path / "half", half), truth=truth)["tasks"]["depth"]["scores"]["half"]
    assert (found["coverage"], found["delta1"]) == (0.5, 1.0)


def test_sky_in_the_truth_does_not_count(tmp_path: Path) -> None:
    def with_sky(_: int, rng: np.random.Generator) -> list[Label]:
        meters = random_scene(rng)[0]
        meters[:12] = 25_000.0
        return [depth(meters)]

    sky = make_shards(tmp_path / "sky", with_sky)
    flat = make_shards(tmp_path / "flat", lambda _, rng: [depth(random_scene(rng)[0])])
    found = evaluate(flat, truth=sky, protocol=EvalProtocol(max_depth_m=1e5))["tasks"]["depth"]["scores"]["flat"]
    assert (found["delta1"], found["pixels"]) == (1.0, 3 * 12 * 32)


def test_classes_are_joined_by_name(truth: Path, tmp_path: Path) -> None:
    def shuffled(_: int, rng: np.random.Generator) -> list[Label]:
        table = np.array([2, 0, 1], np.uint8)  # Sky, Road, Car as ids of (road, car, SKY)
        return [make_label(Task.SEMANTIC, table[random_scene(rng)[2]], classes=("road", "car", "SKY"))]

    other = make_shards(tmp_path / "other", shuffled, classes=("road", "car", "SKY"))
    assert evaluate(other, truth=truth)["tasks"]["semantic"]["scores"]["other"]["miou"] == 1.0


def test_a_class_without_a_word_for_it_counts_as_zero_and_is_named(truth: Path, tmp_path: Path) -> None:
    def no_car(_: int, rng: np.random.Generator) -> list[Label]:
        return [make_label(Task.SEMANTIC, random_scene(rng)[2], classes=("sky", "road", "vehicle"))]

    predictor = make_shards(tmp_path / "predictor", no_car, classes=("sky", "road", "vehicle"))
    values = evaluate(predictor, truth=truth)
    scores = values["tasks"]["semantic"]["scores"]["predictor"]
    assert scores["miou"] == pytest.approx(2 / 3) and scores["miou_known"] == 1.0
    assert scores["classes_not_predicted"] == ["Car"] and scores["classes_not_in_truth"] == ["vehicle"]
    assert any("does not have the classes Car" in text for text in values["warnings"])
    mapped = evaluate(predictor, truth=truth, protocol=EvalProtocol(class_map={"vehicle": "car"}))
    assert mapped["tasks"]["semantic"]["scores"]["predictor"]["miou"] == 1.0
    with pytest.raises(UsageError, match="the truth has no class 'lorry'"):
        evaluate(predictor, truth=truth, protocol=EvalProtocol(class_map={"vehicle": "lorry"}))


def test_no_shared_class_is_refused() -> None:
    with pytest.raises(UsageError, match="no class name is shared"):
        remap_classes(("a", "b"), ("c",), {})


def test_photos_are_found_by_content_when_keys_differ(truth: Path, tmp_path: Path) -> None:
    renamed = make_shards(tmp_path / "renamed", key="other")
    assert evaluate(renamed, truth=truth)["tasks"]["depth"]["scores"]["renamed"]["delta1"] == 1.0
    # The same keys under other photos: content decides.
    backwards = make_shards(tmp_path / "backwards", reverse_keys=True)
    values = evaluate(backwards, truth=truth)
    assert values["tasks"]["depth"]["scores"]["backwards"]["delta1"] == 1.0
    assert all("few images or pixels" in text for text in values["warnings"])


def test_other_photos_under_the_same_keys_are_scored_with_a_warning(truth: Path, tmp_path: Path) -> None:
    other = make_shards(tmp_path / "other", photo_seed=7)
    assert "3 photos were matched by key alone" in evaluate(other, truth=truth)["warnings"][0]


def test_missing_photos_are_counted_and_none_at_all_is_refused(truth: Path, tmp_path: Path) -> None:
    fewer = make_shards(tmp_path / "fewer", count=2)
    values = evaluate(fewer, truth=truth)
    assert values["tasks"]["depth"]["scores"]["fewer"]["missing"] == 1
    assert any("no depth answer for 1 of 3 photos" in text for text in values["warnings"])
    foreign = make_shards(tmp_path / "foreign", key="x", photo_seed=9)
    with pytest.raises(DistillError, match="no photo of the truth has an answer"):
        evaluate(foreign, truth=truth)


def test_the_mean_baseline_stands_beside(truth: Path, tmp_path: Path) -> None:
    training = make_shards(tmp_path / "training", lambda _, rng: [depth(np.full(SIZE_HW, 5.0))])
    found = evaluate(truth, truth=truth, baseline=training)["tasks"]
    meters = np.stack([random_scene(np.random.default_rng(index))[0][4:] for index in range(3)])
    expected = np.mean(np.abs(5.0 - meters) / meters)
    assert found["depth"]["scores"]["baseline"]["abs_rel"] == pytest.approx(expected, abs=1e-3)
    assert "baseline" not in found["normals"]["scores"]


def test_instances_and_sentences_are_scored(tmp_path: Path) -> None:
    def objects(shift: int) -> LabelMaker:
        def make(index: int, _: np.random.Generator) -> list[Label]:
            ids = np.zeros(SIZE_HW, np.uint16)
            if index < 2:
                ids[2:10, 2 + shift : 10 + shift] = 4
            said = np.full(SIZE_HW, 1, np.uint8)
            said[:, : 8 + shift] = 0
            return [
                make_label(Task.INSTANCE, ids, instance_classes={4: "box"} if index < 2 else {}),
                make_label(Task.REFERRING, said, classes=("the left part", "background")),
            ]

        return make

    truth = make_shards(tmp_path / "truth", objects(0), instance_classes=("box",))
    moved = make_shards(tmp_path / "moved", objects(1), instance_classes=("box",))
    found = evaluate(moved, truth=truth)["tasks"]
    # IoU 56/72 = 0.78 passes six of the ten thresholds.
    assert found["instance"]["scores"]["moved"]["pmf1"] == pytest.approx(0.6, abs=1e-3)
    assert found["instance"]["scores"]["moved"]["il_mcc"] == pytest.approx(1.0)
    assert found["referring"]["scores"]["moved"]["ciou"] == pytest.approx(8 / 9)


def test_files_say_everything(truth: Path, tmp_path: Path) -> None:
    worse = make_shards(tmp_path / "worse", lambda _, rng: [depth(random_scene(rng)[0] * 1.3)])
    values = evaluate(worse, truth=truth, baseline=truth, out=tmp_path / "out", worst=2)
    written = json.loads((tmp_path / "out" / "evaluate.json").read_text())
    assert written == json.loads(json.dumps(values))
    image_error = [row["image_error"] for row in written["tasks"]["depth"]["worst"]]
    assert len(image_error) == 2 and image_error == sorted(image_error, reverse=True)
    page = (tmp_path / "out" / "evaluate.html").read_text()
    # Two images of five pictures: photo, truth, two answers, error.
    assert page.count("<img") == 10 and "alignment" in page
    assert "AbsRel" in (tmp_path / "out" / "evaluate.md").read_text()
    assert (tmp_path / "out" / "evaluate.provenance.json").is_file()


def test_a_damaged_photo_is_left_out_with_a_word(tmp_path: Path) -> None:
    truth = make_shards(tmp_path / "truth")
    whole = make_shards(tmp_path / "whole")
    sample = next(iter(read_samples(truth)))
    samples = [sample, Sample("photo1", {**sample.files, "jpg": b"\xff\xd8 no"})]
    entry = write_shard(truth / "shard-000000.tar", samples)
    write_manifest(truth, read_manifest(truth).model_copy(update={"shards": (entry,)}))
    values = evaluate(whole, truth=truth)
    assert values["images"] == 1 and "it is left out" in values["warnings"][0]


def nested(*shown: str, flat: bool = False) -> LabelMaker:
    """A person with a shirt that hides a quarter of it; `flat` maps lose what is hidden."""

    def make(index: int, _: np.random.Generator) -> list[Label]:
        masks = {"person": np.zeros(SIZE_HW, bool), "shirt": np.zeros(SIZE_HW, bool)}
        masks["person"][2:14, 2:14], masks["shirt"][5:11, 4:10] = True, True
        kept = {name: masks[name] for name in shown} if index else {}
        front, *behind = sort_layers(stack_masks(enumerate(kept.values(), start=1), SIZE_HW))
        label = make_label(Task.INSTANCE, front, instance_classes=dict(enumerate(kept, start=1)))
        return [replace(label, layers=() if flat else tuple(behind))]

    return make


@pytest.mark.parametrize(
    ("answer", "true", "pmf1"),
    [
        (nested("person", "shirt"), nested("person", "shirt"), 1.0),
        # The flat person has three quarters of its mask: IoU 0.75 passes six of ten thresholds; the shirt is right.
        (nested("person", "shirt", flat=True), nested("person", "shirt"), (6 * 1 + 4 * 0.5) / 10),
        (nested("person", "shirt"), nested("person", "shirt", flat=True), (6 * 1 + 4 * 0.5) / 10),
        (nested("shirt"), nested("person", "shirt"), 2 / 3),
    ],
)
def test_instances_are_scored_with_what_is_hidden(
    tmp_path: Path, answer: LabelMaker, true: LabelMaker, pmf1: float
) -> None:
    classes = ("person", "shirt")
    truth = make_shards(tmp_path / "truth", true, instance_classes=classes)
    said = make_shards(tmp_path / "said", answer, instance_classes=classes)
    found = evaluate(said, truth=truth)["tasks"]["instance"]["scores"]["said"]
    assert found["pmf1"] == pytest.approx(pmf1, abs=1e-3)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [((Task.INSTANCE,), "the truth holds no instance labels"), ((Task.NORMALS,), "no predictor answers normals")],
)
def test_a_task_that_one_side_lacks_is_refused(truth: Path, tmp_path: Path, tasks: tuple[Task], message: str) -> None:
    predictor = make_shards(tmp_path / "predictor", lambda _, rng: [depth(random_scene(rng)[0])])
    with pytest.raises(UsageError, match=message):
        evaluate(predictor, truth=truth, tasks=tasks)


def test_nothing_in_common_and_relative_truth_are_refused(truth: Path, tmp_path: Path) -> None:
    relative = make_shards(
        tmp_path / "relative", lambda _, rng: [depth(random_scene(rng)[0] / 10, depth_kind=DepthKind.SCALE_INVARIANT)]
    )
    with pytest.raises(UsageError, match="depth is scored against meters only"):
        evaluate(truth, truth=relative)
    ids = make_shards(
        tmp_path / "ids", lambda _, rng: [make_label(Task.SEMANTIC, random_scene(rng)[2], classes=CLASSES)]
    )
    with pytest.raises(UsageError, match="nothing can be compared"):
        evaluate(ids, truth=make_shards(tmp_path / "meters", lambda _, rng: [depth(random_scene(rng)[0])]))


def test_a_predictor_given_twice_or_absent_is_refused(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        evaluate(truth, truth, truth=truth)
    with pytest.raises(UsageError, match="no such file"):
        evaluate(tmp_path / "nothing.onnx", truth=truth)
    with pytest.raises(UsageError, match="not a folder of shards"):
        evaluate(truth, truth=tmp_path)


def test_equal_folder_names_are_told_apart(tmp_path: Path) -> None:
    one, two = make_shards(tmp_path / "a" / "run"), make_shards(tmp_path / "b" / "run")
    assert evaluate(one, two, truth=one)["predictors"] == ["a/run", "b/run"]


def test_crops_are_those_of_the_papers() -> None:
    eigen = crop_mask(Crop.EIGEN, (480, 640))
    assert eigen.sum() == (471 - 45) * (601 - 41) and eigen[45, 41] and not eigen[44, 41]
    garg = crop_mask(Crop.GARG, (352, 1216))
    rows, columns = np.nonzero(garg)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (143, 349, 43, 1172)
    with pytest.raises(UsageError, match="640x480"):
        crop_mask(Crop.EIGEN, (352, 1216))


def test_holes_and_sky_do_not_bleed_when_depth_is_resized() -> None:
    value = np.array([[2.0, 2.0], [2.0, 25_000.0]], np.float32)
    valid = np.array([[True, False], [True, True]])
    value[0, 1] = np.nan
    found, kept = resize_label(depth(value, valid), (8, 8), FAR_DEPTH_M)
    assert np.isfinite(found[kept]).all() and found[kept].max() <= FAR_DEPTH_M * (1 + 1e-6)
    assert kept[0, 0] and not kept[0, 7]
    np.testing.assert_allclose(found[0, 0], 2.0)


def test_a_trained_student_is_scored_from_its_run_folder(truth: Path, tmp_path: Path) -> None:
    from distill.config import load_config
    from distill.config.train import StudentConfig
    from distill.students.checkpoint import save_student
    from distill.students.model.student import build_spec, build_student

    config = load_config(StudentConfig, {"preset": "nano", "size_hw": [32, 64]})
    spec = build_spec(config, name="tiny", tasks=(Task.DEPTH, Task.SEMANTIC), classes=("road", "sky"))
    run = tmp_path / "run"
    run.mkdir()
    save_student(run, build_student(config, spec))
    found = evaluate(run, truth=truth)["tasks"]
    assert set(found) == {"depth", "semantic"}
    assert found["depth"]["scores"]["run"]["coverage"] == 1.0
    assert found["semantic"]["scores"]["run"]["classes_not_predicted"] == ["Car"]


@pytest.mark.parametrize("alignment", ["median_scale", "scale_shift_depth", "scale_shift_log"])
def test_nothing_is_capped_before_it_is_aligned(alignment: str) -> None:
    """A prediction of four times the truth is perfect under any alignment that knows a scale."""
    truth = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)
    valid = np.ones((6, 8), bool)
    label = Label(Task.DEPTH, 4 * truth, valid, valid.astype(np.float32), DepthKind.METRIC)
    value, _ = resize_label(label, (6, 8), 10.0, Alignment(alignment))
    metrics = DepthMetrics(alignment=Alignment(alignment), max_depth_m=10.0)
    assert metrics.update(value, truth, valid)["abs_rel"] < 1e-5
    capped, _ = resize_label(label, (6, 8), 10.0)
    assert capped.max() == 10.0


def test_what_is_far_is_scored_where_it_is_asked_for(tmp_path: Path) -> None:
    """Only sky is left out: a wall at 200 m is none."""

    def far(_: int, rng: np.random.Generator) -> list[Label]:
        meters = random_scene(rng)[0]
        meters[:12], meters[12:18] = 25_000.0, 200.0
        return [depth(meters)]

    truth = make_shards(tmp_path / "truth", far)
    flat = make_shards(tmp_path / "flat", lambda _, rng: [depth(random_scene(rng)[0])])
    for max_depth_m, rows in ((350.0, 12), (1e5, 12), (FAR_DEPTH_M, 6)):
        found = evaluate(flat, truth=truth, protocol=EvalProtocol(max_depth_m=max_depth_m))["tasks"]["depth"]["scores"][
            "flat"
        ]
        assert found["pixels"] == 3 * rows * 32


def test_far_predictions_are_not_capped_before_they_are_aligned() -> None:
    truth, valid = np.array([[10.0, 30.0, 60.0, 50.0]], np.float32), np.ones((1, 4), bool)
    label = depth(np.array([[20.0, 60.0, 120.0, 25_000.0]]))
    value, _ = resize_label(label, (1, 4), 90.0, Alignment.MEDIAN_SCALE)
    assert value.tolist() == [[20.0, 60.0, 120.0, 120.0]]  # sky is no 25 km
    metrics = DepthMetrics(alignment=Alignment.MEDIAN_SCALE)
    valid[0, 3] = False
    assert metrics.update(value, truth, valid)["abs_rel"] == 0


def test_damage_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    truth, whole = make_shards(tmp_path / "truth", count=6), make_shards(tmp_path / "whole", count=6)
    samples = list(read_samples(truth))
    samples[1].files["depth.png"] = b"no map"
    samples[2].files["json"] = b"{"
    entries = [write_shard(truth / f"shard-00000{i}.tar", samples[i : i + 3]) for i in (0, 3)]
    gone = write_shard(truth / "shard-000009.tar", samples[5:])
    write_manifest(truth, read_manifest(truth).model_copy(update={"shards": (*entries, gone)}))
    (truth / "shard-000009.tar").unlink()
    labels = list(read_samples(whole))
    labels[4].files["semantic.png"] = b"no map"
    entry = write_shard(whole / "shard-000000.tar", labels)
    write_manifest(whole, read_manifest(whole).model_copy(update={"shards": (entry,)}))
    values = evaluate(whole, truth=truth)
    assert values["images"] == 4
    for words in ("sample photo1", "sample photo2: its json", "shard-000009.tar", "whole: sample photo4"):
        assert sum(words in text for text in values["warnings"]) == 1, values["warnings"]
    scores = values["tasks"]["semantic"]["scores"]["whole"]
    assert scores["missing"] == 1 and scores["miou"] == 1.0


def test_a_config_that_is_code_is_not_run(truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "own.yaml"
    config.write_text("kind: callable\nlicense: MIT\nfunction: own_code:answer\noutputs: [{task: depth}]\n")
    with pytest.raises(UsageError, match="a config of kind callable; evaluate runs onnx models only"):
        evaluate(config, truth=truth)


def test_words_about_classes_are_about_those_that_matter(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no predictor has a class 'roud'"):
        evaluate(truth, truth=truth, protocol=EvalProtocol(class_map={"roud": "road"}))
    absent = make_shards(tmp_path / "absent", classes=(*CLASSES, "Unicorn"))
    no_car = make_shards(tmp_path / "predictor", classes=("Sky", "Road", "vehicle"))
    warnings = evaluate(no_car, truth=absent)["warnings"]
    assert any("the truth has no pixel of Unicorn;" in text for text in warnings)
    assert any("does not have the classes Car;" in text for text in warnings) and not any(
        "does not have" in text and "Unicorn" in text for text in warnings
    )


def test_what_has_no_mean_baseline_is_said(tmp_path: Path) -> None:
    def one_thing(_: int, rng: np.random.Generator) -> list[Label]:
        ids = np.zeros(SIZE_HW, np.uint16)
        ids[2:9, 3:9] = 1
        return [make_label(Task.INSTANCE, ids, instance_classes={1: "dog"})]

    truth = make_shards(tmp_path / "truth", one_thing, instance_classes=("dog",))
    with pytest.raises(UsageError, match="there is no mean baseline of instance"):
        evaluate(truth, truth=truth, baseline=truth)


def test_classes_without_a_pixel_in_the_truth_and_few_data_are_named(truth: Path, tmp_path: Path) -> None:
    more = make_shards(tmp_path / "more", classes=(*CLASSES, "person"))
    values = evaluate(more, truth=more, tasks=[Task.SEMANTIC])["tasks"]["semantic"]
    assert values["classes_without_truth"] == ["person"]
    assert values["few"]["more"] == {"images": 3, "pixels": 2304, "min_images": 10, "min_pixels": 10_000}
    page = tmp_path / "page"
    run_evaluate(EvalOptions(predictors=[more], truth=more, tasks=[Task.SEMANTIC], out=page))
    text = (page / "evaluate.md").read_text()
    assert "more (few data)" in text and "under 10 images or 10,000 pixels" in text
    assert "the truth has no pixel of person" in text


def test_enough_images_and_pixels_are_not_marked(tmp_path: Path) -> None:
    many = make_shards(tmp_path / "many", count=20)
    values = evaluate(many, truth=many)
    assert all(not task["few"] for task in values["tasks"].values())
    assert not any("few images" in text for text in values["warnings"])


def test_a_truth_without_a_pixel_to_score_is_an_error(truth: Path, tmp_path: Path) -> None:
    def nothing(_: int, rng: np.random.Generator) -> list[Label]:
        return [depth(random_scene(rng)[0], np.zeros(SIZE_HW, bool))]

    empty = make_shards(tmp_path / "empty", nothing)
    with pytest.raises(DistillError, match=r"no pixel was scored: all pixels of the truth \(depth\) are invalid"):
        evaluate(truth, truth=empty)
    with pytest.raises(DistillError, match="no pixel was scored"):
        evaluate(truth, truth=truth, tasks=[Task.DEPTH], protocol=EvalProtocol(min_depth_m=80.0))
