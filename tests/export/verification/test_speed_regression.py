"""Speed comparison: a slowdown of 5 % is detected, noise is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.export.verification.speed_regression import compare_calls
from distill.export.verification.timing import SCOPES
from tests.builders.cli import Cli


def series(seed: int, slower: float = 1.0, count: int = 300) -> list[float]:
    """Calls of 5 ms with jitter, slow drift, and some delayed calls."""
    random = np.random.default_rng(seed)
    drift = 1 + 0.01 * np.sin(np.linspace(0, 6, count) + random.uniform(0, 6))
    calls = 5.0 * slower * drift * random.normal(1, 0.02, count)
    return list(calls + random.exponential(4, count) * (random.random(count) < 0.1))


def test_a_planted_slowdown_is_detected() -> None:
    found = [compare_calls(series(seed), series(100 + seed, slower=1.05)) for seed in range(8)]
    assert all(comparison.verdict == "slower" for comparison in found)
    assert all(comparison.low <= comparison.ratio <= comparison.high for comparison in found)
    assert compare_calls(series(0, slower=1.05), series(1)).verdict == "faster"


def test_repeats_without_a_slowdown_are_the_same() -> None:
    assert {compare_calls(series(seed), series(100 + seed)).verdict for seed in range(8)} == {"same"}


def test_paired_calls_cancel_the_load_of_the_machine() -> None:
    """The speed changes within seconds by a factor of three, which dominates the quartiles of both series."""

    def pairs(seed: int, slower: float) -> tuple[list[float], list[float]]:
        random = np.random.default_rng(seed)
        state = np.repeat(random.choice((1.0, 1.9, 3.0), 20), 12)
        base, new = (5.0 * times * state * random.normal(1, 0.01, len(state)) for times in (1.0, slower))
        return base.tolist(), new.tolist()

    assert {compare_calls(*pairs(seed, 1.0), paired=True).verdict for seed in range(4)} == {"same"}
    found = [compare_calls(*pairs(seed, 1.05), paired=True) for seed in range(4)]
    assert {row.verdict for row in found} == {"slower"} and all(1.04 < row.ratio < 1.06 for row in found)
    assert {compare_calls(*pairs(seed, 0.95), paired=True).verdict for seed in range(4)} == {"faster"}


def test_a_model_is_compared_with_an_older_one(cli: Cli, run_dir: Path, onnx_file: Path, tmp_path: Path) -> None:
    """The module in torch takes several times as long as its ONNX file."""
    words = ("--batch", 1, "--batch", 2, "--size", "40x56", "--seconds", 0.05, "--threads", 1)
    code, result = cli.json("bench", run_dir, *words, "--compare", onnx_file, "--out", tmp_path)
    assert code == 1 and {row["verdict"] for row in result["comparison"]} == {"slower"}
    name = result["models"][0]["name"]
    series = [f"{name}, {scope}, 40x56, batch {batch}, 1 threads" for batch in (1, 2) for scope in SCOPES]
    assert [row["series"] for row in result["comparison"]] == series
    assert "new / old" in (tmp_path / "bench.md").read_text()
    code, result = cli.json("bench", onnx_file, *words, "--compare", run_dir)
    assert code == 0 and {row["verdict"] for row in result["comparison"]} == {"faster"}
    assert cli("bench", onnx_file, *words, "--compare", tmp_path / "bench.json")[0] == 2
    assert "comparison" not in cli.json("bench", onnx_file, *words)[1]
