"""Interrupted video jobs resume with equal results; a full disk stops them cleanly."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from distill.errors import DistillError
from distill.export.inference.photos import PredictionSummary
from distill.export.inference.segment_log import SegmentLog, fingerprint
from distill.export.inference.stages import SegmentEnd
from distill.export.inference.temporal_filter import TemporalFilterConfig
from distill.export.inference.video_options import SINKS, OutputPaths, VideoOptions
from distill.export.inference.videos import predict_video
from distill.export.sinks import base
from distill.video import VideoReader
from tests.builders.cli import Cli
from tests.builders.videos import write_clip
from tests.fakes.runner import FakeRunner
from tests.waiting import wait_until

ALL = frozenset(SINKS) - {"parquet"}


def job(clip: Path, out: Path, **changes: object) -> tuple[PredictionSummary, OutputPaths]:
    """All results in segments of 4 frames."""
    options = VideoOptions(
        **{
            "write": ALL,
            "batch": 2,
            "checkpoint_every": 4,
            "points": (3,),
            "fov_deg": 60.0,
            "temporal_filter": TemporalFilterConfig(),
            **changes,
        }
    )
    output_paths = OutputPaths(out / "clip", out / "clip.mp4", out / "clip.maps")
    done = PredictionSummary()
    predict_video(FakeRunner(), "clip", VideoReader(clip), output_paths, options, done, lambda count: None)
    return done, output_paths


def contents(out: Path) -> dict[str, object]:
    """Contents of every file: frames and times of videos, bytes of others."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.suffix in (".mp4", ".mkv"):
            with av.open(str(path)) as container:
                frames = [(round(frame.time, 4), bytes(frame.planes[0])) for frame in container.decode(video=0)]
            found[path.name] = frames
        elif path.is_file():
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", [40 * n for n in range(18)], noise=20)


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("whole")
    done, output_paths = job(clip, out)
    assert done.rows[0]["frames"] == 18 and not done.failed and not output_paths.work.exists()
    return contents(out)


