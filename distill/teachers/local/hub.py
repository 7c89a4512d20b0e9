"""Models by folder or hub id: where their files lie, and what has to be the same for answers to be the same.

Weights are fetched by the libraries of the hub, once, into their cache; nothing here asks the network where
``HF_HUB_OFFLINE`` is set.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.optional import require

MODELS_VARIABLE = "DISTILL_MODELS"
_CONNECT_TIMEOUT_S = 5.0
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class ModelUnavailable(UsageError):  # noqa: N818 - a state of this machine
    """The model's files are not on this machine, and may not or cannot be fetched."""


def model_folders(folder: Path) -> list[Path]:
    """Where relative paths of models start from: here, the config's folder, each folder of ``$DISTILL_MODELS``."""
    return [Path(), folder, *map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]


def find_source(model: str, folder: Path) -> str:
    """A folder on this machine, or the hub id itself.

    Raises:
        UsageError: Neither a folder that exists nor of the form of a hub id.
    """
    for place in model_folders(folder):
        if (place / model).is_dir():
            return str(place / model)
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        raise UsageError(
            f"{model}: no such folder, and no hub id (owner/name)",
            hint=f"give --set model=FOLDER, or its folder in ${MODELS_VARIABLE}",
        )
    return model


def read_config(source: str, name: str, revision: str = "") -> dict[str, Any]:
    """A small JSON file of the model, such as ``config.json``; fetched if need be.

    Raises:
        ModelUnavailable: It is on the hub, and the hub cannot be asked.
        UsageError: The model has no such file, or it is no JSON object.
    """
    path = Path(source) / name if Path(source).is_dir() else _fetch(source, name, revision)
    if not path.is_file():
        raise UsageError(f"{source}: no model there ({name} is missing)", hint="give the folder that holds it")
    try:
        values = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: damaged: {error}", hint="copy the model again") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not the configuration of a model", hint="copy the model again")
    return values


def _fetch(source: str, name: str, revision: str) -> Path:
    hub = require("huggingface_hub", extra="local", why="find models of the hub")
    # It would tell of each of its five tries.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(hub.hf_hub_download(source, name, revision=revision or None, local_files_only=True))
    except Exception as error:  # the hub's kinds differ by version
        if not _reachable():
            raise unavailable(source, error) from error
    try:
        return Path(hub.hf_hub_download(source, name, revision=revision or None))
    except Exception as error:  # as above; missing and gated must both be one sentence
        raise unavailable(source, error) from error


def _reachable() -> bool:
    """Whether the hub answers at all; its own library takes half a minute to find out. A proxy is taken at its word."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    url = urllib.parse.urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if urllib.request.getproxies():
        return True
    try:
        with socket.create_connection((url.hostname or "", url.port or 443), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def unavailable(source: str, error: Exception) -> ModelUnavailable:
    """What to say when the hub's libraries give up."""
    reason = " ".join(str(error).split())
    words = {"gated": "its license must be accepted on the hub first", "401": "it is private or does not exist"}
    why = next((text for word, text in words.items() if word in reason.lower()), "the hub cannot be reached")
    return ModelUnavailable(
        f"{source}: the model is not on this machine, and could not be fetched: {why}",
        hint=f"fetch it where there is a network (hf download {source}), or give a folder with --set model=FOLDER",
    )


def fingerprint(source: str, revision: str = "") -> str:
    """What tells one state of a model from another: names, sizes and times of a folder's files, or id and commit."""
    if not Path(source).is_dir():
        return f"{source}@{revision}"
    digest = hashlib.sha256()
    for path in sorted(Path(source).rglob("*")):
        if path.is_file():
            info = path.stat()
            digest.update(f"{path.relative_to(source)} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def load_model(kind: Any, source: str, **arguments: Any) -> Any:
    """``kind.from_pretrained(source, ...)`` with failures as sentences; weights are read from safetensors only.

    Raises:
        ModelUnavailable: As `read_config`.
        UsageError: The files are not of this kind of model.
    """
    try:
        return kind.from_pretrained(source, **arguments)
    except OSError as error:
        if not Path(source).is_dir():
            raise unavailable(source, error) from error
        raise UsageError(f"{source}: {_first_line(error)}", hint="the folder does not hold the whole model") from error
    except ImportError as error:
        raise UsageError(f"{source}: {_first_line(error)}", hint="pip install 'distill[local]'") from error
    except Exception as error:  # keys that do not fit, unknown classes, damaged weights
        raise UsageError(f"{source}: cannot be opened: {_first_line(error)}", hint="check the model's files") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
