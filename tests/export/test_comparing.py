"""A slowdown of 5 % is caught; noise is not taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from distill.errors import UsageError
from distill.export.verification.regression import Rounds, compare_calls, compare_results, compare_rounds


def series(seed: int, slower: float = 1.0, count: int = 300) -> list[float]:
    """Calls of 5 ms with jitter, slow drift, and some calls that were held up."""
    random = np.random.default_rng(seed)
    drift = 1 + 0.01 * np.sin(np.linspace(0, 6, count) + random.uniform(0, 6))
    calls = 5.0 * slower * drift * random.normal(1, 0.02, count)
    return list(calls + random.exponential(4, count) * (random.random(count) < 0.1))


def test_a_planted_slowdown_is_caught() -> None:
    found = [compare_calls(series(seed), series(100 + seed, slower=1.05)) for seed in range(20)]
    assert all(comparison.verdict == "slower" for comparison in found)
    assert all(comparison.low <= comparison.ratio <= comparison.high for comparison in found)
    assert compare_calls(series(0, slower=1.05), series(1)).verdict == "faster"


def test_twenty_repeats_without_one_stay_quiet() -> None:
    assert {compare_calls(series(seed), series(100 + seed)).verdict for seed in range(20)} == {"same"}


def beside_the_yardstick(seed: int, slower: float = 1.0, machine: float = 1.0) -> tuple[Rounds, Rounds]:
    """15 turns of a 5 ms model and of a 2 ms yardstick; the machine wanders by 20 % and is slower as a whole."""
    random = np.random.default_rng(seed)
    state = machine * (1 + 0.2 * random.random(15))
    rounds: list[Rounds] = []
    for quick_ms, count in ((5.0 * slower, 30), (2.0, 75)):
        rounds.append([list(quick_ms * now * random.normal(1, 0.02, count)) for now in state])
    return rounds[0], rounds[1]


def test_a_slower_machine_is_no_slower_student() -> None:
    seeds = range(20)
    base = beside_the_yardstick(1000)
    same = [compare_rounds(base, beside_the_yardstick(seed, machine=1.6)) for seed in seeds]
    assert {row.verdict for row in same} == {"same"}
    assert all(row.machine is not None and 1.3 < row.machine < 1.9 for row in same)
    slower = [compare_rounds(base, beside_the_yardstick(seed, slower=1.05, machine=0.7)) for seed in seeds]
    assert {row.verdict for row in slower} == {"slower"}
    # The times as they are would have said the opposite.
    flat = [[call for turn in beside_the_yardstick(7, machine=machine)[0] for call in turn] for machine in (1.0, 1.6)]
    assert compare_calls(*flat).verdict == "slower"


def test_results_are_compared_series_by_series(cli, onnx_file: Path, tmp_path: Path) -> None:
    words = ("bench", onnx_file, "--batch", 1, "--size", "40x56", "--seconds", 0.05, "--threads", 1)
    code, base = cli.json(*words, "--out", tmp_path)
    assert code == 0
    assert {row.verdict for row in compare_results(base, base)} == {"same"}
    assert all(sum(row["rounds"]) == len(row["calls_ms"]) for row in (*base["timings"], *base["yardstick"]))
    # One of all, and the student's own engine, for the engine alone and from files.
    assert [row.get("beside", "") for row in base["yardstick"]] == [base["models"][0]["name"], ""] * 2
    assert len(base["timings"]) == 2
    assert all(row.machine == 1.0 for row in compare_results(base, base))
    assert all(row.machine is None for row in compare_results(base, {**base, "yardstick": []}))
    for row in base["timings"]:
        row["calls_ms"] = [value / 1000 for value in row["calls_ms"]]
    (tmp_path / "fast.json").write_text(json.dumps(base))
    code, result = cli.json(*words, "--compare", tmp_path / "fast.json")
    assert code == 1 and {row["verdict"] for row in result["comparison"]} == {"slower"}
    with pytest.raises(UsageError, match="no series in common"):
        compare_results({"timings": [{**base["timings"][0], "batch": 9}]}, base)
    with pytest.raises(UsageError, match="not a result"):
        compare_results({}, base)
    (tmp_path / "none.json").write_text("{")
    assert cli(*words, "--compare", tmp_path / "none.json")[0] == 2


def result_of(slower: float, machine: float, digest: str, seed: int) -> dict[str, Any]:
    """A result whose bare engine slows down with the machine, and whose yardstick of all slows down twice as much."""
    random = np.random.default_rng(seed)
    key = {"scope": "engine", "size_hw": [8, 8], "batch": 1, "threads": 1}

    def row(ms: float, **more: Any) -> dict[str, Any]:
        return {**key, "calls_ms": (ms * random.normal(1, 0.01, 150)).tolist(), "rounds": [10] * 15, **more}

    return {
        "timings": [row(5 * slower * machine, model="a")],
        "yardstick": [
            row(4.5 * machine, model="(yardstick)", beside="a", digest=digest),
            row(2 * machine**2, model="(yardstick)", digest=""),
        ],
    }


def test_the_bare_engine_of_one_and_the_same_file_is_the_nearest_yardstick() -> None:
    base = result_of(1.0, 1.0, "x", 0)
    for seed in range(1, 11):
        assert compare_results(base, result_of(1.0, 1.5, "x", seed))[0].verdict == "same"
        assert compare_results(base, result_of(1.05, 1.5, "x", seed))[0].verdict == "slower"
        # Of another file the bare engine says nothing about the machine: the yardstick of all is asked.
        assert compare_results(base, result_of(1.0, 1.5, "y", seed))[0].verdict == "faster"


def test_a_slower_file_of_one_name_is_caught(cli, run_dir: Path, onnx_file: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "then" / "a.onnx", tmp_path / "now" / "a.onnx"
    for path in (old, new):
        path.parent.mkdir()
    old.write_bytes(onnx_file.read_bytes())
    graph = onnx.load(onnx_file)
    graph.doc_string = "another file"
    new.write_bytes(graph.SerializeToString())
    words = ("--batch", 1, "--seconds", 0.1, "--threads", 1)
    code, base = cli.json("bench", old, *words, "--out", tmp_path)
    assert code == 0
    # What is measured here is noise; the old file is made the faster one by a factor that no noise reaches.
    for row in base["timings"]:
        row["calls_ms"] = [value / 1000 for value in row["calls_ms"]]
    (tmp_path / "bench.json").write_text(json.dumps(base))
    code, result = cli.json("bench", new, *words, "--compare", tmp_path / "bench.json")
    assert code == 1 and result["comparison"][0]["verdict"] == "slower"
    # It was compared beside the old file's own engine, not beside the new one's.
    assert result["yardstick"][0]["digest"] == base["models"][0]["digest"] != result["models"][0]["digest"]
    old.unlink()
    _, result = cli.json("bench", new, *words, "--compare", tmp_path / "bench.json")
    assert result["yardstick"][0].get("beside", "") == ""


def test_calls_that_alternate_are_compared_pair_by_pair() -> None:
    """The machine changes its speed within a turn, by a factor of three: quartiles of turns would see nothing else."""

    def alternating(seed: int, slower: float) -> tuple[Rounds, Rounds]:
        random = np.random.default_rng(seed)
        model, bare = [], []
        for _ in range(8):
            state = random.choice((1.0, 1.9, 3.0), 12)
            model.append(list(5.0 * slower * state * random.normal(1, 0.01, 12)))
            bare.append(list(5.0 * state * random.normal(1, 0.01, 12)))
        return model, bare

    base = alternating(1000, 1.0)
    assert {compare_rounds(base, alternating(seed, 1.0)).verdict for seed in range(10)} == {"same"}
    assert {compare_rounds(base, alternating(seed, 1.05)).verdict for seed in range(10)} == {"slower"}