class Cut(BaseException):
    """Substitute for SIGKILL: not caught, no cleanup."""


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_a_job_interrupted_after_any_segment_has_equal_results(
    clip: Path, whole: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    commit = SegmentLog.commit

    def cut(self: SegmentLog, boundary: SegmentEnd, times: list) -> None:
        commit(self, boundary, times)
        if len(self.segments) == at:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(SegmentLog, "commit", cut)
        with pytest.raises(Cut):
            job(clip, tmp_path)
    done, _ = job(clip, tmp_path)
    assert done.rows[0]["resumed_at"] == min(4 * at, 18)
    assert contents(tmp_path) == whole


def test_the_comparison_can_fail(clip: Path, whole: dict[str, object], tmp_path: Path) -> None:
    """Without its state the temporal filter starts again, and the maps differ."""
    job(clip, tmp_path, temporal_filter=None)
    assert contents(tmp_path) != whole


@pytest.mark.parametrize(("damaged", "resumed_at"), [("000006", None), ("000009", 8)])
def test_a_damaged_segment_is_computed_again(
    clip: Path,
    whole: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damaged: str,
    resumed_at: int | None,
) -> None:
    """States exist for the last two segments; a resume from an older one starts at the first frame."""
    commit = SegmentLog.commit

    def cut(self: SegmentLog, boundary: SegmentEnd, times: list) -> None:
        commit(self, boundary, times)
        if len(self.segments) == 3:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(SegmentLog, "commit", cut)
        with pytest.raises(Cut):
            job(clip, tmp_path)
    (tmp_path / "clip.maps" / f"{damaged}.depth.png").write_bytes(b"")  # a power cut leaves such files
    with (tmp_path / ".clip.work" / "segments.jsonl").open("a") as file:
        file.write('{"segment": 3, "sto')  # and such lines
    done, _ = job(clip, tmp_path)
    assert contents(tmp_path) == whole
    assert done.rows[0].get("resumed_at") == resumed_at


def test_other_options_start_at_the_first_frame(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: SegmentLog, boundary: SegmentEnd, times: list) -> None:
        commit(self, boundary, times)
        raise Cut

    commit = SegmentLog.commit
    with monkeypatch.context() as patch:
        patch.setattr(SegmentLog, "commit", cut)
        with pytest.raises(Cut):
            job(clip, tmp_path)
    done, _ = job(clip, tmp_path, temporal_filter=TemporalFilterConfig(0.9))
    assert "resumed_at" not in done.rows[0] and done.rows[0]["frames"] == 18


def test_segments_of_another_format_are_discarded_with_a_note(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SegmentLog.commit

    def cut(self: SegmentLog, boundary: SegmentEnd, times: list) -> None:
        commit(self, boundary, times)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(SegmentLog, "commit", cut)
        with pytest.raises(Cut):
            job(clip, tmp_path)
    log = tmp_path / ".clip.work" / "segments.jsonl"
    log.write_text(log.read_text().replace('"format": 3', '"format": 1'))
    done, _ = job(clip, tmp_path)
    assert "resumed_at" not in done.rows[0] and done.rows[0]["frames"] == 18
    assert "discarded the unfinished segments" in done.rows[0]["notes"][0] and "format 1" in done.rows[0]["notes"][0]


def test_a_fingerprint_covers_file_and_facts(clip: Path, tmp_path: Path) -> None:
    first = fingerprint(clip, {"a": 1})
    assert first == fingerprint(clip, {"a": 1}) != fingerprint(clip, {"a": 2})
    os.utime(clip)
    assert fingerprint(clip, {"a": 1}) != first


def test_a_full_disk_keeps_finished_segments(
    clip: Path, whole: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = Path.open

    def full(self: Path, *args: Any, **options: Any) -> Any:
        if "000010.depth" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DistillError, match=r"frame 10: .*No space left on device.*free space"):
            job(clip, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
    done, _ = job(clip, tmp_path)
    assert done.rows[0]["resumed_at"] == 8 and contents(tmp_path) == whole


def test_an_engine_error_names_the_frame_and_keeps_the_rest(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRunner._run

    def broken(self: FakeRunner, images: np.ndarray) -> dict:
        if len(self.batches) == 6:
            raise DistillError("no memory", hint="try a smaller --batch")
        return run(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(FakeRunner, "_run", broken)
        done, _ = job(clip, tmp_path, temporal_filter=None)
    assert done.failed[0]["reason"] == "frames 12 to 13: no memory; 12 frames are saved"
    assert done.failed[0]["hint"] == "try a smaller --batch" and not done.rows
    done, _ = job(clip, tmp_path, temporal_filter=None)
    assert done.rows[0] | {"resumed_at": 12, "frames": 18} == done.rows[0]


def test_a_killed_process_resumes(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    """SIGKILL during the job, then the same command."""
    clip = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(120)], noise=30)
    results = []
    for out, kills in ((tmp_path / "killed", 1), (tmp_path / "whole", 0)):
        words = ["predict", onnx_file, clip, "--out", out, "--batch", "2"]
        words += [
            "--write",
            "overlay",
            "--write",
            "ffv1",
            "--temporal-smoothing",
            "0.5",
            "--checkpoint-every",
            "10",
            "--threads",
            "1",
        ]
        for _ in range(kills):
            command = [sys.executable, "-m", "distill", *map(str, words)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(
                lambda process=process, out=out: journal_lines(out) > 2 or process.poll() is not None,  # type: ignore[misc]
                until="two finished segments",
            )
            process.send_signal(signal.SIGKILL)
            process.wait()
        results.append(cli.result(*words))
    assert results[0]["results"][0]["resumed_at"] >= 10 and "resumed_at" not in results[1]["results"][0]
    first, second = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    for name in ("clip.mp4", "clip.depth.mkv", "clip.normals.mkv", "clip.semantic.mkv"):
        assert first[name] == second[name] and len(first[name]) == 120


def journal_lines(out: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in out.glob(".*.work/segments.jsonl"))


def test_sinks_write_no_partial_files(tmp_path: Path) -> None:
    base.write_file(tmp_path / "a", b"x")
    with pytest.raises(DistillError, match="cannot be written"):
        base.write_file(tmp_path / "none" / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
