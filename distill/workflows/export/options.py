"""Options of an export, and their checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.arguments import to_tasks

if TYPE_CHECKING:
    from distill.config.export import TargetConfig

_STRIDE, _MAX_SIDE = 32, 4096
"""Coarsest stride of nearly all backbones; limit of memory."""

Size = tuple[int, int]


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export; `export` describes them."""

    run: Path
    targets: Mapping[str, TargetConfig]
    out: Path | None = None
    images: Path | None = None
    num_images: int = 50
    calibrate: Path | None = None
    seconds: float = 1.0
    threads: int | None = None
    opset: int | None = None
    sensitivity: bool = False
    min_speedup: float | None = None
    size_hw: Size | None = None
    fixed_size_hw: Size | None = None
    verify: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the artifacts."""
        return self.run / "export" if self.out is None else self.out.parent if self.file else self.out

    @property
    def file(self) -> Path | None:
        """The file that --out names, for a single target.

        Raises:
            UsageError: --out is a file although there are several targets, or has the suffix of another engine.
        """
        if self.out is None or self.out.is_dir() or not (self.out.suffix or self.out.is_file()):
            return None
        config = next(iter(self.targets.values()))
        from distill.config.export import ENGINES

        engine = ENGINES[config.engine]
        suffix = engine.suffix
        if len(self.targets) > 1 or not engine.is_file:
            raise UsageError(f"--out {self.out}: several files are written", hint="give --out the name of a folder")
        if self.out.suffix.lower() != suffix:
            raise UsageError(
                f"--out {self.out}: the name of an {config.engine} file ends in {suffix}",
                hint=f"--out {self.out.with_suffix(suffix)}",
            )
        return self.out


def read_targets(words: Iterable[str], tolerance: Mapping[Task | str, float] | None = None) -> dict[str, TargetConfig]:
    """Read targets by name or YAML file, several separated by commas; ``all`` adds all built-in ones.

    Raises:
        UsageError: A target or a task of `tolerance` is unknown.
    """
    from distill.config.export import TARGETS, load_target

    names = [word.strip() for part in words for word in part.split(",") if word.strip()]
    if "all" in names:
        names = list(dict.fromkeys([*TARGETS, *(name for name in names if name != "all")]))
    if not names:
        raise UsageError("no target given", hint=f"choose from {', '.join(TARGETS)}")
    changed = {to_tasks(task)[0]: value for task, value in (tolerance or {}).items()}
    found = {}
    for name, config in map(load_target, names):
        by_task = config.tolerance.by_task | changed
        tolerances = config.tolerance.model_copy(update={"by_task": by_task})
        found[name] = config.model_copy(update={"tolerance": tolerances})
    return found


def check_input_size(size_hw: Size | None) -> Size | None:
    """Return the size if backbones can work at it.

    Raises:
        UsageError: A side is not a multiple of 32, or too large.
    """
    if size_hw is not None and any(side % _STRIDE or side > _MAX_SIDE for side in size_hw):
        raise UsageError(
            f"--input-size {size_hw[0]}x{size_hw[1]}: sides are multiples of {_STRIDE} up to {_MAX_SIDE}",
            hint="such as --input-size 256x192",
        )
    return size_hw
