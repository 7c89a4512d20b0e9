"""Addresses in texts lose their secrets and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.escaping import for_html, for_markdown, for_terminal, hide_secrets
from tests.builders.addresses import SECRET_ADDRESSES

WEB = [
    "https://user:S3CRET@example.org/a",
    "https://S3CRET@example.org",
    "https://user:first@S3CRET@example.org/a",
    "https://user:S3CRET/half@example.org/a",
    "https://user:S3CRET?half@example.org/a",
    "https://user:S3CRET#half@example.org/a",
    "https://user:p%40S3CRET@example.org:8443/a",
    "postgres://user:S3CRET@db/name",
    "s3://AKIA:S3CRET@bucket/key",
    "ftp://user:S3CRET@host/file",
    "https://example.org/a?token=S3CRET&page=2",
    "https://example.org/a?x=1&X-Amz-Signature=S3CRET",
    "https://example.org/a?api_key=S3CRET",
    "https://example.org/a;password=S3CRET",
    "https://example.org/a#access_token=S3CRET",
]


@pytest.mark.parametrize("address", [*SECRET_ADDRESSES, *WEB])
def test_no_secret_of_an_address_is_shown(address: str) -> None:
    is_page = address.startswith("http") and address in SECRET_ADDRESSES and "S3CRET" in address.partition("127.")[2]
    shapes = [str(Path(address))] if is_page and "token" not in address else [address, str(Path(address))]
    for shown in shapes:
        for text in (shown, f"error: {shown}: no such file", f"('{shown}')", f'["{shown}"]', f"at {shown}, then"):
            for escaped in (for_terminal(text), for_markdown(text), for_html(text)):
                assert "S3CRET" not in escaped, escaped


@pytest.mark.parametrize(
    "text",
    [
        "https://creativecommons.org/licenses/by/4.0/",
        "https://openreview.net/forum?id=abc#page=2",
        "https://medium.com/@someone/terms",
        "see http://localhost:8000/docs, or https://[::1]:80/x",
        "run: a/b, C:/data/x.png, clips:/odd@name, 10:/2, a://b",
        "file:///tmp/a%20b.png",
        "git+https://github.com/a/b.git",
        "no address: at all",
    ],
)
def test_harmless_addresses_stay(text: str) -> None:
    assert hide_secrets(text) == text


def test_the_host_of_a_stream_stays() -> None:
    text = "camera RTSP://admin:pw@10.0.0.2:554/live and udp://h:1?x=2: lost"
    assert hide_secrets(text) == "camera rtsp://10.0.0.2:554/... and udp://h:1/...: lost"
    assert hide_secrets(hide_secrets(text)) == hide_secrets(text)
    assert hide_secrets("https://u:p@host/a?b=1&key=2") == "https://host/a?b=1&key=..."
