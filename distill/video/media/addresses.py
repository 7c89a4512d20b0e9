"""Addresses of cameras and streams: which ones can be read, and how they are shown without their secrets."""

from __future__ import annotations

import re
from functools import lru_cache

import av

from distill.errors import UsageError

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp", "http", "https")
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
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,2}(.*)", re.DOTALL)
_DEVICE = re.compile(r"/dev/video\d+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?", re.ASCII)


def is_live(address: str) -> bool:
    """Whether an address is a camera or a network stream."""
    return _DEVICE.fullmatch(address) is not None or scheme_of(address) in SCHEMES


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


def safe_address(address: str) -> str:
    """An address to show and to store: scheme, host and port only.

    User, password, path, query and fragment may all be secrets (``/user=admin&password=x``, stream keys), and
    passwords may contain any of ``@ / ? # :``; so everything except the host is left out. Paths of files are unchanged.
    """
    match = _SCHEME.fullmatch(address)
    # One slash: a path in Python turns "rtsp://" into "rtsp:/".
    if match is None or not (scheme_of(address) or match[1].lower() in SCHEMES):
        return address
    scheme, rest = match[1].lower(), match[2].lstrip("/")
    host, hidden = _split_host(rest)
    return f"{scheme}://{host}{'/...' if hidden else ''}"


def _split_host(rest: str) -> tuple[str, bool]:
    """(host with port, whether a path or query follows); ``...`` if it is not certain which part is the host."""
    user, _, after = rest.rpartition("@")
    if any(mark in user for mark in "/?#"):
        return "...", False  # an "@" in a path or query, or a "/" in a password
    match = _HOST.match(after)
    end = match.end() if match else 0
    if match is None or (end < len(after) and after[end] not in "/?#"):
        return "...", False
    return match[0], len(after.rstrip("/")) > end


def check_address(address: str) -> None:
    """Check that an address can be read by this FFmpeg.

    Raises:
        UsageError: An unknown scheme, or one that this FFmpeg was built without.
    """
    scheme = scheme_of(address)
    if not scheme:
        return
    if scheme not in SCHEMES:
        raise UsageError(
            f"{safe_address(address)}: {scheme}:// addresses are not read",
            hint=f"give {', '.join(f'{name}://' for name in SCHEMES)}, or download it and give the file",
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
