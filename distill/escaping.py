"""Text of others, such as class names, photo names and licenses, made safe for a terminal, Markdown and HTML.

Passwords and keys in addresses are left out everywhere.
"""

from __future__ import annotations

import re
from html import escape

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp", "http", "https")
_WEB_SCHEMES = ("http", "https")
_OTHER_MACHINE = re.compile(rf"(?:{'|'.join(STREAM_SCHEMES)}|ftp|sftp|ssh|s3|gs|hf):/", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ADDRESS = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]+):(//?)([^\s\"'<>`|\\]*[^\s\"'<>`|\\:,;)])")
_WHOLE_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/{1,2})(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?", re.ASCII)
_SECRET_NAMES = "token|key|pass|pwd|secret|sig|auth|cred|session|jwt|code|user"
_SECRET_VALUE = re.compile(rf"([?&;,/#][^=&?;,/#]*(?:{_SECRET_NAMES})[^=&?;,/#]*)=[^&\s;,)]+", re.IGNORECASE)


def is_address(path: str) -> bool:
    """Whether a path is an address of another machine, also one that `Path` has shortened: ``https:/host/x``."""
    return _OTHER_MACHINE.match(path) is not None


def safe_address(address: str) -> str:
    """An address to show and to store: scheme, host and port only.

    User, password, path, query and fragment may all be secrets (``/user=admin&password=x``, stream keys), and
    passwords may contain any of ``@ / ? # :``; so everything except the host is left out. Paths of files are unchanged.
    """
    match = _WHOLE_ADDRESS.fullmatch(address)
    # One slash: a path in Python turns "rtsp://" into "rtsp:/".
    if match is None or not (match[2] == "//" or match[1].lower() in STREAM_SCHEMES):
        return address
    host, hidden = _split_host(match[3].lstrip("/"))
    return f"{match[1].lower()}://{host}{'/...' if hidden else ''}"


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


def hide_secrets(text: str) -> str:
    """Text whose addresses have no user, password or key.

    Of streams, only scheme and host stay (`safe_address`); web pages keep their path and the harmless part of a query.
    """
    return _ADDRESS.sub(_hide, text) if ":/" in text else text


def _hide(found: re.Match[str]) -> str:
    scheme, slashes, rest = found[1].lower(), found[2], found[3]
    if scheme in STREAM_SCHEMES and (scheme not in _WEB_SCHEMES or slashes == "/"):
        return safe_address(found[0])
    if slashes == "/" and ":" not in rest.rpartition("@")[0]:  # a file below a folder that ends in a colon
        return found[0]
    end = next((place for place, letter in enumerate(rest) if letter in "/?#"), len(rest))
    place, after = rest[:end], rest[end:]
    user, _, host = place.rpartition("@")
    if (user and "@" in after) or (":" in host and not _HOST.fullmatch(host)):
        return f"{found[1]}://..."
    after = _SECRET_VALUE.sub(lambda value: f"{value[1]}=...", after)
    return f"{found[1]}:{slashes}{host}{after}"


def for_terminal(text: str) -> str:
    """Text with visible codes in place of control characters, which could move the cursor or reorder a line.

    Line breaks and tabs stay.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), hide_secrets(text))


def for_line(text: str) -> str:
    """Text as `for_terminal`, on one line: a name with line breaks cannot look like other output."""
    return for_terminal(text).replace("\n", "\\n").replace("\t", "\\t")


def for_markdown(text: str) -> str:
    """Text without HTML tags, links and images, on its lines."""
    return _TAG.sub("&lt;", for_terminal(text)).replace("](", "]\\(").replace("][", "]\\[").replace("]:", "]\\:")


def for_html(text: str) -> str:
    """Text for the content of an element or of a quoted attribute."""
    return escape(for_terminal(text))
