"""`distill report`: what lies in run folders, on one page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from distill.commands.report import report
from distill.errors import UsageError
from distill.report import Code, Curves, Fold, KeyValues, Metrics, Report, Section, Table, Text, to_html, to_json
from distill.workflows.reports.collect import collect_report

HISTORY = [
    {"epoch": 1, "step": 10, "elapsed_s": 3.0, "train_loss": 1.0, "val_loss": 1.2, "val_delta1": 0.4},
    {"epoch": 2, "step": 20, "elapsed_s": 6.0, "train_loss": 0.5, "val_loss": 0.8, "val_delta1": 0.6},
]
EVALUATE = {
    "truth": "truth",
    "images": 4,
    "predictors": ["student", "baseline"],
    "warnings": ["student: no depth answer for 1 of 4 photos"],
    "environment": {"python": "3.11"},
    "tasks": {
        "depth": {
            "protocol": {"crop": "eigen", "min_depth_m": 0.001, "max_depth_m": 10.0},
            "scores": {
                "student": {"abs_rel": 0.1, "alignment": "none"},
                "baseline": {"abs_rel": 0.4, "alignment": "none"},
            },
            "ratios": {"baseline": {"abs_rel": 0.25}},
        }
    },
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (folder / "history.json").write_text(json.dumps(HISTORY))
    (folder / "evaluate.json").write_text(json.dumps(EVALUATE))
    (folder / "train.provenance.json").write_text('{"secret": "of nobody"}')
    bench = {
        "engine": "onnxruntime cpu",
        "rows": [{"batch": 1, "p50_ms": 3.5}, {"batch": 8, "p50_ms": 20.0}],
        "machine": {"cores": 2},
    }
    (folder / "export" / "bench.json").write_text(json.dumps(bench))
    return folder


def test_every_result_has_a_section_in_the_order_of_the_work(run: Path) -> None:
    page = collect_report([run])
    titles = [section.title for section in page.sections]
    assert titles == ["Overview", "Cost", "Curves", "Evaluation", "Evaluation: Depth", "Speed"]
    assert page.facts == {"python": "3.11", "cores": 2}


def test_curves_hold_training_and_validation_together(run: Path) -> None:
    blocks = next(section for section in collect_report([run]).sections if section.title == "Curves").blocks
    plots = {block.title: block for block in blocks if isinstance(block, Curves)}
    assert [curve.name for curve in plots["loss"].curves] == ["training", "validation"]
    assert list(plots["delta1"].curves[0].y) == [0.4, 0.6]


def test_scores_keep_their_alignment_and_their_terms(run: Path) -> None:
    section = next(section for section in collect_report([run]).sections if section.title == "Evaluation: Depth")
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert ["alignment", "none", "none", None] in [list(row) for row in table.rows]
    assert "Eigen crop" in table.note and "0.001 to 10 m" in table.note
    assert isinstance(collect_report([run]).sections[0].blocks[0], Metrics)


def test_unknown_results_are_shown_as_they_are(run: Path) -> None:
    blocks = next(section for section in collect_report([run]).sections if section.title == "Speed").blocks
    assert isinstance(blocks[0], Text) and "another content" in blocks[0].text
    assert isinstance(blocks[1], Fold) and "onnxruntime cpu" in to_html(Report("", [Section("", [blocks[1]])]))


def test_a_data_set_is_told_in_a_few_lines(run: Path) -> None:
    shard = {"name": "shard-000000.tar", "samples": 5, "bytes": 1, "sha256": "abcdef"}
    values = {"shards": [shard, shard], "counts": {"depth": 9}, "depth_kind": "metric", "classes": ["a", "b"]}
    (run / "dataset.json").write_text(json.dumps({**values, "prompts": {"1234": "Paint the depth."}}))
    facts, prompts, values_fold = next(
        section for section in collect_report([run]).sections if section.title == "Data set"
    ).blocks
    assert isinstance(facts, KeyValues) and isinstance(prompts, Fold) and isinstance(values_fold, Fold)
    assert dict(facts.values) == {
        "samples": 10,
        "shards": 2,
        "depth labels": 9,
        "depth kind": "metric",
        "classes": "a, b",
    }
    assert prompts.blocks == [Code("Paint the depth.")]


def test_someone_elses_history_is_no_crash(run: Path) -> None:
    (run / "history.json").write_text('{"what": [1, 2], "empty": []}')
    section = next(section for section in collect_report([run]).sections if section.title == "Curves")
    assert isinstance(section.blocks[0], Text) and isinstance(section.blocks[1], Fold)


def test_runs_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "evaluate.json").write_text(json.dumps(EVALUATE).replace("0.1,", "0.2,"))
    first = collect_report([run, other]).sections[0]
    table = first.blocks[0]
    assert isinstance(table, Table)
    assert [list(row) for row in table.rows] == [["run", 0.1], ["other", 0.2]]


def test_the_verb_writes_the_page_and_prints_json(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report([run], out=tmp_path / "page.html", title="My runs", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["title"] == "My runs" and printed["out"].endswith("page.html")
    page = (tmp_path / "page.html").read_text()
    assert "My runs" in page and "of nobody" not in page and "<svg" in page


def test_a_folder_without_results_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no results in it"):
        collect_report([run, tmp_path / "empty"])
    with pytest.raises(UsageError, match="no such folder"):
        collect_report([tmp_path / "nowhere"])
    (run / "broken.json").write_text("{")
    with pytest.raises(UsageError, match=r"broken\.json: not readable as JSON"):
        collect_report([run])


DEEP = '{"a":' * 900 + "1" + "}" * 900
WRONG: list[Any] = [None, 5, -1e308, 1e308, float("inf"), "text", True, [], [[]], {}, {"a": {"b": 1}}, 10**400]


def parents(values: object) -> list[tuple[dict[str, object] | list[object], object]]:
    """(container, key) of every value inside."""
    if isinstance(values, dict):
        return [pair for key, value in values.items() for pair in [(values, key), *parents(value)]]
    if isinstance(values, list):
        return [pair for key, value in enumerate(values) for pair in [(values, key), *parents(value)]]
    return []


@pytest.mark.parametrize(("name", "values"), [("evaluate", EVALUATE), ("history", HISTORY)])
def test_results_with_wrong_types_are_shown_as_they_are(tmp_path: Path, name: str, values: object) -> None:
    for place in range(len(parents(values))):
        # Plots take a moment: every place meets two of the wrong values, and every value several places.
        for wrong in (WRONG[place % len(WRONG)], WRONG[(place + 5) % len(WRONG)]):
            copy = json.loads(json.dumps(values))
            container, key = parents(copy)[place]
            container[key] = wrong  # type: ignore[index, call-overload]
            (tmp_path / f"{name}.json").write_text(json.dumps(copy))
            page = collect_report([tmp_path])
            assert to_html(page) and to_json(page)


@pytest.mark.parametrize(
    "text",
    [DEEP, '"\\ud800"', "[1, 2]", "5", '{"machine": "text", "versions": 5}', '{"tasks": {"taste": {"scores": {}}}}'],
)
def test_results_of_any_content_are_shown(tmp_path: Path, text: str) -> None:
    for name in ("evaluate", "x", "dataset", "history"):
        (tmp_path / f"{name}.json").write_text(text)
    page = collect_report([tmp_path])
    assert to_html(page).encode() and to_json(page).encode()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\xff"])
def test_unreadable_results_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"x\.json: not readable as JSON: "):
        collect_report([tmp_path])


def test_links_to_other_folders_are_refused_and_pipes_left_out(run: Path, tmp_path: Path) -> None:
    os.mkfifo(run / "pipe.json")
    assert len(collect_report([run]).sections) == 6
    (tmp_path / "private.json").write_text('{"private": 1}')
    for link, target in (("x.json", "private.json"), ("y.json", "/dev/zero")):
        (run / link).symlink_to(tmp_path / target)
        with pytest.raises(UsageError, match=rf"{link}: a link to a file outside of the folder"):
            collect_report([run])
        (run / link).unlink()


def test_results_and_weights_are_never_replaced_by_the_page(run: Path) -> None:
    before = (run / "history.json").read_bytes()
    with pytest.raises(UsageError, match=r"history\.json: exists and is not a folder"):
        report([run], out=run / "history.json")
    assert (run / "history.json").read_bytes() == before
