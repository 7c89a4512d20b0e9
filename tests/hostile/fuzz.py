"""Fuzz targets: each reader reads changed files, and answers with a value or with one sentence.

Run as a program for minutes: ``python -m tests.hostile.fuzz --minutes 5 [READER ...]``; the tests try a few examples of
each reader. A file that leads to another exception is written to the working folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from distill.config import load_config, read_yaml
from distill.config.hosted import OpenaiConfig
from distill.config.maps import MapsConfig
from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.export.inference.segment_log import SegmentLog
from distill.images import decode_image, decode_map
from distill.inputs.photo_lists import read_list
from distill.labels import Label, encode
from distill.shards import Sample, read_manifest, read_meta, read_shard
from distill.spec import read_spec
from distill.tasks import Task
from distill.teachers.adapters.manifest import read_manifest_rows
from distill.teachers.adapters.map_reader import read_map
from distill.teachers.hosted.pricing import find_price
from distill.teachers.hosted.services import gemini_responses, openai
from distill.teachers.hosted.services.errors import AccountError, InvalidRequest, RateLimited, TransientError
from distill.teachers.prompts.legend_parser import parse_legend
from distill.teachers.quality.calibration import read_calibration
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.workflows.reports.collect import collect_report
from tests.builders.images import gray_png, saved, smooth_rgb

MEMORY_BYTES = 6 * 2**30
SENTENCES = (DistillError, ValidationError, RateLimited, TransientError, InvalidRequest, AccountError)
"""Exceptions with a sentence; those of services are turned into one by their caller."""


class Target(NamedTuple):
    """One reader.

    Attributes:
        name: Name of the file that it reads.
        seeds: Good files.
        read: Reads the file.
        as_json: Whether values are changed instead of bytes.
    """

    name: str
    seeds: Callable[[], list[Any]]
    read: Callable[[Path], object]
    as_json: bool = False


# -- good files


def _png(mode: str = "RGB", **options: object) -> bytes:
    return saved(Image.fromarray(smooth_rgb(12, 16)).convert(mode), **options)


def _photos() -> list[bytes]:
    image = Image.fromarray(smooth_rgb(12, 16))
    kinds = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
    return [*(saved(image, kind) for kind in kinds), _png("P"), _png("LA"), saved(image.convert("CMYK"), "TIFF")]


def _maps() -> list[bytes]:
    values = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
    return [gray_png(values % 16, 4), gray_png(values, 16), _png("P"), _png(), saved(Image.fromarray(values), "TIFF")]


def _array(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _meta() -> dict[str, Any]:
    records = [{"task": "depth", "teacher": "t", "license": "MIT", "quality": 0.5}]
    return {"name": "a.jpg", "photo_sha256": "0" * 64, "photo_hash": "0" * 16, "records": records, "size_hw": [12, 16]}


def _shard() -> bytes:
    size = (12, 16)
    label = Label(Task.DEPTH, np.full(size, 2.0, np.float32), np.ones(size, bool), np.ones(size, np.float32))
    files = {"jpg": saved(Image.fromarray(smooth_rgb(*size)), "JPEG"), **encode(label)}
    files["json"] = json.dumps(_meta()).encode()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for key in ("a", "b"):
            for extension, data in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _rows() -> list[dict[str, Any]]:
    legend = {"road": [255, 0, 0], "car": "#00ff00"}
    row = {"photo": "a.jpg", "task": "semantic", "answer": "a.png", "prompt": "p", "legend": legend}
    return [row, {"photo": "a.jpg", "task": "depth", "answer": "b.png", "lam": -3, "c": 10 / 3, "cost_usd": 0.1}]


def _rows_csv() -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["photo", "task", "answer", "prompt", "legend", "lam", "c", "cost_usd"])
    writer.writeheader()
    writer.writerows(
        {key: json.dumps(cell) if key == "legend" else cell for key, cell in row.items()} for row in _rows()
    )
    return file.getvalue().encode()


@lru_cache(maxsize=1)
def _ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        ledger.insert("0" * 64, "answered", job="j", cost_usd=0.1)
        ledger.close()
        return ledger.path.read_bytes()


def _record() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        from distill.teachers.base import PromptSpec
        from distill.teachers.store.records import AnswerKey

        store = AnswerStore(Path(folder))
        spec = PromptSpec(Task.SEMANTIC, "p", {"road": (1, 2, 3)})
        stored = store.put(AnswerKey("0" * 64, "p", "m"), "image", _png(), prompt_spec=spec)
        return {**stored.meta}


@lru_cache(maxsize=1)
def _clips() -> list[bytes]:
    from tests.builders.videos import make_clip

    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for suffix in (".mp4", ".mkv", ".avi"):
            path = make_clip(Path(folder) / f"a{suffix}", num_frames=3, size_hw=(16, 16), codec="mpeg4")
            clips.append(path.read_bytes())
        return clips


def _spec() -> dict[str, Any]:
    return {
        "format": 2,
        "name": "nano",
        "backbone": "resnet18",
        "input": {"size_hw": [32, 32], "name": "image", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        "depth": {"depth_kind": "metric", "max_depth_m": 80.0},
        "semantic": {"classes": ["a", "b"]},
    }


def _manifest() -> dict[str, Any]:
    shard = {"name": "shard-000000.tar", "samples": 1, "bytes": 1024, "sha256": "0" * 64}
    counts = {"counts": {"depth": 1}, "terms": {"MIT": "https://example.org"}, "prompts": {"0": "p"}}
    from distill.shards import FORMAT

    return {"format": FORMAT, "tasks": ["depth"], "shards": [shard], "classes": ["a"], "licenses": ["MIT"], **counts}


def _calibration() -> dict[str, Any]:
    curve = {"at": [0.0, 1.0], "value": [0.0, 1.0]}
    from distill.teachers.quality.calibration import FORMAT

    part = {"weights": {"content": 1.0}, "typical": {"content": 0.5}, "expected": curve, "pixels": curve, "offset": 0.1}
    return {"format": FORMAT, "teacher": "t", "tasks": {"depth": part}}


def _results() -> list[dict[str, Any]]:
    scores = {"abs_rel": 0.1, "delta1": 0.9}
    task = {"scores": {"a": scores}, "intervals": {"a": {"abs_rel": [0.1, 0.2]}}, "protocol": {}, "worst": []}
    evaluation = {"tasks": {"depth": task}, "predictors": ["a"], "images": 3, "truth": "t", "warnings": []}
    bench = {"rows": [{"model": "m", "batch": 1, "p50_ms": 1.0, "images_per_s": 3.0}], "machine": {"cores": 2}}
    export = {"targets": [{"target": "onnx", "status": "ok", "scores": {}, "p50_ms": 1.0}], "torch": {"scores": {}}}
    history = [{"step": 1, "epoch": 0, "val_score": 0.5}, {"step": 2, "epoch": 1, "val_score": 0.6}]
    label = {"photos": 3, "labels": {"depth": 3}, "unanswered": [], "elapsed_s": 1.0, "spent_usd": 0.0}
    return [{"evaluate": evaluation, "bench": bench, "export": export, "history": history, "label": label}]


def _replies() -> list[dict[str, Any]]:
    part = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    candidate = {"content": {"parts": [part, {"text": "t", "thought": True}]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 3, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}]}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerDay"}]}
    return [
        {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "i"},
        {"promptFeedback": {"blockReason": "SAFETY"}, "candidates": []},
        {"data": [{"b64_json": "AAAA", "revised_prompt": "p"}], "usage": {"input_tokens": 3, "output_tokens": 4}},
        {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow", "details": [retry, quota]}},
    ]


def _segments() -> list[Any]:
    line = {"segment": 0, "stop": 1, "times": [0.0], "files": {}, "end": False, "failure": None, "has_state": False}
    return [{"head": {"format": 3, "fingerprint": "f", "settings": {}}, "lines": [line, {**line, "segment": 1}]}]


# -- readers


def _json_of(path: Path) -> Any:
    """Values for readers of several files; those of damaged JSON are nothing."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _read_sample(path: Path) -> None:
    sample = Sample("a", {"json": path.read_bytes(), "jpg": b"", "depth.png": gray_png(np.ones((2, 2), np.uint16), 16)})
    sample.label(Task.DEPTH)


