"""Maps by pattern, replaced folders and CSV."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from distill.config.maps import MapConfig
from distill.errors import DistillError, UsageError
from distill.teachers.adapters.map_finder import MapFinder, read_pairs
from distill.teachers.base import NoAnswer


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("photo", "found", "config"),
    [
        (
            "leftImg8bit/train/aachen/aachen_0_leftImg8bit.png",
            "gtFine/train/aachen/aachen_0_gtFine_labelIds.png",
            {"pattern": "{stem}_labelIds.png", "replace": {"leftImg8bit": "gtFine"}},
        ),
        ("a/city/x.png", "gt/city/x_ids.png", {"pattern": "../../gt/{folder}/{stem}_ids.png"}),
        (
            "seq-01/frame-000000.color.png",
            "seq-01/frame-000000.depth.png",
            {"pattern": "{name}", "replace": {"color": "depth"}},
        ),
        (
            "results/frame000000.jpg",
            "results/depth000000.png",
            {"pattern": "{stem}.png", "replace": {"frame": "depth"}},
        ),
        (
            "clone/frames/rgb/Camera_0/rgb_00000.jpg",
            "clone/frames/depth/Camera_0/depth_00000.png",
            {"pattern": "{stem}.png", "replace": {"rgb": "depth"}},
        ),
        (
            "images/set/images/a.jpg",
            "images/set/labels/a.png",
            {"pattern": "{stem}.png", "replace": {"images": "labels"}},
        ),
        ("photos/a.jpg", "maps/a.png", {"pattern": "..\\maps\\{stem}.png"}),
        ("photos/IMG 1.JPG", "maps/IMG 1.png", {"pattern": "../maps/{stem}.png"}),
    ],
)
def test_patterns_of_public_layouts(tmp_path: Path, photo: str, found: str, config: dict[str, object]) -> None:
    expected = touch(tmp_path / found)
    finder = MapFinder(MapConfig.model_validate(config), tmp_path)
    assert finder.find(touch(tmp_path / photo)).samefile(expected)


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_found_in_both_forms(tmp_path: Path, one: str, other: str) -> None:
    photo = touch(tmp_path / "photos" / unicodedata.normalize(one, "Küche.jpg"))
    expected = touch(tmp_path / "maps" / unicodedata.normalize(other, "Küche.png"))
    assert MapFinder(MapConfig(pattern="../maps/{stem}.png"), tmp_path).find(photo).samefile(expected)
    (tmp_path / "pairs.csv").write_text(unicodedata.normalize(other, "photos/Küche.jpg,maps/Küche.png"))
    assert MapFinder(MapConfig(pairs=Path("pairs.csv")), tmp_path).find(photo).samefile(expected)


@pytest.mark.parametrize(
    "data",
    [
        b"photos/a.jpg,maps/1.png\n",
        b"photo,map\r\nphotos/a.jpg, maps/1.png\r\n",
        b"map;photo\nmaps/1.png;photos/a.jpg\n",
        "photo\tmap\nphotos\\a.jpg\tmaps\\1.png\n".encode("utf-16"),
        b"\xef\xbb\xbfphoto,map,note\na.jpg,maps/1.png,B\xc3\xa4r\n",
        b"a.jpg,maps/1.png,B\xe4r\n",
        b'"photos/a.jpg","maps/1.png"\n\n',
    ],
)
def test_pairs_as_spreadsheets_write_them(tmp_path: Path, data: bytes) -> None:
    photo, expected = touch(tmp_path / "photos/a.jpg"), touch(tmp_path / "maps/1.png")
    (tmp_path / "pairs.csv").write_bytes(data)
    assert MapFinder(MapConfig(pairs=Path("pairs.csv")), tmp_path).find(photo).samefile(expected)


def test_a_name_with_two_maps_needs_its_path(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("x/a.jpg,1.png\ny/a.jpg,2.png\n")
    with pytest.raises(DistillError, match="2 maps"):
        MapFinder(MapConfig(pairs=Path("pairs.csv")), tmp_path).find(tmp_path / "z" / "a.jpg")


@pytest.mark.parametrize("text", ["", "a.jpg\n", "a.jpg,\n", "photo,map\n,1.png\n"])
def test_pairs_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(UsageError, match="pair of photo and map"):
        read_pairs(tmp_path / "pairs.csv")


def test_a_missing_map_names_the_nearest_file(tmp_path: Path) -> None:
    photo = touch(tmp_path / "frame000000.jpg")
    touch(tmp_path / "depth000000.png")
    with pytest.raises(NoAnswer, match=r"depthframe000000\.png: no such map for .*; its folder has depth000000\.png"):
        MapFinder(MapConfig(pattern="depth{stem}.png"), tmp_path).find(photo)


def test_names_that_differ_in_case_are_named(tmp_path: Path) -> None:
    photo = touch(tmp_path / "img_1.jpg")
    touch(tmp_path / "m" / "IMG_1.png")
    with pytest.raises(NoAnswer, match=r"its folder has IMG_1\.png"):
        MapFinder(MapConfig(pattern="m/{stem}.png"), tmp_path).find(photo)


def test_the_photo_is_not_its_own_map(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="is the photo itself"):
        MapFinder(MapConfig(pattern="{name}"), tmp_path).find(touch(tmp_path / "a.png"))


@pytest.mark.parametrize("values", [{}, {"pattern": "x", "pairs": "y.csv"}, {"pattern": "{nam}.png"}, {"pattern": "{"}])
def test_configs_that_name_no_map_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"pattern"):
        MapConfig.model_validate(values)
