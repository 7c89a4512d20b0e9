"""Teachers: photo in, label maps out. `build_teacher` is the only place that wires the parts of this wing together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.adapters import CallableRecipe, MapsRecipe, OnnxRecipe, ReplayRecipe
from distill.config.ensemble import EnsembleConfig
from distill.config.hosted import GeminiRecipe, HostedRecipe, OpenaiRecipe
from distill.config.local import DiffusersRecipe, MarigoldRecipe, ModelRecipe, TransformersRecipe
from distill.config.synthetic import SyntheticRecipe
from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.context import TeacherContext
from distill.teachers.local.build import build_local
from distill.teachers.prompts.variants import SINGLE, PromptEnsemble

if TYPE_CHECKING:
    from distill.teachers.hosted.generator import Wants
    from distill.teachers.quality.filter import QualityFilter

TeacherRecipe = (
    SyntheticRecipe
    | ReplayRecipe
    | MapsRecipe
    | OnnxRecipe
    | CallableRecipe
    | TransformersRecipe
    | DiffusersRecipe
    | MarigoldRecipe
    | GeminiRecipe
    | OpenaiRecipe
    | EnsembleConfig
)

RECIPES: dict[str, type[TeacherRecipe]] = {
    "synthetic": SyntheticRecipe,
    "replay": ReplayRecipe,
    "maps": MapsRecipe,
    "onnx": OnnxRecipe,
    "callable": CallableRecipe,
    "transformers": TransformersRecipe,
    "diffusers": DiffusersRecipe,
    "marigold": MarigoldRecipe,
    "gemini": GeminiRecipe,
    "openai": OpenaiRecipe,
    "ensemble": EnsembleConfig,
}
"""Kind of teacher to the recipe that describes it; what packages offer is found by `distill.teachers.plugins`."""


def recipe_type(kind: str) -> type[TeacherRecipe]:
    """The recipe of a kind of teacher; what a package offers is a function."""
    return RECIPES.get(kind, CallableRecipe)


def build_teacher(
    recipe: TeacherRecipe,
    *,
    folder: Path,
    tasks: Sequence[Task] = (),
    quality_filter: QualityFilter | None = None,
    prompt_ensemble: PromptEnsemble = SINGLE,
    store: Path | None = None,
    offline: bool = False,
    wants: Wants | None = None,
) -> Teacher:
    """The teacher that a recipe describes.

    Args:
        recipe: What to build.
        folder: Where the recipe lies; paths in it may be relative to it.
        tasks: Only these; empty: all that the teacher can do.
        checks: Hold labels against their photos.
        asking: How often each question is asked of a teacher that paints.
        store: Where a painting teacher keeps its answers and looks for them first; None: nowhere.
        offline: Use stored answers only.
        wants: Is told what a hosted teacher would ask, instead of reading its stored answers.

    Raises:
        UsageError: The teacher cannot do one of these tasks, or its files are not there.
    """
    if offline and store is None:
        raise UsageError("--offline needs the answers of an earlier run", hint="say where with --store FOLDER")
    if (prompt_ensemble.samples_per_prompt > 1 or prompt_ensemble.fuse) and not isinstance(recipe, _GENERATIVE):
        raise UsageError(f"a {recipe.kind} teacher is asked once", hint="leave --samples, --flip and --fuse out")
    if quality_filter is not None and store is not None:
        quality_filter = replace(quality_filter, cache_dir=store)
    teacher = _build(recipe, folder, TeacherContext(quality_filter, prompt_ensemble, store, offline, wants))
    for task in tasks:
        if task not in teacher.tasks:
            raise UsageError(
                f"this {recipe.kind} teacher cannot do {task}; it does {', '.join(teacher.tasks)}",
                hint="choose another --task",
            )
    teacher.tasks = tuple(task for task in teacher.tasks if not tasks or task in tasks)
    return teacher


def _build(recipe: TeacherRecipe, folder: Path, context: TeacherContext) -> Teacher:
    if context.store is not None and not isinstance(recipe, _GENERATIVE):
        raise UsageError(f"a {recipe.kind} teacher paints nothing that could be stored", hint="leave --store out")
    build = next(build for kind, build in _BUILDERS.items() if isinstance(recipe, kind))
    return build(recipe, folder, context)


def _build_synthetic(recipe: SyntheticRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.generative import GenerativeTeacher
    from distill.teachers.predictive import PredictiveTeacher
    from distill.teachers.synthetic.generator import SYNTHETIC_CLASSES, SyntheticGenerator, SyntheticTruth

    if recipe.truth:
        return PredictiveTeacher(
            SyntheticTruth(recipe),
            name="truth",
            license=recipe.license,
            terms=recipe.terms,
            tasks=recipe.tasks,
            classes=SYNTHETIC_CLASSES,
        )
    return GenerativeTeacher(
        context.with_cache(SyntheticGenerator(recipe), recipe.license),
        name="synthetic",
        license=recipe.license,
        terms=recipe.terms,
        tasks=recipe.tasks,
        classes=SYNTHETIC_CLASSES,
        seed=recipe.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def _build_replay(recipe: ReplayRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.replay import ReplayGenerator
    from distill.teachers.generative import GenerativeTeacher

    if context.prompt_ensemble.samples_per_prompt > 1:
        raise UsageError(
            "the replay teacher holds the answers that it holds; it cannot be asked again",
            hint="list all answers in the manifest and use --fuse",
        )
    generator = ReplayGenerator(recipe)
    prompt_specs = generator.all_prompt_specs()
    asked = {prompt_spec.task for prompt_spec in prompt_specs}
    return GenerativeTeacher(
        context.with_cache(generator, recipe.license),
        name=f"replay of {recipe.model}",
        license=recipe.license,
        terms=recipe.terms,
        tasks=[task for task in Task if task in asked],
        # The union of all legends, in the order in which the classes first appear.
        classes=tuple(dict.fromkeys(name for q in prompt_specs if q.task is Task.SEMANTIC for name in q.legend)),
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def _build_maps(recipe: MapsRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.label_maps import MapsSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    return PredictiveTeacher(
        MapsSpecialist(recipe),
        name=recipe.name,
        license=recipe.license,
        terms=recipe.terms,
        tasks=tuple(recipe.maps()),
        classes=recipe.semantic.classes if recipe.semantic else (),
    )


def _build_onnx(recipe: OnnxRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.onnx import OnnxSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    semantic = [output for output in recipe.outputs if output.task is Task.SEMANTIC]
    specialist = OnnxSpecialist(recipe, folder)
    return PredictiveTeacher(
        specialist,
        name=recipe.name or recipe.model.stem,
        license=recipe.license,
        terms=recipe.terms,
        tasks=tuple(Task(output.task) for output in recipe.outputs),
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
        max_parallel=specialist.max_parallel,
    )


def _build_callable(recipe: CallableRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.adapters.callable import CallableSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    semantic = [output for output in recipe.outputs if output.task is Task.SEMANTIC]
    return PredictiveTeacher(
        CallableSpecialist(recipe),
        name=recipe.name or recipe.function.rpartition(":")[2],
        license=recipe.license,
        terms=recipe.terms,
        tasks=recipe.tasks,
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
    )


def _build_hosted(recipe: HostedRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.hosted.build import build_hosted

    return build_hosted(recipe, context)


def _build_ensemble(recipe: EnsembleConfig, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.ensemble import build_ensemble

    def build(member: TeacherRecipe, folder: Path, context: TeacherContext) -> Teacher:
        # Of a mix, only those that paint have answers to store.
        return _build(member, folder, context if isinstance(member, _GENERATIVE) else replace(context, store=None))

    return build_ensemble(recipe, context, build)


_GENERATIVE = (SyntheticRecipe, ReplayRecipe, DiffusersRecipe, HostedRecipe, EnsembleConfig)
"""Teachers whose answers are pictures, which a store can keep."""

_BUILDERS: dict[type, Callable[[Any, Path, TeacherContext], Teacher]] = {
    SyntheticRecipe: _build_synthetic,
    ReplayRecipe: _build_replay,
    MapsRecipe: _build_maps,
    OnnxRecipe: _build_onnx,
    CallableRecipe: _build_callable,
    ModelRecipe: build_local,
    HostedRecipe: _build_hosted,
    EnsembleConfig: _build_ensemble,
}
"""Who builds the teacher of a recipe."""
