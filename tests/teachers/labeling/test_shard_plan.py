"""A labeling job that is run again: sets grow, changed photos and maps are labeled again, other options are refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import distill
from distill.errors import UsageError
from distill.shards import Sample, read_manifest, read_samples, verify
from distill.tasks import Task
from distill.teachers.labeling.shard_plan import read_plan

SIZE = (32, 24)


class Place:
    """Photos with depth maps, and a job on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.photos, self.out = folder, folder / "photos", folder / "out"
        for place in ("photos", "depth"):
            (folder / place).mkdir()
        self.config = folder / "maps.yaml"
        self.config.write_text('kind: maps\nlicense: test\ndepth: {pattern: "../depth/{stem}.png", scale: 0.001}\n')
        self.messages: list[str] = []

    def add(self, name: str, depth_mm: int = 2000, seed: int | None = None) -> None:
        noise = np.random.default_rng(sum(name.encode()) if seed is None else seed).integers(0, 255, (*SIZE[::-1], 3))
        Image.fromarray(noise.astype(np.uint8)).save(self.photos / f"{name}.png")
        self.set_depth(name, depth_mm)

    def set_depth(self, name: str, depth_mm: int) -> None:
        Image.fromarray(np.full(SIZE[::-1], depth_mm, np.uint16)).save(self.folder / "depth" / f"{name}.png")

    def run(self, *photos: Path, **options: Any) -> dict[str, Any]:
        arguments = {"shard_size": 2, "workers": 1, "previews": 1, "check": False} | options
        result = distill.label(photos or [self.photos], teacher=self.config, out=self.out, **arguments)
        assert not result.complete or not verify(self.out)
        return result.to_dict()

    def depths(self) -> dict[str, float]:
        return {Path(sample.meta["name"]).stem: depth_of(sample) for sample in read_samples(self.out)}

    def tars(self) -> dict[str, tuple[int, int]]:
        """Inode and time of each shard: a shard that is written again has others."""
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in self.out.glob("*.tar")}


def depth_of(sample: Sample) -> float:
    return round(float(np.median(sample.label(Task.DEPTH).value)), 2)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    for name in ("a", "b", "c"):
        made.add(name)
    return made


def test_a_finished_set_grows_and_its_shards_stay(place: Place) -> None:
    place.run()
    before = place.tars()
    for name in ("0_first", "bb", "z"):
        place.add(name, 3000)
    result = place.run()
    assert result["labeled"] == 6 and result["changed"] == []
    assert place.depths() == {"a": 2, "b": 2, "c": 2, "0_first": 3, "bb": 3, "z": 3}
    after = place.tars()
    assert {name: after[name] for name in before} == before and len(after) == 4
    assert read_manifest(place.out).samples == 6
    assert result["labels"] == {"depth": 6} == read_manifest(place.out).counts
    assert json.loads((place.out / "label.json").read_text())["labels"] == {"depth": 6}
    assert place.run()["labeled"] == 6 and place.tars() == after, "nothing is left to do"


def test_a_photo_of_the_same_stem_gets_another_key(place: Place) -> None:
    place.run()
    Image.new("RGB", SIZE, "red").save(place.photos / "a.jpg")
    place.run()
    keys = [sample.key for sample in read_samples(place.out)]
    assert len(set(keys)) == 4 and "a" in keys


def test_a_limited_job_goes_on_with_a_larger_limit(place: Place) -> None:
    assert place.run(limit=1)["labeled"] == 1
    assert place.run(limit=2)["labeled"] == 2
    assert place.run()["labeled"] == 3
    assert sorted(place.depths()) == ["a", "b", "c"]


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_corrected_map_is_labeled_again(place: Place, keep_time: bool) -> None:
    place.run()
    before, map_path = place.tars(), place.folder / "depth" / "c.png"
    times = (map_path.stat().st_atime_ns, map_path.stat().st_mtime_ns)
    place.set_depth("c", 4000)
    if keep_time:  # as after cp -p or rsync -a
        os.utime(map_path, ns=times)
    result = place.run()
    assert place.depths() == {"a": 2, "b": 2, "c": 4}
    assert len(result["changed"]) == 1 and result["changed"][0].endswith("depth/c.png has changed")
    assert place.tars()["shard-000000.tar"] == before["shard-000000.tar"], "shards without a change stay"
    assert read_manifest(place.out).samples == 3


def test_a_photo_replaced_by_another_one_of_the_same_size_is_labeled_again(place: Place) -> None:
    data = [np.full((*SIZE[::-1], 3), level, np.uint8) for level in (10, 90)]
    for number, pixels in enumerate(data):
        Image.fromarray(pixels).save(place.folder / f"{number}.bmp")
    shutil.copyfile(place.folder / "0.bmp", place.photos / "d.bmp")
    place.set_depth("d", 2500)
    place.run()
    shutil.copyfile(place.folder / "1.bmp", place.photos / "d.bmp")
    result = place.run()
    (found,) = (sample for sample in read_samples(place.out) if sample.meta["name"] == "d.bmp")
    assert found.photo == (place.folder / "1.bmp").read_bytes()
    assert result["changed"] == [f"{place.photos}/d.bmp has changed"]


def test_a_copied_set_of_the_same_bytes_is_not_labeled_again(place: Place) -> None:
    place.run()
    before = place.tars()
    for path in [*place.photos.iterdir(), *(place.folder / "depth").iterdir()]:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert place.run()["changed"] == [] and place.tars() == before


