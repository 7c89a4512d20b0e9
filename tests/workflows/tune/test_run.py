"""`distill tune` from config to teacher, on a tiny random pipeline, and wrong use in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("diffusers", reason="needs diffusers: pip install distill[local]")

import distill
from distill.config.local import DiffusersConfig
from distill.datasets.shard_set import ShardSet
from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set
from tests.fakes import tiny_models as tiny


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    tiny.instruct_pix2pix(folder / "pipeline")
    values = {
        "kind": "diffusers", "model": "pipeline", "license": "MIT", "device": "cpu", "steps": 1, "multiple": 64,
        "max_pixels": 64 * 64, "min_pixels": 0, "guidance_scale": 1.0,
    }  # fmt: skip
    (folder / "teacher.yaml").write_text(yaml.safe_dump(values))
    return folder / "teacher.yaml"


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [sample(photo(i), [Task.DEPTH, Task.SEMANTIC], seed=i) for i in range(5)])


def config(path: Path, **keys: Any) -> dict[str, Any]:
    return {"teacher": str(path), "steps": 2, "batch_size": 1, "rank": 2, "validation_photos": 1, **keys}


def test_the_result_is_a_teacher(teacher: Path, shards: ShardSet, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(config(teacher)))
    out = tmp_path / "tuned"
    code, values = cli.json("tune", tmp_path / "tuning.yaml", "--data", shards.folder, "--out", out)
    assert code == 0 and values["steps"] == 2 and values["before"]["prompted"] == {"depth": 1, "semantic": 1}
    facts = json.loads((out / "tuning.json").read_text())
    assert facts["data"][0]["licenses"] == ["MIT"] and len(facts["photos"]) == 5
    code, _ = cli.json("label", shards.folder, "--teacher", out / "teacher.yaml", "--out", tmp_path / "l", "--plan")
    assert code == 0
    result = distill.label(shards.folder, teacher=out / "teacher.yaml", out=tmp_path / "l", limit=1)
    assert result.photos == 1 and {row["task"] for row in result.unanswered} <= {"depth", "semantic"}
    again = distill.tune(config(teacher), data=[shards.folder], out=out)
    assert again.steps == 2 and list(again.losses) == facts_losses(out)


def test_a_tuned_teacher_can_be_tuned_again(teacher: Path, shards: ShardSet, tmp_path: Path) -> None:
    first = distill.tune(config(teacher, steps=1), data=[shards.folder], out=tmp_path / "first")
    second = distill.tune(config(first.teacher, steps=1), data=[shards.folder], out=tmp_path / "second")
    loras = yaml.safe_load(second.teacher.read_text())["loras"]
    assert [Path(one["model"]).parts[-2:] for one in loras] == [("first", "adapter"), ("adapter",)]
    from distill.teachers.local.pipelines import PipelineChanges, open_pipeline
    from distill.workflows.teachers.load import load_teacher

    loaded, folder = load_teacher(second.teacher)
    assert isinstance(loaded, DiffusersConfig)
    pipe = open_pipeline(loaded, loaded.model, folder, PipelineChanges(loras=loaded.loras)).pipe
    assert len(pipe.get_list_adapters()["unet"]) == 2


def facts_losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "losses.jsonl").read_text().splitlines()]


def test_wrong_use_is_one_sentence(teacher: Path, shards: ShardSet, tmp_path: Path) -> None:
    def fails(words: str, *, data: ShardSet = shards, **keys: Any) -> None:
        with pytest.raises(UsageError, match=words):
            distill.tune(config(teacher, **keys), data=[data.folder], out=tmp_path / "out")

    fails("has no normals labels", tasks=["normals"])
    fails("only image editors can be tuned", teacher="synthetic")
    fails("too few", validation_photos=5)
    fails("did you mean", stepz=3)
    relative = write_set(
        tmp_path / "relative",
        [sample(photo(i), [Task.DEPTH], seed=i, kind=DepthKind.SCALE_INVARIANT) for i in range(4)],
    )
    fails("no prompt for depth", data=relative)
    with pytest.raises(UsageError):
        distill.tune(config(teacher), data=[tmp_path], out=tmp_path / "out")
