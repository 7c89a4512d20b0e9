"""Manifests as Excel, Windows and scripts write them; wrong rows are refused by number and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.adapters.manifest import ManifestRow, read_manifest_rows

ROW = {"photo": "photos/a.jpg", "task": "depth", "answer": "answers/a.png"}
CSV = "photo,task,answer\nphotos/a.jpg,depth,answers/a.png\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", CSV.encode()),
        ("semicolon.csv", CSV.replace(",", ";").encode("utf-8-sig")),
        ("tabs.csv", CSV.replace(",", "\t").encode("utf-16")),
        ("windows.csv", CSV.replace("/", "\\").encode("cp1252")),
        ("spaces.csv", CSV.replace(",", ", ").replace("\n", "\r\n").replace("depth", "Depth").encode()),
        ("rows.jsonl", (json.dumps(ROW) + "\n\n").encode()),
        ("rows.json", json.dumps([{**ROW, "model": None}]).encode()),
        ("rows.yaml", b"- {photo: photos/a.jpg, task: depth, answer: answers/a.png, prompt: ~}\n"),
    ],
)
def test_manifests_of_all_kinds_are_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (row,) = read_manifest_rows(tmp_path / name)
    assert (row.photo, row.task, row.answer) == ("photos/a.jpg", Task.DEPTH, "answers/a.png")


def rows_of(tmp_path: Path, **values: object) -> list[ManifestRow]:
    path = tmp_path / "m.json"
    path.write_text(json.dumps([ROW, {**ROW, **values}]))
    return read_manifest_rows(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"backgroud": "white"}, "unknown key 'backgroud'; did you mean 'background'"),
        ({"colormap": "spectrall"}, "unknown colormap 'spectrall'; did you mean 'Spectral'"),
        ({"frame": "up"}, "up"),
        ({"legend": {"cat": "#12345"}}, "legend: 'cat': '#12345' is not a known color"),
        ({"background": "#12345"}, "'#12345' is not a known color"),
        ({"task": "depht"}, "task"),
    ],
)
def test_a_wrong_row_is_refused_by_number_and_key(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=r"m\.json, row 2: ") as error:
        rows_of(tmp_path, **values)
    assert reason in error.value.message and "\n" not in error.value.message


def test_an_unknown_colormap_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown colormap 'parula' \(one of .*Spectral.*reversed"):
        rows_of(tmp_path, colormap="parula")


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    text = '[{"photo": "a.jpg", "task": "semantic", "answer": "a.png", "legend": {"cat": "red", "cat": "blue"}}]'
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="'cat' is given twice"):
        read_manifest_rows(tmp_path / name)


def spec_of(**values: object):  # type: ignore[no-untyped-def]
    row = ManifestRow.model_validate({"photo": "a.jpg", "answer": "a.png", **values})
    return row.prompt_spec(frame="vision_banana", resize_mode="cover")


def test_backgrounds_come_from_the_key_then_from_the_prompt() -> None:
    prompt = "Each ball is different. The background is set to #10aa05."
    assert spec_of(task="instance", prompt=prompt).background == (16, 170, 5)
    assert spec_of(task="instance", prompt=prompt, background="white").background == (255, 255, 255)
    assert spec_of(task="instance", prompt="Each ball is different.").background is None
    assert spec_of(task="depth", prompt=prompt).background == (16, 170, 5)
    legend = {"cat": "red"}
    assert spec_of(task="semantic", legend=legend, background="blue").background == (0, 0, 255)
    assert spec_of(task="semantic", prompt="The cat is red. The rest is blue.").legend["background"] == (0, 0, 255)


def test_an_unreadable_clause_is_kept() -> None:
    found = spec_of(task="semantic", prompt="The menu is #80C000. The patterns are #40FFC.")
    assert found.legend == {"menu": (128, 192, 0)} and found.unreadable == {"patterns": "#40FFC"}


@pytest.mark.parametrize(
    ("legend", "reason"),
    [
        ({"cat": "red", "dog": "#ff0000"}, "to both 'cat' and 'dog'"),
        ({"cat": "red", "background": "black"}, "the key background #FF0000"),
        ({"cat": "red"}, "to both 'cat' and 'background'"),
    ],
)
def test_contradicting_colors_are_refused(legend: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        spec_of(task="semantic", legend=legend, background="red")
