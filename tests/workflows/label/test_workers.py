"""How many processes a labeling job gets, and which GPU each of them sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.config import load_config
from distill.config.local import DiffusersConfig
from distill.config.synthetic import SyntheticConfig
from distill.teachers.labeling.job import Job
from distill.workflows.label.workers import gpu_of, num_workers


def job_of(config: Any) -> Job:
    return Job(out=Path("out"), config=config, folder=Path(), inputs=())


def test_a_model_gets_one_process_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.teachers.local.devices.count_gpus", lambda: 4)
    pipeline = job_of(load_config(DiffusersConfig, {"model": "a/b"}))
    assert num_workers(pipeline, 0, 100) == 4
    assert num_workers(pipeline, 0, 3) == 3
    assert num_workers(pipeline, 1, 100) == 1
    pinned = job_of(load_config(DiffusersConfig, {"model": "a/b", "device": "cuda:1"}))
    assert num_workers(pinned, 0, 100) == 1


def test_without_a_gpu_a_model_has_one_process_and_others_have_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.teachers.local.devices.count_gpus", lambda: 0)
    monkeypatch.setattr(
        "distill.workflows.label.workers.os.sched_getaffinity", lambda pid: set(range(8)), raising=False
    )
    assert num_workers(job_of(load_config(DiffusersConfig, {"model": "a/b"})), 0, 100) == 1
    assert num_workers(job_of(SyntheticConfig()), 0, 100) == 8


def test_workers_take_gpus_in_turn_of_those_that_are_visible() -> None:
    assert [gpu_of(number, 4, None) for number in range(5)] == ["0", "1", "2", "3", "0"]
    assert [gpu_of(number, 2, "5, GPU-abc") for number in range(3)] == ["5", "GPU-abc", "5"]


def test_a_script_without_a_main_guard_can_use_several_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import distill\n"
        "values = {'scenes': 2, 'size_hw': [16, 16]}\n"
        "options = {'out': 'shards', 'shard_size': 1, 'workers': 2, 'check': False, 'previews': 0}\n"
        "print(distill.label(teacher='synthetic', overrides=values, **options).labeled, __file__)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", str(script)], done.stderr
