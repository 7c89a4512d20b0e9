"""Packaged configs of public data sets read small copies of their published layouts exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import OpenEXR
import pytest
from numpy import ndarray
from PIL import Image

from distill.config import load_config
from distill.config.maps import MapsConfig
from distill.images import read_photo
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, Task
from distill.teachers.base import TeacherResult
from distill.teachers.factory import build_teacher
from distill.teachers.synthetic.traced_scene import photo_view
from distill.teachers.tasks import teacher_task
from distill.workflows.teachers.load import load_teacher

SIZE_HW = (24, 32)
RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
METERS = np.linspace(1, 7, SIZE_HW[0] * SIZE_HW[1], dtype=np.float32).reshape(SIZE_HW)
"""Depth of a slanted surface; the first pixel of every stored map has no value."""


def save_png(path: Path, stored: ndarray) -> None:
    Image.fromarray(stored).save(path)


def save_palette(path: Path, stored: ndarray) -> None:
    image = Image.fromarray(stored.astype(np.uint8), "P")
    image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(path)


def save_hdf5(path: Path, stored: ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["dataset"] = stored


def save_exr(path: Path, stored: ndarray) -> None:
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {name: stored.astype(np.float32) for name in "RGB"}) as file:
        file.write(str(path))


def save_bytes_of_floats(path: Path, stored: ndarray) -> None:
    cv2.imwrite(str(path), np.ascontiguousarray(stored.astype("<f4")[..., None]).view(np.uint8))


def label(
    folder: Path,
    name: str,
    photo: str,
    maps: dict[str, ndarray],
    save: Callable[[Path, ndarray], Any],
    **overrides: str,
) -> TeacherResult:
    """Write photo and maps at their places and read them with the packaged config."""
    path = folder / photo
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path)
    for place, stored in maps.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (np.save if place.endswith(".npy") else save)(folder / place, stored)
    config, base = load_teacher(f"{name}_truth", overrides=[f"{key}={value}" for key, value in overrides.items()])
    loaded = read_photo(path.read_bytes(), key="one", name=path.name, origin={"path": str(path)})
    return build_teacher(config, folder=base).label(loaded)[0]


def without_first(stored: ndarray, hole: float = 0) -> ndarray:
    copied = stored.copy()
    copied[0, 0] = hole
    return copied


SUN_BITS = without_first(np.rint(METERS * 1000).astype(np.uint16))
PLAIN = METERS.astype(np.float16).astype(np.float32)
U, V = np.meshgrid(np.arange(32) - 15.5, np.arange(24) - 11.5)
RAYS = (METERS * np.sqrt(1 + (U / 886.81) ** 2 + (V / 886.81) ** 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "photo", "place", "stored", "save", "step_m", "overrides"),
    [
        ("nyu_depth", "cafe_1/rgb_00045.jpg", "cafe_1/sync_depth_00045.png", METERS * 1000, save_png, 0.001, {}),
        (
            "kitti",
            "2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png",
            "train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png",
            METERS * 256,
            save_png,
            1 / 256,
            {},
        ),
        (
            "kitti",
            "val_selection_cropped/image/2011_09_26_drive_0002_sync_image_0000000005_image_02.png",
            "val_selection_cropped/groundtruth_depth/"
            "2011_09_26_drive_0002_sync_groundtruth_depth_0000000005_image_02.png",
            METERS * 256,
            save_png,
            1 / 256,
            {
                "depth.photo": "image/{drive}_image_{frame}_image_{camera}.png",
                "depth.pattern": "groundtruth_depth/{drive}_groundtruth_depth_{frame}_image_{camera}.png",
            },
        ),
        ("scannet", "scene0000_00/color/120.jpg", "scene0000_00/depth/120.png", METERS * 1000, save_png, 0.001, {}),
        (
            "virtual_kitti",
            "Scene01/15-deg-left/frames/rgb/Camera_1/rgb_00007.jpg",
            "Scene01/15-deg-left/frames/depth/Camera_1/depth_00007.png",
            METERS * 100,
            save_png,
            0.01,
            {"semantic": "null", "instance": "null"},
        ),
        (
            "replica",
            "room0/results/frame000012.jpg",
            "room0/results/depth000012.png",
            METERS * 6553.5,
            save_png,
            2e-4,
            {},
        ),
        (
            "seven_scenes",
            "fire/seq-01/frame-000003.color.png",
            "fire/seq-01/frame-000003.depth.png",
            METERS * 1000,
            save_png,
            0.001,
            {},
        ),
        (
            "tum",
            "fr1/rgb/1305031102.175304.png",
            "fr1/depth/1305031102.160407.png",
            METERS * 5000,
            save_png,
            2e-4,
            {},
        ),
        (
            "omnidata",
            "rgb/taskonomy/ackermanville/point_0_view_3_domain_rgb.png",
            "depth_zbuffer/taskonomy/ackermanville/point_0_view_3_domain_depth_zbuffer.png",
            np.where(METERS[0, 0] < METERS, METERS * 512, 65535),
            save_png,
            1 / 512,
            {"normals": "null"},
        ),
        (
            "cleargrasp",
            "train/cup/rgb-imgs/000000004-rgb.jpg",
            "train/cup/depth-imgs-rectified/000000004-depth-rectified.exr",
            METERS,
            save_exr,
            0,
            {},
        ),
        (
            "tartanair",
            "office/Easy/P000/image_left/000004_left.png",
            "office/Easy/P000/depth_left/000004_left_depth.npy",
            np.where(METERS[0, 0] < METERS, METERS, 1e4),
            save_png,
            0,
            {},
        ),
        (
            "tartanair",
            "v2/P000/image_lcam_front/000004_lcam_front.png",
            "v2/P000/depth_lcam_front/000004_lcam_front_depth.png",
            np.where(METERS[0, 0] < METERS, METERS, 1e4),
            save_bytes_of_floats,
            0,
            {
                "depth.packing": "float_bytes",
                "depth.photo": "image_{camera}/{frame}_{camera}.png",
                "depth.pattern": "depth_{camera}/{frame}_{camera}_depth.png",
            },
        ),
        (
            "hypersim",
            "ai_001_001/images/scene_cam_00_final_preview/frame.0004.tonemap.jpg",
            "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0004.depth_meters.hdf5",
            np.where(METERS[0, 0] < METERS, RAYS, np.nan),
            save_hdf5,
            1e-5,
            {"normals": "null", "semantic": "null"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_depth_of_public_layouts(
    name: str,
    photo: str,
    place: str,
    stored: ndarray,
    save: Callable[[Path, ndarray], Any],
    step_m: float,
    overrides: dict[str, str],
    tmp_path: Path,
) -> None:
    if save is save_png and not place.endswith(".npy"):
        stored = np.rint(stored).astype(np.uint16)
        stored = without_first(stored) if stored[0, 0] < 65535 else stored
    elif save is save_exr:
        stored = without_first(stored)
    (depth,) = label(tmp_path, name, photo, {place: stored}, save, **overrides).labels.values()
    assert not depth.valid[0, 0] and depth.valid.sum() == depth.valid.size - 1
    assert np.abs(depth.value - METERS)[depth.valid].max() <= step_m / 2 + 1e-6


def test_a_mask_of_valid_pixels(tmp_path: Path) -> None:
    mask = np.ones(SIZE_HW, np.float32)
    mask[:, :5] = 0
    maps = {"indoors/a_depth.npy": METERS[..., None], "indoors/a_depth_mask.npy": mask}
    (depth,) = label(tmp_path, "diode", "indoors/a.png", maps, save_png).labels.values()
    assert (depth.valid == (mask > 0)).all() and (depth.confidence[:, :5] == 0).all()
    assert np.abs(depth.value - METERS)[depth.valid].max() < 1e-6
    with pytest.raises(Exception, match=r"a_depth_mask\.npy: no such map"):
        (tmp_path / "indoors/a_depth_mask.npy").unlink()
        label(tmp_path, "diode", "indoors/a.png", {}, save_png)
    with pytest.raises(Exception, match=r"the mask has shape \(5, 5\)"):
        label(tmp_path, "diode", "indoors/a.png", {"indoors/a_depth_mask.npy": np.ones((5, 5))}, save_png)


def test_rotated_bits_and_the_one_file_of_a_folder(tmp_path: Path) -> None:
    rotated = (SUN_BITS << 3) | (SUN_BITS >> 13)
    place = "kv2/align/0001/depth_bfx/0000103-000003422966.png"
    (depth,) = label(
        tmp_path, "sun_rgbd", "kv2/align/0001/image/0000103.jpg", {place: rotated}, save_png
    ).labels.values()
    assert not depth.valid[0, 0] and np.abs(depth.value - METERS)[depth.valid].max() < 6e-4
    other = {"kv2/align/0001/depth_bfx/second.png": rotated}
    with pytest.raises(Exception, match=r"depth_bfx: 2 files fit \*\.png"):
        label(tmp_path, "sun_rgbd", "kv2/align/0001/image/0000103.jpg", other, save_png)


def test_no_depth_map_within_reach_in_time(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"depth/9\.000000\.png: no such map"):
        label(tmp_path, "tum", "rgb/9.000000.png", {"depth/9.100000.png": SUN_BITS}, save_png)
    near = {"depth/9.015.png": SUN_BITS, "depth/8.99.png": SUN_BITS + 50}
    (depth,) = label(tmp_path, "tum", "rgb/9.000000.png", near, save_png).labels.values()
    assert depth.value[5, 5] == pytest.approx((SUN_BITS[5, 5] + 50) / 5000)


def test_a_photo_at_another_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"frame1\.jpg: its path does not end like results/frame\{frame\}\.jpg"):
        label(tmp_path, "replica", "images/frame1.jpg", {}, save_png)


NORMALS = np.zeros((*SIZE_HW, 3), np.float32)
NORMALS[..., 2], NORMALS[..., 0] = 0.8, 0.6
"""In x right, y up, z toward the camera."""


def test_normals_of_public_layouts(tmp_path: Path) -> None:
    place = "images/scene_cam_00_geometry_hdf5/frame.0000.normal_cam.hdf5"
    photo = "images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
    stored = {place: NORMALS.astype(np.float16)}
    only = {"depth": "null", "semantic": "null"}
    (normals,) = label(tmp_path, "hypersim", photo, stored, save_hdf5, **only).labels.values()
    assert normals.valid.all() and np.abs(normals.value - NORMALS).max() < 1e-3

    photo = "rgb/taskonomy/a/point_0_view_3_domain_rgb.png"
    coded = np.rint((NORMALS * [1, -1, -1] + 1) * 127.5).astype(np.uint8)
    coded[0, 0] = 127
    place = "normal/taskonomy/a/point_0_view_3_domain_normal.png"
    (normals,) = label(tmp_path, "omnidata", photo, {place: coded}, save_png, depth="null").labels.values()
    assert not normals.valid[0, 0] and np.abs(normals.value - NORMALS)[normals.valid].max() < 0.01


@pytest.mark.parametrize(
    ("name", "photo", "place", "ids", "names", "save", "task"),
    [
        (
            "cityscapes",
            "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
            "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
            [7, 26, 33, 3, 255],
            ["road", "car", "bicycle", None, None],
            save_png,
            "semantic",
        ),
        (
            "ade20k",
            "images/validation/ADE_val_00000001.jpg",
            "annotations/validation/ADE_val_00000001.png",
            [1, 150, 23, 0],
            ["wall", "flag", "painting", None],
            save_png,
            "semantic",
        ),
        (
            "voc",
            "JPEGImages/2007_000032.jpg",
            "SegmentationClass/2007_000032.png",
            [0, 20, 15, 255],
            ["background", "tvmonitor", "person", None],
            save_palette,
            "semantic",
        ),
        (
            "mapillary",
            "training/images/x1.jpg",
            "training/labels/x1.png",
            [0, 13, 64, 65],
            ["Bird", "Road", "Ego Vehicle", None],
            save_palette,
            "semantic",
        ),
        (
            "hypersim",
            "images/scene_cam_00_final_preview/frame.0000.tonemap.jpg",
            "images/scene_cam_00_geometry_hdf5/frame.0000.semantic.hdf5",
            [1, 40, 22, -1],
            ["wall", "otherprop", "ceiling", None],
            save_hdf5,
            "semantic",
        ),
        (
            "cityscapes",
            "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
            "gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png",
            [7, 26001, 26002, 24000, 26],
            [0, "car", "car", "person", None],
            save_png,
            "instance",
        ),
        (
            "mapillary",
            "training/images/x1.jpg",
            "training/instances/x1.png",
            [13 * 256, 55 * 256, 55 * 256 + 1, 19 * 256 + 3],
            [0, "Car", "Car", "Person"],
            save_png,
            "instance",
        ),
        (
            "voc",
            "JPEGImages/2007_000032.jpg",
            "SegmentationObject/2007_000032.png",
            [0, 1, 2, 255],
            [0, "object", "object", None],
            save_palette,
            "instance",
        ),
        (
            "virtual_kitti",
            "Scene01/clone/frames/rgb/Camera_0/rgb_00007.jpg",
            "Scene01/clone/frames/instanceSegmentation/Camera_0/instancegt_00007.png",
            [0, 1, 12],
            [0, "vehicle", "vehicle"],
            save_palette,
            "instance",
        ),
    ],
)
def test_classes_and_instances_of_public_layouts(
    name: str,
    photo: str,
    place: str,
    ids: list[int],
    names: list[str | int | None],
    save: Callable[[Path, ndarray], Any],
    task: str,
    tmp_path: Path,
) -> None:
    columns = np.arange(SIZE_HW[1]) * len(ids) // SIZE_HW[1]
    stored = np.broadcast_to(np.array(ids)[columns], SIZE_HW)
    stored = stored.astype(np.int16 if min(ids) < 0 else np.uint16 if max(ids) > 255 else np.uint8)
    others = {other: "null" for other in ("depth", "normals", "semantic", "instance") if other != task}
    config, _ = load_teacher(f"{name}_truth")
    others = {other: value for other, value in others.items() if getattr(config, other) is not None}
    (found,) = label(tmp_path, name, photo, {place: stored}, save, **others).labels.values()
    seen = set()
    for position, expected in enumerate(names):
        values = set(found.value[:, columns == position].ravel().tolist())
        valid = found.valid[:, columns == position]
        if expected is None:
            assert not valid.any() and values == {IGNORE_SEMANTIC if task == "semantic" else IGNORE_INSTANCE}
        elif task == "semantic":
            assert valid.all() and [found.classes[value] for value in values] == [expected]
        elif expected == 0:
            assert valid.all() and values == {0}
        else:
            (value,) = values
            assert valid.all() and found.instance_classes[value] == expected and value not in seen
            seen.add(value)


@pytest.mark.parametrize(
    ("name", "photo", "place"),
    [
        (
            "virtual_kitti",
            "Scene01/clone/frames/rgb/Camera_0/rgb_00007.jpg",
            "Scene01/clone/frames/classSegmentation/Camera_0/classgt_00007.png",
        ),
        ("camvid_colors", "701_StillsRaw_full/0001TP_006690.png", "LabeledApproved_full/0001TP_006690_L.png"),
    ],
)
def test_classes_as_colors(name: str, photo: str, place: str, tmp_path: Path) -> None:
    config, _ = load_teacher(f"{name}_truth")
    colors = getattr(config, "semantic").colors  # noqa: B009 - its type has a field per task
    stored = np.array(list(colors.values()), np.uint8)[np.arange(32) % len(colors)][None].repeat(24, 0)
    others = {other: "null" for other in ("depth", "instance") if getattr(config, other) is not None}
    (found,) = label(tmp_path, name, photo, {place: stored}, save_png, **others).labels.values()
    for column, class_name in enumerate(list(colors)[: 32 if name != "virtual_kitti" else 15]):
        if class_name in ("Void", "Undefined"):
            assert not found.valid[:, column].any()
        else:
            assert {found.classes[value] for value in found.value[:, column]} == {class_name}


def test_maps_of_other_tasks_are_not_needed(tmp_path: Path) -> None:
    config, base = load_teacher("virtual_kitti_truth")
    photo, place = tmp_path / "frames/rgb/Camera_0/rgb_00001.jpg", tmp_path / "frames/depth/Camera_0/depth_00001.png"
    for path in (photo, place):
        path.parent.mkdir(parents=True)
    Image.fromarray(NOISE).save(photo)
    save_png(place, np.rint(METERS * 100).astype(np.uint16))
    loaded = read_photo(photo.read_bytes(), key="one", name=photo.name, origin={"path": str(photo)})
    (result,) = build_teacher(config, folder=base, tasks=[Task.DEPTH]).label(loaded)
    assert list(result.labels) == [Task.DEPTH]


def test_unwanted_geometry_still_checks_the_wanted(tmp_path: Path) -> None:
    view = photo_view(2, 3, (96, 128))
    depth, normals = (teacher_task(task).true_label(view).value for task in (Task.DEPTH, Task.NORMALS))
    photo = tmp_path / "a.png"
    Image.fromarray(cv2.resize(NOISE, (128, 96))).save(photo)
    np.save(tmp_path / "a_depth.npy", depth)
    np.save(tmp_path / "a_normals.npy", normals[:, ::-1] * np.array([-1, 1, 1], np.float32))
    values = {"depth": {"pattern": "{stem}_depth.npy"}, "normals": {"pattern": "{stem}_normals.npy"}}
    loaded = read_photo(photo.read_bytes(), key="one", name=photo.name, origin={"path": str(photo)})
    teacher = build_teacher(load_config(MapsConfig, {"kind": "maps", **values}), folder=tmp_path, tasks=[Task.NORMALS])
    with pytest.raises(Exception, match="contradict the depth"):
        teacher.label(loaded)
    (tmp_path / "a_depth.npy").unlink()
    assert list(teacher.label(loaded)[0].labels) == [Task.NORMALS]
