"""Addresses of cameras and streams: which ones can be read."""

from __future__ import annotations

import re
from functools import lru_cache

import av

from distill.errors import UsageError
from distill.escaping import STREAM_SCHEMES, safe_address

__all__ = ["check_address", "is_device", "is_live", "protocols_of", "safe_address", "scheme_of"]

_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,rtmpt,rtmpe,ffrtmpcrypt,ffrtmphttp,http,tcp",
    "rtmps": "rtmps,rtmpts,rtmpt,ffrtmphttp,http,https,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt",
    "rtp": "rtp,udp",
    "http": "http,https,tcp,tls,crypto,httpproxy",
    "https": "https,tcp,tls,crypto,httpproxy",
}
"""Protocols that a stream may open by scheme; a playlist from a network never opens files."""
_DEVICE = re.compile(r"/dev/video\d+")


def is_live(address: str) -> bool:
    """Whether an address is a camera or a network stream."""
    return _DEVICE.fullmatch(address) is not None or scheme_of(address) in STREAM_SCHEMES


def is_device(address: str) -> bool:
    """Whether an address is a local camera, such as ``/dev/video0``."""
    return _DEVICE.fullmatch(address) is not None


def scheme_of(address: str) -> str:
    """Scheme of an address with ``://`` in lower case; empty for paths."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return match[1].lower() if match else ""


def protocols_of(address: str) -> str:
    """FFmpeg's list of the protocols that this address may use."""
    return _PROTOCOLS.get(scheme_of(address), "file")


def check_address(address: str) -> None:
    """Check that an address can be read by this FFmpeg.

    Raises:
        UsageError: An unknown scheme, or one that this FFmpeg was built without.
    """
    scheme = scheme_of(address)
    if not scheme:
        return
    if scheme not in STREAM_SCHEMES:
        raise UsageError(
            f"{safe_address(address)}: {scheme}:// addresses are not read",
            hint=f"give {', '.join(f'{name}://' for name in STREAM_SCHEMES)}, or download it and give the file",
        )
    if not _has_protocol(scheme):
        raise UsageError(
            f"{safe_address(address)}: the FFmpeg inside this PyAV was built without {scheme}://",
            hint="let the sender use rtsp://, udp:// or tcp://, or install a PyAV that has it",
        )


@lru_cache(maxsize=16)
def _has_protocol(scheme: str) -> bool:
    """Whether FFmpeg knows a protocol; nothing is sent, because the address has no host."""
    if scheme not in ("srt", "https", "rtmps", "rtsps"):
        return True  # in every build
    try:
        av.open(f"{scheme}://", timeout=1.0).close()
    except av.ProtocolNotFoundError:
        return False
    except Exception:  # any other complaint about the empty address
        return True
    return True
