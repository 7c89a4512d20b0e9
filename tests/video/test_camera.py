"""Cameras and network streams, against a local TCP server that sends a clip as MPEG-TS."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.video import CameraReader, DropPolicy


class FakeCamera:
    """Sends MPEG-TS over TCP once, at the rate of a camera; then closes the connection, or holds it open."""

    def __init__(self, data: bytes, *, rate: float = 0.0, hold: bool = False, cut: float = 1.0) -> None:
        self._data, self._rate, self._hold = data[: int(len(data) * cut) // 188 * 188], rate, hold
        self._server = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            line, _ = self._server.accept()
            with line:
                pieces = [self._data[at : at + 1880] for at in range(0, len(self._data), 1880)]
                for piece in pieces:
                    line.sendall(piece)
                    self._done.wait(self._rate / len(pieces))
                if self._hold:
                    self._done.wait(20)

    def close(self) -> None:
        self._done.set()
        self._server.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """50 frames, each a little brighter, no frame held back by the encoder."""
    path = tmp_path_factory.mktemp("film") / "film.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"tune": "zerolatency", "g": "10"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(50):
            rgb = np.full((48, 64, 3), 20 + 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


@contextlib.contextmanager
def camera(film: bytes, **how: object) -> Iterator[str]:
    fake = FakeCamera(film, **how)
    try:
        yield fake.url
    finally:
        fake.close()


def test_every_frame_arrives_at_a_fast_consumer(film: bytes) -> None:
    with camera(film, rate=0.5) as url:
        reader = CameraReader(url, drop_policy=DropPolicy.NEVER, timeout_s=1)
        seen = []
        with pytest.raises(DistillError, match="the camera is gone: the stream ended after 50 frames"):
            for frame in reader.frames():
                seen.append((frame.index, int(frame.rgb.mean()), frame.pts))
                reader.finished(frame.index)
    assert [index for index, _, _ in seen] == list(range(50)) and reader.dropped == 0
    assert np.abs(np.array([value for _, value, _ in seen]) - (20 + 4 * np.arange(50))).max() <= 4
    assert all(np.diff([pts for _, _, pts in seen]) > 0)
    assert reader.read_stats()["dropped"] == 0 and reader.read_stats()["delay_p95_ms"] >= 0


@pytest.mark.parametrize("policy", [DropPolicy.LATE, "late"])
def test_late_frames_are_dropped_and_counted(film: bytes, policy: DropPolicy | str) -> None:
    """Commands pass the name of the policy, not the enum member."""
    with camera(film, rate=0.5) as url:
        reader = CameraReader(url, latency_s=0.05, drop_policy=policy, timeout_s=1)
        indices = []
        with contextlib.suppress(DistillError):
            for frame in reader.frames():
                indices.append(frame.index)
                time.sleep(0.06)  # slower than the camera
    assert indices == sorted(set(indices)) and len(indices) < 50
    assert reader.dropped == 50 - len(indices)
    assert reader.dropped > 5


def test_a_stalled_stream_is_an_error(film: bytes) -> None:
    with camera(film, hold=True, cut=0.6) as url:
        reader = CameraReader(url, drop_policy=DropPolicy.NEVER, timeout_s=0.8)
        seen = 0
        with pytest.raises(DistillError, match=r"the camera is gone: .*"):
            for _ in reader.frames():
                seen += 1
    assert 10 < seen < 50


def test_the_duration_ends_a_stream_without_an_error(film: bytes) -> None:
    with camera(film, rate=3.0) as url:
        reader = CameraReader(url, timeout_s=5, seconds=0.6)
        assert 0 < len(list(reader.frames())) < 50


def test_an_unreachable_camera_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DistillError, match="cannot be reached"):
        CameraReader(f"tcp://127.0.0.1:{port}", timeout_s=1)


def test_passwords_are_hidden() -> None:
    with pytest.raises(DistillError) as error:
        CameraReader("rtsp://me:secret@127.0.0.1:9/1", timeout_s=1)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("gone", [False, True])
def test_predict_keeps_results_of_a_lost_camera(film: bytes, tmp_path: Path, gone: bool) -> None:
    from distill.export.inference.photos import PredictionSummary
    from distill.export.inference.video_options import OutputPaths, VideoOptions
    from distill.export.inference.videos import predict_video
    from distill.video import VideoReader
    from tests.fakes.runner import FakeRunner

    done = PredictionSummary()
    with camera(film, rate=0.4 if gone else 4.0) as url:
        reader = CameraReader(url, timeout_s=1, latency_s=5, seconds=None if gone else 0.8)
        output_paths = OutputPaths(tmp_path / "cam", tmp_path / "cam.mp4", tmp_path / "maps")
        predict_video(
            FakeRunner(), "cam", reader, output_paths, VideoOptions(checkpoint_every=8), done, lambda count: None
        )
    row = done.rows[0]
    assert row["frames"] == VideoReader(tmp_path / "cam.mp4").count() > 0
    assert bool(done.failed) == gone and not output_paths.work.exists()
    if gone:
        assert row["frames"] + row["dropped"] == 50 and "camera is gone" in done.failed[0]["reason"]


class PictureServer:
    """Sends JPEGs over TCP or HTTP, some of them spoiled; accepts a number of connections, one after the other."""

    def __init__(
        self, *, connections: int = 1, pictures: int = 24, spoil: bytes | None = None, http: bool = False
    ) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._connections, self._pictures, self._spoil, self._http = connections, pictures, spoil, http
        self.url = f"{'http' if http else 'tcp'}://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(self._connections):
                line, _ = self._server.accept()
                with line, contextlib.suppress(OSError):
                    self._send(line)
            self._server.close()

    def _send(self, line: socket.socket) -> None:
        if self._http:
            line.recv(4096)
            line.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n")
        for number in range(self._pictures):
            buffer = io.BytesIO()
            Image.fromarray(np.full((48, 64, 3), 20 + 8 * number, np.uint8)).save(buffer, "JPEG")
            data = self._spoil if self._spoil is not None and number % 5 == 4 else buffer.getvalue()
            head = b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) if self._http else b""
            line.sendall(head + data + (b"\r\n" if self._http else b""))
            time.sleep(0.01)


@pytest.mark.parametrize(
    "spoil", [b"\xff\xd8\xff\xd9", b"\xff\xd8" + bytes(500) + b"\xff\xd9", b"\xff\xd8\xff\xe0\x00\x10JFIF\xff\xd9"]
)
def test_a_bad_packet_does_not_end_a_camera(spoil: bytes) -> None:
    reader = CameraReader(PictureServer(spoil=spoil).url, drop_policy=DropPolicy.NEVER, timeout_s=0.6)
    seen = []
    with pytest.raises(DistillError, match="the camera is gone: the stream ended after"):
        for frame in reader.frames():
            seen.append(int(frame.rgb.mean()))
    assert len(seen) >= 18 and max(seen) > 180  # the last pictures, too


@pytest.mark.parametrize("http", [False, True])
def test_a_camera_is_connected_again(http: bool) -> None:
    server = PictureServer(connections=3, pictures=12, http=http)
    reader = CameraReader(server.url, drop_policy=DropPolicy.NEVER, timeout_s=0.5)
    with pytest.raises(DistillError, match=r"the camera is gone: .* after 36 frames"):
        frames = [frame.index for frame in reader.frames()]
        assert frames == []
    assert reader.reconnects == 2 and reader.taken >= 30
    assert reader.read_stats()["reconnects"] == 2
