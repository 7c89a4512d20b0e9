"""`distill predict`: every photo and frame, in order, and a bad one never stops the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.labels import decode
from distill.tasks import Task
from distill.video import VideoReader
from tests.builders.cli import Cli
from tests.builders.videos import write_clip, write_photo


def test_photos_become_maps_and_overlays(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png", (40, 56))
    write_photo(tmp_path / "in" / "deep" / "b.jpg", (56, 40), seed=1)
    out = tmp_path / "out"
    code, result = cli.json("predict", onnx_file, tmp_path / "in", "--out", out, "--confidence", "--threads", 1)
    assert code == 0 and result["images"] == 2 and not result["failed"]
    for key, size_hw in (("a", (40, 56)), ("deep_b", (56, 40))):
        files = {path.name.removeprefix(f"{key}."): path.read_bytes() for path in out.glob(f"{key}.*")}
        assert len(files) == 7
        for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC):
            assert decode(task, files).size_hw == size_hw
    index = json.loads((out / "predictions.json").read_text())
    assert index["maps"]["depth"]["unit"] == "m" and len(index["maps"]["semantic"]["classes"]) == 3
    assert [row["name"] for row in index["results"]] == ["a.png", "deep/b.jpg"]


def test_a_photo_is_predicted_as_the_runner_sees_it(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    from distill.export.runners import open_runner

    photo = write_photo(tmp_path / "a.png", (40, 56))
    assert cli("predict", onnx_file, photo, "--out", tmp_path / "out", "--threads", 1)[0] == 0
    with open_runner(onnx_file, threads=1) as runner:
        truth = runner(np.asarray(Image.open(photo))[None])["depth"][0]
    stored = decode(Task.DEPTH, {"depth.png": (tmp_path / "out" / "a.depth.png").read_bytes()})
    assert np.allclose(stored.value, truth, rtol=2e-3)


def test_an_overlay_video_has_every_frame_at_its_time(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    times = [0, 33, 66, 200, 300, 333, 700, 733, 766, 1000, 1040, 1080]
    clip = write_clip(tmp_path / "clip.mkv", times)
    out, maps = tmp_path / "x.mp4", tmp_path / "maps"
    code, result = cli.json("predict", onnx_file, clip, "--out", out, "--maps", maps, "--batch", 5, "--threads", 1)
    assert code == 0 and result["images"] == len(times)
    frames = list(VideoReader(out).frames())
    assert [round(frame.pts_s * 1000) for frame in frames] == times
    top, left = 20, 20  # inside the first panel: the photo
    shown = [int(frame.rgb[top + 10, left].mean()) for frame in frames]
    assert np.abs(np.array(shown) - (10 + 10 * np.arange(len(times)))).max() <= 4
    stored = [np.asarray(Image.open(path)) for path in sorted(maps.glob("*.depth.png"))]
    assert len(stored) == len(times) and stored[0].shape == (48, 64)
    assert len({value.mean() for value in stored}) > len(times) // 2  # frames differ, so must their maps
    assert json.loads((maps / "predictions.json").read_text())["results"][0]["times_s"] == [t / 1000 for t in times]


def test_one_task_over_an_odd_sized_gif(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    stills = [Image.fromarray(np.full((33, 47, 3), 25 * n, np.uint8)) for n in range(6)]
    stills[0].save(tmp_path / "a.gif", save_all=True, append_images=stills[1:], duration=100)
    code, result = cli.json("predict", onnx_file, tmp_path / "a.gif", "--out", tmp_path / "o", "--show", "normals")
    assert code == 0 and result["images"] == 6
    reader = VideoReader(tmp_path / "o" / "a.mp4")
    assert reader.size_hw == (34, 48) and reader.count() == 6


def test_bad_inputs_are_listed_and_the_rest_goes_on(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_photo(folder / "good.jpg", (40, 40))
    (folder / "broken.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.mp4").write_text("no film\n" * 40)
    (folder / "note.txt").write_text("left alone")
    data = write_clip(folder / "cut.mp4", [40 * n for n in range(24)], noise=30).read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    code, result = cli.json("predict", onnx_file, folder, "--out", tmp_path / "out", "--threads", 1)
    reasons = {entry["name"]: entry["reason"] for entry in result["failed"]}
    assert code == 1 and set(reasons) == {"broken.jpg", "empty.png", "text.mp4", "cut.mp4"}
    assert (
        "cut off" in reasons["cut.mp4"]
        and "empty" in reasons["empty.png"]
        and "not a readable video" in reasons["text.mp4"]
    )
    assert (tmp_path / "out" / "good.depth.png").is_file()
    kept = VideoReader(tmp_path / "out" / "cut.mp4").count()
    assert 0 < kept < 24 and kept == next(row["frames"] for row in result["results"] if row["name"] == "cut.mp4")
    assert not (tmp_path / "out" / "text.mp4").exists()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_only_maps(cli: Cli, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", [0, 40, 80])
    assert cli("predict", onnx_file, clip, "--maps", "maps", "--threads", 1)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "maps"]
    assert len(list((tmp_path / "maps").glob("*.png"))) == 3 * 3


def test_wrong_use(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", (16, 16))
    for words, said in (
        ((photo, "--out", tmp_path / "x.mp4"), "not for 1 photos"),
        ((photo, "--out", tmp_path / "x.tiff"), "give a folder"),
        ((photo, "--show", "smell"), "choose all, depth, normals, semantic"),
        ((tmp_path / "none.jpg",), "no such file"),
    ):
        code, _, err = cli("predict", onnx_file, *words)
        assert code == 2 and said in err


def test_a_full_disk_is_a_sentence(cli: Cli, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = write_photo(tmp_path / "a.png", (16, 16))

    open_file = Path.open

    def full(self: Path, mode: str = "r", **options: Any) -> Any:
        if mode == "xb":
            raise OSError(28, "No space left on device")
        return open_file(self, mode, **options)

    monkeypatch.setattr(Path, "open", full)
    code, _, err = cli("predict", onnx_file, photo, "--out", tmp_path / "out")
    assert code == 1 and "No space left on device" in err and "free space" in err


def test_an_input_is_never_overwritten(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [0, 40, 80])
    before = clip.read_bytes()
    for out in (tmp_path, clip):
        code, result = cli.json("predict", onnx_file, clip, "--out", out)
        assert code == 2 and "would overwrite an input" in result["error"]
    assert clip.read_bytes() == before


def test_a_photo_is_never_overwritten(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.overlay.jpg"):
        write_photo(tmp_path / name, (40, 56))
    before = (tmp_path / "a.overlay.jpg").read_bytes()
    code, result = cli.json("predict", onnx_file, tmp_path, "--out", tmp_path)
    assert code == 2 and "a.overlay.jpg: would overwrite an input" in result["error"]
    assert (tmp_path / "a.overlay.jpg").read_bytes() == before


def test_a_folder_may_have_a_dot_in_its_name(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", (40, 56))
    (tmp_path / "tmp.x8").mkdir()
    for out in (tmp_path / "tmp.x8", tmp_path / "v1.5"):
        assert cli("predict", onnx_file, photo, "--out", out, "--threads", 1)[0] == 0
        assert (out / "a.depth.png").is_file()


def test_every_cut_of_a_gif_is_survived(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    good = write_photo(tmp_path / "in" / "good.png", (40, 56))
    frames = [Image.open(good).rotate(angle) for angle in (0, 90, 180)]
    frames[0].save(tmp_path / "whole.gif", save_all=True, append_images=frames[1:], duration=40)
    data = (tmp_path / "whole.gif").read_bytes()
    for length in range(5, len(data) - 1, len(data) // 12):
        (tmp_path / "in" / f"cut{length}.gif").write_bytes(data[:length])
    code, result = cli.json("predict", onnx_file, tmp_path / "in", "--out", tmp_path / "out", "--threads", 1)
    assert code == 1 and "error" not in result
    assert (tmp_path / "out" / "good.depth.png").is_file()


def test_one_file_of_a_run_names_its_folder(cli: Cli, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"x")
    code, result = cli.json("predict", checkpoint, write_photo(tmp_path / "a.png", (40, 56)))
    assert code == 2 and str(tmp_path / "run") in result["hint"] and "one file of a run" in result["error"]
