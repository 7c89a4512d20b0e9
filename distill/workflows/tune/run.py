"""Tuning as a function: config, data and pipeline in, low-rank weights and a teacher config out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distill.config import dump_config, load_config, read_yaml
from distill.config.local import DiffusersConfig
from distill.config.prompt import PromptConfig
from distill.datasets.review.verdicts import set_digest
from distill.datasets.shard_set import ShardSet, open
from distill.errors import UsageError
from distill.files import write_atomic
from distill.run_dir import open_run_dir
from distill.runtime.folder_lock import hold_output
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import DepthKind, Task
from distill.teachers.registration.canvas import Grid
from distill.teachers.tuning.config import TuningConfig
from distill.workflows.arguments import Overrides, Paths, StrPath, to_path

TEACHER, FACTS = "teacher.yaml", "tuning.json"


@dataclass(frozen=True, slots=True)
class TuneResult:
    """Outcome of a tuning.

    Attributes:
        out: Folder of the run.
        teacher: Config of the tuned teacher.
        steps: Finished steps.
        trained_parameters: Number of trained weights.
        before: Validation of the untuned generator.
        best: Best validation of the tuned one.
        losses: Mean loss of each step.
    """

    out: Path
    teacher: Path
    steps: int
    trained_parameters: int
    before: Mapping[str, Any]
    best: Mapping[str, Any]
    losses: Sequence[float]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "out": str(self.out),
            "teacher": str(self.teacher),
            "steps": self.steps,
            "trained_parameters": self.trained_parameters,
            "before": dict(self.before),
            "best": dict(self.best),
            "last_loss": self.losses[-1] if self.losses else None,
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        lines = [f"{self.steps} steps, {self.trained_parameters} trained weights; answers about held-out photos:"]
        for title, found in (("untuned", self.before), ("tuned", self.best)):
            prompted, accepted = sum(found["prompted"].values()), sum(found["accepted"].values())
            errors = ", ".join(f"{task} error {value:.3g}" for task, value in found["errors"].items())
            lines.append(f"  {title}: {accepted} of {prompted} accepted{f'; {errors}' if errors else ''}")
        return "\n".join([*lines, f"next: distill label PHOTOS --teacher {self.teacher} --out shards"])


def tune(
    config: StrPath | Mapping[str, Any] | TuningConfig,
    *,
    data: Paths,
    out: StrPath = "tuned",
    overrides: Overrides = (),
    reporter: Reporter | None = None,
) -> TuneResult:
    """Tune an image editor so that it answers prompts about photos with decodable images.

    Labels are encoded as generated images with drawn colormaps, palettes and wordings; low-rank weights are trained on
    photo, prompt and encoded image. Held-out photos are answered before, during and after, decoded and registered as
    those of any teacher, and the adapter with the lowest error is kept. An interrupted run continues when it is started
    again with the same arguments.

    Args:
        config: Path of a YAML config, a mapping of the same form, or a `TuningConfig`.
        data: Folders of shards with labels that are right, such as ground truth.
        out: Folder of the run; its ``teacher.yaml`` is a teacher.
        overrides: Config values by dotted key.
        reporter: Receives messages and progress.

    Raises:
        UsageError: A wrong key or value, a pipeline that cannot be tuned, data without labels that can be encoded, or
            `out` holds another tuning.
        DistillError: The training diverged.

    Example:
        >>> distill.tune("tuning.yaml", data=["truth"], out="tuned").best
    """
    reporter, folder = reporter or SilentReporter(), to_path(out)
    resolved = _load(config, overrides)
    sets = [open(to_path(path)) for path in ([data] if isinstance(data, str | os.PathLike) else data)]
    with hold_output(folder, "tune"):
        return _tune(resolved, sets, folder, reporter)


def _load(config: StrPath | Mapping[str, Any] | TuningConfig, overrides: Overrides) -> TuningConfig:
    if isinstance(config, TuningConfig):
        values, name = config.model_dump(mode="json"), "config"
    elif isinstance(config, Mapping):
        values, name = dict(config), "config"
    else:
        values, name = read_yaml(to_path(config)), str(config)
    changes = [f"{key}={value}" for key, value in overrides.items()] if isinstance(overrides, Mapping) else overrides
    return load_config(TuningConfig, values, changes, name=name)


def _tune(config: TuningConfig, sets: list[ShardSet], out: Path, reporter: Reporter) -> TuneResult:
    from distill.optional import require
    from distill.teachers.local.diffusers import DiffusersGenerator
    from distill.teachers.local.hub import find_source
    from distill.teachers.local.pipelines import PipelineChanges, open_pipeline, pipeline_class
    from distill.teachers.tuning.families import find_family
    from distill.teachers.tuning.pairs import gather
    from distill.teachers.tuning.trainer import ADAPTER, Tuner
    from distill.teachers.tuning.validation import validate
    from distill.workflows.teachers.load import load_teacher

    require("peft", extra="local", why="tune a generator with low-rank weights")
    teacher, base = load_teacher(config.teacher)
    if not isinstance(teacher, DiffusersConfig):
        raise UsageError(
            f"teacher: {config.teacher} is a teacher of kind {teacher.kind}, and only image editors can be tuned",
            hint="name a config with kind: diffusers",
        )
    source = find_source(teacher.model, base)
    family = find_family(pipeline_class(source, teacher.revision), config.teacher)
    grid = Grid(teacher.multiple, teacher.max_pixels, min(teacher.min_pixels, teacher.max_pixels))
    data = gather(sets, config.tasks, validation_photos=config.validation_photos, grid=grid, seed=config.seed)
    tuned = teacher.model_copy(update={"prompts": _prompts(data.tasks, sets)})
    digest = _digest(config, teacher, sets)
    open_run_dir(out, config_yaml=dump_config(config), verb="tune", facts=_facts(sets))
    reporter.info(f"opening {teacher.model}")
    # Without offloading, whose hooks training does not survive; adapters of the teacher become part of its weights.
    changes = PipelineChanges(teacher.transformer, teacher.loras, teacher.scheduler, offload="none")
    pipeline = open_pipeline(teacher, source, base, changes)
    if teacher.loras:
        pipeline.pipe.fuse_lora()
        pipeline.pipe.unload_lora_weights()
    tuner = Tuner(config, pipeline, family, data, dict(teacher.pipeline_kwargs), out)
    generator = DiffusersGenerator(tuned, source, base, pipeline)
    state = tuner.run(lambda: validate(data, generator, data.tasks, config.seed), digest, reporter)
    path = out / TEACHER
    write_atomic(path, _teacher_yaml(tuned, source, base, ADAPTER).encode())
    result = TuneResult(
        out=out,
        teacher=path,
        steps=state.step,
        trained_parameters=tuner.num_trained,
        before=state.validations[0],
        best=min(state.validations[1:], key=lambda one: one["score"]),
        losses=tuple(state.losses),
    )
    facts = {**_facts(sets), **result.to_dict(), "validations": state.validations, "photos": _photo_hashes(sets)}
    write_atomic(out / FACTS, json.dumps(facts, indent=1).encode())
    return result


def _prompts(tasks: Sequence[Task], sets: Sequence[ShardSet]) -> PromptConfig:
    """Prompts of the tuned teacher: the tasks and classes of its data.

    Raises:
        UsageError: The depth of the data is not metric or relative disparity, or differs between sets.
    """
    kinds = {shards.manifest.depth_kind for shards in sets if Task.DEPTH in shards.manifest.tasks}
    if Task.DEPTH in tasks and len(kinds) > 1:
        raise UsageError("the sets have different kinds of depth", hint="tune on one of them, or leave depth out")
    relative = Task.DEPTH in tasks and kinds == {DepthKind.AFFINE_INVARIANT_DISPARITY}
    names = {
        field: list(dict.fromkeys(name for shards in sets for name in getattr(shards.manifest, field)))
        for field in ("classes", "instance_classes", "referring")
    }
    return PromptConfig.model_validate(
        {
            "tasks": list(tasks),
            "family": "open_vision_banana" if relative else "vision_banana",
            "classes": names["classes"] if Task.SEMANTIC in tasks else [],
            "instances": names["instance_classes"] if Task.INSTANCE in tasks else [],
            "referring": names["referring"] if Task.REFERRING in tasks else [],
        }
    )


def _teacher_yaml(tuned: DiffusersConfig, source: str, base: Path, adapter: str) -> str:
    """Config of the tuned teacher, which is next to its weights."""
    values = tuned.model_dump(mode="json", exclude_defaults=True)
    if Path(source).is_dir():
        values["model"] = str(Path(source).resolve())
    if tuned.transformer:
        values["transformer"] = _from_anywhere(tuned.transformer, base)
    loras = [{**lora, "model": _from_anywhere(str(lora["model"]), base)} for lora in values.get("loras", ())]
    loras.append({"model": adapter})
    head = {"kind": "diffusers", "name": f"{tuned.name or Path(tuned.model).name}-tuned"}
    prompts = tuned.prompts.model_dump(mode="json", exclude_defaults=True)
    prompts["tasks"] = [str(task) for task in tuned.prompts.tasks]
    return yaml.safe_dump({**values, **head, "loras": loras, "prompts": prompts}, sort_keys=False, allow_unicode=True)


def _from_anywhere(model: str, folder: Path) -> str:
    """Path of a file of weights that does not depend on the folder of the config; a hub id as it is."""
    from distill.teachers.local.hub import model_folders

    found = [base / model for base in model_folders(folder) if (base / model).exists()]
    return str(found[0].resolve()) if found else model


def _digest(config: TuningConfig, teacher: DiffusersConfig, sets: Sequence[ShardSet]) -> str:
    """Of everything that a step depends on; more steps than before continue a run."""
    values = {
        "config": config.model_dump(mode="json", exclude={"steps", "checkpoint_every", "teacher"}),
        "teacher": teacher.model_dump(mode="json", exclude={"device", "offload", "compile"}),
        "data": [set_digest(shards.manifest) for shards in sets],
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _facts(sets: Sequence[ShardSet]) -> dict[str, Any]:
    """Origin of the training data."""
    return {
        "data": [
            {
                "folder": shards.folder.resolve().name,
                "sha256": set_digest(shards.manifest),
                "samples": len(shards),
                "teachers": list(shards.manifest.teachers),
                "licenses": list(shards.manifest.licenses),
            }
            for shards in sets
        ]
    }


def _photo_hashes(sets: Sequence[ShardSet]) -> list[str]:
    """Perceptual hashes of all photos, by which test photos among them are found."""
    hashes = {str(info.meta.get("photo_hash") or "") for shards in sets for info in shards.infos()}
    return sorted(hashes - {""})
