"""Public data sets in their official layouts, a few pixels each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.commands.evaluate import DATASET_NAMES
from distill.errors import DistillError, UsageError
from distill.evaluation.datasets import CAMVID, CAMVID_COLORS, CITYSCAPES, DATASETS, open_dataset
from distill.evaluation.near_duplicates import NearDuplicateIndex, photo_hash
from distill.evaluation.protocol import Crop
from distill.images import encode_jpeg, encode_map
from distill.images.photo_hash import MAX_COPY_BITS, hash_photo
from distill.report import to_markdown
from distill.shards import Sample
from distill.tasks import DepthKind, Task
from distill.workflows.evaluate.run import EvalOptions, choose_protocol, run_evaluate
from tests.builders.truth import make_shards

RNG = np.random.default_rng(0)
PHOTO = encode_jpeg(RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8))
METERS = RNG.uniform(1, 8, (12, 16)).astype(np.float32)
METERS[0, 0] = 0  # no measurement
IDS = RNG.integers(0, 30, (12, 16)).astype(np.uint8)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def nyuv2(root: Path) -> None:
    put(root / "bathroom" / "rgb_00045.jpg", PHOTO)
    put(root / "bathroom" / "sync_depth_00045.png", encode_map((METERS * 1000).astype(np.uint16)))
    put(root / "bathroom" / "rgb_00046.jpg", PHOTO)  # without truth: left out


def kitti(root: Path) -> None:
    name = "2011_09_26_drive_0002_sync_{}_0000000005_image_02.png"
    put(root / "val_selection_cropped" / "image" / name.format("image"), encode_map(np.zeros((12, 16, 3), np.uint8)))
    depth = encode_map((METERS * 256).astype(np.uint16))
    put(root / "val_selection_cropped" / "groundtruth_depth" / name.format("groundtruth_depth"), depth)


def diode(root: Path) -> None:
    folder = root / "val" / "indoors" / "scene_00019" / "scan_00183"
    put(folder / "00019_00183_indoors_000_010.png", encode_map(np.zeros((12, 16, 3), np.uint8)))
    np.save(folder / "00019_00183_indoors_000_010_depth.npy", METERS[..., None])
    np.save(folder / "00019_00183_indoors_000_010_depth_mask.npy", (METERS > 0).astype(np.float32))


def scannet(root: Path) -> None:
    put(root / "scene0707_00" / "color" / "0.jpg", PHOTO)
    put(root / "scene0707_00" / "depth" / "0.png", encode_map((METERS * 1000).astype(np.uint16)))


def cityscapes(root: Path) -> None:
    put(
        root / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
        encode_map(np.zeros((12, 16, 3), np.uint8)),
    )
    put(root / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png", encode_map(IDS))


def camvid(root: Path) -> None:
    put(root / "701_StillsRaw_full" / "0016E5_07959.png", encode_map(np.zeros((12, 16, 3), np.uint8)))
    colors = np.array([*CAMVID_COLORS, (0, 0, 0)], np.uint8)
    put(root / "LabeledApproved_full" / "0016E5_07959_L.png", encode_map(colors[IDS % len(colors)]))


def ade20k(root: Path) -> None:
    put(root / "images" / "validation" / "ADE_val_00000001.jpg", PHOTO)
    put(root / "annotations" / "validation" / "ADE_val_00000001.png", encode_map(IDS))
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{i}\t0.1\t1\t1\t1\tclass {i}, other" for i in range(1, 151))]
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "nyuv2": nyuv2,
    "kitti": kitti,
    "diode": diode,
    "scannet": scannet,
    "cityscapes": cityscapes,
    "camvid": camvid,
    "ade20k": ade20k,
}


def test_help_names_every_data_set() -> None:
    assert DATASET_NAMES == tuple(DATASETS) == tuple(WRITERS)


@pytest.mark.parametrize("name", ["nyuv2", "kitti", "diode", "scannet"])
def test_depth_comes_in_meters(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    truth = open_dataset(name, tmp_path)
    (sample,) = truth.samples()
    label = sample.label(Task.DEPTH, truth.manifest)
    assert truth.count == 1 and sample.tasks == (Task.DEPTH,) and label.depth_kind is DepthKind.METRIC
    assert not label.valid[0, 0] and label.valid.sum() == label.valid.size - 1
    np.testing.assert_allclose(label.value[label.valid], METERS[label.valid], atol=1 / 256)


def test_classes_are_those_that_are_scored(tmp_path: Path) -> None:
    for name in ("cityscapes", "camvid", "ade20k"):
        WRITERS[name](tmp_path / name)
    city, cam, ade = (open_dataset(name, tmp_path / name) for name in ("cityscapes", "camvid", "ade20k"))
    label = next(city.samples()).label(Task.SEMANTIC)
    assert city.manifest.classes == CITYSCAPES and label.classes == CITYSCAPES
    assert set(label.value[IDS == 26]) == {CITYSCAPES.index("car")} and not label.valid[IDS == 9].any()
    label = next(cam.samples()).label(Task.SEMANTIC)
    for place, index in enumerate(CAMVID_COLORS.values()):
        assert set(label.value[place == IDS % 32]) <= {index}
    assert set(CAMVID_COLORS.values()) == set(range(len(CAMVID)))
    label = next(ade.samples()).label(Task.SEMANTIC)
    assert ade.manifest.classes[:2] == ("class 1", "class 2") and len(ade.manifest.classes) == 150
    assert set(label.value[IDS == 7]) == {6} and not label.valid[IDS == 0].any()


def test_segnets_layout_of_camvid(tmp_path: Path) -> None:
    put(tmp_path / "val" / "a.png", encode_map(np.zeros((12, 16, 3), np.uint8)))
    put(tmp_path / "valannot" / "a.png", encode_map(IDS % 12))
    label = next(open_dataset("camvid", tmp_path).samples()).label(Task.SEMANTIC)
    assert np.array_equal(label.valid, IDS % 12 != 11) and np.array_equal(
        label.value[label.valid], (IDS % 12)[label.valid]
    )


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not kitti in its official layout") as caught:
        open_dataset("kitti", tmp_path)
    assert "groundtruth_depth" in caught.value.hint
    with pytest.raises(UsageError, match=r"objectInfo150.txt: missing"):
        open_dataset("ade20k", tmp_path)
    with pytest.raises(UsageError, match="--dataset nyu is unknown"):
        choose_protocol("nyu", None, None, None, None, {})
    diode(tmp_path)
    next(tmp_path.rglob("*_depth.npy")).write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(DistillError, match=r"_depth.npy: cannot be read"):
        next(open_dataset("diode", tmp_path).samples()).label(Task.DEPTH)


def test_a_data_set_brings_its_terms() -> None:
    protocol = choose_protocol("nyuv2", None, None, None, None, {})
    assert (protocol.crop, protocol.min_depth_m, protocol.max_depth_m) == (Crop.EIGEN, 1e-3, 10.0)
    assert choose_protocol("nyuv2", None, Crop.NONE, None, 5.0, {}).crop is Crop.NONE
    assert choose_protocol(None, None, None, None, None, {}).max_depth_m == pytest.approx(90.0)


def test_someone_elses_model_is_scored_on_a_data_set(tmp_path: Path) -> None:
    """A foreign ONNX file (it answers class 1 where the picture is bright), described by a config."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["image"], ["gray"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["half", "gray"], ["dark"]),
        helper.make_node("Concat", ["dark", "gray"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 12, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 12, 16])],
        [helper.make_tensor("half", TensorProto.FLOAT, [1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, tmp_path / "bright.onnx")
    (tmp_path / "bright.yaml").write_text(
        "kind: onnx\nmodel: bright.onnx\nlicense: MIT\ninput: {scale: 0.00392156862}\n"
        "outputs: [{task: semantic, values: logits, classes: [Building, Sky]}]\n"
    )
    ids = np.where(np.arange(16) < 8, 1, 0)[None].repeat(12, 0).astype(np.uint8)
    photo = np.where(ids[..., None] == 0, 250, 20).astype(np.uint8).repeat(3, -1)
    for index in range(2):
        put(tmp_path / "val" / f"{index}.png", encode_map(photo))
        put(tmp_path / "valannot" / f"{index}.png", encode_map(ids))
    settings = EvalOptions(predictors=[tmp_path / "bright.yaml"], truth=tmp_path, dataset="camvid")
    found = run_evaluate(settings).to_dict()
    scores = found["tasks"]["semantic"]["scores"]["bright.yaml"]
    assert scores["pixel_accuracy"] == 1 and scores["boundary_f1"] == 1
    with pytest.raises(UsageError, match="a config of kind maps; evaluate runs onnx models only"):
        (tmp_path / "maps.yaml").write_text("kind: maps\n")
        run_evaluate(EvalOptions(predictors=[tmp_path / "maps.yaml"], truth=tmp_path, dataset="camvid"))


def smooth(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)


def test_a_copy_is_found_however_it_was_saved() -> None:
    photos = [smooth(seed) for seed in range(20)]
    finder = NearDuplicateIndex(Sample(f"p{i}", {"jpg": encode_jpeg(photo)}) for i, photo in enumerate(photos))
    copy = cv2.resize(photos[7], (100, 75), interpolation=cv2.INTER_AREA)
    found = finder.find("test.jpg", encode_jpeg(copy, quality=50))
    assert found is not None and (found.photo, found.other) == ("test.jpg", "p7")
    assert finder.find("other.jpg", encode_jpeg(smooth(99))) is None
    assert finder.find("broken.jpg", b"nothing") is None and photo_hash(b"") is None and len(finder) == 20


def test_the_stored_hash_of_a_training_photo_is_used() -> None:
    photos = [encode_jpeg(smooth(seed)) for seed in range(2)]
    stored = [hash_photo(smooth(0)), ""]  # the second one as if it were of a single color
    finder = NearDuplicateIndex(
        Sample(f"p{i}", {"jpg": b"not decoded", "json": json.dumps({"photo_hash": text}).encode()})
        for i, text in enumerate(stored)
    )
    found = finder.find("test.jpg", photos[0])
    assert found is not None and found.other == "p0" and len(finder) == 1
    assert finder.find("other.jpg", photos[1]) is None


def test_deep_photos_differ_and_empty_ones_are_no_copies() -> None:
    grays = [cv2.resize(smooth(seed)[..., 0], (64, 48)) for seed in range(6)]
    deep = [photo_hash(encode_map(gray.astype(np.uint16) * 257)) for gray in grays]
    plain = [photo_hash(encode_map(gray)) for gray in grays]
    for one, other in zip(deep, plain, strict=True):
        assert one is not None and other is not None and np.bitwise_count(one ^ other).sum() <= 3  # of 128, by rounding
    for one, other in itertools.combinations(deep, 2):
        assert one is not None and other is not None and np.bitwise_count(one ^ other).sum() > MAX_COPY_BITS
    assert photo_hash(encode_map(np.full((40, 60, 3), 90, np.uint8))) is None


def test_photos_of_the_training_set_are_reported(tmp_path: Path) -> None:
    truth = make_shards(tmp_path / "truth")
    clean = make_shards(tmp_path / "clean", photo_seed=5)
    leaked = run_evaluate(EvalOptions(predictors=[truth], truth=truth, train_shards=[truth])).to_dict()
    assert len(leaked["near_duplicates"]) == 3 and "look like photos of the training set" in leaked["warnings"][0]
    fine = run_evaluate(EvalOptions(predictors=[truth], truth=truth, train_shards=[clean])).to_dict()
    assert fine["near_duplicates"] == [] and fine["training_photos"] == 3
    assert run_evaluate(EvalOptions(predictors=[truth], truth=truth)).to_dict()["training_photos"] is None


def test_a_report_says_how_sure_it_is(tmp_path: Path) -> None:
    from tests.builders.truth import truth_labels

    truth = make_shards(tmp_path / "truth", count=12)

    def worse(index: int, rng: np.random.Generator) -> list:
        depth, normals, semantic = truth_labels(index, rng)
        ids = semantic.value.copy()
        ids[: 4 + index % 3] = (ids[: 4 + index % 3] + 1) % 3
        return [
            depth,
            normals,
            type(semantic)(Task.SEMANTIC, ids, semantic.valid, semantic.confidence, None, semantic.classes),
        ]

    other = make_shards(tmp_path / "other", worse, count=12)
    result = run_evaluate(EvalOptions(predictors=[other, truth], truth=truth, baseline=truth))
    found, text = result.to_dict(), result.to_text()
    semantic = found["tasks"]["semantic"]
    low, high = semantic["intervals"]["other"]["miou"]
    assert low < semantic["scores"]["other"]["miou"] < high
    difference = semantic["differences"]["truth"]["miou"]
    assert difference["p"] < 0.01 and difference["high"] < 0 and difference["photos"] == 12
    assert found["tasks"]["depth"]["differences"]["truth"]["abs_rel"]["p"] == 1
    assert semantic["ceiling"]["gap"] < 0 < semantic["ceiling"]["gap_closed"] < 1
    assert "sharp" in semantic["slices"]["sharpness of the photo (mIoU)"]
    assert set(found["tasks"]["depth"]["slices"]["class (AbsRel)"]) == {"Sky", "Road", "Car"}
    assert "2 to 5 m" in found["tasks"]["depth"]["slices"]["distance (AbsRel)"]
    page = to_markdown(result.report)
    assert "How sure this is" in page and "its ceiling" in page
    assert "mIoU: other" in text and len(text.splitlines()) <= 9
    assert len(semantic["per_image"]) == 12 and set(semantic["per_image"][0]["errors"]) == {
        "other",
        "truth",
        "baseline",
    }
    matrix = semantic["confusion"]["truth"]
    assert all(matrix[row][column] == 0 for row in range(len(matrix)) for column in range(len(matrix)) if row != column)


@pytest.mark.parametrize("layout", ["cityscapes", "ade20k", "camvid11"])
@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (np.where(IDS > 9, 255, 0), "only id other than 0 is 255"),
        (np.where(IDS > 9, 200, 1), "id 200 is none of this data set"),
    ],
)
def test_truth_of_other_ids_is_refused(tmp_path: Path, layout: str, stored: np.ndarray, words: str) -> None:
    if layout == "camvid11":
        put(tmp_path / "val" / "a.png", encode_map(np.zeros((12, 16, 3), np.uint8)))
        place = tmp_path / "valannot" / "a.png"
    else:
        {"cityscapes": cityscapes, "ade20k": ade20k}[layout](tmp_path)
        place = next(tmp_path.rglob("*labelIds.png"), tmp_path / "annotations" / "validation" / "ADE_val_00000001.png")
    put(place, encode_map(stored.astype(np.uint8)))
    (sample,) = open_dataset(layout.removesuffix("11"), tmp_path).samples()
    with pytest.raises(DistillError, match=words):
        sample.label(Task.SEMANTIC)


def test_truth_of_other_colors_is_refused(tmp_path: Path) -> None:
    camvid(tmp_path)
    put(tmp_path / "LabeledApproved_full" / "0016E5_07959_L.png", encode_map(np.full((12, 16, 3), 7, np.uint8)))
    (sample,) = open_dataset("camvid", tmp_path).samples()
    with pytest.raises(DistillError, match=r"color \[\[7, 7, 7\]\] is none"):
        sample.label(Task.SEMANTIC)
