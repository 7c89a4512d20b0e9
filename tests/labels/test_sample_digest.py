"""Digests in the json of samples and in manifests."""

from __future__ import annotations

import json

import pytest

from distill.labels.sample_digest import has_right_digest, has_right_manifest_digest, manifest_with_digest, with_digest

FILES = {"jpg": b"photo", "depth.png": b"map", "json": b'{"name": "a", "n": 1}'}


def test_a_written_sample_has_its_digest_as_last_entry() -> None:
    files = with_digest("a", FILES)
    assert has_right_digest("a", files) is True
    assert list(json.loads(files["json"])) == ["name", "n", "sample_sha256"]
    assert {name: data for name, data in files.items() if name != "json"} == {"jpg": b"photo", "depth.png": b"map"}


def test_every_single_bit_counts() -> None:
    files = with_digest("a", FILES)
    for name, data in files.items():
        for at in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[at // 8] ^= 1 << at % 8
            assert has_right_digest("a", {**files, name: bytes(damaged)}) is not True, (name, at)


def test_key_and_names_and_missing_files_count() -> None:
    files = with_digest("a", FILES)
    assert has_right_digest("b", files) is False
    assert has_right_digest("a", {name: data for name, data in files.items() if name != "jpg"}) is False
    assert has_right_digest("a", {**files, "normals.png": b""}) is False


def test_writing_again_gives_the_same_json() -> None:
    files = with_digest("a", FILES)
    assert with_digest("a", files) == files
    parsed = {**files, "json": json.dumps(json.loads(files["json"]), sort_keys=True).encode()}
    again = with_digest("a", parsed)
    assert has_right_digest("a", again) is True and again["json"].count(b"sample_sha256") == 1


@pytest.mark.parametrize("text", [b"[1]", b"not json}", b"", b'{"sample_sha256": 1'])
def test_json_that_is_no_object_stays(text: bytes) -> None:
    files = {"json": text}
    assert with_digest("a", files) == files and has_right_digest("a", files) is None


def test_a_sample_without_json_states_nothing() -> None:
    assert with_digest("a", {"jpg": b"x"}) == {"jpg": b"x"} and has_right_digest("a", {"jpg": b"x"}) is None


def test_an_empty_object_gets_a_digest() -> None:
    files = with_digest("a", {"json": b"{}"})
    assert list(json.loads(files["json"])) == ["sample_sha256"] and has_right_digest("a", files)


def test_the_digest_of_a_manifest() -> None:
    data = manifest_with_digest(json.dumps({"format": 1, "classes": ["car"]}, indent=2)).encode()
    assert json.loads(data)["classes"] == ["car"]
    assert has_right_manifest_digest(data) is True
    assert has_right_manifest_digest(data.replace(b"car", b"bar")) is False
    assert has_right_manifest_digest(data + b"\n") is False
    assert has_right_manifest_digest(b'{"format": 1}') is None