def _read_tar(path: Path) -> None:
    list(read_meta(path))
    for sample in read_shard(path):
        for task in sample.tasks:
            sample.label(task)


def _read_ledger(path: Path) -> None:
    ledger = Ledger(path.parent)
    try:
        list(ledger.rows())
        ledger.totals()
        ledger.spend("j")
    finally:
        ledger.close()


def _read_record(path: Path) -> None:
    key = "ab" + "0" * 62
    folder = path.parent / "ab"
    folder.mkdir(exist_ok=True)
    path.replace(folder / f"{key}.json")
    (folder / f"{key}.png").write_bytes(_png())
    found = AnswerStore(path.parent).get(key)
    if found is not None:
        _ = found.prompt_spec if hasattr(found, "prompt_spec") else None


def _read_video(path: Path) -> None:
    from distill.video import Decoder, VideoReader

    for frame in VideoReader(path, Decoder.SINGLE).frames():
        if frame.index > 5:
            break


def _read_results(path: Path) -> None:
    values = _json_of(path)
    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    for name in ("evaluate", "bench", "export", "history", "label", "train"):
        content = values.get(name) if isinstance(values, dict) else values
        (folder / f"{name}.json").write_text(json.dumps(content))
    collect_report([folder], "")


def _read_reply(path: Path) -> None:
    body, raw = _json_of(path), path.read_bytes()
    for parse in (gemini_responses.parse_response, openai.parse_response):
        try:
            parse(body)
        except (ValueError, AttributeError, TypeError, LookupError):
            continue  # the services turn these into a sentence
    for status in (400, 403, 429, 500):
        openai.refused_or_raise(status, "No", raw, "1e400")


