"""Teachers: photo in, label maps out. `build_teacher` is the only place that wires the parts of this wing together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.adapters import CallableConfig, MapsConfig, OnnxConfig, ReplayConfig
from distill.config.ensemble import EnsembleConfig
from distill.config.hosted import GeminiConfig, HostedConfig, OpenaiConfig
from distill.config.local import DiffusersConfig, MarigoldConfig, ModelConfig, TransformersConfig
from distill.config.synthetic import SyntheticConfig
from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.context import TeacherContext
from distill.teachers.local.build import build_local
from distill.teachers.prompts.variants import SINGLE, PromptEnsemble

if TYPE_CHECKING:
    from distill.teachers.hosted.generator import OnMissing
    from distill.teachers.quality.filter import QualityFilter

AnyTeacherConfig = (
    SyntheticConfig
    | ReplayConfig
    | MapsConfig
    | OnnxConfig
    | CallableConfig
    | TransformersConfig
    | DiffusersConfig
    | MarigoldConfig
    | GeminiConfig
    | OpenaiConfig
    | EnsembleConfig
)

CONFIGS: dict[str, type[AnyTeacherConfig]] = {
    "synthetic": SyntheticConfig,
    "replay": ReplayConfig,
    "maps": MapsConfig,
    "onnx": OnnxConfig,
    "callable": CallableConfig,
    "transformers": TransformersConfig,
    "diffusers": DiffusersConfig,
    "marigold": MarigoldConfig,
    "gemini": GeminiConfig,
    "openai": OpenaiConfig,
    "ensemble": EnsembleConfig,
}
"""Kind of teacher to the config that describes it; what packages offer is found by `distill.teachers.plugins`."""


def config_type(kind: str) -> type[AnyTeacherConfig]:
    """The config of a kind of teacher; what a package offers is a function."""
    return CONFIGS.get(kind, CallableConfig)


def build_teacher(
    config: AnyTeacherConfig,
    *,
    folder: Path,
    tasks: Sequence[Task] = (),
    quality_filter: QualityFilter | None = None,
    prompt_ensemble: PromptEnsemble = SINGLE,
    store: Path | None = None,
    offline: bool = False,
    on_missing: OnMissing | None = None,
) -> Teacher:
    """The teacher that a config describes.

    Args:
        config: What to build.
        folder: Where the config lies; paths in it may be relative to it.
        tasks: Only these; empty: all that the teacher can do.
        checks: Hold labels against their photos.
        asking: How often each question is asked of a teacher that paints.
        store: Where a painting teacher keeps its answers and looks for them first; None: nowhere.
        offline: Use stored answers only.
        on_missing: Is told what a hosted teacher would ask, instead of reading its stored answers.

    Raises:
        UsageError: The teacher cannot do one of these tasks, or its files are not there.
    """
    if offline and store is None:
        raise UsageError("--offline needs the answers of an earlier run", hint="say where with --store FOLDER")
    if (prompt_ensemble.samples_per_prompt > 1 or prompt_ensemble.fuse) and not isinstance(config, _GENERATIVE):
        raise UsageError(f"a {config.kind} teacher is asked once", hint="leave --samples, --flip and --fuse out")
    if quality_filter is not None and store is not None:
        quality_filter = replace(quality_filter, cache_dir=store)
    teacher = _build(config, folder, TeacherContext(quality_filter, prompt_ensemble, store, offline, on_missing))
    for task in tasks:
        if task not in teacher.tasks:
            raise UsageError(
                f"this {config.kind} teacher cannot do {task}; it does {', '.join(teacher.tasks)}",
                hint="choose another --task",
            )
    teacher.tasks = tuple(task for task in teacher.tasks if not tasks or task in tasks)
    return teacher


def _build(config: AnyTeacherConfig, folder: Path, context: TeacherContext) -> Teacher:
    if context.store is not None and not isinstance(config, _GENERATIVE):
        raise UsageError(f"a {config.kind} teacher paints nothing that could be stored", hint="leave --store out")
    build = next(build for kind, build in _BUILDERS.items() if isinstance(config, kind))
    return build(config, folder, context)


def _build_synthetic(config: SyntheticConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.generative import GenerativeTeacher
    from distill.teachers.predictive import PredictiveTeacher
    from distill.teachers.synthetic.generator import SYNTHETIC_CLASSES, SyntheticGenerator, SyntheticTruth

    if config.truth:
        return PredictiveTeacher(
            SyntheticTruth(config),
            name="truth",
            license=config.license,
            terms=config.terms,
            tasks=config.tasks,
            classes=SYNTHETIC_CLASSES,
        )
    return GenerativeTeacher(
        context.with_cache(SyntheticGenerator(config), config.license),
        name="synthetic",
        license=config.license,
        terms=config.terms,
        tasks=config.tasks,
        classes=SYNTHETIC_CLASSES,
        seed=config.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def _build_replay(config: ReplayConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.replay import ReplayGenerator
    from distill.teachers.generative import GenerativeTeacher

    if context.prompt_ensemble.samples_per_prompt > 1:
        raise UsageError(
            "the replay teacher holds the answers that it holds; it cannot be asked again",
            hint="list all answers in the manifest and use --fuse",
        )
    generator = ReplayGenerator(config)
    prompt_specs = generator.all_prompt_specs()
    asked = {prompt_spec.task for prompt_spec in prompt_specs}
    return GenerativeTeacher(
        context.with_cache(generator, config.license),
        name=f"replay of {config.model}",
        license=config.license,
        terms=config.terms,
        tasks=[task for task in Task if task in asked],
        # The union of all legends, in the order in which the classes first appear.
        classes=tuple(dict.fromkeys(name for q in prompt_specs if q.task is Task.SEMANTIC for name in q.legend)),
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def _build_maps(config: MapsConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.label_maps import MapsSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    return PredictiveTeacher(
        MapsSpecialist(config),
        name=config.name,
        license=config.license,
        terms=config.terms,
        tasks=tuple(config.maps()),
        classes=config.semantic.classes if config.semantic else (),
    )


def _build_onnx(config: OnnxConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.onnx import OnnxSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    semantic = [output for output in config.outputs if output.task is Task.SEMANTIC]
    specialist = OnnxSpecialist(config, folder)
    return PredictiveTeacher(
        specialist,
        name=config.name or config.model.stem,
        license=config.license,
        terms=config.terms,
        tasks=tuple(Task(output.task) for output in config.outputs),
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
        max_parallel=specialist.max_parallel,
    )


def _build_callable(config: CallableConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.callable import CallableSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    semantic = [output for output in config.outputs if output.task is Task.SEMANTIC]
    return PredictiveTeacher(
        CallableSpecialist(config),
        name=config.name or config.function.rpartition(":")[2],
        license=config.license,
        terms=config.terms,
        tasks=config.tasks,
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
    )


def _build_hosted(config: HostedConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.hosted.build import build_hosted

    return build_hosted(config, context)


def _build_ensemble(config: EnsembleConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.ensemble import build_ensemble

    def build(member: AnyTeacherConfig, folder: Path, context: TeacherContext) -> Teacher:
        # Of a mix, only those that paint have answers to store.
        return _build(member, folder, context if isinstance(member, _GENERATIVE) else replace(context, store=None))

    return build_ensemble(config, context, build)


_GENERATIVE = (SyntheticConfig, ReplayConfig, DiffusersConfig, HostedConfig, EnsembleConfig)
"""Teachers whose answers are pictures, which a store can keep."""

_BUILDERS: dict[type, Callable[[Any, Path, TeacherContext], Teacher]] = {
    SyntheticConfig: _build_synthetic,
    ReplayConfig: _build_replay,
    MapsConfig: _build_maps,
    OnnxConfig: _build_onnx,
    CallableConfig: _build_callable,
    ModelConfig: build_local,
    HostedConfig: _build_hosted,
    EnsembleConfig: _build_ensemble,
}
"""Who builds the teacher of a config."""
