"""Teachers of other packages, and the examples of docs/plugins.md."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import distill.config
import distill.teachers.adapters
from distill.shards import read_samples
from distill.tasks import Task
from distill.teachers.kinds import KINDS, Kind
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.label_shard import label_shard
from distill.workflows.teachers.load import load_teacher

PAGE = Path(__file__).resolve().parents[2] / "docs/plugins.md"


def example(name: str) -> str:
    """The indented block of the page whose first line is ``# NAME``, up to the next indented command line."""
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n(?=    |\n    ))+", PAGE.read_text())
    found = next(text for block in blocks if (text := textwrap.dedent(block).strip()).startswith(f"# {name}\n"))
    return found.split("\n\ndistill ")[0] + "\n"


def install(folder: Path, package: str, group: str, name: str, reference: str) -> None:
    """Create a package as pip installs it: the modules of the page, and metadata with one entry point."""
    folder.mkdir(exist_ok=True)
    module = reference.partition(":")[0]
    source = "editor.py" if group == "distill.generators" else "mine.py"
    (folder / f"{module}.py").write_text(example(source))
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {reference}\n")


def run_distill(site: Path, *arguments: object, code: int = 0) -> str:
    """Output of a command with the packages in `site`."""
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "300", "TERMINAL_WIDTH": "300"}
    done = subprocess.run(
        [sys.executable, "-m", "distill", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment, cwd=site,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((12, 16, 3), 64 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_function_of_a_package_is_a_teacher(tmp_path: Path, photos: Path) -> None:
    site = tmp_path / "site"
    install(site, "sunny-teachers", "distill.teachers", "brightness", "sunny_teachers:brightness")
    # The help is a table: compare its words, without frames and line breaks.
    text = " ".join(run_distill(site, "label", "--help").replace("│", " ").split())
    assert "brightness (from sunny-teachers 1.0)" in text
    out = tmp_path / "out"
    options = ("--teacher", "brightness", "--set", "settings.far=5", "--out", out, "--json")
    assert json.loads(run_distill(site, "label", photos, *options))["labeled"] == 3
    samples = list(read_samples(out))
    assert [float(sample.label(Task.DEPTH).value[0, 0]) for sample in samples] == pytest.approx([5, 4, 3], abs=1e-3)
    record = samples[0].meta["records"][0]
    assert (record["teacher"], record["license"]) == ("brightness", "MIT")


def test_generator_of_a_package_gets_prompts_decoding_and_store(tmp_path: Path, photos: Path) -> None:
    site, out, store = tmp_path / "site", tmp_path / "out", tmp_path / "answers"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(photos / "noise.png")
    install(site, "gray-teachers", "distill.generators", "gray", "gray_teachers:edit")
    options = ("--teacher", "gray", "--set", "settings.gain=0.5", "--no-check", "--out", out, "--json")
    result = json.loads(run_distill(site, "label", photos, *options))
    assert result["labeled"] == 4 and result["labels"]["depth"] == 4
    records = [sample.meta["records"][0] for sample in read_samples(out)]
    assert {record["model"] for record in records} == {"gray-1"} and all(record["prompt"] for record in records)
    assert all("quality" in record for record in records)
    assert len(list(store.glob("??/*.png"))) == 4
    images = {path: path.stat().st_mtime_ns for path in store.glob("??/*.png")}
    run_distill(site, "label", photos, *options[:-3], "--out", tmp_path / "again", "--offline")
    assert images == {path: path.stat().st_mtime_ns for path in store.glob("??/*.png")}


def test_config_file_adjusts_a_plugin(tmp_path: Path, photos: Path) -> None:
    install(tmp_path / "site", "sunny-teachers", "distill.teachers", "brightness", "sunny_teachers:brightness")
    config = tmp_path / "mine.yaml"
    config.write_text("kind: brightness\nlicense: restricted (own terms)\nsettings: {far: 5}\n")
    out = tmp_path / "out"
    options = ("--teacher", config, "--out", out, "--workers", 2, "--shard-size", 1)
    run_distill(tmp_path / "site", "label", photos, *options)
    assert {s.meta["records"][0]["license"] for s in read_samples(out)} == {"restricted (own terms)"}


@pytest.mark.parametrize(
    ("name", "other", "group"),
    [
        ("brightness", "cloudy-teachers 1.0", "distill.teachers"),
        ("brightness", "cloudy-teachers 1.0", "distill.generators"),
        ("onnx", "distill", ""),
    ],
)
def test_name_clash_names_both_packages(tmp_path: Path, photos: Path, name: str, other: str, group: str) -> None:
    site = tmp_path / "site"
    install(site, "sunny-teachers", "distill.teachers", name, "sunny_teachers:brightness")
    if group:
        install(site, "cloudy-teachers", group, name, "cloudy_teachers:edit")
    answer = json.loads(run_distill(site, "label", photos, "--teacher", name, "--json", "--plan", code=2))
    assert "sunny-teachers 1.0" in answer["error"] and other in answer["error"]
    assert "claimed by" in run_distill(site, "label", "--help")
    # Other teachers still work.
    run_distill(site, "label", "--teacher", "synthetic", "--plan", "--set", "scenes=1", "--set", "size_hw=[32,32]")


def test_config_file_cannot_name_code(tmp_path: Path, photos: Path) -> None:
    site = tmp_path / "site"
    install(site, "unused", "distill.teachers", "unused", "mine:brightness")
    plan = json.loads(run_distill(site, "label", photos, "--teacher", "mine:brightness", "--plan", "--json"))
    assert plan["photos"] == 3 and plan["license"] == "MIT"
    (tmp_path / "evil.yaml").write_text("kind: callable\nfunction: os:system\noutputs: [{task: depth}]\n")
    answer = json.loads(run_distill(site, "label", photos, "--teacher", tmp_path / "evil.yaml", "--json", code=2))
    assert "cannot name code" in answer["error"] and "--set function=" in answer["hint"]
    (tmp_path / "bare.yaml").write_text("kind: callable\noutputs: [{task: depth}]\n")
    answer = json.loads(run_distill(site, "label", photos, "--teacher", tmp_path / "bare.yaml", "--json", code=2))
    assert "the key function is missing" in answer["error"] and "--set function=" in answer["hint"]
    (tmp_path / "mine.yaml").write_text(example("mine.yaml"))
    options = ("--teacher", tmp_path / "mine.yaml", "--set", "function=mine:brightness", "--out", tmp_path / "out")
    run_distill(site, "label", photos, *options)
    assert {s.meta["depth_kind"] for s in read_samples(tmp_path / "out")} == {"metric"}


def test_entry_points_of_the_page_name_its_functions() -> None:
    text = re.search(r"(?m)(^    \[project\.entry-points.*\n(?:    .*\n|\n(?=    ))+)", PAGE.read_text())
    assert text is not None
    groups = tomllib.loads(textwrap.dedent(text.group(1)))["project"]["entry-points"]
    assert groups == {
        "distill.teachers": {"brightness": "mine:brightness"},
        "distill.generators": {"gray": "editor:edit"},
    }
    assert "def brightness" in example("mine.py") and "def edit" in example("editor.py")


def test_built_in_kind_of_the_page(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name in ((distill.config, "distill/config"), (distill.teachers.adapters, "distill/teachers/adapters")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "constant.py").write_text(example(f"{name}/constant.py"))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    config_type = importlib.import_module("distill.config.constant").ConstantConfig
    row = example("distill/teachers/kinds.py").strip().removesuffix(",")
    kind = eval(row, {"Kind": Kind, "ConstantConfig": config_type})
    monkeypatch.setitem(KINDS, kind.name, kind)
    try:
        config, folder = load_teacher("constant", overrides=["depth_m=2"])
        job = Job(out=tmp_path / "out", config=config, folder=folder, inputs=(str(photos),), previews=0)
        assert label_shard(job, 0).counts == {"depth": 3}
    finally:
        for module in ("distill.config.constant", "distill.teachers.adapters.constant"):
            sys.modules.pop(module, None)
