"""Generator of hostile inputs: for each reader, bytes and the part of the sentence with which they are refused."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tests.builders.graphs import loop

DEEP = 20_000
WRONG: tuple[Any, ...] = (None, 5, -1, 1e300, "text", [], {}, [[]], {"a": 1})


class Hostile(NamedTuple):
    """One input."""

    reader: str
    name: str
    data: bytes
    sentence: str


def inputs() -> Iterator[Hostile]:
    """All inputs."""
    for part in (
        _json, _yaml, _manifests, _samples, _specs, _calibrations, _tars, _patterns, _rows, _arrays, _packed, _places,
        _services, _trainings, _graphs,
    ):  # fmt: skip
        yield from part()


def _json() -> Iterator[Hostile]:
    texts = {
        "deep list": (b"[" * DEEP, "nested too deeply"),
        "deep object": (b'{"a":' * DEEP, "nested too deeply"),
        "not utf-8": (b'{"a": "\xff"}', "codec can't decode"),
        "huge number": (b"1" * 5000, "limit"),
        "cut off": (b'{"a": [1,', "Expecting"),
        "empty": (b"", "Expecting"),
        "utf-16": ("{}".encode("utf-16"), "codec can't decode"),
        "nul": (b"\0\0", "Expecting"),
    }
    for reader in ("json", "report", "calibration", "dataset"):
        for name, (data, sentence) in texts.items():
            yield Hostile(reader, name, data, {"dataset": "the manifest is damaged"}.get(reader, sentence))


def _yaml() -> Iterator[Hostile]:
    bomb = b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n".encode()
    texts = {
        "aliases": (bomb, "aliases stand for more"),
        "itself": (b"a: &a [*a]", "aliases stand for more"),
        "deep": (b"[" * 5000, "nested too deeply"),
        "no date": (b"a: 2021-13-45", "month must be in"),
        "no integer": (b"a: !!int ''", "index out of range"),
        "no number": (b"a: !!float x", "could not convert"),
        "huge number": (b"a: " + b"9" * 5000, "limit"),
        "code": (b"a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        "module": (b"a: !!python/module:os x", "could not determine a constructor"),
        "twice": (b"a: 1\na: 2", "given twice"),
        "not utf-8": (b"a: \xff", "not valid YAML"),
        "control": (b"a: \x07", "special characters"),
        "unhashable": (b"? [a]\n: 1", "unhashable"),
        "cut off": (b"a: [1", "expected"),
        "a list": (b"[1, 2]", "a config is a mapping"),
        "set of lists": (b"a: !!set {? [a]}", "unhashable"),
        "unknown alias": (b"a: *nothing", "undefined alias"),
    }
    for name, (data, sentence) in texts.items():
        yield Hostile("yaml", name, data, sentence)


def _manifests() -> Iterator[Hostile]:
    shard = {"name": "shard-000000.tar", "samples": 1, "bytes": 1024, "sha256": "0" * 64}
    good = {"format": 4, "tasks": ["depth"], "shards": [shard]}
    changes: list[dict[str, Any]] = [{"name": name} for name in ("../a.tar", "/etc/passwd", "a/b", "..", "", "a\0b")]
    changes += [{"samples": value} for value in (-3, 10**12, "many", None)]
    changes += [{"bytes": -1}, {"sha256": "zz"}, {"sha256": None}, {"more": 1}]
    for change in changes:
        yield _damaged("dataset", str(change), {**good, "shards": [{**shard, **change}]})
    for key in ("tasks", "shards", "classes", "counts", "terms", "prompts", "licenses"):
        yield _damaged("dataset", f"{key} of a number", {**good, key: 5})
    yield _damaged("dataset", "unknown task", {**good, "tasks": ["taste"]})
    yield Hostile("dataset", "future format", json.dumps({**good, "format": 99}).encode(), "format 99 of the shard set")


def _damaged(reader: str, name: str, values: Any) -> Hostile:
    return Hostile(reader, name, json.dumps(values).encode(), "the manifest is damaged")


def _samples() -> Iterator[Hostile]:
    wrong: dict[str, tuple[Any, ...]] = {
        "records": (5, "text", {"a": 1}, [1], [[]], ["text"]),
        "photo_sha256": (5, "zz", "../../etc/passwd", [], {}, "A" * 64),
        "photo_hash": (5, "xyz", []),
        "depth_kind": ("parsec", 5, []),
        "referring": (5, "text", {"a": 1}, [5]),
    }
    for key, values in wrong.items():
        for value in values:
            yield Hostile("sample", f"{key} {value}", json.dumps({key: value}).encode(), f"its json is wrong: {key}")
    scores: tuple[Any, ...] = ("high", [], 1e300, -1e300)
    for quality in scores:
        data = json.dumps({"records": [{"task": "depth", "quality": quality}]}).encode()
        yield Hostile("sample", f"quality {quality}", data, "its json is wrong: records.0.quality")
    for data in (b"[1]", b"5", b'"text"'):
        yield Hostile("sample", data.decode(), data, "its json is not an object")
    for data in (b"[" * DEEP, b"\xff\xfe", b"{"):
        yield Hostile("sample", repr(data[:2]), data, "its json is damaged")


def _specs() -> Iterator[Hostile]:
    good: dict[str, Any] = {
        "format": 2,
        "name": "nano",
        "backbone": "resnet18",
        "input": {"size_hw": [32, 32]},
        "semantic": {"classes": ["a", "b"]},
    }
    names = (
        "$(touch x)",
        "`id`",
        "a;b",
        "../x",
        "a/b",
        "",
        "a" * 200,
        "a\nb",
        "\x1b[31m",
        " a",
        "a'b",
        'a"b',
        "a|b",
        5,
    )
    for name in names:
        yield Hostile("spec", f"name {name!r}", json.dumps({**good, "name": name}).encode(), "not a student spec: name")
    tensors = ("$(id)", "a b", "", "x" * 100, "../x", 5)
    for name in tensors:
        values = {**good, "input": {"size_hw": [32, 32], "name": name}}
        yield Hostile("spec", f"input {name!r}", json.dumps(values).encode(), "not a student spec: input.name")
    for size in ([0, 32], [-1, 1], [10**9, 10**9], [32], "32", None):
        values = {**good, "input": {"size_hw": size}}
        yield Hostile("spec", f"size {size}", json.dumps(values).encode(), "not a student spec: input.size_hw")
    for classes in ([], ["a"] * 300, [""], ["x" * 300], 5, [5]):
        values = {**good, "semantic": {"classes": classes}}
        yield Hostile(
            "spec", f"classes {str(classes)[:20]}", json.dumps(values).encode(), "not a student spec: semantic"
        )
    values = {**good, "instance": {"classes": ["nope"]}}
    yield Hostile("spec", "instance class", json.dumps(values).encode(), "not one of the semantic classes")


def _calibrations() -> Iterator[Hostile]:
    tasks: dict[str, Any] = {
        "unknown part": {"weights": {"nope": 1.0}},
        "part without a typical value": {"weights": {"content": 1.0}, "typical": {}},
        "curve of unequal lengths": {"expected": {"at": [1, 2], "value": [1]}},
        "curve that turns": {"pixels": {"at": [2, 1], "value": [1, 2]}},
        "offset in words": {"offset": "much"},
        "infinite offset": {"offset": float("inf")},
    }
    for name, task in tasks.items():
        data = json.dumps({"format": 3, "teacher": "t", "tasks": {"depth": task}}).encode()
        yield Hostile("calibration", name, data, "not a calibration: tasks.depth")
    for value in WRONG:
        yield Hostile("calibration", str(value), json.dumps(value).encode(), "not a calibration")


def _tars() -> Iterator[Hostile]:
    def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
        member = tarfile.TarInfo(name)
        member.size, member.type = size, kind
        return member.tobuf(tarfile.GNU_FORMAT)

    end = b"\0" * 1024
    yield Hostile("tar", "negative size", header("a.json", -512) + end, "the shard cannot be read")
    yield Hostile("tar", "absurd size", header("a.json", 2**40) + end, "the shard cannot be read")
    yield Hostile("tar", "cut off", header("a.json", 4096) + b"{}", "the shard cannot be read")
    yield Hostile("tar", "holes", header("a.json", 512, tarfile.GNUTYPE_SPARSE) + end, "the shard cannot be read")
    yield Hostile("tar", "long name of 1 GB", header("a", 2**30, tarfile.GNUTYPE_LONGNAME) + end, "cannot be read")
    digits = b"9" * 100_000
    yield Hostile("tar", "pax header", header("a", len(digits), tarfile.XHDTYPE) + digits + end, "cannot be read")
    yield Hostile("tar", "no tar", b"not a tar " * 200, "the shard cannot be read")
    twice = header("a.txt", 0) + header("b.txt", 0) + header("a.txt", 0)
    yield Hostile("tar", "key twice", twice + end, "the key a comes twice")


def _patterns() -> Iterator[Hostile]:
    for pattern in (
        "{name.__class__}", "{stem[0]}", "{stem:>3000000000}", "{stem!r}", "{other}", "{0}", "{}", "{", "{stem:{name}}",
    ):  # fmt: skip
        yield Hostile("pattern", pattern, pattern.encode(), "{stem} are replaced")


def _rows() -> Iterator[Hostile]:
    for name, data, sentence in (
        ("csv with nul", b"photo,task,answer\na\0b,depth,b\n", "not a text file"),
        ("yaml with nul", b'[{photo: "a\\0b", task: depth, answer: b}]', "NUL character"),
        ("numbers", b"[1, 2]", "a row is a mapping"),
        ("empty", b"", "a manifest is a list of rows"),
        ("unknown task", b"[{photo: a, task: taste, answer: b}]", "task"),
        ("negative cost", b"[{photo: a, task: depth, answer: b, cost_usd: -1}]", "cost_usd"),
        ("deep", b"[" * 5000, "nested too deeply"),
    ):
        yield Hostile("rows.csv" if "csv" in name else "rows.yaml", name, data, sentence)


def _arrays() -> Iterator[Hostile]:
    def npy(text: str, content: bytes = b"") -> bytes:
        padded = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + content

    huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (200000, 200000), }"
    objects = "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }"
    words = "{'descr': '<U1', 'fortran_order': False, 'shape': (1, 1), }"
    none = "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }"
    for name, data in {
        "160 GB": npy(huge),
        "objects": npy(objects),
        "words": npy(words, b"a\0\0\0"),
        "no numbers": npy(none),
        "no header": b"\x93NUMPY",
        "empty": b"",
        "code": npy("__import__('os').system('id')"),
    }.items():
        yield Hostile("array", name, data, "array.npy: ")


def _packed() -> Iterator[Hostile]:
    """Archives of arrays."""
    for name, size, count in (("one of 4 GB", 2**32, 1), ("100 of 40 MB", 40 * 2**20, 100)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for number in range(count):
                archive.writestr(f"{number}.npy", b"")
        yield Hostile("packed", name, _with_sizes(file.getvalue(), size), "unpacks to")
    yield Hostile("packed", "no archive", b"PK\x03\x04" + bytes(99), "the map cannot be read")
    yield Hostile("packed", "cut off", b"PK", "the map cannot be read")


def _with_sizes(data: bytes, size: int) -> bytes:
    """A zip whose directory states this size for every member."""
    content, at = bytearray(data), 0
    while (at := content.find(b"PK\x01\x02", at)) >= 0:
        content[at + 24 : at + 28] = struct.pack("<I", min(size, 2**32 - 2))
        at += 4
    return bytes(content)


def _places() -> Iterator[Hostile]:
    """Manifests of generated images outside of their folder."""
    for place in (
        "/etc/passwd", "../private.png", "a/../../private.png", "..\\private.png", "/dev/zero", "..",
        "/proc/self/environ",
    ):  # fmt: skip
        rows = [{"photo": "a.jpg", "task": "depth", "answer": place}]
        yield Hostile("replay", place, json.dumps(rows).encode(), "is not in")


def _services() -> Iterator[Hostile]:
    """Configs of hosted services that hold a key, or would send one away unencrypted."""
    for text in (
        "base_url: https://user:S3CRET@host", "base_url: https://host/?key=S3CRET", "base_url: http://host",
        "base_url: https://host/sk-S3CRET", "base_url: ftp://host", "base_url: https://", "api_key_env: [sk-S3CRET]",
        "api_key: S3CRET", "base_url: file:///etc", "limits: {concurrency: 1000000}", "prompts: {tasks: [taste]}",
    ):  # fmt: skip
        yield Hostile(
            "service",
            text,
            f"kind: openai\n{text}\n".encode(),
            f"a.yaml: {'unknown' if 'api_key:' in text else text.split(':')[0]}",
        )


def _trainings() -> Iterator[Hostile]:
    wrong: tuple[Any, ...] = ({}, [], 5, "huge", None)
    for value in wrong[:4]:
        data = json.dumps({"shards": ["a"], "student": {"preset": value}}).encode()
        yield Hostile("training", f"preset {value}", data, "student.preset")
    for key, value in (("epochs", -1), ("epochs", 1e400), ("epochs", "many"), ("logger", {"a": 1})):
        data = json.dumps({"shards": ["a"], "train": {key: value}}).encode()
        yield Hostile("training", f"{key} {value}", data, f"train.{key}")


def _graphs() -> Iterator[Hostile]:
    for name, rounds in (("for ever", 2**62), ("once", 1), ("never", 0)):
        yield Hostile("graph", f"loop {name}", loop("trips", trips=np.array(rounds)), "its graph has a loop (Loop)")
    yield Hostile("graph", "loop without a number", loop(""), "its graph has a loop (Loop)")
    yield Hostile("graph", "loop by the input", loop("many", factor=np.array(2**61)), "its graph has a loop (Loop)")
