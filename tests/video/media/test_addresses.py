"""Addresses: which ones are read, and that no secret in them is ever shown."""

from __future__ import annotations

import pytest

from distill.errors import DistillError, UsageError
from distill.video import CameraReader, is_live
from distill.video.media.addresses import check_address, protocols_of, safe_address
from tests.builders.addresses import SECRET_ADDRESSES


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_a_safe_address_has_no_secret(address: str) -> None:
    shown = safe_address(address)
    assert (
        "S3CRET" not in shown
        and "admin" not in shown.lower()
        and shown.startswith(f"{address.split(':', maxsplit=1)[0].lower()}://")
    )


def test_the_host_is_shown() -> None:
    assert safe_address("rtsp://me:x@camera.local:554/1") == "rtsp://camera.local:554/..."
    assert safe_address("tcp://10.0.0.7:99") == "tcp://10.0.0.7:99"
    assert safe_address("rtsp://[::1]:554/x") == "rtsp://[::1]:554/..."
    for path in ("clip.mp4", "12:30:05.mp4", "a@b.mp4", "/dev/video0", "frames/%06d.png", "C:\\x.mp4"):
        assert safe_address(path) == path


@pytest.mark.parametrize("address", ["tcp://me:S3CRET@127.0.0.1:1", "http://127.0.0.1:1/S3CRET", "udp://S3CRET@%%:x"])
def test_errors_have_no_secret(address: str) -> None:
    with pytest.raises(DistillError) as error:
        CameraReader(address, timeout_s=0.5)
    assert "S3CRET" not in str(error.value) and error.value.__cause__ is None and error.value.__suppress_context__


def test_addresses_are_recognized() -> None:
    live = ("rtsp://camera/1", "/dev/video0", "http://10.0.0.1/video.mjpg", "https://x/y.m3u8", "RTSP://a/b")
    assert all(map(is_live, live))
    assert not any(map(is_live, ("clip.mp4", "/dev/video", "concat:a", "http:a.mp4", "file:///etc/passwd", "a://b")))


@pytest.mark.parametrize(
    "address", ["ftp://u:S3CRET@host/a.mp4", "file:///tmp/S3CRET", "rtps://u:S3CRET@h/1", "s3://bucket/S3CRET"]
)
def test_unknown_schemes_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="addresses are not read") as error:
        check_address(address)
    assert "S3CRET" not in str(error.value)


def test_a_protocol_that_is_missing_is_said_at_once() -> None:
    from distill.video.media import addresses

    if addresses._has_protocol("srt"):
        pytest.skip("this FFmpeg has SRT")
    with pytest.raises(UsageError, match=r"srt://.*built without srt://.*rtsp://"):
        check_address("srt://127.0.0.1:9")


def test_streams_open_no_files() -> None:
    assert all("file" not in protocols_of(f"{scheme}://x").split(",") for scheme in ("http", "rtsp", "udp", "tcp"))
