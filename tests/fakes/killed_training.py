"""Training in a forked process that is killed directly behind a chosen write, and what must be the same afterwards."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import distill.students.training.fit  # noqa: F401 - imported once, not in each child
from distill.students.training.callbacks.history import BatchLossLog
from distill.workflows.train.config import read_train_config
from distill.workflows.train.run import run_train

CURVE = "logs/batches.csv"
TINY: Mapping[str, Any] = {
    "student.preset": None,
    "student.backbone": "test_efficientnet",
    "student.size_hw": [32, 32],
    "student.neck_channels": 16,
    "student.head_channels": 16,
    "student.dropout": 0.2,
    "augment.erase": 0.5,
    "augment.tint": 0.2,
    "data.batch_size": 3,
    "data.val_fraction": 0.3,
    "train.accelerator": "cpu",
    "train.threads": 1,
    "train.checkpoint_minutes": 1e-9,  # after every step
    "train.logger": "none",
    "train.sample_images": 1,
    "train.seed": 3,
}
"""All kinds of random numbers, and a state after every step."""


def train_killed(
    shards: Path,
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    behind: tuple[str, int] | None = None,
    after_s: float | None = None,
) -> tuple[int, list[str]]:
    """Train in a child process, and kill it behind the n-th write of a file, or after some seconds.

    Args:
        shards: Training data.
        out: Folder of the run.
        overrides: Of `TINY`.
        behind: Beginning of a name relative to `out`, and the number of its writes by this process; None: no kill.
        after_s: Kill at this time; None: not.

    Returns:
        The exit code of the process, and the files that it wrote, in order.
    """
    log = out.with_name(f"{out.name}.writes")
    log.write_text("")
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _record_writes(log, out, behind)
            run_train(read_train_config(None, shards, {**TINY, **(overrides or {})}), out)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, log.read_text().splitlines()


def _record_writes(log: Path, out: Path, behind: tuple[str, int] | None) -> None:
    """Log every file that gets its name, and every append to the curve; die behind the chosen one."""
    replace, flush = Path.replace, BatchLossLog.flush
    written = list[str]()

    def record(name: str) -> None:
        written.append(name)
        with log.open("a") as file:
            file.write(f"{name}\n")
        if behind is not None and name.startswith(behind[0]):
            count = sum(one.startswith(behind[0]) for one in written)
            if count == behind[1]:
                os.kill(os.getpid(), signal.SIGKILL)

    def recorded_replace(self: Path, target: Path) -> Path:
        result = replace(self, target)
        record(str(Path(target).relative_to(out)))
        return result

    def recorded_flush(self: BatchLossLog) -> None:
        has_rows = bool(self._held)
        flush(self)
        if has_rows:
            record(CURVE)

    Path.replace = recorded_replace  # type: ignore[method-assign,assignment]
    BatchLossLog.flush = recorded_flush  # type: ignore[method-assign]


def outcome(out: Path) -> dict[str, str]:
    """Contents of a run's files as text or digest, without times and machine."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if path.suffix == ".ckpt":
            found[name] = _digest_of_state(path)
        elif name == "logs/metrics.csv":
            table = csv.DictReader(io.StringIO(path.read_text()))
            found[name] = "\n".join(json.dumps(_timeless(row)) for row in table)
        elif name in ("history.json", "train.json"):
            values = json.loads(path.read_text())
            rows = [_timeless(row) for row in (values if isinstance(values, list) else [values, values["best"]])]
            found[name] = "\n".join(json.dumps(row) for row in rows)
        elif name == "train.html":  # shows times
            found[name] = "a page"
        elif name != "train.provenance.json":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("elapsed_s", "run", "best")}


def _digest_of_state(path: Path) -> str:
    """Weights, averages, moments of the optimizer and counters of a checkpoint."""
    state = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    parts = [state[name] for name in ("state_dict", "current_model_state", "averaging_state") if name in state]
    for tensors in (*parts, *state["optimizer_states"][0]["state"].values()):
        for name, tensor in tensors.items():
            digest.update(name.encode() + tensor.numpy().tobytes())
    validations = state["callbacks"]["ValidationCallback"]
    counts = [state["global_step"], state["distill"]["batches_seen"], validations["validated"], validations["worse"]]
    return f"{digest.hexdigest()} {counts}"
