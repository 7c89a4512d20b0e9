"""Teachers of other packages: shown in the help, used, and refused where names clash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.shards import read_samples
from distill.tasks import Task

MODULE = """
from distill.teachers.adapters.callable import specialist

@specialist(license="MIT", terms="https://example.org/terms", outputs=[{"task": "depth", "depth_kind": "metric"}])
def brightness(rgb, far=10.0):
    return {"depth": far - rgb.mean(axis=-1) / 64}
"""


def install(folder: Path, package: str, name: str, module: str) -> None:
    """A package as pip leaves it, by hand: a module, and metadata with one entry point."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(MODULE)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[distill.teachers]\n{name} = {module}:brightness\n")


def distill(site: Path, *arguments: object, code: int = 0) -> str:
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


def test_a_package_with_one_entry_point_is_a_teacher(tmp_path: Path, photos: Path):
    install(tmp_path / "site", "sunny-teachers", "brightness", "sunny_teachers")
    site = tmp_path / "site"
    # Help is set in a table: its words, without frames and line breaks.
    said = " ".join(distill(site, "label", "--help").replace("│", " ").split())
    assert "brightness (from sunny-teachers 1.0)" in said
    out = tmp_path / "out"
    result = distill(
        site, "label", photos, "--teacher", "brightness", "--set", "settings.far=5", "--out", out, "--json"
    )
    assert json.loads(result)["labeled"] == 3
    samples = list(read_samples(out))
    assert [float(sample.label(Task.DEPTH).value[0, 0]) for sample in samples] == pytest.approx([5, 4, 3], abs=1e-3)
    record = samples[0].meta["records"][0]
    assert (record["teacher"], record["license"]) == ("brightness", "MIT")


def test_a_config_file_may_adjust_it(tmp_path: Path, photos: Path):
    install(tmp_path / "site", "sunny-teachers", "brightness", "sunny_teachers")
    config = tmp_path / "mine.yaml"
    config.write_text("kind: brightness\nlicense: restricted (house rules)\nsettings: {far: 2}\n")
    out = tmp_path / "out"
    distill(tmp_path / "site", "label", photos, "--teacher", config, "--out", out, "--workers", 2, "--shard-size", 1)
    assert {s.meta["records"][0]["license"] for s in read_samples(out)} == {"restricted (house rules)"}


@pytest.mark.parametrize(("name", "first"), [("brightness", "cloudy-teachers 1.0"), ("onnx", "distill")])
def test_a_name_that_two_packages_claim_is_refused_with_both_named(tmp_path: Path, photos: Path, name: str, first: str):
    site = tmp_path / "site"
    install(site, "sunny-teachers", name, "sunny_teachers")
    if name == "brightness":
        install(site, "cloudy-teachers", name, "cloudy_teachers")
    answer = json.loads(distill(site, "label", photos, "--teacher", name, "--json", "--plan", code=2))
    assert "sunny-teachers 1.0" in answer["error"] and first in answer["error"]
    assert "claimed by" in distill(site, "label", "--help")
    # Everybody else goes on.
    distill(site, "label", "--teacher", "synthetic", "--plan", "--set", "scenes=1", "--set", "size_hw=[32,32]")


def test_a_function_in_the_working_folder_is_a_teacher_and_a_file_cannot_name_code(tmp_path: Path, photos: Path):
    site = tmp_path / "site"
    install(site, "unused", "unused", "mine")
    plan = json.loads(distill(site, "label", photos, "--teacher", "mine:brightness", "--plan", "--json"))
    assert plan["photos"] == 3 and plan["license"] == "MIT"
    (tmp_path / "evil.yaml").write_text("kind: callable\nfunction: os:system\noutputs: [{task: depth}]\n")
    answer = json.loads(distill(site, "label", photos, "--teacher", tmp_path / "evil.yaml", "--json", code=2))
    assert "cannot name code" in answer["error"] and "--set function=os:system" in answer["hint"]
    (tmp_path / "bare.yaml").write_text("kind: callable\noutputs: [{task: depth}]\n")
    answer = json.loads(distill(site, "label", photos, "--teacher", tmp_path / "bare.yaml", "--json", code=2))
    assert "the key function is missing" in answer["error"] and "--set function=" in answer["hint"]
    (tmp_path / "good.yaml").write_text(
        "kind: callable\nlicense: MIT\noutputs: [{task: depth, depth_kind: scale_invariant}]\n"
    )
    arguments = ("--teacher", tmp_path / "good.yaml", "--set", "function=mine:brightness", "--out", tmp_path / "out")
    distill(site, "label", photos, *arguments)
    assert {s.meta["depth_kind"] for s in read_samples(tmp_path / "out")} == {"scale_invariant"}
