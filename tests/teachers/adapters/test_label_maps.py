"""Label maps on disk as teachers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.config import load_config
from distill.config.adapters import MapsConfig
from distill.config.class_ids import ClassIds
from distill.errors import DistillError, UsageError
from distill.images import Photo, read_photo
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind
from distill.teachers.adapters.label_maps import MapsSpecialist
from distill.teachers.adapters.map_reader import read_map

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
