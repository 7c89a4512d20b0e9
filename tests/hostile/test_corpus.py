"""Each reader refuses each hostile input with its sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from distill.config import load_config, read_yaml
from distill.config.adapters import ReplayConfig
from distill.config.hosted import OpenaiConfig
from distill.config.maps import MapConfig
from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.files import read_json
from distill.runtime.onnx_session import open_session
from distill.shards import Sample, read_manifest, read_meta
from distill.spec import read_spec
from distill.teachers.adapters.manifest import read_manifest_rows
from distill.teachers.adapters.map_reader import read_map
from distill.teachers.adapters.replay import ReplayGenerator
from distill.teachers.quality.calibration import read_calibration
from distill.workflows.reports.read import read_results
from tests.hostile.corpus import Hostile, inputs

INPUTS = list(inputs())
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "json": ("a.json", read_json),
    "report": ("a.json", lambda path: read_results(path.parent)),
    "calibration": ("a.json", read_calibration),
    "dataset": ("dataset.json", lambda path: read_manifest(path.parent)),
    "yaml": ("a.yaml", read_yaml),
    "sample": ("a.json", lambda path: Sample("a", {"json": path.read_bytes()}).meta),
    "spec": ("spec.json", read_spec),
    "tar": ("a.tar", lambda path: list(read_meta(path))),
    "pattern": ("a.txt", lambda path: MapConfig(pattern=path.read_text())),
    "rows.csv": ("rows.csv", read_manifest_rows),
    "rows.yaml": ("rows.yaml", read_manifest_rows),
    "array": ("array.npy", read_map),
    "packed": ("array.npz", read_map),
    "replay": ("answers.json", lambda path: ReplayGenerator(ReplayConfig(answers=path))),
    "service": ("a.yaml", lambda path: load_config(OpenaiConfig, path)),
    "training": ("a.yaml", lambda path: load_config(TrainConfig, path)),
    "graph": ("a.onnx", lambda path: open_session(path, why="test")),
}


def test_the_corpus_is_large() -> None:
    assert len(INPUTS) >= 150
    assert {found.reader for found in INPUTS} == READERS.keys()


@pytest.mark.parametrize("hostile", INPUTS, ids=lambda found: f"{found.reader}: {found.name!r:.40}")
def test_a_hostile_input_is_refused_in_one_sentence(hostile: Hostile, tmp_path: Path) -> None:
    name, read = READERS[hostile.reader]
    (tmp_path / name).write_bytes(hostile.data)
    with pytest.raises((DistillError, ValidationError, ValueError)) as caught:
        read(tmp_path / name)
    assert type(caught.value) is not UnicodeError
    message = caught.value.message if isinstance(caught.value, DistillError) else str(caught.value)
    assert hostile.sentence in message
    assert len(message) < 2000
