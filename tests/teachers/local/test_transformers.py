"""Specialists of the transformers library, on tiny random models on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs transformers: pip install distill[local]")

import torch
from PIL import Image

from distill.config import load_config
from distill.config.local import TransformersConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.shards import read_manifest, read_samples
from distill.tasks import DepthKind, Task
from distill.teachers.factory import build_teacher
from distill.teachers.labeling.job import Job
from distill.teachers.local.hub import ModelUnavailable, fingerprint
from distill.teachers.local.instance_masks import ScoredMask, masks_to_label, query_masks
from distill.teachers.local.model_info import inspect_model
from distill.teachers.local.transformers import TransformersSpecialist
from distill.workflows.label.run import run_label
from tests.fakes import tiny_models as tiny

PHOTO = Photo("k", "k.png", b"", "png", np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8), "", {})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with a tiny model of this name, built once."""
    root = tmp_path_factory.mktemp("models")

    def make(name: str, **options: object) -> Path:
        folder = root / "-".join([name, *(f"{key}{value}" for key, value in options.items())])
        return folder if folder.exists() else getattr(tiny, name)(folder, **options)

    return make


def predict(folder: Path, **config: object) -> dict[Task, Label]:
    teacher = build_teacher(load_config(TransformersConfig, {"model": str(folder), **config}), folder=Path())
    (teacher_result,) = teacher.label(PHOTO)
    return teacher_result.labels


def test_relative_depth_is_the_raw_prediction(model: Callable[..., Path]) -> None:
    """Not the 8-bit preview, and not a resized copy."""
    folder = model("depth_anything")
    config = load_config(TransformersConfig, {"model": str(folder)})
    (label,) = TransformersSpecialist(config, inspect_model(config, Path())).predict(PHOTO)
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    inputs = AutoImageProcessor.from_pretrained(folder)(images=[PHOTO.rgb], return_tensors="pt")
    with torch.inference_mode():
        raw = AutoModelForDepthEstimation.from_pretrained(folder)(**inputs).predicted_depth[0].numpy()
    assert label.depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY
    assert len(np.unique(label.value)) > 1000
    assert np.allclose(label.value, (raw - raw.min()) / (raw.max() - raw.min()), atol=1e-5)


def test_metric_depth_kind(model: Callable[..., Path]) -> None:
    folder = model("depth_anything", depth_estimation_type="metric", max_depth=20)
    label = predict(folder)[Task.DEPTH]
    assert label.depth_kind is DepthKind.METRIC
    assert label.value.min() > 0 and label.value.max() <= 20


@pytest.mark.parametrize("name", ["depth_pro", "zoedepth"])
def test_models_with_own_post_processing_give_meters(model: Callable[..., Path], name: str) -> None:
    assert predict(model(name))[Task.DEPTH].depth_kind is DepthKind.METRIC


def test_three_tasks_in_one_pass(model: Callable[..., Path]) -> None:
    labels = predict(model("tipsv2"), frame="opencv")
    assert set(labels) == {Task.DEPTH, Task.NORMALS, Task.SEMANTIC}
    assert labels[Task.DEPTH].depth_kind is DepthKind.METRIC
    assert np.allclose(np.linalg.norm(labels[Task.NORMALS].value, axis=-1), 1, atol=1e-5)
    assert labels[Task.SEMANTIC].classes == tiny.CLASSES


def test_undeclared_axes_are_an_error(model: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="axes"):
        predict(model("tipsv2"))
    assert set(predict(model("tipsv2"), tasks=["depth"])) == {Task.DEPTH}


def test_model_classes_can_be_merged(model: Callable[..., Path]) -> None:
    folder = model("segformer")
    own = predict(folder)[Task.SEMANTIC]
    assert own.classes == tiny.CLASSES
    assert own.confidence.min() >= 1 / 5 - 1e-3 and own.confidence.max() < 1
    merged = predict(folder, classes=["ground", "other"], remap={"road": "ground", "car": "other", "tree": "other"})
    label = merged[Task.SEMANTIC]
    assert label.classes == ("ground", "other")
    assert set(np.unique(label.value)) <= {0, 1, 255}


