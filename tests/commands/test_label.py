"""`distill label`, as a user runs it: bad photos, resuming after a kill, readers of other people."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.shards import file_sha256, read_manifest, read_samples, verify
from distill.tasks import DepthKind, Task
from tests.builders.cli import distill
from tests.waiting import wait_until

PHOTO_HW = (40, 60)


def picture(seed: int, size_hw: tuple[int, int] = PHOTO_HW) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8))


def bomb() -> bytes:
    """A PNG of a few bytes that announces 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def maps_config(tmp_path: Path) -> Path:
    """Depth maps beside the photos, as millimeters."""
    path = tmp_path / "maps.yaml"
    path.write_text("kind: maps\nlicense: test\ndepth: {pattern: '../depth/{name}.png', scale: 0.001, invalid: [0]}\n")
    return path


def add_depth(photo: Path, size_hw: tuple[int, int] = PHOTO_HW) -> None:
    depth = photo.parent.parent / "depth" / f"{photo.name}.png"
    depth.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full(size_hw, 2500, np.uint16)).save(depth)


@pytest.fixture
def mixed_photos(tmp_path: Path) -> tuple[Path, set[str], set[str]]:
    """(folder, good names, bad names)."""
    folder = tmp_path / "photos"
    folder.mkdir()
    good = {
        "plain.jpg": picture(0),
        "gray.png": picture(1).convert("L"),
        "cmyk.jpg": picture(2).convert("CMYK"),
        "palette.png": picture(3).convert("P"),
        "alpha.png": picture(4).convert("RGBA"),
        "one_bit.png": picture(5).convert("1"),
        "a.b.jpg": picture(6),
        "a_b.jpg": picture(7),
        "a_b.png": picture(8),
        "A_B.jpg": picture(9),
        "animated.gif": picture(10),
    }
    for name, image in good.items():
        image.save(folder / name)
        add_depth(folder / name)
    sixteen = np.random.default_rng(11).integers(0, 65536, PHOTO_HW).astype(np.uint16)
    Image.fromarray(sixteen).save(folder / "sixteen.png")
    add_depth(folder / "sixteen.png")
    buffer = io.BytesIO()
    picture(12).save(buffer, "JPEG")
    bad = {
        "empty.jpg": b"",
        "text.jpg": b"this is no picture",
        "cut.jpg": buffer.getvalue()[: len(buffer.getvalue()) // 2],
        "bomb.png": bomb(),
        "zeros.png": bytes(500),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(100),
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
        add_depth(folder / name)
    picture(13, (1, 1)).save(folder / "dot.png")
    picture(14, (1, 300)).save(folder / "line.png")
    (folder / "notes.txt").write_text("no photo at all")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder, set(good) | {"sixteen.png"}, set(bad) | {"dot.png", "line.png", "dangling.jpg"}


def test_bad_photos_are_listed_and_all_good_ones_labeled(
    mixed_photos: tuple[Path, set[str], set[str]], maps_config: Path, tmp_path: Path
) -> None:
    folder, good, bad = mixed_photos
    out = tmp_path / "out"
    result = distill("label", folder, "--teacher", maps_config, "--out", out, code=1)
    assert {row["name"] for row in result["failed"]} == bad
    assert all(len(row["reason"]) > 10 for row in result["failed"])
    assert result["labeled"] == len(good)
    assert result["ignored"] == ["notes.txt"]
    samples = list(read_samples(out))
    assert {sample.meta["name"] for sample in samples} == good
    assert len({sample.key.casefold() for sample in samples}) == len(good)
    assert not any("." in sample.key for sample in samples)
    by_name = {sample.meta["name"]: sample for sample in samples}
    assert by_name["plain.jpg"].photo == (folder / "plain.jpg").read_bytes()
    assert np.allclose(by_name["cmyk.jpg"].label(Task.DEPTH).value, 2.5, atol=1e-3)


def test_failures_can_be_tolerated(
    mixed_photos: tuple[Path, set[str], set[str]], maps_config: Path, tmp_path: Path
) -> None:
    folder, _, bad = mixed_photos
    arguments = ("label", folder, "--teacher", maps_config, "--out", tmp_path / "out", "--max-failures")
    distill(*arguments, len(bad), code=0)
    again = distill(*arguments, len(bad) - 1, code=1)  # resumed: nothing is forgotten
    assert len(again["failed"]) == len(bad)


def synthetic(out: Path, scenes: int, *more: object) -> list[str]:
    config = (
        "--teacher",
        "synthetic",
        "--set",
        f"scenes={scenes}",
        "--set",
        "size_hw=[48,64]",
        "--set",
        "faults=moderate",
    )
    return ["label", *config, "--out", str(out), "--shard-size", "4", "--previews", "3", *map(str, more)]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in [*folder.glob("*.tar"), folder / "dataset.json"]}


def start(module: str, *words: object) -> subprocess.Popen[bytes]:
    """A command in a process group of its own."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_shards_resumed_after_kills_are_byte_identical(tmp_path: Path) -> None:
    """`benchmarks/kill_resume.py` kills at many random moments; these three are the same on any machine."""
    whole, killed, scenes = tmp_path / "whole", tmp_path / "killed", 24
    distill(*synthetic(whole, scenes, "--no-check"))
    published = 0
    for workers, moment, number in ((2, "before", 2), (1, "before", 1), (1, "after", 2)):
        words = synthetic(killed, scenes, "--no-check", "--workers", workers)
        process = start("tests.fakes.killed_cli", moment, number, ".tar", *words)
        assert process.wait() == -signal.SIGKILL
        found = len(list(killed.glob("*.tar")))
        assert published + number - (moment == "before") <= found < 6
        published = found
    distill(*synthetic(killed, scenes, "--no-check"))
    assert contents(killed) == contents(whole)
    assert verify(killed) == []
    keys = [sample.key for sample in read_samples(killed)]
    assert len(keys) == len(set(keys)) == scenes
    assert not list(killed.glob(".shard*"))


def test_one_and_two_processes_and_parts_give_the_same_shards(tmp_path: Path) -> None:
    one, two, parts = tmp_path / "one", tmp_path / "two", tmp_path / "parts"
    distill(*synthetic(one, 6, "--workers", 1))
    distill(*synthetic(two, 6, "--workers", 2))
    assert not distill(*synthetic(parts, 6, "--job-index", "1/2"))["complete"]
    assert distill(*synthetic(parts, 6, "--job-index", "2/2"))["complete"]
    assert contents(one) == contents(two) == contents(parts)


def test_another_job_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    distill(*synthetic(out, 4))
    refused = distill(*synthetic(out, 4, "--set", "seed=1"), code=2)
    assert "another job" in refused["error"] and "--overwrite" in refused["hint"]
    distill(*synthetic(out, 4, "--set", "seed=1", "--overwrite"))


def test_plan_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = distill(*synthetic(out, 1000, "--plan"))
    assert plan["photos"] == 1000 and plan["answers"] == 3000 and plan["bytes"] > 0
    assert not out.exists()


def test_shards_are_read_by_webdataset_and_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    distill(*synthetic(out, 8))
    import webdataset

    urls = sorted(str(path) for path in out.glob("*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [sample.key for sample in read_samples(out)]
    assert "depth.png" in samples[0] and "jpg" in samples[0]

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    from datasets import load_dataset

    rows = list(load_dataset(str(out), split="train", streaming=True))  # by the dataset card
    assert len(rows) == 8
    first = next(read_samples(out))
    assert np.array_equal(
        np.asarray(rows[0]["depth.png"]), np.asarray(Image.open(io.BytesIO(first.files["depth.png"])))
    )


def replay_manifest(folder: Path, suffix: str) -> Path:
    """One photo with a depth answer and a semantic one, in every manifest format."""
    from distill.teachers.codecs.depth import encode_depth_rgb

    # Two things side by side, as the answers say: answers that lie over no edge of their photo are rejected.
    pixels = np.random.default_rng(0).normal(60, 4, (64, 96, 3))
    pixels[:, 48:] += 120
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "photo.png")
    Image.fromarray(encode_depth_rgb(np.full((64, 96), 3.0, np.float32))).save(folder / "depth.png")
    generated = np.zeros((64, 96, 3), np.uint8)
    generated[:, :48] = (255, 0, 0)
    generated[:, 48:] = (0, 0, 255)
    Image.fromarray(generated).save(folder / "semantic.png")
    legend = {"cat": "red", "dog": [0, 0, 255]}
    rows = [
        {"photo": "photo.png", "task": "depth", "answer": "depth.png"},
        {"photo": "photo.png", "task": "semantic", "answer": "semantic.png", "legend": legend},
    ]
    path = folder / f"answers{suffix}"
    if suffix == ".csv":
        quoted = json.dumps(legend).replace('"', '""')
        path.write_text(
            "photo,task,answer,legend\nphoto.png,depth,depth.png,\n" + f'photo.png,semantic,semantic.png,"{quoted}"\n'
        )
    else:
        path.write_text(json.dumps(rows))  # JSON is YAML
    return path


def test_workers_end_with_their_killed_parent(tmp_path: Path) -> None:
    process = start("distill", *synthetic(tmp_path / "out", 4000, "--no-check", "--workers", 2))
    try:
        wait_until(
            lambda: list((tmp_path / "out").glob("*.tar")) or process.poll() is not None, until="the first shard"
        )
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
        process.wait()
        wait_until(lambda: not any(is_running(child) for child in children), until="the end of all workers")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def is_running(pid: str) -> bool:
    """Whether a process exists and is more than an entry that no parent has read yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".csv"])
