"""Jobs against the fake of Google's API, for the tests of hosted teachers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from distill.config import load_config
from distill.config.hosted import GeminiConfig
from distill.shards import file_sha256
from distill.teachers.labeling.job import Job
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.store.spending import UNLIMITED, Budget
from distill.workflows.label.run import run_label
from tests.builders.cli import Cli

KEY = "PLANTED-KEY-7f3a9c"
ASK = {"tasks": ["depth", "normals", "semantic"], "classes": ["road", "car", "sky"]}
QUICK = {"concurrency": 8, "initial_backoff_s": 0.02, "max_backoff_s": 0.2, "timeout_s": 20.0}
USD = {"read": 1.5e-6, "text": 7.5e-6, "image": 30e-6}
"""Of gemini-nano-banana-2.1, per token."""


def write_photos(folder: Path, count: int, size_hw: tuple[int, int] = (40, 60), first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    return folder


def values(url: str, **more: Any) -> dict[str, Any]:
    """A config for tiny photos: they are sent as they are, and answers have their size."""
    limits = {**QUICK, **more.pop("limits", {})}
    return {"kind": "gemini", "base_url": url, "canvas_mode": "photo", "prompts": ASK, "limits": limits, **more}


def job(folder: Path, url: str, *, out: str = "out", photos: str = "photos", **more: Any) -> Job:
    shard_size, offline = more.pop("shard_size", 4), more.pop("offline", False)
    return Job(
        out=folder / out,
        config=load_config(GeminiConfig, values(url, **more)),
        folder=folder,
        inputs=(str(folder / photos),),
        shard_size=shard_size,
        previews=2,
        store=folder / "answers",
        offline=offline,
        quality_filter=QualityFilter(register=False),
    )


def label(one: Job, budget: Budget = UNLIMITED) -> dict[str, Any]:
    return run_label(one, workers=1, budget=budget).to_dict()


def shards(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.glob("shard-*.tar"))}


def charged_usd(stats: dict[str, Any], factor: float = 1.0) -> float:
    """What the service says that its answers cost."""
    online = sum(stats["usage"][kind] * usd for kind, usd in USD.items())
    batch = sum(stats["batch_usage"][kind] * usd for kind, usd in USD.items())
    return online * factor + batch * 0.5


def command(folder: Path, url: str, *arguments: Any, out: str = "out", **more: Any) -> list[str]:
    """The command line of the same job."""
    config = folder / f"config-{abs(hash(str(sorted(more.items())))) % 10**8}.yaml"
    config.write_text(yaml.safe_dump(values(url, **more)))
    words = ["label", folder / "photos", "--teacher", config, "--out", folder / out, "--store", folder / "answers"]
    words += [*arguments] if "--shard-size" in arguments else ["--shard-size", 4, *arguments]
    words += [] if "--workers" in arguments else ["--workers", 1]
    # As the job above, which looks for no answer on its photo: the fake paints nothing that belongs there.
    words += ["--previews", 2, "--no-check"]
    return [sys.executable, "-m", "distill", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "GEMINI_API_KEY": KEY, "GOOGLE_API_KEY": "", **more}


def run(words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment(**more), timeout=900)


def run_here(words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Like `run`, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(**more).items():
            patch.setenv(name, value)
        code, out, errors = Cli()(*words[words.index("distill") + 1 :])
    return subprocess.CompletedProcess(words, code, out, errors)


@contextmanager
def served(settings: dict[str, Any]) -> Iterator[str]:
    """The fake as a process of its own; gives its address."""
    program = [sys.executable, "-m", "tests.fakes.gemini", json.dumps(settings)]
    server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats", timeout=900) as response:
        return json.load(response)


def killed_until_done(
    words: list[str], url: str, kills: int, rng: random.Random, *, longest_s: float, group: bool
) -> list[int]:
    """Runs a command again and again, killing it at random moments, then lets it finish.

    Gives, for each kill, to how many questions the service had made answers that were not in the store.
    """
    store = Path(words[words.index("--store") + 1])
    lost = []
    for _ in range(kills):
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
        )
        before = stats(url)["requests"]
        until = time.monotonic() + 60
        # The moments that matter are those at work, not those of starting Python.
        while stats(url)["requests"] == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, longest_s))
        if process.poll() is not None:
            break
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        lost.append(stats(url)["asked_for"] - sum(1 for _ in store.glob("[0-9a-f][0-9a-f]/[0-9a-f]*.json")))
    done = run(words)
    assert done.returncode == 0, done.stderr
    return lost
