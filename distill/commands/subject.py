"""What a verb is pointed at: a run folder or an exported file, opened as a runner. Introduces students to runners."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.export.runners import Runner
    from distill.export.streaming import Model


def open_subject(path: Path, *, threads: int | None = None, spinning: bool = True) -> Runner:
    """The student in this run folder or exported file, ready to run.

    Args:
        path: A folder that ``distill train`` wrote, or a file that ``distill export`` wrote.
        threads: None takes the cores that this process may use.
        spinning: Whether an engine's idle threads wait busily.

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

    return open_runner(path, threads=threads, spinning=spinning)


def subject_digest(path: Path) -> str:
    """Changes when the student does: by a file's bytes, or by sizes and times of a run's weights."""
    if path.suffix == ".buckets" and path.is_file():
        from distill.export.runners.buckets import parts_of

        return hashlib.sha256("".join(map(subject_digest, parts_of(path))).encode()).hexdigest()
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes())
        for weights in (path.with_suffix(".bin"), path.with_name(path.name + ".data")):  # OpenVINO's, large ONNX files'
            digest.update(weights.read_bytes() if weights.is_file() else b"")
        return digest.hexdigest()
    files = sorted(file for file in path.rglob("*") if file.suffix in (".safetensors", ".ckpt", ".json"))
    listed = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def load(path: str | Path, *, threads: int | None = None, spinning: bool = False) -> Model:
    """The same for programs: `distill.load`."""
    from distill.export.streaming import Model

    return Model(open_subject(Path(path), threads=threads, spinning=spinning))
