"""Label maps on disk as teachers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.config import load_config
from distill.config.class_ids import ClassIds
from distill.config.maps import MapsConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, read_photo
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind
from distill.teachers.adapters.label_maps import MapsSpecialist
from distill.teachers.adapters.map_reader import read_map
from distill.teachers.base import NoAnswer, PhotoRef, TeacherResult
from distill.teachers.factory import build_teacher

SIZE_HW = (12, 16)


def photo_in(folder: Path) -> Photo:
    path = folder / "photos" / "one.jpg"
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=100)
    return read_photo(path.read_bytes(), key="one", name="one.jpg", origin={"path": str(path)})


def read(folder: Path, stored: np.ndarray, suffix: str = ".png", **config: object) -> Label:
    task = config.pop("task", "depth")
    photo = photo_in(folder)
    path = folder / f"one{suffix}"
    if suffix == ".npy":
        np.save(path, stored)
    else:
        Image.fromarray(stored).save(path)
    values = {"kind": "maps", str(task): {"pattern": f"../{{stem}}{suffix}", **config}}
    return MapsSpecialist(load_config(MapsConfig, values)).predict(photo)[0]


def test_depth_is_scaled_and_its_holes_are_invalid(tmp_path: Path) -> None:
    stored = np.full(SIZE_HW, 1500, np.uint16)
    stored[0, 0], stored[0, 1] = 0, 60000
    label = read(tmp_path, stored, scale=0.001, offset=0.5, invalid=[0], max_value=10)
    assert label.depth_kind is DepthKind.METRIC
    assert label.value[5, 5] == pytest.approx(2.0)
    assert not label.valid[0, 0] and not label.valid[0, 1] and label.valid[5, 5]


def test_relative_depth_is_scaled_to_one(tmp_path: Path) -> None:
    stored = np.linspace(-3, 7, SIZE_HW[0] * SIZE_HW[1], dtype=np.float32).reshape(SIZE_HW)
    label = read(tmp_path, stored, ".npy", depth_kind="affine_invariant_disparity")
    assert (label.value.min(), label.value.max()) == (0, 1)


@pytest.mark.parametrize(("frame", "towards"), [("opencv", (0, 0, -1)), ("opengl", (0, 0, 1)), ("dsine", (0, 0, 1))])
def test_a_wall_facing_the_camera_has_z_plus_one(tmp_path: Path, frame: str, towards: tuple) -> None:
    stored = np.broadcast_to(np.rint((np.array(towards) + 1) * 127.5), (*SIZE_HW, 3)).astype(np.uint8).copy()
    stored[0, 0] = 0
    label = read(tmp_path, stored, task="normals", scale=2 / 255, offset=-1, frame=frame, invalid=[0])
    assert np.allclose(label.value[5, 5], (0, 0, 1), atol=0.01)
    assert not label.valid[0, 0]


def test_mirrored_maps_and_normals_are_mirrored_back(tmp_path: Path) -> None:
    stored = np.full((*SIZE_HW, 3), 128, np.uint8)
    stored[:, 0] = (255, 128, 128)  # x right, in the stored picture's first column
    label = read(tmp_path, stored, task="normals", scale=2 / 255, offset=-1, mirror=True)
    assert np.allclose(label.value[3, -1], (-1, 0, 0), atol=0.01)


def test_semantic_ids_are_renamed_by_name_and_by_number(tmp_path: Path) -> None:
    stored = np.arange(12, dtype=np.uint8)[:, None].repeat(16, 1) % 5
    label = read(
        tmp_path,
        stored,
        task="semantic",
        classes=["road", "car"],
        stored_classes=["car", "road", "truck", "sky", "void"],
        remap={"truck": "car", 3: "ignore"},
    )
    assert label.value[:5, 0].tolist() == [1, 0, 1, IGNORE_SEMANTIC, IGNORE_SEMANTIC]
    assert label.valid[:5, 0].tolist() == [True, True, True, False, False]


def test_a_colored_image_is_not_an_id_map(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    with pytest.raises(DistillError, match="colors"):
        read(tmp_path, stored, task="semantic", classes=["a"])


def test_pickled_maps_are_not_loaded(tmp_path: Path) -> None:
    photo = photo_in(tmp_path)
    np.save(tmp_path / "one.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    config = load_config(MapsConfig, {"depth": {"pattern": "../{stem}.npy"}})
    with pytest.raises(DistillError, match="cannot be read"):
        MapsSpecialist(config).predict(photo)


def test_a_missing_map_names_the_file(tmp_path: Path) -> None:
    config = load_config(MapsConfig, {"depth": {"pattern": "../nowhere/{stem}.png"}})
    with pytest.raises(DistillError, match=r"nowhere.one\.png"):
        MapsSpecialist(config).predict(photo_in(tmp_path))


def test_remapping_to_an_unknown_class_is_refused() -> None:
    with pytest.raises(UsageError, match="'bus' is not among the classes"):
        load_config(MapsConfig, {"semantic": {"pattern": "x", "classes": ["car"], "remap": {3: "bus"}}})


def test_a_remapped_class_is_no_longer_at_its_position() -> None:
    """Cityscapes: 7 is road, so 0 (unlabeled) is not, although road is the first class."""
    ids = ClassIds(("road", "car"), (), {7: "road"})
    assert ids.convert(np.array([[7, 1]]), np.ones((1, 2), bool), "x").tolist() == [[0, 1]]
    with pytest.raises(DistillError, match="id 0 "):
        ids.convert(np.array([[7, 0]]), np.ones((1, 2), bool), "x")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    ids = (np.arange(192) % 2**bits).astype(np.uint8).reshape(SIZE_HW)
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in ids
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE_HW[1], SIZE_HW[0], bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "ids.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert (read_map(tmp_path / "ids.png") == ids).all()


def test_the_indices_of_a_palette_image_are_its_ids(tmp_path: Path) -> None:
    ids = (np.arange(192) % 21).astype(np.uint8).reshape(SIZE_HW)
    picture = Image.fromarray(ids)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "ids.png")
    assert (read_map(tmp_path / "ids.png") == ids).all()


def test_a_negative_ignore_value_is_ignored(tmp_path: Path) -> None:
    stored = np.array([[-1, 0, 1, 1]] * 3, np.int32)
    label = read(tmp_path, stored, ".npy", task="semantic", classes=["a", "b"], invalid=[-1])
    assert label.value[0].tolist() == [IGNORE_SEMANTIC, 0, 1, 1]


@pytest.mark.parametrize("data", [b"", b"PK\3\4" + bytes(40), b"\x93NUMPY"])
def test_a_damaged_array_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(DistillError, match=r"x\.npy"):
        read_map(tmp_path / "x.npy")


def numbers(folder: Path, stored: np.ndarray, **config: object) -> np.ndarray:
    return read(folder, stored, ".npy", **config).value


TWO = {"task": "semantic", "classes": ["background", "person"]}
MASK = np.zeros(SIZE_HW, np.uint8)
MASK[4:, 5:] = 1
METERS = np.linspace(1, 5, 192, dtype=np.float32).reshape(SIZE_HW)


@pytest.mark.parametrize("dtype", [bool, np.float32, np.float16, np.int64, np.uint16, ">i4", np.int8])
@pytest.mark.parametrize("shape", [SIZE_HW, (1, *SIZE_HW), (*SIZE_HW, 1), (1, 1, *SIZE_HW)])
def test_ids_of_any_number_type_and_order_of_axes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    assert (numbers(tmp_path, MASK.astype(dtype).reshape(shape), **TWO) == MASK).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
@pytest.mark.parametrize("shape", [SIZE_HW, (1, *SIZE_HW), (*SIZE_HW, 1)])
def test_depth_of_any_number_type_and_order_of_axes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    assert np.allclose(numbers(tmp_path, METERS.astype(dtype).reshape(shape)), METERS, atol=2e-3)


def test_normals_may_have_their_channels_first(tmp_path: Path) -> None:
    vectors = np.zeros((*SIZE_HW, 3), np.float32)
    vectors[..., 2], vectors[:6] = 1, (0, 1, 0)
    for stored in (vectors, vectors.transpose(2, 0, 1)):
        assert np.allclose(numbers(tmp_path, stored, task="normals"), vectors)


@pytest.mark.parametrize(
    ("stored", "config", "words"),
    [
        (MASK * 255, TWO, r"255 \(.*remap: \{255: person\}"),
        (MASK + 1, TWO, r"id 2 \(.*start at 1"),
        (MASK * np.float32(0.5), TWO, "whole numbers.* 0.5"),
        (-MASK.astype(np.int16), TWO, r"id -1 \(.*list -1 in invalid"),
        (np.zeros((19, *SIZE_HW)), TWO, r"\(19, 12, 16\).*id of the largest"),
        (np.zeros((*SIZE_HW, 19)), TWO, r"\(12, 16, 19\).*id of the largest"),
        (MASK.astype("U1"), TWO, "<U1, not real numbers"),
        (MASK.T, TWO, "height and width swapped"),
        (MASK[2:], TWO, "another shape.*resize_mode"),
        (np.pad(MASK, ((2, 2), (0, 0))), TWO, "another shape"),
        (METERS * 1000, {}, "beyond 90 m.*0.001 for millimeters"),
        (np.full(SIZE_HW, 40, np.uint8), {}, "8-bit levels"),
        ((METERS - 1) / 4, {}, r"stretched to 0\.\.1.*depth_kind"),
        (np.full((*SIZE_HW, 3), (128, 128, 255), np.uint8), {"task": "normals"}, "length .* instead of 1.*0.00784"),
        (np.full((*SIZE_HW, 3), (0.5, 0.5, 1.0)), {"task": "normals"}, "length .* instead of 1.*2 and -1"),
        (METERS, {"task": "normals"}, "three channels"),
        (np.full(SIZE_HW, -3), {"task": "instance"}, "-3 is no number of an instance"),
        (MASK * 1.5, {"task": "instance"}, "whole numbers"),
        (np.full((*SIZE_HW, 3), (0.0, 0.0, -1.0)), {"task": "normals"}, "away from the camera"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(
    tmp_path: Path, stored: np.ndarray, config: dict[str, object], words: str
) -> None:
    with pytest.raises(DistillError, match=rf"one\.npy: .*{words}"):
        read(tmp_path, stored, ".npy", **config)


def test_far_depths_and_whole_meters_are_right_if_the_config_says_so(tmp_path: Path) -> None:
    assert read(tmp_path, METERS * 100, ".npy", max_value=1000).valid.all()
    assert read(tmp_path, np.full(SIZE_HW, 40, np.uint8), ".npy", scale=1.0).value[0, 0] == 40
    assert read(tmp_path, (METERS - 1) / 4, ".npy", scale=1.0).value.max() == 1


@pytest.mark.parametrize("resize_mode", ["fill", "cover", "contain"])
def test_a_map_of_another_shape_is_placed_as_the_config_states(tmp_path: Path, resize_mode: str) -> None:
    square = np.pad(MASK, ((2, 2), (0, 0)))  # 16x16: the photo with bars above and below
    label = read(tmp_path, square, ".npy", **TWO, resize_mode=resize_mode)
    assert label.size_hw[0] / label.size_hw[1] == SIZE_HW[0] / SIZE_HW[1]
    assert np.array_equal(label.value, MASK) is (resize_mode == "contain")


def test_a_smaller_map_of_the_same_shape_is_a_label(tmp_path: Path) -> None:
    assert read(tmp_path, MASK[::2, ::2], ".npy", **TWO).size_hw == (6, 8)


def test_nan_and_infinity_are_no_depth_and_no_id(tmp_path: Path) -> None:
    holes = METERS.copy()
    holes[0, :3] = np.nan, np.inf, 0
    assert read(tmp_path, holes, ".npy").valid[0, :4].tolist() == [False, False, False, True]
    ids = MASK.astype(np.float32)
    ids[0, 0] = np.nan
    assert read(tmp_path, ids, ".npy", **TWO).valid.sum() == 191


def test_colors_are_classes_if_the_config_names_them(tmp_path: Path) -> None:
    palette = np.array([(0, 0, 0), (128, 64, 128), (0, 0, 142), (119, 11, 32)], np.uint8)
    index = np.arange(192).reshape(SIZE_HW) % 4
    colors = {"ignore": [0, 0, 0], "road": "#804080", "car": [0, 0, 142], "bicycle": "770b20"}
    config = {"task": "semantic", "colors": colors, "remap": {"bicycle": "car"}}
    assert (numbers_of_png(tmp_path, palette[index], config) == np.array([255, 0, 1, 1])[index]).all()
    alpha = np.dstack([palette[index], np.full(SIZE_HW, 255, np.uint8)])
    assert (numbers_of_png(tmp_path, alpha, config) == np.array([255, 0, 1, 1])[index]).all()
    indexed = Image.fromarray(index.astype(np.uint8))
    indexed.putpalette(palette.tobytes())
    photo_in(tmp_path)
    indexed.save(tmp_path / "one.png")
    assert (read_map(tmp_path / "one.png", colors=True) == palette[index]).all()
    with pytest.raises(DistillError, match=r"color \[9, 9, 9\] is not in colors"):
        numbers_of_png(tmp_path, np.full((*SIZE_HW, 3), 9, np.uint8), config)


def numbers_of_png(folder: Path, stored: np.ndarray, config: dict[str, object]) -> np.ndarray:
    return read(folder, stored, **config).value


def test_numbers_over_channels(tmp_path: Path) -> None:
    """CARLA: depth in 24 bits; ids in the red channel. COCO panoptic: ids in 24 bits, counted again from 1."""
    code = np.arange(192, dtype=np.uint32).reshape(SIZE_HW) * 70000
    bytes3 = np.dstack([code & 255, code >> 8 & 255, code >> 16]).astype(np.uint8)
    meters = numbers_of_png(tmp_path, bytes3, {"channels": [1, 256, 65536], "scale": 1000 / (256**3 - 1)})
    assert np.allclose(meters, code * (1000 / (256**3 - 1)), rtol=1e-5)
    red = np.dstack([MASK, MASK * 7, MASK * 9])
    assert (numbers_of_png(tmp_path, red, {**TWO, "channels": [1, 0, 0]}) == MASK).all()
    label = read(tmp_path, bytes3, task="instance", channels=[1, 256, 65536])
    assert len(np.unique(label.value)) == 192 and label.value[0, 0] == 0 and len(label.instance_classes) == 191
    with pytest.raises(DistillError, match="fewer than channels"):
        numbers_of_png(tmp_path, MASK, {**TWO, "channels": [1, 256]})


def test_distances_along_rays_become_depth(tmp_path: Path) -> None:
    v, u = (np.mgrid[: SIZE_HW[0], : SIZE_HW[1]] + 0.5) - np.array(SIZE_HW).reshape(2, 1, 1) / 2
    rays = 3 * np.sqrt(1 + (u / 10) ** 2 + (v / 10) ** 2)
    assert np.allclose(numbers(tmp_path, rays, ray_focal_px=10.0), 3, atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "options"), [("jpg", {}), ("webp", {"quality": 90}), ("tif", {"compression": "jpeg"})]
)
def test_lossy_files_hold_no_ids_and_no_depth(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    photo = photo_in(tmp_path)
    Image.fromarray(MASK).convert("RGB").save(tmp_path / f"one.{suffix}", **options)
    every: tuple[dict[str, dict[str, object]], ...] = (
        {"semantic": {"classes": ["a", "b"]}},
        {"depth": {}},
        {"instance": {}},
    )
    for values in every:
        ((task, config),) = values.items()
        loaded = load_config(MapsConfig, {task: {"pattern": f"../{{stem}}.{suffix}", **config}})
        with pytest.raises(DistillError, match="lossy"):
            MapsSpecialist(loaded).predict(photo)
    assert read_map(tmp_path / f"one.{suffix}").shape[:2] == SIZE_HW  # normals may be JPEG


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.json", "annotations"),
        ("a.txt", "annotations"),
        ("a.pt", "convert it to .npy"),
        ("a.png", "not an image|damaged|decoded|empty"),
    ],
)
def test_files_that_are_no_maps_are_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(DistillError, match=rf"{name}: .*({words})"):
        read_map(tmp_path / name)


def test_the_array_of_an_npz_is_chosen_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", depth=METERS, mask=MASK)
    assert (read_map(tmp_path / "m.npz", usual_array="depth") == METERS).all()
    assert (read_map(tmp_path / "m.npz", array="mask", usual_array="depth") == MASK).all()
    with pytest.raises(DistillError, match=r"holds the arrays depth, mask, not normals.*array"):
        read_map(tmp_path / "m.npz", usual_array="normals")
    np.savez(tmp_path / "one.npz", anything=METERS)
    assert (read_map(tmp_path / "one.npz", usual_array="depth") == METERS).all()


def teach(folder: Path, maps: dict[str, np.ndarray], **config: dict[str, object]) -> TeacherResult:
    photo = photo_in(folder)
    for task, stored in maps.items():
        np.save(folder / f"{task}.npy", stored)
    values = {task: {"pattern": f"../{task}.npy", **config.get(task, {})} for task in maps}
    return build_teacher(load_config(MapsConfig, {"kind": "maps", **values}), folder=folder).label(photo)[0]


def test_a_map_without_usable_pixels_is_no_label(tmp_path: Path) -> None:
    sparse = np.zeros(SIZE_HW)
    sparse[0, :5] = 3
    with pytest.raises(DistillError, match=r"only 2\.6% of the pixels of its depth map are usable"):
        teach(tmp_path, {"depth": sparse})
    result = teach(tmp_path, {"depth": sparse, "semantic": MASK}, semantic={"classes": ["a", "b"]})
    assert list(result.labels) == ["semantic"] and result.failures[0]["task"] == "depth"
    assert "depth" in teach(tmp_path, {"depth": sparse}, depth={"min_valid": 0.0}).labels  # LiDAR


def test_ids_outside_a_complete_remap_are_noted(tmp_path: Path) -> None:
    ids = np.where(MASK, 26, 7)
    ids[0, 0] = 3
    result = teach(tmp_path, {"semantic": ids}, semantic={"classes": {7: "road", 26: "car"}})
    reason = "remap has no entry for id 3: these pixels (0.5%) have no label"
    assert result.notes == [{"task": "semantic", "reason": reason}]


def test_negative_depths_are_refused_with_the_way_to_say_what_they_mean(tmp_path: Path) -> None:
    meters = np.linspace(1, 5, SIZE_HW[0] * SIZE_HW[1], dtype=np.float32).reshape(SIZE_HW)
    with pytest.raises(DistillError, match=r"one\.npy: 100% of the depths are negative, down to -5 .*scale: -1\.0"):
        read(tmp_path, -meters, ".npy")
    with pytest.raises(DistillError, match=r"10% of the depths are negative"):
        read(tmp_path, meters - 1.4, ".npy")
    assert np.allclose(read(tmp_path, -meters, ".npy", scale=-1.0).value, meters)
    assert read(tmp_path, meters - 1.4, ".npy", min_value=0).valid.mean() == pytest.approx(0.9, abs=0.01)


def test_one_negative_number_marks_pixels_without_a_depth(tmp_path: Path) -> None:
    stored = np.full(SIZE_HW, -1, np.float32)
    stored[:, ::4] = 3
    assert read(tmp_path, stored, ".npy").valid.mean() == 0.25
    stored[:] = -1
    with pytest.raises(DistillError, match="100% of the depths are negative"):
        read(tmp_path, stored, ".npy")


def test_depths_that_are_all_beyond_the_stated_range_are_in_another_unit(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=r"all depths are beyond max_value 80 \(the median is 2500\).*millimeters"):
        read(tmp_path, np.full(SIZE_HW, 2500, np.uint16), max_value=80)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_largest_number_next_to_instances_is_no_instance_unless_stated(
    tmp_path: Path, dtype: type, largest: int
) -> None:
    ids: np.ndarray = np.zeros(SIZE_HW, dtype)
    ids[2:6, 2:6], ids[0] = 1, largest
    with pytest.raises(DistillError, match=rf"id {largest} \(8\.3% of the pixels\).*add {largest} to invalid"):
        read(tmp_path, ids, task="instance")
    label = read(tmp_path, ids, task="instance", invalid=[largest])
    assert list(label.instance_classes) == [1] and not label.valid[0].any()
    assert len(read(tmp_path, ids, task="instance", invalid=[]).instance_classes) == 2
    assert len(read(tmp_path, np.where(ids == 1, 0, ids).astype(dtype), task="instance").instance_classes) == 1


def test_a_suffix_in_capitals_is_found(tmp_path: Path) -> None:
    Image.fromarray(np.where(MASK, 1, 0).astype(np.uint8)).save(tmp_path / "one.PNG", format="PNG")
    config = load_config(MapsConfig, {"kind": "maps", "semantic": {"pattern": "../{stem}.png", "classes": ["a", "b"]}})
    assert MapsSpecialist(config).predict(photo_in(tmp_path))[0].value.max() == 1


def test_a_photo_keeps_the_task_that_has_a_map(tmp_path: Path) -> None:
    photo = photo_in(tmp_path)
    Image.fromarray(np.full(SIZE_HW, 1500, np.uint16)).save(tmp_path / "one.depth.png")
    depth = {"pattern": "../{stem}.depth.png", "scale": 0.001}
    semantic = {"pattern": "../{stem}.semantic.png", "valid": "../{stem}.mask.png", "classes": ["a", "b"]}
    specialist = MapsSpecialist(load_config(MapsConfig, {"kind": "maps", "depth": depth, "semantic": semantic}))
    assert [str(label.task) for label in specialist.predict(photo)] == ["depth"]
    (note,) = specialist.notes(photo)
    assert note["task"] == "semantic" and "one.semantic.png: no such map" in note["reason"]
    # A map without its mask of valid pixels is missing as well.
    Image.fromarray(np.ones(SIZE_HW, np.uint8)).save(tmp_path / "one.semantic.png")
    assert [str(label.task) for label in specialist.predict(photo)] == ["depth"]
    assert "one.mask.png: no such map" in specialist.notes(photo)[0]["reason"]
    Image.fromarray(np.full(SIZE_HW, 255, np.uint8)).save(tmp_path / "one.mask.png")
    assert [str(label.task) for label in specialist.predict(photo)] == ["depth", "semantic"]
    assert specialist.notes(photo) == []
    (tmp_path / "one.depth.png").unlink()
    (tmp_path / "one.semantic.png").unlink()
    with pytest.raises(NoAnswer, match=r"one\.depth\.png: no such map"):
        specialist.predict(photo)
    assert specialist.notes(photo) == []


def test_a_csv_that_names_one_of_two_maps_labels_with_that_one(tmp_path: Path) -> None:
    photo = photo_in(tmp_path)
    Image.fromarray(np.full(SIZE_HW, 1500, np.uint16)).save(tmp_path / "d.png")
    (tmp_path / "depth.csv").write_text("photos/one.jpg,d.png\n")
    (tmp_path / "semantic.csv").write_text("photos/other.jpg,d.png\n")
    maps = {"depth": {"pairs": "depth.csv", "scale": 0.001}, "semantic": {"pairs": "semantic.csv", "classes": ["a"]}}
    specialist = MapsSpecialist(load_config(MapsConfig, {"kind": "maps", **maps}), tmp_path)
    assert [path.name for path in specialist.dependencies(PhotoRef("one.jpg", photo.origin)).files] == ["d.png"]
    assert [str(label.task) for label in specialist.predict(photo)] == ["depth"]