def _read_segments(path: Path) -> None:
    values = _json_of(path)
    folder = path.parent / ".c.work"
    folder.mkdir(exist_ok=True)
    lines = values.get("lines") if isinstance(values, dict) else [values]
    lines = lines if isinstance(lines, list) else [lines]
    head = values.get("head") if isinstance(values, dict) else values
    (folder / "segments.jsonl").write_text("\n".join(map(json.dumps, [head, *lines])))
    _ = SegmentLog(folder, "f").segments


def _read_list(path: Path) -> None:
    (path.parent / "a.jpg").write_bytes(b"photo")
    read_list(path)


def _config(kind: Any) -> Callable[[Path], object]:
    return lambda path: load_config(kind, path)


MAPS = {"kind": "maps", "depth": {"pattern": "{stem}.png", "scale": 0.001, "invalid": [0]}, "license": "MIT"}
HOSTED = {"kind": "openai", "base_url": "https://host", "prompts": {"tasks": ["depth"]}, "limits": {"concurrency": 3}}
TRAIN = {"shards": ["a"], "student": {"preset": "nano"}, "train": {"epochs": 1}, "loss": {}}
PRICES = {"dated": "2026-01-02", "models": {"m": {"per_image": {"medium": 0.04}}}}
LEGEND = 'Segment the image. Use this color mapping: {"road": "#ff0000", "car": "rgb(0, 255, 0)", "sky": [0, 0, 255]}.'

TARGETS: Mapping[str, Target] = {
    "spec": Target("spec.json", lambda: [_spec()], read_spec, as_json=True),
    "dataset": Target("dataset.json", lambda: [_manifest()], lambda path: read_manifest(path.parent), as_json=True),
    "sample": Target("a.json", lambda: [_meta()], _read_sample, as_json=True),
    "calibration": Target("a.json", lambda: [_calibration()], read_calibration, as_json=True),
    "tar": Target("a.tar", lambda: [_shard()], _read_tar),
    "map": Target("a.png", _maps, lambda path: decode_map(path.read_bytes(), path.name)),
    "map file": Target("a.png", lambda: [*_maps(), *_photos()], read_map),
    "photo": Target("a.jpg", _photos, lambda path: decode_image(path.read_bytes(), path.name)),
    "npy": Target("a.npy", lambda: [_array(np.ones((3, 4))), _array(np.ones((3, 4, 3), ">u2"))], read_map),
    "rows json": Target("a.json", lambda: [_rows()], read_manifest_rows, as_json=True),
    "rows jsonl": Target("a.jsonl", lambda: [b"\n".join(json.dumps(r).encode() for r in _rows())], read_manifest_rows),
    "rows csv": Target("a.csv", lambda: [_rows_csv()], read_manifest_rows),
    "rows yaml": Target("a.yaml", lambda: [yaml.safe_dump(_rows()).encode()], read_manifest_rows),
    "photo list": Target("a.csv", lambda: [b"photo,x\na.jpg,1\nb.jpg,2\n", b"a.jpg\nb.jpg\n"], _read_list),
    "yaml": Target("a.yaml", lambda: [yaml.safe_dump(MAPS).encode()], read_yaml),
    "maps config": Target("a.yaml", lambda: [MAPS], _config(MapsConfig), as_json=True),
    "hosted config": Target("a.yaml", lambda: [HOSTED], _config(OpenaiConfig), as_json=True),
    "train config": Target("a.yaml", lambda: [TRAIN], _config(TrainConfig), as_json=True),
    "prices": Target(
        "a.yaml", lambda: [PRICES], lambda path: find_price("m", mode="online", size="medium", extra=path), as_json=True
    ),
    "results": Target("a.json", _results, _read_results, as_json=True),
    "segments": Target("a.json", _segments, _read_segments, as_json=True),
    "ledger": Target("ledger.sqlite", lambda: [_ledger()], _read_ledger),
    "answer": Target("a.json", lambda: [_record()], _read_record, as_json=True),
    "reply": Target("a.json", _replies, _read_reply, as_json=True),
    "video": Target("a.mp4", _clips, _read_video),
    "legend": Target("a.txt", lambda: [LEGEND.encode()], lambda path: parse_legend(path.read_text(errors="replace"))),
}

