"""Save and load a trained student: ``spec.json`` and ``weights.safetensors``, neither of which can execute code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as encode_tensors
from torch import Tensor

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.errors import DistillError, UsageError
from distill.files import write_atomic
from distill.spec import StudentSpec, read_spec, write_spec
from distill.students.model.student import Student
from distill.tasks import Task

SPEC = "spec.json"
WEIGHTS = "weights.safetensors"
_CONFIG_KEY = "distill.student"


def save_student(run_dir: Path, student: Student) -> None:
    """Write both files; the header of the weights contains the network's config."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    data = encode_tensors(tensors, metadata={_CONFIG_KEY: student.config.model_dump_json()})
    # Weights first, so that a spec never exists without weights.
    write_atomic(run_dir / WEIGHTS, data)
    write_spec(run_dir / SPEC, student.spec)


def load_student(
    run_dir: Path, *, size_hw: tuple[int, int] | None = None, fixed_size_hw: tuple[int, int] | None = None
) -> tuple[Student, StudentSpec]:
    """(the student, ready to predict; its spec) from a run folder.

    Args:
        run_dir: Output folder of training.
        size_hw: Another working size than that of the training.
        fixed_size_hw: The only image size that it has to accept; None: any.

    Raises:
        UsageError: The folder holds no trained student, or its backbone cannot work at another size.
        DistillError: The files are damaged or do not belong together.
    """
    for name in (SPEC, WEIGHTS):
        if not (run_dir / name).is_file():
            raise UsageError(
                f"{run_dir}: not a trained student (no {name})", hint="give the --out folder of distill train"
            )
    trained = spec = read_spec(run_dir / SPEC)
    config, tensors = _read_weights(run_dir / WEIGHTS)
    if size_hw is not None or fixed_size_hw is not None:
        about = spec.input.model_copy(update={"size_hw": size_hw or spec.input.size_hw, "fixed_size_hw": fixed_size_hw})
        spec = spec.model_copy(update={"input": about})
    student = Student(config, spec, pretrained=False)
    try:
        load_weights(student, tensors, str(run_dir / WEIGHTS))
    except DistillError as error:
        if spec.input.size_hw == trained.input.size_hw:
            raise
        height, width = trained.input.size_hw
        raise UsageError(
            f"{spec.backbone} has weights for {height}x{width} px alone", hint="leave --input-size out"
        ) from error
    return student.eval(), spec


def load_weights(student: Student, tensors: dict[str, Tensor], name: str) -> None:
    """Load all weights into the student, in place.

    Raises:
        DistillError: They belong to another student; names the first tensor that differs.
    """
    wanted = student.state_dict()
    for key in sorted(wanted.keys() | tensors.keys()):
        if key not in tensors or key not in wanted or tensors[key].shape != wanted[key].shape:
            raise DistillError(
                f"{name}: the weights belong to another student: {key} differs",
                hint="use weights and spec.json of the same run folder",
            )
    student.load_state_dict(tensors)


def load_matching_weights(run_dir: Path, student: Student) -> str:
    """Load the weights of an earlier student where shapes match; returns a summary for the terminal.

    Output weights of semantic classes are matched by name.

    Raises:
        UsageError: The folder holds no trained student, or one of another backbone.
        DistillError: Its files are damaged.
    """
    earlier, spec = load_student(run_dir)
    if spec.backbone != student.spec.backbone:
        raise UsageError(
            f"{run_dir}: its backbone is {spec.backbone}, not {student.spec.backbone}",
            hint=f"set student.backbone={spec.backbone}, or leave init out",
        )
    tensors, wanted = earlier.state_dict(), student.state_dict()
    fitting = {
        name: tensor for name, tensor in tensors.items() if name in wanted and tensor.shape == wanted[name].shape
    }
    known = _shared_classes(spec, student.spec)
    rows = [place for place, _ in known]
    for name in _class_rows(student):
        fitting.pop(name, None)  # the same number of classes is not the same classes
        if name in tensors and tensors[name].shape[1:] == wanted[name].shape[1:]:
            fitting[name] = wanted[name].clone()
            fitting[name][rows] = tensors[name][[place for _, place in known]]
    student.load_state_dict(fitting, strict=False)
    summary = f"{run_dir}: used {len(fitting)} of {len(wanted)} tensors"
    if student.spec.semantic:
        summary += f"; {len(known)} of {len(student.spec.semantic.classes)} classes matched"
    return summary


