"""Images of a manifest: they are below its folder, unless the command line names another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.config import load_config
from distill.config.adapters import ReplayConfig
from distill.errors import UsageError
from distill.teachers.adapters.replay import ReplayGenerator
from distill.workflows.teachers.load import load_teacher


def manifest(folder: Path, *answers: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "answers.json"
    path.write_text(json.dumps([{"photo": "a.jpg", "task": "depth", "answer": answer} for answer in answers]))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.png").write_bytes(b"private")
    folder = tmp_path / "manifest"
    (folder / "inside").mkdir(parents=True)
    for name in ("a.png", "inside/ä.png"):
        (folder / name).write_bytes(b"own")
    (folder / "link.png").symlink_to("../private/a.png")
    (folder / "linked").symlink_to("../private")
    (folder / "own.png").symlink_to("inside/ä.png")
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize(
    "answer",
    [
        "../private/a.png", "inside/../../private/a.png", "link.png", "linked/a.png", "linked/none.png",
        "..\\private\\a.png", "/etc/passwd", "..", "inside/../..", "loop/../../private/a.png",
        "linked/../private/a.png",
    ],
)  # fmt: skip
def test_images_elsewhere_are_refused(folder: Path, answer: str) -> None:
    config = ReplayConfig(answers=manifest(folder, "a.png", answer))
    with pytest.raises(UsageError, match=r"answers\.json, row 2: the image .* is not in .*manifest") as caught:
        ReplayGenerator(config)
    assert "--set images_root=FOLDER" in caught.value.hint


def test_images_below_the_folder_or_the_given_one_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = ("a.png", "inside/ä.png", "inside/../a.png", "own.png", "none.png", str(folder / "a.png"), "x" * 5000)
    ReplayGenerator(ReplayConfig(answers=manifest(folder, *inside)))
    outside = manifest(folder, "../private/a.png", "link.png")
    ReplayGenerator(load_config(ReplayConfig, {"answers": str(outside)}, [f"images_root={folder.parent}"]))
    monkeypatch.chdir(folder)
    ReplayGenerator(ReplayConfig(answers=Path("answers.json"), images_root=Path("..")))


@pytest.mark.parametrize(
    "text",
    [
        "kind: replay\nanswers: a.json\nimages_root: /\n",
        "kind: ensemble\ndepth: {teachers: [{kind: replay, answers: a.json, images_root: /}]}\n",
        "kind: ensemble\ndepth: {teachers: [{teacher: {kind: replay, answers: a.json, images_root: /}, weight: 1}]}\n",
    ],
)
def test_a_config_file_cannot_name_the_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / "teacher.yaml").write_text(text)
    with pytest.raises(UsageError, match="cannot name a folder of private images"):
        load_teacher(tmp_path / "teacher.yaml")