def test_replayed_answers_become_labels(suffix: str, tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, suffix)
    out = tmp_path / "out"
    replay = ("--teacher", "replay", "--answers", manifest)
    result = distill("label", tmp_path / "photo.png", *replay, "--out", out, "--no-check")
    assert result["answers"] == 2 and not result["unanswered"]
    sample = next(read_samples(out))
    assert np.allclose(np.median(sample.label(Task.DEPTH).value), 3.0, atol=0.01)
    semantic = sample.label(Task.SEMANTIC, read_manifest(out))
    assert semantic.classes == ("cat", "dog", "background")
    assert (semantic.value[:, :40] == 0).all() and (semantic.value[:, 56:] == 1).all()


def test_a_wrong_manifest_row_is_named(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".json")
    rows = json.loads(manifest.read_text())
    rows[1]["task"] = "color"
    manifest.write_text(json.dumps(rows))
    arguments = (
        "label",
        tmp_path / "photo.png",
        "--teacher",
        "replay",
        "--answers",
        manifest,
        "--out",
        tmp_path / "out",
    )
    refused = distill(*arguments, code=2)
    assert "row 2" in refused["error"]


def test_a_price_that_is_no_number_is_refused(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".json")
    rows = json.loads(manifest.read_text())
    for price in (float("nan"), -1.0):
        rows[1]["cost_usd"] = price
        manifest.write_text(json.dumps(rows))
        words = ("label", tmp_path / "photo.png", "--teacher", "replay", "--answers", manifest, "--out", tmp_path / "o")
        assert "row 2: cost_usd" in distill(*words, code=2)["error"]