def _shared_classes(earlier: StudentSpec, now: StudentSpec) -> list[tuple[int, int]]:
    """(index now, index earlier) of each class that both have."""
    before = {name.casefold(): index for index, name in enumerate(earlier.semantic.classes)} if earlier.semantic else {}
    names = now.semantic.classes if now.semantic else ()
    return [(index, before[name.casefold()]) for index, name in enumerate(names) if name.casefold() in before]


def _class_rows(student: Student) -> list[str]:
    """Names of the tensors whose first axis is the class list."""
    prefix = f"heads.{Task.SEMANTIC}."
    names = [name for name in student.state_dict() if name.startswith(prefix)]
    return names[-2:]  # weight and bias of the last layer


def check_student_matches(checkpoint: Path, student: Student) -> dict[str, Any]:
    """Load a checkpoint (memory-mapped) and check that it belongs to this student.

    Raises:
        UsageError: There is no checkpoint, or it belongs to another student.
        DistillError: It is damaged.
    """
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint.parent.parent}: no checkpoint to resume from", hint="leave --resume out")
    try:
        found: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        theirs = {part: found["distill"][part] for part in ("student", "spec", "batches_seen")}
    except Exception as error:  # pickle, zip and key errors alike
        raise DistillError(
            f"{checkpoint}: the checkpoint is damaged: {str(error).splitlines()[0]}",
            hint="delete it to start again, or resume from a copy of best.ckpt",
        ) from error
    ours = {"student": student.config.model_dump_json(), "spec": student.spec.to_json()}
    for part, text in ours.items():
        before, now = (_without_sources(json.loads(values)) for values in (theirs[part], text))
        if before != now:
            raise UsageError(
                f"{checkpoint}: the checkpoint belongs to another student ({part}: {_first_difference(before, now)})",
                hint="choose another --out, or use the config of the earlier run",
            )
    return found


def check_optimizer_matches(checkpoint: Path, found: Mapping[str, Any], groups: Sequence[int]) -> None:
    """Raise if the checkpoint's optimizer state does not fit.

    Args:
        checkpoint: The file.
        found: Its values, as returned by `check_student_matches`.
        groups: Number of tensors in each parameter group of the optimizer that would continue.

    Raises:
        UsageError: The parameter groups differ; names the config keys that decide them.
    """
    theirs = [len(group["params"]) for group in found["optimizer_states"][0]["param_groups"]]
    if theirs != list(groups):
        run_dir = checkpoint.parent.parent
        raise UsageError(
            f"{run_dir}: optim.backbone_lr_ratio or optim.layer_decay cannot change within a run: other weights "
            "would be trained",
            hint=f"leave them as they were, or start a new run with init={run_dir} and another --out",
        )


def _without_sources(values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that depend on the shards: a student stays the same on other shards."""
    return {key: value for key, value in values.items() if key not in ("provenance", "licenses", "terms")}


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return next((f"{key} was {old.get(key)}, is {new[key]}" for key in new if old.get(key) != new[key]), "format")


def _read_weights(path: Path) -> tuple[StudentConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            config = (file.metadata() or {}).get(_CONFIG_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise DistillError(
            f"{path}: the weights are damaged: {error}", hint="copy them again, or train again"
        ) from error
    if config is None:
        raise DistillError(f"{path}: not the weights of a student", hint="use the file that distill train wrote")
    return load_config(StudentConfig, _parse(config, path), name=str(path)), tensors


def _parse(text: str, path: Path) -> dict[str, object]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DistillError(f"{path}: the header is damaged", hint="copy the file again") from error
    return values if isinstance(values, dict) else {}
