"""The config of several teachers at once: for each task who is asked, and whose answer counts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from distill.config import Config
from distill.config.teacher import TeacherConfig
from distill.tasks import DepthKind, Task


class MemberConfig(Config):
    """One teacher of a mix."""

    teacher: dict[str, Any]
    """Its config. In a file also a kind or the path of another config file."""
    folder: str = "."
    """Where its relative paths start from."""
    weight: float = Field(default=1.0, gt=0)
    """weight: how often it is picked, against the others."""
    min_quality: float | None = Field(default=None, ge=0, le=1)
    """cascade: what a label of this teacher has to score to pass; the blend's value unless given."""
    price_usd: float | None = Field(default=None, ge=0)
    """cascade: what one answer of it costs, for the account of what was spared; its config's price unless given."""


class BlendConfig(Config):
    """How one task is shared among teachers."""

    strategy: Literal["weight", "cascade", "fuse"]
    """``weight``: each photo has one teacher, drawn by weight; ``cascade``: the first whose label passes, so cheap ones
    stand first; ``fuse``: all are asked, and their answers become one label with agreement as confidence."""
    teachers: tuple[MemberConfig, ...] = Field(min_length=1)
    min_quality: float = Field(default=0.6, ge=0, le=1)
    """cascade: what a label has to score to pass."""
    fallback: Literal["best", "none"] = "best"
    """cascade: when no label passes, keep the best one, or none."""
    depth_kind: DepthKind | None = None
    """depth: what all labels are brought to; needed when the teachers' depth kinds differ."""


class EnsembleConfig(TeacherConfig):
    """Several teachers as one. Each label carries the license of the teacher that it comes from."""

    kind: Literal["ensemble"] = "ensemble"
    name: str = "ensemble"
    seed: int = Field(default=0, ge=0)
    """weight: another seed, other draws."""
    depth: BlendConfig | None = None
    normals: BlendConfig | None = None
    semantic: BlendConfig | None = None
    instance: BlendConfig | None = None
    referring: BlendConfig | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> EnsembleConfig:
        if not self.blends():
            raise ValueError(f"name at least one of {', '.join(Task)}")
        if self.license != "unknown" or self.terms:
            raise ValueError("license and terms belong to each teacher of the mix")
        for task, blend in self.blends().items():
            if blend.depth_kind is not None and task is not Task.DEPTH:
                raise ValueError(f"{task}.depth_kind: only depth has one")
        return self

    def blends(self) -> dict[Task, BlendConfig]:
        """The tasks, in a fixed order."""
        found = {task: getattr(self, str(task), None) for task in Task}
        return {task: blend for task, blend in found.items() if blend is not None}

    def members(self) -> list[MemberConfig]:
        """All teachers of all tasks."""
        return [member for blend in self.blends().values() for member in blend.teachers]