def test_an_interrupted_job_mixes_no_old_and_new_labels(place: Place) -> None:
    """Part 1 of 2 is done; then the maps are corrected, and part 2 runs."""
    place.run(job_index="1/2")
    for name in ("a", "b", "c"):
        place.set_depth(name, 3000)
    assert not place.run(job_index="2/2")["complete"]
    assert place.depths() == {"c": 3.0}, "shards of old maps are not published"
    assert distill.data.seal(place.out).samples == 1 and place.depths() == {"c": 3.0}
    assert place.run()["complete"] and set(place.depths().values()) == {3.0}


def test_a_map_that_was_missing_is_used_when_it_is_there(place: Place) -> None:
    (place.folder / "depth" / "b.png").unlink()
    assert len(place.run()["failed"]) == 1
    place.set_depth("b", 5000)
    result = place.run()
    assert result["failed"] == [] and place.depths() == {"a": 2, "b": 5, "c": 2} and len(result["changed"]) == 1


def test_photos_that_are_gone_leave_the_set(place: Place) -> None:
    place.run()
    (place.photos / "b.png").unlink()
    result = place.run()
    assert sorted(place.depths()) == ["a", "c"] and result["changed"] == ["b.png is gone"]
    assert result["photos"] == 2 and read_manifest(place.out).samples == 2


def test_other_photos_are_another_job(place: Place) -> None:
    place.run()
    other = place.folder / "others"
    other.mkdir()
    shutil.copyfile(place.photos / "a.png", other / "x.png")
    with pytest.raises(
        UsageError, match=r"another job: 3 of its 3 photos are not among .* a.png .*earlier photos as well"
    ):
        place.run(other)
    assert len(place.depths()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_quality": 0.5}, r"check.*was .*, is "),
        ({"overrides": {"depth.scale": 0.01}}, r"teacher.depth.scale was 0.001, is 0.01"),
        ({"overrides": {"license": "MIT"}}, r'teacher.license was "test", is "MIT"'),
        ({"task": "depth"}, r"task was not set, is \[\"depth\"\]"),
    ],
)
def test_the_option_that_differs_is_named(place: Place, options: dict[str, Any], words: str) -> None:
    place.run()
    before = place.tars()
    with pytest.raises(UsageError, match=f"another job: .*{words}.*--overwrite"):
        place.run(**options)
    assert place.tars() == before
    assert place.run(overwrite=True, **options)["photos"] == 3


def test_another_size_of_shards_is_used_for_new_ones(place: Place) -> None:
    place.run()
    for name in "defg":
        place.add(name)
    place.run(shard_size=4)
    plan = read_plan(place.out)
    assert plan is not None and [len(names) for names in plan.shards] == [2, 1, 4]


def test_an_option_may_be_corrected_after_a_run_in_which_nothing_was_done(place: Place) -> None:
    place.out.mkdir()
    with pytest.raises(UsageError, match="no such file"):
        place.run(place.folder / "nowhere")
    assert not any(place.out.iterdir())
    (place.out / ".stats").mkdir()
    (place.out / ".stats" / "plan.json").write_text('{"format": 1, "recipe": {"task": ["normals"]}, "shards": [["x"]]}')
    assert place.run()["labeled"] == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}', '{"format": 1, "recipe": {}, "shards": "abc"}'])
def test_a_damaged_plan_is_named(place: Place, text: str) -> None:
    place.run()
    (place.out / ".stats" / "plan.json").write_text(text)
    with pytest.raises(UsageError, match=r"plan.json: (damaged|has format)"):
        place.run()


def test_two_folders_with_equal_names_grow(place: Place) -> None:
    more = place.folder / "more"
    shutil.copytree(place.photos, more)
    place.run(place.photos, more)
    assert len(list(read_samples(place.out))) == 6
    place.add("d")
    place.run(place.photos, more)
    keys = [sample.key for sample in read_samples(place.out)]
    assert len(keys) == len(set(keys)) == 7


def test_previews_belong_to_the_new_labels(place: Place) -> None:
    place.run(previews=3)
    old = {path.name: path.read_bytes() for path in (place.out / "previews").iterdir()}
    place.set_depth("a", 9000)
    place.run(previews=3)
    new = {path.name: path.read_bytes() for path in (place.out / "previews").iterdir()}
    assert new.keys() == old.keys() and {name for name in new if new[name] != old[name]}


def test_replay_grows_by_rows_of_its_manifest(tmp_path: Path) -> None:
    from distill.teachers.codecs.depth import encode_depth_rgb

    def row(name: str, depth_m: float) -> dict[str, str]:
        pixels = np.random.default_rng(len(name)).integers(0, 255, (64, 96, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray(encode_depth_rgb(np.full((64, 96), depth_m, np.float32))).save(tmp_path / f"{name}-depth.png")
        return {"photo": f"{name}.png", "task": "depth", "answer": f"{name}-depth.png"}

    def run(*photos: str) -> dict[str, float]:
        manifest.write_text(json.dumps(rows))
        files = [tmp_path / f"{name}.png" for name in photos]
        distill.label(files, teacher="replay", answers=manifest, out=tmp_path / "out", check=False, workers=1)
        return {sample.key: depth_of(sample) for sample in read_samples(tmp_path / "out")}

    manifest, rows = tmp_path / "answers.json", [row("a", 2.0)]
    run("a")
    tar = (tmp_path / "out" / "shard-000000.tar").stat().st_ino
    rows.append(row("bb", 3.0))
    assert run("a", "bb") == pytest.approx({"a": 2, "bb": 3}, abs=0.02)
    assert (tmp_path / "out" / "shard-000000.tar").stat().st_ino == tar
    Image.fromarray(encode_depth_rgb(np.full((64, 96), 5.0, np.float32))).save(tmp_path / "bb-depth.png")
    assert run("a", "bb") == pytest.approx({"a": 2, "bb": 5}, abs=0.05)
    assert (tmp_path / "out" / "shard-000000.tar").stat().st_ino == tar
