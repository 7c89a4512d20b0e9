"""The Python API: the whole path in ten lines, results, predictions and errors."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import distill
from distill.errors import UsageError
from distill.optional import require
from distill.tasks import Task
from distill.workflows.bench.result import BenchResult
from distill.workflows.evaluate.run import EvaluationResult
from distill.workflows.export.result import ExportResult
from distill.workflows.label.result import LabelResult
from distill.workflows.predict.model import Model, Prediction
from distill.workflows.predict.result import PredictResult
from distill.workflows.train.result import TrainResult
from tests.fakes.runner import FakeRunner

SCRIPT = """
import distill, numpy
scenes = {"scenes": 12, "size_hw": [48, 64]}
distill.label(teacher="synthetic", overrides=scenes, out="shards", check=False)
distill.label(teacher="synthetic", overrides=scenes | {"first": 100, "truth": True}, out="truth")
tiny = {"student.size_hw": [32, 32], "train.epochs": 1, "data.val_fraction": 0.3, "train.accelerator": "cpu"}
run = distill.train(shards="shards", out="run", overrides=tiny).run
scores = distill.evaluate(run, "truth", limit=4).scores["depth"]["run"]
file = distill.export(run, to="onnx", images="truth", num_images=2, seconds=0).path
files = distill.predict(file, "photos", out="predictions").results
print(distill.load(file)(numpy.zeros((40, 56, 3), "uint8")).depth.shape, scores["abs_rel"], len(files))
"""


NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    sys.stderr.write(f"network: {args}\\n")
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""


OTHER_VERBS = """
import contextlib, io, pathlib
from distill.cli import app
from distill.console import run_cli
teacher = ["input: {layout: NHWC, scale: 1.0, size_hw: [32, 32]}", "outputs: [{task: depth, name: depth}]"]
pathlib.Path("onnx.yaml").write_text("\\n".join(["kind: onnx", f"model: {file}", "license: MIT", *teacher]))
for words in (
    f"bench {file} --seconds 0.01", "report run --out run/report.html", "license run shards", "teachers",
    "label photos --teacher onnx.yaml --no-check --workers 1 --out run/onnx",
    "label photos --teacher synthetic --plan --out run/none", "answers ls photos", "train --keys", "data --help",
):
    sys.argv = ["distill", *words.split()]
    with contextlib.redirect_stdout(io.StringIO()):
        assert run_cli(app) in ((0, 1, 2) if "answers" in words or "--plan" in words else (0,)), words