@pytest.mark.parametrize("name", ["mask2former", "oneformer", "eomt"])
def test_query_models_give_classes_and_instances(model: Callable[..., Path], name: str) -> None:
    labels = predict(model(name), min_score=0.15)
    assert labels[Task.SEMANTIC].classes == tiny.CLASSES
    assert labels[Task.SEMANTIC].confidence.max() <= 1
    instances = labels[Task.INSTANCE]
    assert set(np.unique(instances.value)) - {0} == set(instances.instance_classes)
    assert set(instances.instance_classes.values()) <= set(tiny.CLASSES)


def test_tiling_model_has_classes_only(model: Callable[..., Path]) -> None:
    folder = model("eomt", split=True)
    assert Task.SEMANTIC in predict(folder, tasks=["semantic"])
    with pytest.raises(DistillError, match="no instances"):
        predict(folder, tasks=["instance"])


def test_padding_is_cropped_before_masks_are_resized() -> None:
    """A mask on the left half of a photo that was padded to twice its height and width stays on the left half."""
    logits = torch.full((1, 1, 8, 8), -9.0)
    logits[..., :2] = 9.0  # left half of the photo, which fills the first four columns and rows
    inputs = {"pixel_values": torch.zeros(1, 3, 32, 32), "pixel_mask": torch.zeros(1, 32, 32)}
    inputs["pixel_mask"][:, :16, :16] = 1
    outputs = SimpleNamespace(masks_queries_logits=logits, class_queries_logits=torch.zeros(1, 1, 3))
    masks, scores = query_masks(outputs, inputs, object(), (20, 20))
    inside = masks[0] > 0
    assert inside[:, :8].all() and not inside[:, 12:].any()
    assert scores.shape == (1, 2)


def test_mask_with_the_higher_score_wins() -> None:
    left, whole = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    left[:, :4] = 1
    label = masks_to_label([ScoredMask(whole, 0.6, "wall"), ScoredMask(left, 0.9, "cat")], (8, 8), ["cat", "wall"], 0.5)
    assert label.instance_classes == {1: "cat", 2: "wall"}
    assert (label.value[:, :4] == 1).all() and (label.value[:, 4:] == 2).all()
    assert label.confidence[0, 0] == pytest.approx(0.9)


def test_masks_of_two_prompts_overlap() -> None:
    left, whole = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    left[:, :4] = 1
    found = [ScoredMask(whole, 0.9, "wall"), ScoredMask(left, 0.6, "cat"), ScoredMask(left, 0.5, "wall")]
    label = masks_to_label(found, (8, 8), ["cat", "wall"], 0.4, one_class_per_pixel=False)
    assert label.instance_classes == {1: "wall", 2: "cat"}  # the second wall has no pixel of its own
    assert (label.value[:, :4] == 2).all() and (label.value[:, 4:] == 1).all()
    assert (label.layers[0][:, :4] == 1).all() and not label.layers[0][:, 4:].any()
    np.testing.assert_allclose(label.confidence[0], [0.6] * 4 + [0.9] * 4)


