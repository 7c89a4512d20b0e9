"""`distill predict` over many files: each good one is done, each odd one is done or named, and secrets stay secret."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from distill.errors import UsageError
from distill.export.inference import videos as inference
from distill.video import VideoReader
from distill.workflows import open_model
from distill.workflows.predict.videos import describe_left_out, split_inputs
from tests.builders.addresses import SECRET_ADDRESSES
from tests.builders.cli import Cli
from tests.builders.odd_files import write_good_files, write_odd_files
from tests.builders.videos import make_clip, write_photo, write_stream
from tests.fakes.runner import FakeRunner

PREDICT_FOLDERS = """
import json, resource, sys
from distill.workflows import open_model
from tests.builders.cli import Cli
from tests.fakes.runner import FakeRunner

open_model.open_model = lambda path, **options: FakeRunner()
for number, folder in enumerate(sys.argv[2:]):
    code, out, said = Cli()("predict", "model.onnx", folder, "--out", f"{sys.argv[1]}{number}", "--batch", 2, "--json")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"code": code, "peak_mb": peak_mb, "said": said, "result": json.loads(out)}))
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file that opens as the fake runner."""
    monkeypatch.setattr(open_model, "open_model", lambda path, **options: FakeRunner())
    (tmp_path / "model.onnx").write_bytes(b"model")
    return tmp_path / "model.onnx"


def test_odd_files_never_stop_the_good_ones(tmp_path: Path, repository: Path) -> None:
    """In a process of its own, whose memory tells the good ones alone from all of them."""
    good, everything, scratch = (tmp_path / name for name in ("good", "all", "scratch"))
    for folder in (good, everything, scratch):
        folder.mkdir()
    write_good_files(good)
    write_good_files(everything)
    write_odd_files(everything, scratch)
    (everything / "notes.txt").write_text("left out")
    words = [PREDICT_FOLDERS, str(tmp_path / "out"), str(good), str(everything)]
    done = subprocess.run([sys.executable, "-c", *words], cwd=repository, capture_output=True, text=True, check=True)
    first, last = (json.loads(line) for line in done.stdout.splitlines())
    assert first["code"] == 0 and not first["result"]["failed"] and len(first["result"]["results"]) == 10
    assert last["code"] == 1 and "Traceback" not in done.stderr and "unexpected" not in done.stderr + done.stdout
    assert last["peak_mb"] < 1.15 * first["peak_mb"], (first["peak_mb"], last["peak_mb"])
    result = last["result"]
    rows = {row["name"]: row for row in result["results"]}
    for number in range(5):
        assert rows[f"good_{number}.mp4"]["frames"] == 20 + number and f"good_{number}.png" in rows
        assert VideoReader(Path(rows[f"good_{number}.mp4"]["video"])).count() == 20 + number
    named = rows.keys() | {row["name"] for row in result["failed"]}
    names = {os.fsencode(path.name).decode(errors="replace") for path in everything.iterdir()} - {"notes.txt"}
    left_out = next(line for line in last["said"].splitlines() if "left out" in line)
    missing = {name for name in names - named if Path(name).suffix not in left_out}
    assert not missing, missing
    assert all(len(row["reason"]) > 5 and "\n" not in row["reason"] for row in result["failed"])
    for name in (
        "12:30:05.mp4",
        "percent%05d.mp4",
        "video.jpg",
        "no_suffix",
        "rec.dav",
        "sound_unknown.mp4",
        "twice.ts",
        "late.ts",
    ):
        assert name in rows and name not in {row["name"] for row in result["failed"]}, name


def test_an_unexpected_error_in_one_video_is_a_failure_of_that_video(
    model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = inference._prepare

    def broken(runner: object, source: VideoReader, *others: object) -> object:
        if source.path.name == "a.mp4":
            raise ZeroDivisionError("something unforeseen")
        return prepare(runner, source, *others)

    monkeypatch.setattr(inference, "_prepare", broken)
    monkeypatch.delenv("DISTILL_DEBUG", raising=False)
    for name in ("a.mp4", "b.mp4"):
        make_clip(tmp_path / name, num_frames=3, codec="mpeg4")
    result = cli.result("predict", model, tmp_path / "a.mp4", tmp_path / "b.mp4", "--out", tmp_path / "out", code=1)
    assert [row["name"] for row in result["results"]] == ["b.mp4"]
    assert "unexpected ZeroDivisionError: something" in result["failed"][0]["reason"]


@contextmanager
def sending(data: bytes) -> Iterator[int]:
    """A camera that sends a clip on every connection."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                line, _ = server.accept()
                with line:
                    line.sendall(data)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def written_below(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        yield os.fsencode(path.relative_to(folder))
        if path.is_file():
            yield path.read_bytes()


def test_no_secret_is_printed_or_written(
    model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras that cannot be reached, one that can, and words that are no addresses at all."""
    monkeypatch.setenv("DISTILL_DEBUG", "1")
    others = ["rtps://u:S3CRET@h/1", "ftp://u:S3CRET@h/1", "rtsp:/u:S3CRET@h", "srt://h:1?passphrase=S3CRET"]
    said = ""
    for address in [*SECRET_ADDRESSES, *others]:
        for more in ((), ("--json",)):
            code, out, errors = cli("predict", model, address, "--out", tmp_path / "o", "--camera-timeout", 0.2, *more)
            assert code in (1, 2), address
            said += out + errors
    with sending(write_stream(tmp_path / "a.ts", range(20)).read_bytes()) as port:
        for address in (f"tcp://u:S3CRET@127.0.0.1:{port}", f"tcp://127.0.0.1:{port}/S3CRET?x=S3CRET"):
            words = ("--write", "overlay", "--write", "statistics", "--camera-timeout", 0.2, "--seconds", 5, "--json")
            code, out, errors = cli("predict", model, address, "--out", tmp_path / "o2", *words)
            said += out + errors
    assert "127.0.0.1" in said and "S3CRET" not in said
    assert list(tmp_path.rglob("*.mp4")) and list(tmp_path.rglob("predictions.json"))
    assert not any(b"S3CRET" in data for data in written_below(tmp_path))


def test_two_commands_do_not_share_an_output(model: Path, tmp_path: Path, cli: Cli) -> None:
    from distill.runtime.folder_lock import hold_output

    clip = make_clip(tmp_path / "a.mp4", num_frames=3, codec="mpeg4")
    for out in (tmp_path / "out", tmp_path / "o.mp4"):
        with hold_output(out, "predict", is_file=out.suffix == ".mp4"):
            code, _, errors = cli("predict", model, clip, "--out", out)
        assert code == 1 and f"process {os.getpid()}" in errors and "is writing here" in errors
        assert cli("predict", model, clip, "--out", out)[0] == 0


def test_inputs_are_taken_by_their_bytes_and_the_others_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    clip = make_clip(tmp_path / "a.mp4", num_frames=3, codec="mpeg4")
    for name in ("a.xyz", "b", "c.jpg", "d.MP4"):
        shutil.copy(clip, folder / name)
    write_photo(folder / "e.png", (16, 16)).rename(folder / "f.mp4")
    for name in ("x.txt", "y.json", "z.txt"):
        (folder / name).write_text("{}")
    found = split_inputs([str(folder)])
    assert [video.name for video in found.videos] == ["a.xyz", "b", "c.jpg", "d.MP4"]
    assert [photo.name for photo in found.photos] == ["f.mp4"] and found.left_out == ["x.txt", "y.json", "z.txt"]
    assert "3 other files" in describe_left_out(found.left_out) and "2 .txt, 1 .json" in describe_left_out(
        found.left_out
    )


def test_two_paths_of_one_host_are_told_apart() -> None:
    found = split_inputs(["rtsp://cam:554/1", "rtsp://cam:554/2", "rtsp://other/1"])
    assert [video.name for video in found.videos] == [
        "rtsp://cam:554/... (1)",
        "rtsp://cam:554/... (2)",
        "rtsp://other/...",
    ]
    assert len({video.key for video in found.videos}) == 3
    with pytest.raises(UsageError, match="addresses are not read"):
        split_inputs(["gopher://x/y"])


@pytest.mark.parametrize("kind", [MemoryError, UnicodeError, av.error.InvalidDataError])
def test_a_video_that_cannot_be_opened_is_a_failure(
    kind: Callable[..., Exception], model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill.video import decoders

    make_clip(tmp_path / "a.mp4", num_frames=3, codec="mpeg4")

    def broken(*args: object, **options: object) -> object:
        raise kind(1, "reason") if kind is av.error.InvalidDataError else kind("reason")

    monkeypatch.setattr(decoders, "open_input", broken)
    result = cli.result("predict", model, tmp_path / "a.mp4", "--out", tmp_path / "out", code=1)
    assert result["failed"][0]["name"] == "a.mp4" and "not a readable video" in result["failed"][0]["reason"]


def test_times_of_both_clocks_are_in_the_statistics(model: Path, tmp_path: Path, cli: Cli) -> None:
    first = write_stream(tmp_path / "a.ts", range(10), start_s=100.0).read_bytes()
    (tmp_path / "b.ts").write_bytes(first + first)
    words = ("--write", "statistics", "--write", "overlay")
    result = cli.result("predict", model, tmp_path / "b.ts", "--out", tmp_path / "out", *words)
    rows = [json.loads(line) for line in (tmp_path / "out" / "b.statistics.jsonl").read_text().splitlines()]
    assert np.allclose([row["play_s"] for row in rows], np.arange(20) / 25, atol=1e-5)
    assert np.allclose(np.diff([row["time_s"] for row in rows[:10]]), 0.04, atol=1e-5)
    assert rows[0]["time_s"] > 99 and rows[10]["time_s"] == rows[0]["time_s"]
    assert any("the clock of this recording jumps at frame 10" in note for note in result["results"][0]["notes"])
    with av.open(str(tmp_path / "out" / "b.mp4")) as container:
        stream = container.streams.video[0]
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(0.8, abs=0.01)
