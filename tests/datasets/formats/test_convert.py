"""Round trips through every format: equal maps where it can hold them, and the listed loss otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from distill.datasets.formats.convert import export, import_
from distill.datasets.formats.registry import FORMATS
from distill.datasets.shard_set import ShardSet, open
from distill.errors import DistillError, UsageError
from distill.images import decode_image, encode_map
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.tasks import IGNORE_INSTANCE, DepthKind, Task
from tests.builders.images import saved
from tests.builders.label_sets import ALL_TASKS, CLASSES, THINGS, photo, sample, write_set

WRITABLE = list(FORMATS)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("formats") / "set"
    return write_set(folder, [*(sample(photo(seed), seed=seed) for seed in range(3)), sample(photo(5), [Task.NORMALS])])


def there_and_back(shards: ShardSet, name: str, tmp_path: Path, **options: float) -> ShardSet:
    result = export(shards.folder, name, out=tmp_path / name, **options)
    assert all(loss in result.to_text() for loss in FORMATS[name].loses)
    import_(tmp_path / name, name, out=tmp_path / "back", license="CC0-1.0", **options)
    return open(tmp_path / "back")


def pairs(first: ShardSet, second: ShardSet, task: Task) -> list[tuple[Label, Label]]:
    others = {one.meta["photo_sha256"]: one for one in second}
    found = [(one, others[one.meta["photo_sha256"]]) for one in first if task in one.tasks]
    assert len(found) == 3
    return [(one.label(task, first.manifest), other.label(task, second.manifest)) for one, other in found]


def masks(label: Label) -> list[tuple[str, ndarray]]:
    return [(name, mask_of(label.instance_layers, number)) for number, name in sorted(label.instance_classes.items())]


def test_parquet_keeps_every_byte(shards: ShardSet, tmp_path: Path) -> None:
    back = there_and_back(shards, "parquet", tmp_path)
    assert [(one.key, one.files) for one in back] == [(one.key, one.files) for one in shards]
    assert back.manifest.model_dump(exclude={"shards"}) == shards.manifest.model_dump(exclude={"shards"})


@pytest.mark.parametrize("name", ["indexed-png", "yolo-semantic"])
def test_class_ids_are_equal(name: str, shards: ShardSet, tmp_path: Path) -> None:
    back = there_and_back(shards, name, tmp_path)
    assert back.manifest.classes == CLASSES and back.manifest.licenses == ("CC0-1.0",)
    for one, other in pairs(shards, back, Task.SEMANTIC):
        assert np.array_equal(one.value, other.value) and np.array_equal(one.valid, other.valid)


@pytest.mark.parametrize(("name", "scale"), [("depth-png", 256.0), ("yolo-depth", 1000.0)])
def test_depth_is_rounded_to_the_levels(name: str, scale: float, shards: ShardSet, tmp_path: Path) -> None:
    for one, other in pairs(shards, there_and_back(shards, name, tmp_path, depth_scale=scale), Task.DEPTH):
        assert np.array_equal(one.valid, other.valid)
        # Half a level of the format, and one level of the shards, which is below 1 mm up to 10 m.
        assert np.abs(one.value - other.value)[one.valid].max() <= 0.5 / scale + 1e-3


def test_coco_keeps_whole_masks_and_loses_ignored_pixels(shards: ShardSet, tmp_path: Path) -> None:
    back = there_and_back(shards, "coco", tmp_path)
    assert back.manifest.instance_classes == THINGS
    for one, other in pairs(shards, back, Task.INSTANCE):
        for (name, mask), (other_name, other_mask) in zip(masks(one), masks(other), strict=True):
            assert name == other_name and np.array_equal(mask, other_mask)
        assert len(other.layers) == len(one.layers) == 1
        assert (one.value == IGNORE_INSTANCE).any() and other.valid.all()


def test_panoptic_keeps_what_is_visible(shards: ShardSet, tmp_path: Path) -> None:
    back = there_and_back(shards, "coco-panoptic", tmp_path)
    for one, other in pairs(shards, back, Task.INSTANCE):
        for (number, name), (other_number, other_name) in zip(
            sorted(one.instance_classes.items()), sorted(other.instance_classes.items()), strict=True
        ):
            assert name == other_name and np.array_equal(one.value == number, other.value == other_number)
        assert other.layers == ()
    for (one, other), (things, _) in zip(
        pairs(shards, back, Task.SEMANTIC), pairs(shards, back, Task.INSTANCE), strict=True
    ):
        stuff = things.instance_layers[0] == 0
        assert np.array_equal(one.value[stuff], other.value[stuff])
        for number, name in things.instance_classes.items():
            assert (other.value[things.value == number] == CLASSES.index(name)).all()


def test_yolo_fills_holes_and_joins_parts(shards: ShardSet, tmp_path: Path) -> None:
    for one, other in pairs(shards, there_and_back(shards, "yolo", tmp_path), Task.INSTANCE):
        found = list(zip(masks(one), masks(other), strict=True))
        for (name, mask), (other_name, other_mask) in found[:2]:  # no holes, one part
            assert name == other_name and np.array_equal(mask, other_mask)
        (_, mask), (_, other_mask) = found[2]
        assert not (mask & ~other_mask).any() and np.count_nonzero(other_mask & ~mask) < 40


def test_samples_without_such_a_label_are_counted_and_left_out(shards: ShardSet, tmp_path: Path) -> None:
    result = export(shards.folder, "coco", out=tmp_path / "coco")
    assert "1 samples without such a label, left out" in result.to_text() and result.counts["photos"] == 3


def test_photos_that_exif_data_rotates_are_stored_upright(tmp_path: Path) -> None:
    from PIL import Image

    from distill.images import read_photo

    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = saved(Image.fromarray(np.rot90(decode_image(photo(1).data, "a").rgb)), "JPEG", exif=exif, quality=95)
    picture = read_photo(rotated, key="turned", name="turned.jpg")
    shards = write_set(tmp_path / "set", [sample(picture, [Task.SEMANTIC, Task.INSTANCE])])
    for name in ("indexed-png", "coco"):
        result = export(shards.folder, name, out=tmp_path / name)
        assert "1 photos stored upright as PNG" in result.to_text()
        stored = (tmp_path / name / "images" / "turned.png").read_bytes()
        assert stored == encode_map(picture.rgb)
        import_(tmp_path / name, name, out=tmp_path / f"{name}-back")
    assert np.array_equal(
        open(tmp_path / "indexed-png-back").label(0, Task.SEMANTIC).value, shards.label(0, Task.SEMANTIC).value
    )


def test_a_coarse_map_is_stored_at_the_size_of_the_photo(tmp_path: Path) -> None:
    from distill.datasets.formats.new_sample import new_sample
    from distill.labels.conversions import resample_nearest
    from tests.builders.label_sets import SIZE_HW, label

    coarse = resample_nearest(label(Task.SEMANTIC, 1), (18, 24))
    shards = write_set(tmp_path / "set", [new_sample(photo(1), [coarse], teacher="t", license="MIT")])
    export(shards.folder, "indexed-png", out=tmp_path / "png")
    import_(tmp_path / "png", "indexed-png", out=tmp_path / "back")
    found = open(tmp_path / "back").label(0, Task.SEMANTIC)
    assert found.size_hw == SIZE_HW and np.array_equal(found.value, resample_nearest(coarse, SIZE_HW).value)


def test_depth_that_is_too_far_or_not_metric(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(1), [Task.DEPTH])])
    result = export(shards.folder, "depth-png", out=tmp_path / "near", depth_scale=10000)
    assert any("beyond 6.5535 m" in name for name in result.counts)
    relative = write_set(tmp_path / "rel", [sample(photo(1), [Task.DEPTH], kind=DepthKind.SCALE_INVARIANT)])
    with pytest.raises(UsageError, match="scale_invariant, and this format holds meters"):
        export(relative.folder, "depth-png", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", WRITABLE)
def test_plans_write_nothing_and_state_the_losses(name: str, shards: ShardSet, tmp_path: Path) -> None:
    result = export(shards.folder, name, out=tmp_path / "x", plan=True)
    assert result.planned and FORMATS[name].holds in result.to_text() and not (tmp_path / "x").exists()
    assert result.to_dict()["cannot_hold"] == list(FORMATS[name].loses)


def test_wrong_use(shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no format 'coc'.*did you mean coco"):
        export(shards.folder, "coc", out=tmp_path / "x")
    normals = write_set(tmp_path / "n", [sample(photo(1), [Task.NORMALS])])
    with pytest.raises(UsageError, match="has no labels of instance, which this format holds"):
        export(normals.folder, "coco", out=tmp_path / "x")
    with pytest.raises(UsageError, match="is inside of"):
        export(shards.folder, "coco", out=shards.folder / "x")
    with pytest.raises(UsageError, match="depth scale"):
        export(shards.folder, "depth-png", out=tmp_path / "x", depth_scale=0)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not an empty folder"):
        export(shards.folder, "coco", out=tmp_path / "y")
    for name in WRITABLE:
        with pytest.raises(DistillError):
            import_(tmp_path / "y", name, out=tmp_path / "z")
    assert not (tmp_path / "z").exists() and set(ALL_TASKS) == set(shards.manifest.tasks)


def test_labels_that_the_set_does_not_list_are_errors(tmp_path: Path) -> None:
    """Sets of other programs may lack names: an export with a wrong name would look right."""
    shards = write_set(tmp_path / "few", [sample(photo(1), [Task.SEMANTIC])], classes=CLASSES[:2])
    for name in ("indexed-png", "yolo-semantic", "coco-panoptic"):
        with pytest.raises(DistillError, match=r"sample photo_b has id 2 in its semantic label"):
            export(shards.folder, name, out=tmp_path / "x")
    lines = ("road", "car\nbus", "x")
    broken = write_set(tmp_path / "lines", [sample(photo(1), [Task.SEMANTIC], classes=lines)], classes=lines)
    with pytest.raises(UsageError, match="is no line of text"):
        export(broken.folder, "indexed-png", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_instance_without_a_pixel_at_the_size_of_the_photo_is_left_out(tmp_path: Path) -> None:
    from distill.datasets.formats.masks import instance_label
    from distill.datasets.formats.new_sample import new_sample

    fine = (72, 96)
    point, block = np.zeros(fine, bool), np.zeros(fine, bool)
    point[0, 0] = True
    block[20:60, 20:60] = True
    label = instance_label({1: point, 2: block}, {1: "car", 2: "car"}, fine, ["car"])
    shards = write_set(tmp_path / "set", [new_sample(photo(1), [label], teacher="t", license="MIT")])
    for name in ("coco", "yolo", "cvat"):
        assert export(shards.folder, name, out=tmp_path / name).counts["instances"] == 1
