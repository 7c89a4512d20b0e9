"""What a verb is pointed at: a run folder or an exported file, opened as a runner. Introduces students to runners."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.export.inference.stream import Model
    from distill.export.runners import Runner


def open_model(path: Path, *, threads: int | None = None, allow_spinning: bool = True) -> Runner:
    """The student in this run folder or exported file, ready to run.

    Args:
        path: A folder that ``distill train`` wrote, or a file that ``distill export`` wrote.
        threads: None takes the cores that this process may use.
        allow_spinning: Whether an engine's idle threads wait busily.

    Raises:
        UsageError: Neither.
        DistillError: The files are damaged.
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

    return open_runner(path, threads=threads, allow_spinning=allow_spinning)


def model_digest(path: Path) -> str:
    """Changes when the student does, by what its files hold."""
    # A run is its weights and its spec; OpenVINO's weights, and those of large ONNX files, lie beside the file.
    files = (
        [path / "weights.safetensors", path / "spec.json"]
        if path.is_dir()
        else [path, path.with_suffix(".bin"), path.with_name(path.name + ".data")]
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def load(path: str | Path, *, threads: int | None = None, allow_spinning: bool = False) -> Model:
    """The same for programs: `distill.load`."""
    from distill.export.inference.stream import Model

    return Model(open_model(Path(path), threads=threads, allow_spinning=allow_spinning))
