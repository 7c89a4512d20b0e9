"""Turn a generalist image generator into fast specialists that you own."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def load(path: Any, *, threads: int | None = None, allow_spinning: bool = False) -> Any:
    """A student, ready to run: ``model(images)`` for arrays, ``model.stream("clip.mp4")`` for videos.

    Args:
        path: A file that ``distill export`` wrote, or a run folder.
        threads: Of the engine; None takes all cores.
        allow_spinning: Let idle threads wait busily: a little faster for single pictures, wasteful for videos.

    Returns:
        A `distill.export.inference.stream.Model`.

    Raises:
        DistillError: It is no student, or is damaged.
    """
    # By name: the root of the package stands above no floor, and importing it must cost nothing.
    from importlib import import_module

    return import_module("distill.workflows.model").load(path, threads=threads, allow_spinning=allow_spinning)