def test_cut_tars_and_pages_are_made_again_and_a_living_writers_part_stays(tmp_path: Path) -> None:
    words: tuple[object, ...] = (
        "label",
        "--teacher",
        "synthetic",
        "--set",
        "scenes=6",
        "--set",
        "size_hw=[48,64]",
        "--shard-size",
        2,
    )
    words += ("--out", tmp_path / "out", "--workers", 1)
    distill(*words)
    names = [f"shard-{index:06d}.tar" for index in range(3)]
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    (tmp_path / "out" / names[1]).write_bytes(before[1][:-512])
    page = tmp_path / "out" / ".stats" / "shard-000002.json"
    page.write_bytes(page.read_bytes()[:40])
    dead = subprocess.Popen(["true"])
    dead.wait()
    parts = [tmp_path / "out" / f".shard-000009.tar.{pid}.part" for pid in (os.getpid(), dead.pid)]
    for part in parts:
        part.write_bytes(b"half")
    assert distill(*words)["complete"]
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before
    assert [part.exists() for part in parts] == [True, False]


def test_normals_in_another_frame_than_the_config_says_are_refused(tmp_path: Path) -> None:
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    photos.mkdir()
    maps.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    facing = np.full((40, 60, 3), (128, 128, 0), np.uint8)  # z forward: -1 faces the camera
    Image.fromarray(facing).save(maps / "a.png")
    for frame, count in (("opencv", 1), ("opengl", 0)):
        config = tmp_path / f"{frame}.yaml"
        normals = {"pattern": "../maps/{stem}.png", "scale": 2 / 255, "offset": -1.0, "frame": frame}
        config.write_text(json.dumps({"kind": "maps", "normals": normals}))
        result = distill("label", photos, "--teacher", config, "--out", tmp_path / frame, code=1 - count)
        assert result["labeled"] == count
    assert "away from the camera" in json.dumps(result)


