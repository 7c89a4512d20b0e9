"""Models by folder or hub id: their files, and a fingerprint of them.

The hub's libraries download weights once into their cache; with ``HF_HUB_OFFLINE`` set, no network is used.
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
    """The model is not on this machine and cannot be downloaded."""


def model_folders(folder: Path) -> list[Path]:
    """Base folders of relative model paths: here, the config's folder, each folder of ``$DISTILL_MODELS``."""
    return [Path(), folder, *map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]


def find_source(model: str, folder: Path) -> str:
    """A folder on this machine, or the hub id itself.

    Raises:
        UsageError: Neither an existing folder nor a hub id.
    """
    for place in model_folders(folder):
        if (place / model).is_dir():
            return str(place / model)
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        raise UsageError(
            f"{model}: neither a folder nor a hub id (owner/name)",
            hint=f"give --set model=FOLDER, or set ${MODELS_VARIABLE} to its parent folder",
        )
    return model


def read_config(source: str, name: str, revision: str = "") -> dict[str, Any]:
    """A small JSON file of the model, such as ``config.json``; downloaded if necessary.

    Raises:
        ModelUnavailable: It is on the hub and cannot be downloaded.
        UsageError: The model has no such file, or it is not a JSON object.
    """
    path = Path(source) / name if Path(source).is_dir() else _fetch(source, name, revision)
    if not path.is_file():
        raise UsageError(f"{source}: not a model folder ({name} is missing)", hint="give the folder of the model")
    try:
        values = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: damaged: {error}", hint="copy the model again") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not the configuration of a model", hint="copy the model again")
    return values


def _fetch(source: str, name: str, revision: str) -> Path:
    hub = require("huggingface_hub", extra="local", why="find models of the hub")
    # It would log each of its five attempts.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(hub.hf_hub_download(source, name, revision=revision or None, local_files_only=True))
    except Exception as error:  # exception types differ between versions
        if not _reachable():
            raise unavailable(source, error) from error
    try:
        return Path(hub.hf_hub_download(source, name, revision=revision or None))
    except Exception as error:  # as above
        raise unavailable(source, error) from error


def _reachable() -> bool:
    """Whether the hub is reachable, which its own library finds out in half a minute. A proxy counts as reachable."""
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
    """The error for a failed download."""
    reason = " ".join(str(error).split())
    words = {"gated": "its license must be accepted on the hub first", "401": "it is private or does not exist"}
    why = next((text for word, text in words.items() if word in reason.lower()), "the hub cannot be reached")
    return ModelUnavailable(
        f"{source}: the model is not on this machine and could not be downloaded: {why}",
        hint=f"download it on a machine with network (hf download {source}), or give a folder with --set model=FOLDER",
    )


def fingerprint(source: str, revision: str = "") -> str:
    """State of a model: digest of names, sizes and times of a folder's files, or id and revision."""
    if not Path(source).is_dir():
        return f"{source}@{revision}"
    digest = hashlib.sha256()
    for path in sorted(Path(source).rglob("*")):
        if path.is_file():
            info = path.stat()
            digest.update(f"{path.relative_to(source)} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def load_model(kind: Any, source: str, **arguments: Any) -> Any:
    """``kind.from_pretrained(source, ...)`` with plain errors; weights are read from safetensors only.

    Raises:
        ModelUnavailable: As `read_config`.
        UsageError: The files do not match this kind of model.
    """
    try:
        return kind.from_pretrained(source, **arguments)
    except OSError as error:
        if not Path(source).is_dir():
            raise unavailable(source, error) from error
        raise UsageError(
            f"{source}: {_first_line(error)}", hint="the folder does not contain the whole model"
        ) from error
    except ImportError as error:
        raise UsageError(f"{source}: {_first_line(error)}", hint="pip install 'distill[local]'") from error
    except Exception as error:  # keys that do not fit, unknown classes, damaged weights
        raise UsageError(f"{source}: cannot be opened: {_first_line(error)}", hint="check the model's files") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
