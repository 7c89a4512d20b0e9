"""Labeling job: identity and statistics of shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.config.synthetic import SyntheticConfig
from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.label_shard import label_shard


def job(folder: Path) -> Job:
    """A job of one small scene."""
    config = SyntheticConfig(scenes=1, size_hw=(32, 32), tasks=(Task.DEPTH,), truth=True)
    return Job(out=folder, config=config, folder=folder, inputs=(), previews=0)


def test_statistics_are_read_back(tmp_path: Path) -> None:
    stats = label_shard(job(tmp_path), 0)
    assert job(tmp_path).read_stats(0) == stats and stats.counts == {"depth": 1}
    (tmp_path / "shard-000000.tar").unlink()
    assert job(tmp_path).read_stats(0) is None


def test_statistics_of_another_version_are_refused(tmp_path: Path) -> None:
    label_shard(job(tmp_path), 0)
    path = job(tmp_path).stats_path(0)
    values = json.loads(path.read_text())
    del values["format"]
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="has format 1, and this version of distill continues jobs of format 4"):
        job(tmp_path).read_stats(0)
