"""Planted secrets: no verb prints or writes a key or a password, wherever it was hidden."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.builders.addresses import SECRET_ADDRESSES
from tests.builders.cli import Cli
from tests.fakes.echo_service import FINAL, PASSING, EchoService, Fate
from tests.fakes.hosted_jobs import write_photos

PLAIN = "sk-S3CRET-0123456789abcdef"
ODD = "S3CRET-0123/@%:&=?#+\"'<>"
VARIABLES = (
    "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY",
    "MLFLOW_TRACKING_PASSWORD", "DATABASE_URL", "HTTPS_PROXY", "MY_PASSWORD",
)  # fmt: skip
"""Variables that hold a secret while every verb runs."""


def spellings(secret: str) -> set[bytes]:
    """A secret as it is, and as addresses, pages and headers would show it."""
    texts = {secret, quote(secret, safe=""), html.escape(secret), base64.b64encode(secret.encode()).decode()}
    return {text.encode() for text in texts}


def leaks(folder: Path, said: str, secret: str, *, besides: tuple[str, ...] = ()) -> list[str]:
    """Where a secret appears: ``screen``, names of files, and files other than those named in `besides`."""
    found = ["screen"] if any(text in said.encode(errors="replace") for text in spellings(secret)) else []
    for path in folder.rglob("*"):
        data = os.fsencode(path.relative_to(folder))
        if path.is_file() and path.name not in besides:
            data += path.read_bytes()
        if any(text in data for text in spellings(secret)):
            found.append(str(path.relative_to(folder)))
    return found


@pytest.fixture(autouse=True)
def traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the traceback of every error."""
    monkeypatch.setenv("DISTILL_DEBUG", "1")


