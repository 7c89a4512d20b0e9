"""Every decoded frame has its own map, for various containers, rates and rotations; times and sound are preserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from distill.export.inference.photos import PredictionSummary
from distill.export.inference.video_options import OutputPaths, VideoOptions
from distill.export.inference.videos import predict_video
from distill.images import decode_map
from distill.labels.formats import label_format
from distill.tasks import TASKS, DepthKind, Task
from distill.video import VideoReader
from tests.builders.videos import make_clip, read_number
from tests.fakes.runner import SPEC, FakeRunner

VARIABLE = [0, 33, 66, 200, 300, 333, 700, 733, 766, 1000, 1040, 1080, 1500, 1501, 1600, 2000, 2040, 2080, 3000, 3001]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "constant rate, B-frames": ("a.mp4", {}),
    "variable rate": ("a.mkv", {"times": VARIABLE}),
    "variable rate, late start": ("b.mp4", {"times": [2000 + time for time in VARIABLE]}),
    "turned by 90": ("a.mp4", {"rotation": 90}),
    "turned by 180": ("b.mp4", {"rotation": 180}),
    "turned by 270": ("c.mp4", {"rotation": 270}),
    "odd sizes": ("a.mkv", {"size_hw": (49, 97), "codec": "ffv1", "pix_fmt": "yuv444p"}),
    "10 bit": ("a.mp4", {"pix_fmt": "yuv420p10le"}),
    "10 bit HEVC": ("b.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "webm": ("a.webm", {"codec": "libvpx-vp9"}),
    "avi": ("a.avi", {"codec": "mpeg4"}),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "transport stream": ("a.ts", {"codec": "mpeg2video"}),
    "sound": ("a.mov", {"sound": True}),
}


def predict(clip: Path, out: Path, **options: object) -> tuple[PredictionSummary, OutputPaths]:
    output_paths, done = OutputPaths(out / "clip", out / "clip.mp4", out / "maps"), PredictionSummary()
    asked = VideoOptions(**{"write": frozenset({"overlay", "maps"}), "batch": 3, "checkpoint_every": 7, **options})
    spec = SPEC.model_copy(update={"normals": None, "semantic": None})
    predict_video(FakeRunner(spec), clip.name, VideoReader(clip), output_paths, asked, done, lambda count: None)
    return done, output_paths


@pytest.mark.parametrize("case", CASES)
def test_every_map_belongs_to_its_frame(case: str, tmp_path: Path) -> None:
    name, how = CASES[case]
    clip = make_clip(tmp_path / name, **how)
    done, output_paths = predict(clip, tmp_path / "out")
    assert not done.failed and done.rows[0]["frames"] == 20
    files = sorted(output_paths.maps.glob("*.depth.png"))
    assert [int(path.name[:6]) for path in files] == list(range(20))
    turns = how.get("rotation", 0) // 90
    found = []
    for path in files:
        depth, _ = label_format(Task.DEPTH).decode(
            decode_map(path.read_bytes(), path.name), TASKS[Task.DEPTH], DepthKind.METRIC
        )
        red = np.clip((depth - 0.1) * 10, 0, 255).astype(np.uint8)  # the fake reads depth off the red channel
        found.append(read_number(np.rot90(red, -turns)))
    assert found == list(range(20))
    before = np.array([frame.pts_s for frame in VideoReader(clip).frames()])
    after = [frame.pts_s for frame in VideoReader(output_paths.overlay).frames()]
    assert np.allclose(before - before[0], after, atol=0.0011)
    with av.open(str(output_paths.overlay)) as container:
        assert len(container.streams.audio) == bool(how.get("sound"))


@pytest.mark.parametrize(
    "name", ["04_coffee.mp4", "bottle-detection.mp4", "milk.mkv", "example.mp4", "one-by-one-person-detection.gif"]
)
def test_real_containers_give_a_map_for_every_decoded_frame(name: str, real_data: Path, tmp_path: Path) -> None:
    clip = real_data / "video" / name
    if not clip.is_file():
        pytest.skip(f"needs the real video {clip}: set DISTILL_DATA to a folder with video/{name}")
    reader = VideoReader(clip)
    done, output_paths = predict(clip, tmp_path, write=frozenset({"statistics"}), checkpoint_every=100)
    frames = reader.count()
    assert done.rows[0]["frames"] == frames
    assert len(output_paths.with_ending("statistics.jsonl").read_text().splitlines()) == frames


def test_unsupported_sound_is_encoded_again(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        tone = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for number in range(50):
            rgb = np.full((48, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
        samples = (10000 * np.sin(np.arange(32000) / 5))[None].astype(np.int16)
        wave = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        wave.sample_rate, wave.pts = 16000, 0
        container.mux(tone.encode(wave))
        container.mux(tone.encode(None))
    _, output_paths = predict(clip, tmp_path / "out")
    with av.open(str(output_paths.overlay)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac" and 1.8 < float((sound.duration or 0) * (sound.time_base or 0)) < 2.3


def test_hevc(tmp_path: Path) -> None:
    from distill.video import VideoCodec

    clip = make_clip(tmp_path / "a.mp4", size_hw=(96, 128))
    _, output_paths = predict(clip, tmp_path / "out", codec=VideoCodec.HEVC, write=frozenset({"overlay"}))
    frames = list(VideoReader(output_paths.overlay).frames())
    assert len(frames) == 20 and np.allclose(np.diff([frame.pts_s for frame in frames]), 0.04, atol=0.001)
    with av.open(str(output_paths.overlay)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "hevc"