pathlib.Path("onnx.yaml").unlink()
"""


def test_a_script_of_ten_lines_does_the_whole_path_without_network(tmp_path: Path) -> None:
    assert len(SCRIPT.strip().splitlines()) == 10
    home, folder = tmp_path / "home", tmp_path / "work"
    for path in (home, folder / "photos"):
        path.mkdir(parents=True)
    Image.new("RGB", (56, 40)).save(folder / "photos" / "a.png")
    openvino = 'distill.export(run, to="openvino", images="truth", num_images=2, seconds=0)\n'
    code = NO_NETWORK + SCRIPT + (openvino if find_spec("openvino") else "") + OTHER_VERBS
    command = [sys.executable, "-c", code]
    # strace sees what native code looks up, too.
    trace = tmp_path / "trace.txt"
    if shutil.which("strace"):
        command = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto", "-o", str(trace), *command]
    environment = dict(os.environ, HOME=str(home), MPLCONFIGDIR=str(tmp_path / "matplotlib"))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "network: " not in done.stderr
    assert not trace.exists() or "AF_INET" not in trace.read_text()
    assert not list(home.iterdir())
    assert done.stdout.startswith("(40, 56) ")
    assert {path.name for path in folder.iterdir()} == {"photos", "shards", "truth", "run", "predictions"}
    assert (folder / "run" / "export" / "nano.onnx").is_file()


def test_telemetry_of_onnx_runtime_and_openvino_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    calls = []
    runtime = require("onnxruntime", extra="cpu", why="test")
    monkeypatch.setattr(runtime, "disable_telemetry_events", lambda: calls.append("off"))
    require("onnxruntime", extra="cpu", why="test")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert calls == ["off"]
    with pytest.raises(ImportError):
        import_module("openvino_telemetry")


FUNCTIONS = [name for name in distill.__all__ if name != "data"] + [f"data.{name}" for name in distill.data.__all__]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_documented_with_all_arguments(name: str) -> None:
    function = attrgetter(name)(distill)
    doc = inspect.getdoc(function) or ""
    assert "Args:" in doc and "Raises:" in doc and ">>> " in doc
    for argument in inspect.signature(function).parameters:
        assert f"{argument}: " in doc, argument


def test_the_options_of_a_command_are_arguments_of_its_function() -> None:
    import importlib

    renamed = {"as_json", "plan", "keys", "config", "run", "models", "model", "inputs", "photos", "predictors"}
    only_commands = {"label": {"calibrate", "max_failures"}, "review": {"serve", "port"}}
    for name in FUNCTIONS:
        if name in ("load", "data.open"):
            continue
        if name.startswith("data."):
            commands = importlib.import_module("distill.commands.data").COMMANDS
            command = commands[name.removeprefix("data.").strip("_").replace("_", "-")]
        else:
            command = getattr(importlib.import_module(f"distill.commands.{name}"), name)
        given = set(inspect.signature(attrgetter(name)(distill)).parameters)
        missing = set(inspect.signature(command).parameters) - given
        assert missing - renamed - only_commands.get(name, set()) == set(), name


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        distill.lable  # noqa: B018
    assert {"label", "train", "load"} <= set(dir(distill))


@pytest.mark.parametrize("kind", [LabelResult, TrainResult, EvaluationResult, ExportResult, BenchResult, PredictResult])
def test_results_are_frozen_and_convert_to_json_and_text(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert callable(kind.to_dict) and callable(kind.to_text)


@pytest.fixture
def model() -> Model:
    return Model(FakeRunner())


def image(size_hw: tuple[int, int] = (20, 30), value: int = 7) -> np.ndarray:
    return np.full((*size_hw, 3), value, np.uint8)


def test_one_image_gives_one_prediction(model: Model, tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "photo.png")
    for given in (image(), Image.fromarray(image()), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        prediction = model(given)
        assert isinstance(prediction, Prediction) and prediction.depth.shape == (20, 30)
        assert np.array_equal(prediction["depth"], prediction.maps[Task.DEPTH])
    assert prediction.name == "photo.png" and list(prediction) == list(model.spec.output_names)


def test_a_batch_or_a_list_gives_a_list(model: Model) -> None:
    batch = model(np.stack([image(value=value) for value in range(11)]))
    assert len(batch) == 11 and np.allclose([p.depth[0, 0] for p in batch], 0.1 + np.arange(11) / 10)
    mixed = model([image((20, 30)), Image.fromarray(image((24, 16))), image((24, 16), 9)])
    assert [p.depth.shape for p in mixed] == [(20, 30), (24, 16), (24, 16)]
    assert model([]) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((20, 30, 3), np.float32), "images are uint8 arrays, this one is float32"),
        (np.zeros((20, 30), np.uint8), "an image cannot be an array of shape"),
        (np.zeros((20, 30, 4), np.uint8), "images have 3 channels"),
        (np.zeros((0, 20, 30, 3), np.uint8), "images have 3 channels"),
        (7, "an image cannot be a int"),
        ("nowhere.jpg", "there is no such file"),
        (".", "distill.predict takes folders"),
    ],
)
def test_a_wrong_image_is_an_error_in_a_sentence(model: Model, given: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        model(given)


def test_a_prediction_is_drawn_and_saved(model: Model, tmp_path: Path) -> None:
    prediction = model(image((40, 60)))
    assert prediction.plot().mode == "RGB" and prediction.plot(prediction.tasks[0]).width == 60
    paths = prediction.save(tmp_path / "out", confidence=True)
    assert set(paths) >= {"depth.png", "depth.confidence.png", "overlay.jpg"}
    assert all(path.is_file() for path in paths.values())
    copies = prediction.to_numpy()
    copies["depth"][:] = 0
    assert prediction.depth.any()
    with pytest.raises(AttributeError, match="has no 'smell'; this student predicts depth"):
        prediction.smell  # noqa: B018
    with pytest.raises(UsageError, match="not smell"):
        prediction.plot("smell")
