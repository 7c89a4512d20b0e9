"""TensorBoard, W&B and MLflow get losses, scores, sample images and the config; nothing leaves the machine."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.students.training.callbacks.experiment_log import flat_config, grouped_names
from distill.workflows.train.result import TrainResult
from tests.builders.students import train

MakeShards = Callable[..., Path]
_RUN = ("train.epochs=3", "train.num_validations=3", "data.batch_size=6", "train.sample_images=2")


@pytest.fixture(scope="module")
def shards(make_shards: MakeShards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


def events(run_dir: Path) -> EventAccumulator:
    found = EventAccumulator(str(run_dir / "logs"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_tensorboard_has_every_step_and_pictures(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.logger=tensorboard", *_RUN)
    found = events(tmp_path)
    tags = found.Tags()
    for name in ("train/loss", "train/learning_rate", "train/depth_silog"):
        assert [point.step for point in found.Scalars(name)] == list(range(1, result.steps + 1)), name
    losses = [float(line.split(",")[-2]) for line in (tmp_path / "logs" / "batches.csv").read_text().splitlines()[1:]]
    assert [point.value for point in found.Scalars("train/loss")] == pytest.approx(losses)
    rates = [point.value for point in found.Scalars("train/learning_rate")]
    assert rates[-1] < max(rates)
    scores = [point.value for point in found.Scalars("val/score")]
    assert scores == pytest.approx([row["val_score"] for row in result.history])
    assert found.Scalars("best/score")[-1].value == pytest.approx(max(scores))
    assert all("/" in name for name in tags["scalars"]), tags["scalars"]
    assert len(found.Images("samples/validation")) == 3
    assert any("hparams" in name for name in found.summary_metadata)
    said = TrainResult(tmp_path, 1, 1, 1.0, {}).to_text()
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in said
    assert "tensorboard --logdir" not in TrainResult(tmp_path / "else", 1, 1, 1.0, {}).to_text()


def test_a_resumed_run_hides_the_points_that_it_repeats(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, "train.logger=tensorboard", *_RUN)
    result = train(shards, tmp_path, "train.logger=tensorboard", *_RUN, "train.epochs=4", resume=True)
    steps = [point.step for point in events(tmp_path).Scalars("train/loss")]
    assert steps == list(range(1, result.steps + 1))


def test_batches_of_one_step_are_one_point(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.logger=tensorboard", *_RUN, "optim.accumulate=2")
    assert [point.step for point in events(tmp_path).Scalars("train/loss")] == list(range(1, result.steps + 1))


def test_config_values_are_flat_short_and_without_secrets() -> None:
    values = {"optim": {"lr": 0.1, "ema": True}, "init": "https://me:hunter2@host/x?token=hunter2", "long": "x" * 9_000}
    found = flat_config(values)
    assert found["optim.lr"] == 0.1 and found["optim.ema"] is True and len(found["long"]) == 250
    assert "hunter2" not in str(found)


def test_names_are_grouped() -> None:
    row = {"epoch": 2, "step": 9, "elapsed_s": 3.5, "train_loss": 1.0, "val_score": 0.5, "noisy_depth": 0.1}
    assert grouped_names(row) == {"val/score": 0.5, "train/noisy_depth": 0.1, "val/epoch": 2.0, "val/elapsed_s": 3.5}


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Counts each request that would leave the machine, and refuses it."""

    asked: list[str]

    def handle_one_request(self) -> None:
        self.asked.append(self.rfile.readline(500).decode(errors="replace"))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Proxy,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


_SECRET = "sk-hunter2-hunter2-hunter2-hunter2-hunter22"


def train_apart(shards: Path, out: Path, logger: str, proxy: str) -> None:
    """Train in a process of its own, whose environment holds secrets and the address of a proxy."""
    out.mkdir()
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")
    secrets = dict.fromkeys(("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "OPENAI_API_KEY"), _SECRET)
    environment = os.environ | dict.fromkeys(names, proxy) | secrets | {"WANDB_MODE": "offline", "NO_PROXY": ""}
    environment.pop("MLFLOW_TRACKING_URI", None)
    code = (
        "import sys; from pathlib import Path; from tests.builders.students import train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])"
    )
    words = [sys.executable, "-c", code, str(shards), str(out), f"train.logger={logger}", *_RUN]
    root = Path(__file__).parents[4]
    done = subprocess.run(words, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def check_private(out: Path, asked: list[str]) -> None:
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if _SECRET.encode() in path.read_bytes()]
    assert asked == []


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: pip install 'distill[wandb]'")
def test_wandb_offline(shards: Path, tmp_path: Path, proxy: tuple[str, list[str]]) -> None:
    out = tmp_path / "run"
    train_apart(shards, out, "wandb", proxy[0])
    (folder,) = out.glob("wandb/offline-run-*")
    (store,) = folder.glob("*.wandb")
    content = store.read_bytes()
    for name in (b"train/loss", b"train/learning_rate", b"val/score", b"optim.lr"):
        assert name in content, name
    assert len(list(folder.glob("files/media/images/samples/validation_*.png"))) == 3
    assert not list(folder.rglob("requirements.txt"))
    check_private(out, proxy[1])


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'distill[mlflow]'")
def test_mlflow_in_a_folder(shards: Path, tmp_path: Path, proxy: tuple[str, list[str]]) -> None:
    out = tmp_path / "run"
    train_apart(shards, out, "mlflow", proxy[0])
    (losses,) = out.glob("mlruns/*/*/metrics/train/loss")
    steps = [int(line.split()[-1]) for line in losses.read_text().splitlines()]
    batches = len((out / "logs" / "batches.csv").read_text().splitlines()) - 1
    assert steps == list(range(1, batches + 1))
    (scores,) = out.glob("mlruns/*/*/metrics/val/score")
    history = json.loads((out / "history.json").read_text())
    assert [float(line.split()[1]) for line in scores.read_text().splitlines()] == pytest.approx(
        [row["val_score"] for row in history]
    )
    assert len(list(out.glob("mlruns/*/*/artifacts/samples/step-*.png"))) == 3
    assert list(out.glob("mlruns/*/*/params/optim.lr"))
    check_private(out, proxy[1])
