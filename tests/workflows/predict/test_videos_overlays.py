"""Overlay videos of all kinds of sources: read back by ffprobe and PyAV, and played to the end by a browser."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest

from distill.workflows import open_model
from distill.workflows.predict.run import predict
from tests.builders.overlays import Contents, check_overlay, find_chromium
from tests.builders.videos import clip_with_sound, make_clip, with_matrix, write_stream
from tests.fakes.runner import FakeRunner

TWENTY = tuple(range(20))
TIMES = [0, 33, 66, 200, 300, 333, 700, 733, 900, 901]
TIMEOUT_S = 40


def _joined(folder: Path) -> Path:
    """Two recordings in one file, each with a clock of its own that begins late."""
    parts = [write_stream(folder / f"{at}.part.ts", range(at, at + 20), sound=True, start_s=900) for at in (0, 20)]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


SOURCES: dict[str, tuple[Callable[[Path], Path], Contents]] = {
    "b_frames": (lambda f: make_clip(f / "b_frames.mp4", sound=True), Contents(TWENTY, 0.8, sound_s=0.8)),
    "variable": (
        lambda f: make_clip(f / "variable.mkv", num_frames=10, times=TIMES, codec="mpeg4"),
        Contents(range(10), 0.94, frame_s=0.1),
    ),
    "odd_size": (
        lambda f: make_clip(f / "odd_size.mkv", codec="ffv1", pix_fmt="yuv444p", size_hw=(49, 97)),
        Contents(TWENTY, 0.8, (49, 97)),
    ),
    "full_range": (
        lambda f: make_clip(f / "full_range.mov", codec="mjpeg", pix_fmt="yuvj420p"),
        Contents(TWENTY, 0.8),
    ),
    "ten_bits": (lambda f: make_clip(f / "ten_bits.mkv", pix_fmt="yuv420p10le"), Contents(TWENTY, 0.8)),
    "vp9": (lambda f: make_clip(f / "vp9.webm", codec="libvpx-vp9"), Contents(TWENTY, 0.8)),
    "quarter_turn": (
        lambda f: make_clip(f / "quarter_turn.mp4", rotation=90),
        Contents(TWENTY, 0.8, (96, 48), undo=lambda shown: np.rot90(shown, -1)),
    ),
    "mirrored": (
        lambda f: with_matrix(make_clip(f / "m.mp4"), (-1, 0, 0, 1)).rename(f / "mirrored.mp4"),
        Contents(TWENTY, 0.8, undo=np.fliplr),
    ),
    "raw": (lambda f: make_clip(f / "raw.h264"), Contents(TWENTY, 0.8)),
    "wide_pixels": (
        lambda f: write_stream(f / "wide_pixels.ts", TWENTY, aspect=Fraction(8, 9), sound=True),
        Contents(TWENTY, 0.8, (54, 96), 0.8),
    ),
    "interlaced": (
        lambda f: write_stream(f / "interlaced.ts", TWENTY, interlaced=True, size_hw=(64, 96)),
        Contents(TWENTY, 0.8, (64, 96)),
    ),
    "wraps": (
        lambda f: write_stream(f / "wraps.ts", TWENTY, start_s=95443.3, sound=True),
        Contents(TWENTY, 0.8, sound_s=0.8),
    ),
    "joined": (_joined, Contents(range(40), 1.6, sound_s=1.6)),
    "gif": (lambda f: make_clip(f / "gif.gif", codec="gif", pix_fmt="rgb8"), Contents(TWENTY, 0.8)),
}
SOUNDS = {
    "sound_192k.mov": ("pcm_s24le", 192000, "stereo"),
    "sound_7_channels.mkv": ("pcm_f32le", 44100, "6.1"),
    "sound_opus.mkv": ("libopus", 48000, "mono"),
    "sound_8k.avi": ("pcm_s16le", 8000, "mono"),
}


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Overlay by source; the containers take turns."""
    folder = tmp_path_factory.mktemp("overlays")
    (folder / "model.onnx").write_bytes(b"model")
    sources = [make(folder) for make, _ in SOURCES.values()]
    sounds = [clip_with_sound(folder / name, *sound) for name, sound in SOUNDS.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_model, "open_model", lambda path, **options: FakeRunner())
        result = predict(folder / "model.onnx", [*sources, *sounds], out=folder / "out", batch=4)
        for source, suffix in ((sources[0], "mov"), (sources[0], "mkv"), (sources[0], "m4v")):
            predict(folder / "model.onnx", source, out=folder / f"as_{suffix}.{suffix}", batch=4)
        hevc = predict(folder / "model.onnx", sources[0], out=folder / "hevc.mp4", batch=4, codec="hevc")
    assert not result.failed and not hevc.failed
    found = {Path(row["name"]).stem: Path(row["video"]) for row in result.results}
    found |= {f"as_{suffix}": folder / f"as_{suffix}.{suffix}" for suffix in ("mov", "mkv", "m4v")}
    return {**found, "hevc": folder / "hevc.mp4"}