@pytest.mark.parametrize("secret", [PLAIN, ODD])
@pytest.mark.parametrize("kind", ["openai", "gemini"])
def test_a_service_that_repeats_the_key_leaves_no_trace(
    kind: str, secret: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY" if kind == "openai" else "GEMINI_API_KEY", secret)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    said = ""

    def label(number: int, *script: Fate) -> None:
        nonlocal said
        photos = write_photos(tmp_path / f"photos-{number}", len(script), first=100 * number)
        limits = {"max_attempts": 1, "max_attempts_without_image": 1, "concurrency": 1, "initial_backoff_s": 0.0}
        own: dict[str, object] = {"canvas_mode": "photo"} if kind == "gemini" else {"sizes_hw": []}
        with EchoService(*script) as service:
            config = {"kind": kind, "base_url": service.url, "prompts": {"tasks": ["depth"]}, "limits": limits, **own}
            (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(config))
            words = ("label", photos, "--teacher", tmp_path / "teacher.yaml", "--workers", 1, "--no-check")
            stored = ("--store", tmp_path / "answers", "--out", tmp_path / f"out-{number}")
            code, out, errors = cli(*words, *stored, *(("--json",) if number % 2 else ()))
            said += out + errors
        assert service.keys and set(service.keys) == {secret}
        assert code == 1 and "Traceback" not in errors.replace("Traceback (most recent call last):\n", "", 1)

    label(0, *PASSING)
    for number, fate in enumerate(FINAL, 1):
        label(number, fate)
    for action in ("ls", "verify", "export"):
        said += "".join(map(str, cli("answers", action, tmp_path / "answers", "--out", tmp_path / "export")))
    said += "".join(map(str, cli("report", tmp_path / "out-0", "--out", tmp_path / "report.html")))
    assert "***" in said
    assert leaks(tmp_path, said, secret) == []


@pytest.mark.parametrize(
    "key", [f"{PLAIN}\n", f"{PLAIN}\r\nX: 1", f"{PLAIN} {PLAIN}", f"{PLAIN}\u00e9", f"\t{PLAIN}\0"[:-1]]
)
@pytest.mark.parametrize("kind", ["openai", "gemini"])
def test_keys_that_are_no_keys_are_refused_without_being_shown(
    kind: str, key: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY" if kind == "openai" else "GEMINI_API_KEY", key)
    photos = write_photos(tmp_path / "photos", 1)
    with EchoService((401, lambda key: {"error": {"message": key}})) as service:
        config = {"kind": kind, "base_url": service.url, "prompts": {"tasks": ["depth"]}}
        (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(config))
        words = ("label", photos, "--teacher", tmp_path / "teacher.yaml", "--workers", 1, "--out", tmp_path / "out")
        code, out, errors = cli(*words)
    assert code in (1, 2)
    assert leaks(tmp_path, out + errors, PLAIN) == []


CONFIGS = (
    f"base_url: https://user:{PLAIN}@host", f"base_url: https://{PLAIN}@host", f"base_url: https://host/{PLAIN}",
    f"base_url: https://host/?key={PLAIN}", f"base_url: https://host#{PLAIN}", f"base_url: http://host/{PLAIN}",
    f"base_url: '{PLAIN}'", f"api_key_env: [{PLAIN}]", f"api_key_env: {PLAIN}", f"api_key: {PLAIN}",
    f"limits: {{token: {PLAIN}}}", f"prices: https://user:{PLAIN}@host/prices.yaml", f"- {PLAIN}", f"model: [{PLAIN}]",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["openai", "gemini"])
def test_keys_in_a_config_are_refused_before_anything_is_written(kind: str, tmp_path: Path, cli: Cli) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    for text in CONFIGS:
        (tmp_path / "teacher.yaml").write_text(f"kind: {kind}\nprompts: {{tasks: [depth]}}\n{text}\n")
        words = ("label", photos, "--teacher", tmp_path / "teacher.yaml", "--workers", 1, "--out", tmp_path / "out")
        code, out, errors = cli(*words, "--plan")
        assert code == 2, text
        assert leaks(tmp_path, out + errors, PLAIN, besides=("teacher.yaml",)) == [], text
        overridden = cli(
            "label", photos, "--teacher", kind, "--set", text.replace(": ", "=", 1), "--out", tmp_path / "out"
        )
        assert overridden[0] in (1, 2), text


def commands(address: str, model: Path, shards: Path, store: Path) -> Iterator[tuple[object, ...]]:
    """Every verb with an address in place of each of its paths."""
    yield "label", address, "--teacher", "synthetic", "--out", "out"
    yield "label", "photos", "--teacher", address
    yield "label", "--teacher", "synthetic", "--set", "scenes=1", "--out", address
    yield "label", "photos", "--teacher", "replay", "--answers", address, "--out", "out"
    yield "label", "photos", "--teacher", "synthetic", "--store", address, "--out", "out"
    yield "train", "--shards", address, "--out", "out"
    yield "train", address
    yield "train", "--shards", shards, "--out", address, "--plan"
    yield "train", "--shards", shards, "--out", "out", f"init={address}", "--plan"
    yield "evaluate", address, "--truth", shards
    yield "evaluate", model, "--truth", address
    yield "evaluate", model, "--truth", shards, "--out", address
    yield "export", address
    yield "export", model.parent, "--images", address, "--out", "out"
    yield "bench", address
    yield "bench", model, "--seconds", 0.01, "--out", address
    yield "predict", address, "photos", "--out", "out"
    yield "predict", model, "photos", "--out", address
    yield "predict", model, "photos", "--maps", address, "--out", "out"
    yield "report", address
    yield "report", shards, "--out", address
    yield "license", address
    yield "answers", "ls", address
    yield "answers", "export", store, "--out", address
    yield "demo", "--out", address
    yield "data", "ls", address
    yield "data", "verify", address


def test_no_verb_shows_or_stores_an_address_with_a_password(
    onnx_file: Path,
    make_shards: Callable[..., Path],
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "work"
    write_photos(folder / "photos", 1)
    store, shards = folder / "answers", make_shards(folder / "shards")
    store.mkdir()
    monkeypatch.chdir(folder)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    said = ""
    for number, address in enumerate(SECRET_ADDRESSES):
        for place, words in enumerate(commands(address, onnx_file, shards, store)):
            if number and (number + place) % len(SECRET_ADDRESSES):  # every path with the first one and with another
                continue
            code, out, errors = cli(*words)
            assert code in (1, 2), (code, words, errors)
            assert "unexpected" not in errors, (words, errors)
            assert "S3CRET" not in out + errors, (words, out + errors)
            said += out + errors
    assert "127.0.0.1" in said
    after = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    assert not [path for path in after if "S3CRET" in str(path)], set(after) - set(before)


def test_no_verb_shows_or_stores_a_variable(
    run_dir: Path,
    onnx_file: Path,
    make_shards: Callable[..., Path],
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, f"https://user:{PLAIN}@127.0.0.1:1" if name.endswith(("URL", "PROXY")) else PLAIN)
    write_photos(tmp_path / "photos", 2)
    shards = make_shards(tmp_path / "shards")
    monkeypatch.chdir(tmp_path)
    tiny = ("student.size_hw=[32,32]", "train.epochs=1", "data.val_fraction=0.3", "train.accelerator=cpu")
    said = ""
    for words in (
        ("label", "--teacher", "synthetic", "--set", "scenes=2", "--set", "size_hw=[48,64]", "--out", "labels"),
        ("train", "--shards", shards, "--out", "run", "data.workers=0", *tiny),
        ("evaluate", onnx_file, "--truth", shards, "--task", "depth", "--limit", 2, "--out", "evaluation"),
        ("export", run_dir, "--to", "onnx", "--plan"),
        ("bench", onnx_file, "--seconds", 0.01, "--out", "bench"),
        ("predict", onnx_file, "photos", "--out", "predictions"),
        ("report", "run", "evaluation", "bench", "--out", "report.html"),
        ("license", shards, "run"),
        ("teachers",),
        ("data", "ls", shards),
    ):
        code, out, errors = cli(*words, *(("--workers", 1) if words[0] == "label" else ()))
        assert code == 0 or words[0] == "train", (words, errors)  # so short a training learns nothing
        said += out + errors
    assert leaks(tmp_path, said, PLAIN) == []
