"""`distill license`: one sample under other terms is found, however shards were merged, split and filtered."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image
from typer.testing import CliRunner

from distill.cli import app
from distill.config import load_config
from distill.config.adapters import ReplayConfig
from distill.config.maps import MapsConfig
from distill.errors import UsageError
from distill.shards import read_samples
from distill.spec import write_spec
from distill.teachers.labeling.job import Job
from distill.workflows.label.run import run_label
from distill.workflows.license import read_licenses


@pytest.fixture(autouse=True)
def _verb_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_IMPORT_ALL", "1")


def ask(*arguments: object) -> tuple[int, dict]:
    done = CliRunner().invoke(app, ["license", *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout)


def photos(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def label(folder: Path, names: list[str], out: Path, license: str, terms: str = "") -> Path:
    """Depth maps from disk, under this license."""
    photos(folder, names)
    maps = folder.parent / f"{folder.name}-depth"
    maps.mkdir()
    for name in names:
        Image.fromarray(np.full((12, 16), 1000, np.uint16)).save(maps / f"{name}.png")
    values = {"license": license, "terms": terms, "depth": {"pattern": f"../{maps.name}/{{stem}}.png", "scale": 0.001}}
    config = load_config(MapsConfig, values)
    job = Job(out=out, config=config, folder=folder, inputs=(str(folder),), shard_size=2, previews=0)
    run_label(job, workers=1)
    return out


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(five commercial samples, one non-commercial sample)."""
    root = tmp_path_factory.mktemp("sets")
    good = label(root / "a", [f"good{i}" for i in range(5)], root / "good", "Apache-2.0", "https://example.org/a")
    bad = label(root / "b", ["bad"], root / "bad", "CC-BY-NC-4.0", "https://example.org/nc")
    return good, bad


def test_a_commercial_set_passes(two_sets: tuple[Path, Path]) -> None:
    code, result = ask(two_sets[0], "--require", "commercial")
    assert code == 0 and result["ok"]
    assert result["licenses"][0]["samples"] == 5
    assert result["licenses"][0]["terms"] == "https://example.org/a"


def test_one_non_commercial_sample_is_refused_and_named(two_sets: tuple[Path, Path]) -> None:
    code, result = ask(*two_sets, "--require", "commercial")
    assert code == 1
    (refused,) = result["refused"]
    assert refused["class"] == "non-commercial" and refused["samples"] == 1
    assert refused["examples"][0].endswith("shard-000000.tar: bad")
    text = CliRunner().invoke(app, ["license", *map(str, two_sets), "--require", "commercial"]).stdout
    assert "does not satisfy commercial" in text and "tar: bad" in text


def test_without_a_requirement_nothing_is_refused(two_sets: tuple[Path, Path]) -> None:
    assert ask(*two_sets)[0] == 0


def rewrite(
    sources: list[Path], target: Path, *, keep: Callable[[str], bool] = lambda key: True, count: int = 100
) -> Path:
    """Merge, filter and split with the reader and writer of webdataset: no code of ours, and no dataset.json."""
    target.mkdir()
    urls = [str(tar) for source in sources for tar in sorted(source.glob("*.tar"))]
    samples = [s for s in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False) if keep(s["__key__"])]
    random.Random(0).shuffle(samples)
    for start in range(0, len(samples), count):
        with webdataset.TarWriter(str(target / f"part-{start}.tar"), encoder=False) as writer:
            for sample in samples[start : start + count]:
                kept = {k: v for k, v in sample.items() if not k.startswith("__") or k == "__key__"}
                writer.write(kept)
    return target


def test_the_ledger_survives_merging_splitting_and_filtering(two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    merged = rewrite(list(two_sets), tmp_path / "merged")
    assert not (merged / "dataset.json").exists()
    assert ask(merged, "--require", "commercial")[1]["refused"][0]["examples"][0].endswith(": bad")
    split = rewrite([merged], tmp_path / "split", count=1)
    assert len(list(split.glob("*.tar"))) == 6
    code, result = ask(split, "--require", "commercial")
    assert code == 1 and result["refused"][0]["samples"] == 1
    filtered = rewrite([split], tmp_path / "filtered", keep=lambda key: key != "bad")
    assert ask(filtered, "--require", "commercial")[0] == 0


def test_a_sample_that_lost_its_json_satisfies_nothing(two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.tar"
    with tarfile.open(two_sets[0] / "shard-000000.tar") as source, tarfile.open(stripped, "w") as target:
        for member in source:
            if not member.name.endswith(".json"):
                target.addfile(member, source.extractfile(member))
    code, result = ask(stripped, "--require", "research")
    assert code == 1 and result["refused"][0]["class"] == "unknown" and result["refused"][0]["samples"] == 2


def test_relabeled_shards_carry_the_new_teachers_license(two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    """Labels are under the terms of who made them; the photos' own rights are not known here."""
    answer = tmp_path / "answer.png"
    Image.fromarray(np.full((12, 16, 3), (255, 55, 0), np.uint8)).save(answer)
    rows = [
        {"photo": "bad.png", "task": "depth", "answer": "answer.png", "license": "research (a lab's preview)"},
    ]
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    config = load_config(ReplayConfig, {"answers": str(tmp_path / "answers.json"), "license": "commercial"})
    out = tmp_path / "out"
    job = Job(out=out, config=config, folder=tmp_path, inputs=(str(two_sets[1]),), previews=0)
    run_label(job, workers=1)
    (sample,) = read_samples(out)
    assert sample.meta["records"][0]["license"] == "research (a lab's preview)"
    assert ask(out, "--require", "commercial")[0] == 1


def test_a_students_contract_says_what_it_learned_from(two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    from distill.config.train import StudentConfig
    from distill.students.data.dataset_index import read_index
    from distill.students.model.student import build_spec

    index = read_index(list(two_sets))
    spec = build_spec(
        load_config(StudentConfig, {}), name="s", tasks=index.tasks, licenses=index.licenses, terms=index.terms
    )
    write_spec(tmp_path / "spec.json", spec)
    code, result = ask(tmp_path, "--require", "commercial")
    assert code == 1
    assert result["refused"][0]["license"] == "CC-BY-NC-4.0"
    assert result["refused"][0]["terms"] == "https://example.org/nc"


def test_what_is_neither_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither shards nor the spec of a student"):
        read_licenses(tmp_path)
    with pytest.raises(UsageError, match="no such"):
        read_licenses(tmp_path / "nowhere")