# -- changes

_WORDS = [
    "",
    "a",
    "depth",
    "../x",
    "/etc/passwd",
    "\0",
    "\ud800",
    "\x1b[31m",
    "x" * 3000,
    "1e999",
    "NaN",
    "9" * 400,
    "{a[0]}",
]
_NUMBERS = [0, -1, 1, 255, 2**31, 2**63, -(2**63), 10**400, 1e308, -1e308, float("nan"), float("inf"), 0.5]
_LEAVES: list[Any] = [None, True, False, [], {}, [[]], [{}], *_WORDS, *_NUMBERS]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of all values."""
    found = [path]
    if isinstance(value, dict):
        found += [place for key in value for place in _paths(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [place for number, item in enumerate(value) for place in _paths(item, (*path, number))]
    return found


def _change_value(value: Any, rng: random.Random) -> Any:
    """JSON with one value replaced, removed, repeated or moved."""
    value = json.loads(json.dumps(value))
    place = rng.choice(_paths(value))
    if not place:
        return rng.choice([*_LEAVES, [value], {"a": value}]) if rng.random() < 0.1 else value
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    kind = rng.randrange(6)
    if kind == 0 and isinstance(parent, dict):
        parent[rng.choice(["", "x", "\ud800", place[-1] + "s"])] = parent.pop(place[-1])
    elif kind == 1:
        del parent[place[-1]]
    elif kind == 2:
        parent[place[-1]] = [parent[place[-1]]] * rng.choice([1, 2, 300])
    elif kind == 3:
        parent[place[-1]] = {"a": parent[place[-1]]}
    else:
        parent[place[-1]] = rng.choice(_LEAVES)
    return value


def _change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a part flipped, cut, repeated, replaced by a number or moved."""
    content = bytearray(data)
    kind, at = rng.randrange(7), rng.randrange(max(1, len(content)))
    size = min(rng.choice([1, 2, 4, 8, 100]), max(1, len(content) - at))
    if kind == 0 and content:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        del content[at : at + size]
    elif kind == 3:
        content[at:at] = content[at : at + size] * rng.choice([1, 2, 100])
    elif kind == 4:
        content[at : at + size] = rng.choice([b"\xff", b"\0", b"\x7f", b"9", b"-"]) * size
    elif kind == 5:
        content[at : at + size] = rng.randbytes(size)
    else:
        other = rng.randrange(max(1, len(content)))
        content[at : at + size], content[other : other + size] = content[other : other + size], content[at : at + size]
    return bytes(content)


def example(target: Target, rng: random.Random) -> bytes:
    """One changed file."""
    value = rng.choice(target.seeds())
    for _ in range(rng.randint(1, 4)):
        value = _change_value(value, rng) if target.as_json else _change_bytes(value, rng)
    if target.as_json:
        value = json.dumps(value).encode()  # also YAML
        return _change_bytes(value, rng) if rng.random() < 0.05 else value
    return bytes(value)


def check(target: Target, data: bytes, folder: Path) -> None:
    """Read one file; exceptions without a sentence are raised."""
    path = folder / target.name
    path.write_bytes(data)
    try:
        target.read(path)
    except SENTENCES as error:
        if isinstance(error, DistillError) and not isinstance(error, AccountError):  # words of services are cut later
            assert 0 < len(error.message.strip()) < 20_000, "a sentence that is empty or a page long"


def search(name: str, max_examples: int, number: int = 0) -> None:
    """Try examples of one reader; raises what it raises, with the smallest such example."""
    target = TARGETS[name]

    @seed(number)
    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(st.randoms())
    def attempt(rng: random.Random) -> None:
        data = example(target, rng)
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(target, data, Path(folder))
            except Exception:
                Path(f"fuzz-{name.replace(' ', '-')}-{target.name}").write_bytes(data)
                raise

    attempt()


def main() -> int:
    """Fuzz readers for minutes each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.RLIM_INFINITY))
    failed = 0
    for name in options.readers or TARGETS:
        end, number = time.monotonic() + 60 * options.minutes, 0
        try:
            while time.monotonic() < end:
                number += 1
                search(name, 100, random.randrange(2**32))
            print(f"{name}: {100 * number} examples, nothing found", flush=True)
        except Exception as error:
            failed += 1
            print(f"{name}: after {100 * number} examples: {type(error).__name__}: {error}", flush=True)
            import traceback

            traceback.print_exc()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
