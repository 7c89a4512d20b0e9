"""Save and load a trained student: ``spec.json`` and ``weights.safetensors``, neither of which can execute code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as encode_tensors
from torch import Tensor

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.errors import DistillError, UsageError
from distill.files import parse_json, write_atomic
from distill.spec import StudentSpec, read_spec, write_spec
from distill.students.model.student import Student
from distill.tasks import Task

SPEC = "spec.json"
WEIGHTS = "weights.safetensors"
_CONFIG_KEY = "distill.student"
_TensorKind = tuple[tuple[int, ...], str]
"""Shape and type, as safetensors names it."""
_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


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
    config, kinds = _read_header(run_dir / WEIGHTS)
    if (config.custom_backbone or config.backbone) != spec.backbone:
        raise DistillError(
            f"{run_dir}: {SPEC} names the backbone {spec.backbone}, the weights {config.backbone}",
            hint="use weights and spec.json of the same run folder",
        )
    if size_hw is not None or fixed_size_hw is not None:
        about = spec.input.model_copy(update={"size_hw": size_hw or spec.input.size_hw, "fixed_size_hw": fixed_size_hw})
        spec = spec.model_copy(update={"input": about})
    try:
        expected = _kinds_without_memory(config, spec)
        if expected is not None:
            _check_weights(kinds, expected, run_dir / WEIGHTS)
        student = Student(config, spec, pretrained=False)
        _check_weights(kinds, _kinds(student.state_dict()), run_dir / WEIGHTS)
        student.load_state_dict(_read_tensors(run_dir / WEIGHTS))
    except UsageError:
        raise
    except DistillError as error:
        if spec.input.size_hw == trained.input.size_hw:
            raise
        height, width = trained.input.size_hw
        raise UsageError(
            f"{spec.backbone} has weights for {height}x{width} px alone", hint="leave --input-size out"
        ) from error
    return student.eval(), spec


def _kinds_without_memory(config: StudentConfig, spec: StudentSpec) -> dict[str, _TensorKind] | None:
    """Tensors of the network, built on torch's meta device, where they have no values; None if that is impossible.

    Raises:
        UsageError: The network is too large, or has no feature maps at this size.
    """
    if config.custom_backbone is not None:  # code that the user trusts need not run on that device
        return None
    try:
        with torch.device("meta"):
            return _kinds(Student(config, spec, pretrained=False).state_dict())
    except UsageError as error:
        if "meta tensor" in error.message:  # one of the families of timm looks at values while it is built
            return None
        raise


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, _TensorKind]:
    return {
        name: (tuple(tensor.shape), _TYPES.get(tensor.dtype, str(tensor.dtype))) for name, tensor in tensors.items()
    }


def _check_weights(found: Mapping[str, _TensorKind], wanted: Mapping[str, _TensorKind], path: Path) -> None:
    """Check names, shapes and types of the tensors in a file.

    Raises:
        DistillError: They belong to another student; names the first tensor that differs.
    """
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise DistillError(
                f"{path}: the weights belong to another student: {name} differs",
                hint="use weights and spec.json of the same run folder",
            )


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


def _read_header(path: Path) -> tuple[StudentConfig, dict[str, _TensorKind]]:
    """(the network's config, shape and type of each tensor); no tensor is read."""
    try:
        with safe_open(path, framework="pt") as file:
            config = (file.metadata() or {}).get(_CONFIG_KEY)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            kinds = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    if config is None:
        raise DistillError(f"{path}: not the weights of a student", hint="use the file that distill train wrote")
    return load_config(StudentConfig, _parse(config, path), name=str(path)), kinds


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DistillError:
    return DistillError(f"{path}: the weights are damaged: {error}", hint="copy them again, or train again")


def _parse(text: str, path: Path) -> dict[str, object]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise DistillError(f"{path}: the header is damaged", hint="copy the file again") from error
    return values if isinstance(values, dict) else {}