def test_text_model_runs_once_per_class(model: Callable[..., Path]) -> None:
    labels = predict(model("sam3"), things=["car", "dog"], tasks=["instance", "semantic"], min_score=0.0)
    instances, semantic = labels[Task.INSTANCE], labels[Task.SEMANTIC]
    assert set(instances.instance_classes.values()) <= {"car", "dog"}
    assert semantic.classes == ("background", "car", "dog")
    for number, name in instances.instance_classes.items():
        assert (semantic.value[instances.value == number] == semantic.classes.index(name)).all()
    with pytest.raises(UsageError, match="takes text prompts"):
        predict(model("sam3"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        size_hw = (60 + 7 * number, 120 - 5 * number)
        pixels = np.random.default_rng(number).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "task", "more"),
    [
        ("depth_anything", Task.DEPTH, {}),
        ("segformer", Task.SEMANTIC, {}),
        ("sam3", Task.INSTANCE, {"things": ["car", "dog"], "min_score": 0.0}),
    ],
)
def test_eight_photos_are_labeled(
    model: Callable[..., Path], photos: Path, tmp_path: Path, name: str, task: Task, more: dict
) -> None:
    values = {"model": str(model(name)), "license": "Apache-2.0", "terms": "https://example.org", **more}
    config = load_config(TransformersConfig, values)
    job = Job(out=tmp_path, config=config, folder=Path(), inputs=(str(photos),), previews=0)
    result = run_label(job, workers=1).to_dict()
    assert result["labeled"] == 8 and result["labels"] == {str(task): 8}
    manifest = read_manifest(tmp_path)
    assert manifest.licenses == ("Apache-2.0",) and manifest.terms == {"Apache-2.0": "https://example.org"}
    assert all(sample.label(task, manifest).valid_fraction == 1 for sample in read_samples(tmp_path))


def test_hub_id_without_network_is_an_error() -> None:
    config = load_config(TransformersConfig, {"model": "depth-anything/Depth-Anything-V2-Small-hf"})
    with pytest.raises(ModelUnavailable, match="not on this machine and could not be downloaded") as caught:
        build_teacher(config, folder=Path())
    assert "hf download" in caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"architectures": ["BertModel"], "model_type": "bert"}', "BertModel is not supported"),
        ("{}", "without an architecture"),
        ("[]", "not the configuration"),
        ("nonsense", "damaged"),
        (None, "config.json is missing"),
    ],
)
def test_unsupported_models_are_errors(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UsageError, match=words):
        build_teacher(load_config(TransformersConfig, {"model": str(tmp_path)}), folder=Path())


def test_missing_or_damaged_weights_are_errors(model: Callable[..., Path], tmp_path: Path) -> None:
    source = model("segformer")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    with pytest.raises(UsageError):
        predict(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(UsageError):
        predict(tmp_path)


def test_pickled_weights_are_not_opened(model: Callable[..., Path], tmp_path: Path) -> None:
    source = model("segformer")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError):
        predict(tmp_path)


def test_an_unknown_depth_kind_must_be_stated(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["CHMv2ForDepthEstimation"], "model_type": "chmv2"})
    )
    config = {"model": str(tmp_path)}
    with pytest.raises(UsageError, match="does not declare its depth kind"):
        inspect_model(load_config(TransformersConfig, config), Path())
    described = inspect_model(load_config(TransformersConfig, {**config, "depth_kind": "metric"}), Path())
    assert described.tasks == (Task.DEPTH,)


def test_changed_model_is_another_job(model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1")
    before = fingerprint(str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(b"12")
    assert fingerprint(str(tmp_path)) != before


def test_plan_times_the_model_and_downloads_none(model: Callable[..., Path], photos: Path, tmp_path: Path) -> None:
    from distill.workflows.label.estimate import plan_local

    config = load_config(TransformersConfig, {"model": str(model("segformer")), "license": "MIT"})
    values, text = plan_local(Job(out=tmp_path / "o", config=config, folder=Path(), inputs=(str(photos),)))
    assert values["answers"] == 8 and values["seconds"] > 0 and values["bytes"] > 0 and values["timed_photos"] == 4
    assert "on this machine" in text and not (tmp_path / "o").exists()
    missing = load_config(TransformersConfig, {"model": "google/tipsv2-b14-dpt", "license": "Apache-2.0"})
    values, text = plan_local(Job(out=tmp_path / "o", config=missing, folder=Path(), inputs=(str(photos),)))
    assert values["photos"] == 8 and values["seconds"] is None and values["license"] == "Apache-2.0"
    assert "hf download google/tipsv2-b14-dpt" in text