def test_a_missing_answer_costs_that_question_only(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".yaml")
    (tmp_path / "depth.png").unlink()
    arguments = (
        "label",
        tmp_path / "photo.png",
        "--teacher",
        "replay",
        "--answers",
        manifest,
        "--out",
        tmp_path / "out",
    )
    result = distill(*arguments)
    assert result["labels"] == {"depth": 0, "semantic": 1}
    assert [row["task"] for row in result["unanswered"]] == ["depth"]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_labels_lie_as_a_person_sees_the_photo(orientation: int, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(0).save(photos / "photo.jpg", exif=exif)
    upright_hw = PHOTO_HW[::-1] if orientation == 6 else PHOTO_HW
    add_depth(photos / "photo.jpg", upright_hw)
    config = tmp_path / "maps.yaml"
    config.write_text("kind: maps\ndepth: {pattern: '../depth/{name}.png', scale: 0.001}\n")
    distill("label", photos, "--teacher", config, "--out", tmp_path / "out")
    sample = next(read_samples(tmp_path / "out"))
    assert tuple(sample.meta["size_hw"]) == sample.label(Task.DEPTH).size_hw == upright_hw


def test_every_nth_frame_of_a_video_and_existing_shards_can_be_labeled(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    # A "depth network" that gives the mean of the channels: enough to see photos go in and maps come out.
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 32, 48]) for n, c in (("x", 3), ("y", 1))]
    graph = helper.make_graph([node], "mean", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "t.yaml").write_text(
        "kind: onnx\nmodel: m.onnx\noutputs: [{task: depth, depth_kind: affine_invariant_disparity}]\n"
    )
    frames = [picture(i, (32, 48)) for i in range(10)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    out, again = tmp_path / "out", tmp_path / "again"
    result = distill(
        "label", tmp_path / "clip.gif", "--frame-stride", 3, "--teacher", tmp_path / "t.yaml", "--out", out, code=None
    )
    if result.get("photos", 0) > 1:  # a GIF is a video where it has several frames
        assert [sample.meta["name"] for sample in read_samples(out)] == [f"clip.gif#{i}" for i in (0, 3, 6, 9)]
    assert read_manifest(out).depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY
    distill("label", out, "--teacher", tmp_path / "t.yaml", "--out", again)
    assert [s.key for s in read_samples(again)] == [s.key for s in read_samples(out)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no teacher given"),
        (("--teacher", "sage"), "no such teacher"),
        (("--teacher", "replay"), "the key answers is missing"),
        (("nowhere", "--teacher", "synthetic"), "no such file"),
        (("--teacher", "synthetic", "--set", "scene=3"), "did you mean 'scenes'"),
        (("--teacher", "synthetic", "--task", "instance", "--set", "tasks=[depth]"), "cannot do instance"),
        (("--teacher", "synthetic", "--job-index", "3/2"), "k/n"),
        (("--teacher", "synthetic", "--deadline", "soon", "--plan"), "--deadline soon"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    refused = distill("label", *arguments, "--out", tmp_path / "out", code=2)
    assert words in refused["error"]


def test_configs_that_say_a_key_twice_or_never_end_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "t.yaml"
    for text, words in (
        ("kind: synthetic\nscenes: 4\nscenes: 5\n", "line 3: not valid YAML: the key 'scenes' is given twice"),
        ("[" * 20_000, "nested too deeply"),
    ):
        config.write_text(text)
        assert words in distill("label", "--teacher", config, "--out", tmp_path / "out", code=2)["error"]
    merged = tmp_path / "m.yaml"
    merged.write_text("kind: synthetic\nscenes: 1\nfaults: {<<: {color_noise_sigma: 1.0}, color_noise_sigma: 2.0}\n")
    distill("label", "--teacher", merged, "--set", "size_hw=[48,64]", "--out", tmp_path / "out", "--plan")


def test_a_file_in_the_place_of_the_accounts_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".stats").write_text("a file")
    words = ("label", "--teacher", "synthetic", "--set", "scenes=1", "--out", tmp_path / "out", "--workers", 1)
    assert ".stats: cannot be created" in distill(*words, code=1)["error"]


def test_several_answers_of_a_teacher_that_is_asked_once_are_refused(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "a.png")
    words = ("label", tmp_path / "a.png", "--teacher", "json:loads", "--set", "outputs=[{task: depth}]")
    for more in (("--num-answers", 3), ("--flip",)):
        assert "one result per photo" in distill(*words, *more, "--out", tmp_path / "out", code=2)["error"]


def test_two_rows_that_ask_the_same_keep_their_own_answers(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".json")
    rows = json.loads(manifest.read_text())[:1] * 2
    from distill.teachers.codecs.depth import encode_depth_rgb

    Image.fromarray(encode_depth_rgb(np.full((64, 96), 7.0, np.float32))).save(tmp_path / "depth2.png")
    rows[1] = {**rows[1], "answer": "depth2.png"}
    manifest.write_text(json.dumps(rows))
    (tmp_path / "photo-2.png").write_bytes(
        (tmp_path / "photo.png").read_bytes()
    )  # no key may collide with a second lesson
    replay = ("--teacher", "replay", "--answers", manifest, "--no-check")
    distill("label", tmp_path / "photo.png", *replay, "--out", tmp_path / "out")
    depths = [float(np.median(sample.label(Task.DEPTH).value)) for sample in read_samples(tmp_path / "out")]
    assert depths == pytest.approx([3.0, 7.0], abs=0.02)


def test_an_answer_goes_to_its_own_photo_and_to_no_other_of_that_name(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".json")
    (tmp_path / "sub").mkdir()
    picture(5, (64, 96)).save(tmp_path / "sub" / "photo.png")
    refused = distill(
        "label", tmp_path / "sub", "--teacher", "replay", "--answers", manifest, "--out", tmp_path / "out", code=1
    )
    assert refused["labeled"] == 0 and "no generated image of this photo" in refused["failed"][0]["reason"]


def test_a_changed_answer_is_noticed(tmp_path: Path) -> None:
    manifest = replay_manifest(tmp_path, ".json")
    arguments = (
        "label",
        tmp_path / "photo.png",
        "--teacher",
        "replay",
        "--answers",
        manifest,
        "--out",
        tmp_path / "out",
    )
    distill(*arguments)
    picture(3, (64, 96)).save(tmp_path / "semantic.png")
    changed = distill(*arguments, code=None)["changed"]
    assert len(changed) == 1 and changed[0].endswith("semantic.png has changed")


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    distill(*synthetic(out, 4))
    before = contents(out)
    refused = distill("label", out, "--teacher", "synthetic", "--out", out, "--overwrite", code=2)
    assert "both an input and --out" in refused["error"] and contents(out) == before


def test_a_refused_run_leaves_the_config_of_the_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    distill(*synthetic(out, 4))
    before = (out / "label.config.yaml").read_text()
    distill(*synthetic(out, 4, "--set", "seed=9"), code=2)
    assert (out / "label.config.yaml").read_text() == before


def test_odd_files_neither_hang_nor_stop_the_run(maps_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(0).save(folder / "good.png")
    add_depth(folder / "good.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with (folder / "huge.png").open("wb") as file:
        file.truncate(8 * 2**30)  # sparse
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes((folder / "good.png").read_bytes())
    add_depth(Path(os.fsdecode(raw)))
    result = distill("label", folder, "--teacher", maps_config, "--out", tmp_path / "out", code=1)
    assert result["labeled"] == 2
    assert {row["name"] for row in result["failed"]} == {"pipe.png", "zero.png", "huge.png"}


def test_results_may_lie_below_the_photos(maps_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(0).save(folder / "good.png")
    add_depth(folder / "good.png")
    for _ in range(2):  # the second time its own previews must not count as photos
        assert distill("label", folder, "--teacher", maps_config, "--out", folder / "shards")["photos"] == 1


def test_a_damaged_input_shard_costs_its_own_samples_only(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    distill(*synthetic(one, 8))
    path = one / "shard-000000.tar"
    path.write_bytes(path.read_bytes()[:9000])
    teacher = ("--teacher", "synthetic", "--set", "size_hw=[48,64]", "--set", "truth=true")
    result = distill("label", one, *teacher, "--out", two, code=1)
    assert result["labeled"] + len(result["failed"]) == 8 and result["labeled"] >= 4
