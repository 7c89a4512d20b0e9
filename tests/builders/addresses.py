"""Addresses of cameras with secrets."""

from __future__ import annotations

SECRET_ADDRESSES = [
    "rtsp://admin:S3CRET@127.0.0.1:1/stream",
    "rtsp://admin:first@S3CRET!@127.0.0.1:1/stream",
    "rtsp://admin:S3CRET/half@127.0.0.1:1/stream",
    "rtsp://admin:S3CRET?half@127.0.0.1:1/",
    "rtsp://admin:S3CRET#1@127.0.0.1:1",
    "rtsp://S3CRET@127.0.0.1:1/1",
    "rtsp://127.0.0.1:1/user=admin&password=S3CRET&channel=1",
    "http://127.0.0.1:1/video.mjpg?token=S3CRET",
    "rtmp://127.0.0.1:1/live/S3CRET",
    "https://127.0.0.1:1/S3CRET/index.m3u8#S3CRET",
    "tcp://u:p%20S3CRET@127.0.0.1:1/x@S3CRET",
    "http://127.0.0.1:1/a@S3CRET.example/x",
    "udp://127.0.0.1:1?passphrase=S3CRET",
    "RTSP://Admin:S3CRET@127.0.0.1:1/",
]
"""Shapes of secrets in addresses that cannot be reached."""