@pytest.mark.parametrize("name", SOURCES)
def test_an_overlay_has_the_frames_times_sound_and_shape_of_its_source(name: str, overlays: dict[str, Path]) -> None:
    check_overlay(overlays[name], SOURCES[name][1])


@pytest.mark.parametrize("name", ["as_mov", "as_mkv", "as_m4v", "hevc"])
def test_every_container_and_codec(name: str, overlays: dict[str, Path]) -> None:
    # In Matroska everything begins later by the lead-in of the AAC, which MP4 hides with an edit list.
    source = SOURCES["b_frames"][1]
    check_overlay(overlays[name], replace(source, frame_s=0.1) if name == "as_mkv" else source)


@pytest.mark.parametrize("name", [Path(name).stem for name in SOUNDS])
def test_unusual_sound_stays_as_long_as_it_is(name: str, overlays: dict[str, Path]) -> None:
    with av.open(str(overlays[name])) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
        assert container.streams.video[0].frames == 25
    assert seconds == pytest.approx(1.0, abs=0.07)


PAGE = """<!doctype html><body><script>
const names = %s, found = {};
for (const name of names) {
  const video = document.createElement("video");
  const report = (error) => {
    if (name in found) return;
    const frames = video.getVideoPlaybackQuality().totalVideoFrames;
    found[name] = {error, ended: video.ended, duration: video.duration, at: video.currentTime, frames};
    fetch("/result", {method: "POST", body: JSON.stringify({[name]: found[name]})});
  };
  video.muted = true;
  video.onended = () => report("");
  video.onerror = () => report(video.error.message || "error " + video.error.code);
  video.src = "/" + encodeURIComponent(name);
  document.body.appendChild(video);
  video.play().catch((error) => report(String(error)));
}
</script></body>"""


@contextmanager
def serving(videos: dict[str, Path]) -> Iterator[tuple[int, dict[str, Any], list[str], threading.Event]]:
    """(port, results, paths that were requested, event that all results are there) of a page that plays all videos."""
    results: dict[str, Any] = {}
    requested: list[str] = []
    ready = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path.lstrip("/"))
            requested.append(self.path)
            page = (PAGE % json.dumps(list(videos))).encode()
            data = videos[name].read_bytes() if name in videos else page if not name else b""
            self.send_response(200 if data else 404)
            self.send_header("Content-Type", "video/mp4" if name else "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            results.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            if len(results) == len(videos):
                ready.set()

        def log_message(self, *args: object) -> None:
            """Nothing on the screen."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], results, requested, ready
        finally:
            server.shutdown()


def test_a_browser_plays_every_mp4_to_its_end(overlays: dict[str, Path], tmp_path: Path) -> None:
    browser = find_chromium()
    videos = {name: path for name, path in overlays.items() if path.suffix == ".mp4" and name != "hevc"}
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--autoplay-policy=no-user-gesture-required", "--mute-audio", f"--user-data-dir={tmp_path / 'profile'}"]
    with serving(videos) as (port, results, requested, ready):
        process = subprocess.Popen(
            [browser, *words, f"http://127.0.0.1:{port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            ready.wait(TIMEOUT_S)
        finally:
            process.terminate()
            process.wait()
    if not requested:
        pytest.skip(f"{browser} does not start here")
    assert results.keys() == videos.keys(), f"not played to the end: {videos.keys() - results.keys()}"
    for name, result in results.items():
        assert not result["error"] and result["ended"], (name, result)
        if name in SOURCES:
            source = SOURCES[name][1]
            longest = max(source.seconds, source.sound_s)
            assert abs(result["duration"] - longest) <= max(source.frame_s, 0.07), (name, result)
            assert result["at"] == pytest.approx(result["duration"], abs=0.05), (name, result)
            assert result["frames"] > len(source.numbers) // 2, (name, result)  # a busy machine may skip some
