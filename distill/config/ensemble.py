"""Config of an ensemble: the teachers of each task, and how their labels are combined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model, model_validator

from distill.config import Config
from distill.config.teacher_base import TeacherConfig
from distill.tasks import TASKS, DepthKind, Task


class MemberConfig(Config):
    """One teacher of an ensemble."""

    teacher: dict[str, Any]
    """Its config. In a file also a kind, or the path of another config file."""
    folder: str = "."
    """Base folder of its relative paths."""
    weight: float = Field(default=1.0, gt=0)
    """weight: relative frequency with which it is picked."""
    min_quality: float | None = Field(default=None, ge=0, le=1)
    """cascade: minimum score of this teacher's labels; None: the blend's value."""
    price_usd: float | None = Field(default=None, ge=0)
    """cascade: price of one answer, to report the savings; None: the price in its config."""


class BlendConfig(Config):
    """The teachers of one task, and how their labels are combined."""

    strategy: Literal["weight", "cascade", "fuse"]
    """``weight``: one teacher per photo, drawn by weight; ``cascade``: the first teacher whose label passes, so list
    cheap ones first; ``fuse``: the labels of all teachers become one, with their agreement as confidence."""
    teachers: tuple[MemberConfig, ...] = Field(min_length=1)
    min_quality: float = Field(default=0.6, ge=0, le=1)
    """cascade: minimum score of a label."""
    fallback: Literal["best", "none"] = "best"
    """cascade: if no label passes, use the best one, or none."""
    depth_kind: DepthKind | None = None
    """depth: all labels are converted to this kind; required if the teachers' depth kinds differ."""


class _EnsembleBase(TeacherConfig):
    kind: Literal["ensemble"] = "ensemble"
    name: str = "ensemble"
    seed: int = Field(default=0, ge=0)
    """weight: another seed gives other draws."""

    @model_validator(mode="after")
    def _check_not_empty(self) -> _EnsembleBase:
        if not self.blends():
            raise ValueError(f"name at least one of {', '.join(Task)}")
        if self.license != "unknown" or self.terms:
            raise ValueError("license and terms are keys of each teacher of the ensemble, not of the ensemble")
        for task, blend in self.blends().items():
            if blend.depth_kind is not None and not TASKS[task].has_depth_kind:
                raise ValueError(f"{task}.depth_kind: only depth has a depth kind")
        return self

    def blends(self) -> dict[Task, BlendConfig]:
        """The blend of each task, in a fixed order."""
        found = {task: getattr(self, str(task), None) for task in Task}
        return {task: blend for task, blend in found.items() if blend is not None}

    @property
    def depth_kind(self) -> DepthKind | None:
        """Depth kind of the ensemble's labels, if it is chosen."""
        return next((blend.depth_kind for blend in self.blends().values() if blend.depth_kind is not None), None)

    def members(self) -> list[MemberConfig]:
        """All teachers of all tasks."""
        return [member for blend in self.blends().values() for member in blend.teachers]


_blend_fields: dict[str, Any] = {str(task): (BlendConfig | None, None) for task in Task}

if TYPE_CHECKING:
    EnsembleConfig = _EnsembleBase
else:
    EnsembleConfig = create_model(
        "EnsembleConfig",
        __base__=_EnsembleBase,
        __module__=__name__,
        __doc__="Several teachers as one, one `BlendConfig` per task; each label carries its own teacher's license.",
        **_blend_fields,
    )
