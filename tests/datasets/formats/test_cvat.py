"""CVAT's archives of others: shapes, folders, and XML that is damaged or hostile."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from distill.datasets.formats.convert import export, import_
from distill.datasets.shard_set import open
from distill.errors import DistillError
from distill.labels.instance_layers import mask_of
from distill.tasks import Task
from tests.builders.label_sets import SIZE_HW, photo, sample, write_set

IMAGE = f'<image id="0" name="a.jpg" width="{SIZE_HW[1]}" height="{SIZE_HW[0]}">'
POLYGON = '<polygon label="car" points="4.0,4.0;20.0,4.0;20.0,20.0;4.0,20.0" z_order="0"/>'


def archive(path: Path, xml: str, photo_name: str = "images/default/a.jpg") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("annotations.xml", xml)
        file.writestr(photo_name, photo(1).data)
    return path


def document(body: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{body}</annotations>'


def test_round_trip_keeps_whole_masks(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(seed), [Task.INSTANCE]) for seed in range(2)])
    for name in ("one", "two"):
        export(shards.folder, "cvat", out=tmp_path / name)
    assert (tmp_path / "one" / "cvat.zip").read_bytes() == (tmp_path / "two" / "cvat.zip").read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["cvat.zip"]
    import_(tmp_path / "one", "cvat", out=tmp_path / "back")
    back = open(tmp_path / "back")
    for index in range(2):
        one, other = shards.label(index, Task.INSTANCE), back.label(index, Task.INSTANCE)
        assert one.instance_classes == other.instance_classes
        for number in one.instance_classes:
            assert np.array_equal(mask_of(one.instance_layers, number), mask_of(other.instance_layers, number))


def test_polygons_and_photos_in_folders_of_the_zip(tmp_path: Path) -> None:
    import_(archive(tmp_path / "a.zip", document(f"{IMAGE}{POLYGON}</image>")), "cvat", out=tmp_path / "set")
    label = open(tmp_path / "set").label(0, Task.INSTANCE)
    assert dict(label.instance_classes) == {1: "car"} and np.count_nonzero(label.value) == 16 * 16


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (f"{BOMB}<annotations>&c;</annotations>", "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "declares a document type"),
        ("<annotations>", "is no XML"),
        ("<boxes/>", "is not CVAT for images"),
        (document(""), "has no images"),
        (document(f'{IMAGE}<box label="car" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'), "shape 1: is a box"),
        (document(f'{IMAGE}<polygon label="car" points="1,1;2"/></image>'), "the polygon is wrong"),
        (document(f'{IMAGE}<polygon label="car" points="1,1;nan,2;3,3"/></image>'), "the polygon is wrong"),
        (
            document(f'{IMAGE}<mask label="car" rle="0, 4" left="47" top="1" width="2" height="2"/></image>'),
            "its box is not in the photo",
        ),
        (
            document(f'{IMAGE}<mask label="car" rle="0, 9" left="1" top="1" width="2" height="2"/></image>'),
            "do not fill its box",
        ),
        (document('<image id="0" name="a.jpg" width="9" height="9"></image>'), "state 9x9"),
        (document('<image id="0" name="b.jpg" width="48" height="36"></image>'), "is not once in the zip"),
    ],
)
def test_damage_names_the_entry(xml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=message) as caught:
        import_(archive(tmp_path / "a.zip", xml), "cvat", out=tmp_path / "set")
    assert "a.zip" in str(caught.value) and not (tmp_path / "set").exists()


def test_other_encodings_and_damaged_zips_are_errors(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("annotations.xml", f"{BOMB}<annotations/>".encode("utf-16"))
    with pytest.raises(DistillError, match="is no XML in UTF-8"):
        import_(tmp_path / "a.zip", "cvat", out=tmp_path / "set")
    (tmp_path / "b.zip").write_bytes(b"PK nothing")
    with pytest.raises(DistillError, match=r"b\.zip: cannot be read"):
        import_(tmp_path / "b.zip", "cvat", out=tmp_path / "set")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "annotations.xml").write_text(document(f"{IMAGE}</image>".replace("a.jpg", "../../etc/passwd")))
    with pytest.raises(DistillError, match="leads out of"):
        import_(folder, "cvat", out=tmp_path / "set")
