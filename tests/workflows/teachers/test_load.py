"""Teachers by name, and semantic classes of the user."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from distill.config.hosted import GeminiConfig
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.label.options import read_classes
from distill.workflows.packaged import packaged_configs
from distill.workflows.teachers.load import load_teacher

CLASSES = ("road", "car", "sky")


def test_a_name_is_a_packaged_config(repository: Path) -> None:
    config, folder = load_teacher("tcmonodepth")
    assert config == load_teacher(repository / "configs" / "teachers" / "tcmonodepth.yaml")[0]
    assert folder == packaged_configs("teachers")["tcmonodepth"].parent


def test_config_values_are_a_teacher() -> None:
    config, folder = load_teacher({"kind": "synthetic", "scenes": 3}, overrides=["seed=4"])
    assert (config.kind, folder) == ("synthetic", Path()) and config.model_dump()["seed"] == 4
    assert load_teacher(config)[0] == config


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="sage: no such teacher") as caught:
        load_teacher("sage")
    assert "distill teachers" in caught.value.hint and "synthetic" in caught.value.hint


@pytest.mark.parametrize("name", ["nano_banana", "gpt_image", "flux2_klein", "gemini"])
def test_generators_are_prompted_for_classes(name: str) -> None:
    config, _ = load_teacher(name, classes=CLASSES)
    assert tuple(config.prompts.classes) == CLASSES and Task.SEMANTIC in config.prompts.tasks  # type: ignore[attr-defined]


def test_given_classes_replace_those_of_the_config() -> None:
    config = GeminiConfig.model_validate({"prompts": {"tasks": ["semantic"], "classes": {"tree": [0, 255, 0]}}})
    changed, _ = load_teacher(config, classes=CLASSES)
    assert changed.prompts.classes == dict.fromkeys(CLASSES)  # type: ignore[attr-defined]


def test_fixed_classes_are_an_error_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="--classes is not possible with a teacher of kind onnx"):
        load_teacher("espnetv2_camvid", classes=CLASSES)
    with pytest.raises(UsageError, match="has no class road, car"):
        load_teacher("synthetic", classes=CLASSES)
    assert load_teacher("synthetic", classes=("sky", "box"))[0].kind == "synthetic"


def test_classes_come_from_a_list_a_string_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("road\n car\n\nsky\n")
    assert read_classes("road, car,sky") == read_classes(list(CLASSES)) == CLASSES
    assert read_classes(tmp_path / "names.txt") == read_classes(str(tmp_path / "names.txt")) == CLASSES
    with pytest.raises(UsageError, match="road is given twice"):
        read_classes("road,road")
    with pytest.raises(UsageError, match="cannot be read as text"):
        read_classes(tmp_path / "none.txt")


@pytest.mark.slow
def test_a_wheel_has_the_configs(repository: Path, tmp_path: Path) -> None:
    builders = pytest.importorskip("hatchling.builders.wheel")
    (path,) = builders.WheelBuilder(str(repository)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(path).namelist())
    assert {"distill/config/teachers/tcmonodepth.yaml", "distill/config/runs/synthetic_multitask.yaml"} <= names
