"""What the folder of a training run holds already, and whether a new start may go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import load_config
from distill.config.train import TrainConfig
from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.students.training.fit import TrainResult

RESULT_FILE = "train.json"
"""What a run leaves at its end."""
_CONFIG, _PROVENANCE = "train.config.yaml", "train.provenance.json"
_STATE = Path("checkpoints", "last.ckpt")


def has_checkpoint(out: Path, config: TrainConfig, *, resume: bool) -> bool:
    """Whether there is something to go on with in the folder.

    Raises:
        UsageError: It holds another config's run, or --resume finds nothing.
    """
    found = (out / _STATE).is_file()
    if resume:
        if not found:
            raise UsageError(f"{out}: there is no checkpoint to go on from", hint="leave --resume out")
        return True
    if not found and not (out / RESULT_FILE).is_file():
        return False
    before = load_config(TrainConfig, out / _CONFIG) if (out / _CONFIG).is_file() else None
    if before != config:
        raise UsageError(
            f"{out}: holds a run of another config ({_first_difference(before, config)})",
            hint="choose another --out, or give --resume to go on with the changed config",
        )
    return found


def check_same_shards(out: Path, facts: dict[str, Any]) -> None:
    """Nothing, unless the folder holds a run whose shards were others than these.

    Raises:
        UsageError: They were.
    """
    try:
        before = json.loads((out / _PROVENANCE).read_text()).get("manifests")
    except (OSError, ValueError, AttributeError):
        return
    has_run = (out / _STATE).is_file() or (out / RESULT_FILE).is_file()
    if has_run and before is not None and before != facts["manifests"]:
        raise UsageError(
            f"{out}: its shards have changed since",
            hint="choose another --out, or give --resume to go on with them",
        )


def read_result(out: Path) -> TrainResult | None:
    """What a finished run left; None when there is none."""
    from distill.students.data.bad_samples import BAD_SAMPLES, read_bad_samples
    from distill.students.training.callbacks.history import HISTORY
    from distill.students.training.fit import TrainResult

    try:
        values = json.loads((out / RESULT_FILE).read_text())
        history = json.loads((out / HISTORY).read_text()) if (out / HISTORY).is_file() else []
        history = [row for row in history if row["val_score"] is not None]
        bad_samples = tuple(read_bad_samples(out / BAD_SAMPLES))
        return TrainResult(history, values["epochs"], values["steps"], values["elapsed_s"], False, bad_samples)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first_difference(before: TrainConfig | None, config: TrainConfig) -> str:
    if before is None:
        return f"no {_CONFIG}"
    old, new = _flatten(before.model_dump(mode="json")), _flatten(config.model_dump(mode="json"))
    return next(f"{key} was {old.get(key)}, is {new[key]}" for key in new if old.get(key) != new[key])


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
