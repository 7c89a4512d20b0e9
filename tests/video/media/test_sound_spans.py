"""Sound that runs on shows that a long gap in the picture is one; without it the clock has jumped."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from distill.video import VideoReader
from distill.video.media.sound_spans import SoundSpans
from tests.builders.videos import numbered_frame, write_stream

GAP_S = 14.0


def with_gap(path: Path, *, sound: bool) -> Path:
    """Ten frames, nothing for 14 s, ten frames."""
    with av.open(str(path), "w", options={"muxdelay": "0"}) as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 96, "yuv420p"
        tone = container.add_stream("mp2", rate=32000, layout="mono") if sound else None
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, (48, 96)), format="rgb24")
            frame.pts = number + (round(GAP_S * 25) if number >= 10 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            samples = np.zeros((1, round(32000 * (GAP_S + 0.8))), np.int16)
            wave = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            wave.sample_rate, wave.pts = 32000, 0
            container.mux([*tone.encode(wave), *tone.encode(None)])
    return path


@pytest.mark.parametrize("sound", [True, False])
def test_a_gap_stays_where_the_sound_runs_on(sound: bool, tmp_path: Path) -> None:
    reader = VideoReader(with_gap(tmp_path / "a.ts", sound=sound))
    times = [frame.play_s for frame in reader.frames()]
    assert len(times) == 20 and times[10] - times[9] == pytest.approx(GAP_S + 0.04 if sound else 0.04, abs=0.001)
    assert bool(reader.notes) != sound


def test_joined_recordings_have_spans_of_their_own(tmp_path: Path) -> None:
    first = write_stream(tmp_path / "a.ts", range(50), sound=True).read_bytes()
    second = write_stream(tmp_path / "b.ts", range(50), sound=True, start_s=30).read_bytes()
    (tmp_path / "c.ts").write_bytes(first + second)
    spans = SoundSpans(tmp_path / "c.ts")
    assert spans.cover(0.2, 1.8) and spans.cover(30.2, 31.8) and not spans.cover(1.8, 30.2)
    assert not SoundSpans(tmp_path / "missing.ts").cover(0, 1)


def test_a_file_without_sound_covers_nothing(tmp_path: Path) -> None:
    assert not SoundSpans(write_stream(tmp_path / "a.ts", range(5))).cover(0.0, 0.1)


def test_a_picture_long_after_the_sound_stays_in_step(tmp_path: Path) -> None:
    """Sound from 0 s on, the first frame at 14 s: more than another clock would explain."""
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", options={"muxdelay": "0"}) as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 96, "yuv420p"
        tone = container.add_stream("mp2", rate=32000, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 32000 * 15), np.int16), format="s16", layout="mono")
        wave.sample_rate, wave.pts = 32000, 0
        container.mux([*tone.encode(wave), *tone.encode(None)])
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, (48, 96)), format="rgb24")
            frame.pts = number + round(GAP_S * 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert next(VideoReader(path).frames()).play_s == pytest.approx(GAP_S, abs=0.05)
