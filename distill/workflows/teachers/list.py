"""List of the packaged and installed teachers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError
from distill.tasks import Task
from distill.workflows.packaged import packaged_configs
from distill.workflows.teachers.load import load_teacher

if TYPE_CHECKING:
    from distill.config.teacher_base import TeacherConfig
    from distill.teachers.kinds import Kind


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """A teacher that ``--teacher`` takes.

    Attributes:
        name: Value of ``--teacher``.
        kind: Kind of teacher.
        tasks: Its tasks; empty where they follow from the model.
        license: License of its labels.
        needs: Requirements: API key, extra of this package, model, files.
    """

    name: str
    kind: str
    tasks: tuple[Task, ...]
    license: str
    needs: str


@dataclass(frozen=True, slots=True)
class TeacherList:
    """All teachers by name."""

    teachers: tuple[TeacherRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"teachers": [{**asdict(row), "tasks": list(map(str, row.tasks))} for row in self.teachers]}

    def to_text(self) -> str:
        """Format as a table."""
        from distill.report.markdown import text_table

        rows = [
            [row.name, row.kind, ", ".join(row.tasks) or "of the model", row.license, row.needs]
            for row in self.teachers
        ]
        return text_table(["name", "kind", "tasks", "license of the labels", "needs"], rows)


def list_teachers() -> TeacherList:
    """List packaged configs, then installed plug-ins."""
    from distill.teachers.plugins import find_kind, plugins

    rows = [_row(name, path) for name, path in packaged_configs("teachers").items()]
    for name, entries in plugins().items():
        owner = find_kind(name)
        rows.append(TeacherRow(name, owner.name if owner else "", (), "of the package", entries[0].package))
    return TeacherList(tuple(rows))


def _row(name: str, path: Path) -> TeacherRow:
    from distill.config import read_yaml
    from distill.teachers.kinds import KINDS, kind_of

    try:
        config, folder = load_teacher(path)
    except DistillError as error:  # a config with a gap that the user fills with --set
        values = read_yaml(path)
        word, license = values.get("kind"), values.get("license", "unknown")
        kind = KINDS.get(word) if isinstance(word, str) else None
        return TeacherRow(
            name, kind.name if kind else "", (), license if isinstance(license, str) else "unknown", error.message
        )
    kind = kind_of(config)
    return TeacherRow(name, config.kind, _tasks(config), config.license, _needs(config, kind, folder))


def _tasks(config: TeacherConfig) -> tuple[Task, ...]:
    """Tasks in the config, wherever its type states them."""
    if hasattr(config, "maps"):
        return tuple(config.maps())
    if hasattr(config, "outputs"):
        return tuple(Task(output.task) for output in config.outputs)
    if hasattr(config, "members"):
        return tuple(task for task in Task if getattr(config, str(task), None) is not None)
    return tuple(getattr(config, "tasks", ()) or getattr(getattr(config, "prompts", None), "tasks", ()))


def _needs(config: TeacherConfig, kind: Kind, folder: Path) -> str:
    keys = getattr(config, "api_key_env", ())
    model = str(getattr(config, "model", ""))
    files = [getattr(config, key, None) for key in ("answers",)]
    parts = [" or ".join(keys)] if keys else [model] if kind.required_key[0] == "model" else []
    parts += [str(file) for file in files if file]
    parts += [f"distill[{kind.extra}]"] if kind.extra else []
    return ", ".join(part for part in parts if part)
