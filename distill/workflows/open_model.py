"""Opening of models: a run folder or an exported file as a runner, or as a `Model` for prediction."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError
from distill.workflows.arguments import StrPath

if TYPE_CHECKING:
    from distill.export.runners import Runner
    from distill.workflows.predict.model import Model


def open_model(
    path: Path, *, threads: int | None = None, allow_spinning: bool = True, allow_native: bool = False
) -> Runner:
    """Open a run folder or an exported file as a runner.

    Args:
        path: A folder that ``distill train`` wrote, or a file that ``distill export`` wrote.
        threads: None takes the cores that this process may use.
        allow_spinning: Whether idle threads of the engine wait busily.
        allow_native: Open files with machine code (``.pt2``, ``.engine``).

    Raises:
        UsageError: The path is neither, or contains machine code that `allow_native` does not permit.
        DistillError: A file is damaged.
    """
    if path.is_dir():
        from distill.export.runners import ModuleRunner
        from distill.students.checkpoint import load_student

        student, spec = load_student(path)
        return ModuleRunner(student, spec, name=path.name or str(path), threads=threads)
    if not path.exists():
        raise UsageError(
            f"{path}: no such file or folder", hint="give a run folder of distill train or an exported file"
        )
    if path.suffix in (".ckpt", ".safetensors"):
        folder = path.parent.parent if path.suffix == ".ckpt" else path.parent
        raise UsageError(f"{path}: this is one file of a run", hint=f"give the run's folder: {folder}")
    from distill.export.runners import open_runner

    return open_runner(path, threads=threads, allow_spinning=allow_spinning, allow_native=allow_native)


def model_digest(path: Path) -> str:
    """SHA-256 of the files of a student."""
    from distill.config.export import artifact_files

    # A run is its weights and its spec; large ONNX files have their weights in a second file.
    files = (
        [path / "weights.safetensors", path / "spec.json"]
        if path.is_dir()
        else [*artifact_files(path), path.with_name(path.name + ".data")]
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def load(
    path: StrPath, *, threads: int | None = None, allow_spinning: bool = False, allow_native: bool = False
) -> Model:
    """Load a student for prediction.

    Args:
        path: Run folder of `distill.train`, or file that `distill.export` wrote.
        threads: Threads of the engine; all cores unless given.
        allow_spinning: Let idle threads of the engine wait busily: slightly faster for single images, wasteful for
            videos.
        allow_native: Open files with machine code (``.pt2``, ``.engine``), which runs with all of your rights.

    Returns:
        A `Model`: ``model(image)`` gives a `Prediction`, ``model.stream("clip.mp4")`` yields frames with their maps.

    Raises:
        UsageError: The path is neither, or contains machine code that `allow_native` does not permit.
        DistillError: A file is damaged.

    Example:
        >>> model = distill.load("runs/nano/export/nano.onnx")
        >>> prediction = model("photo.jpg")
        >>> prediction.depth.shape, prediction.classes
        >>> prediction.plot().save("overlay.png")
    """
    from distill.workflows.predict.model import Model

    return Model(open_model(Path(path), threads=threads, allow_spinning=allow_spinning, allow_native=allow_native))
