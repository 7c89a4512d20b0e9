"""Registry of teacher kinds: one row per kind with its config, its builder and its properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.adapters import CallableConfig, GeneratorConfig, OnnxConfig, ReplayConfig
from distill.config.ensemble import EnsembleConfig
from distill.config.hosted import GeminiConfig, OpenaiConfig
from distill.config.local import DiffusersConfig, MarigoldConfig, TransformersConfig
from distill.config.maps import MapsConfig
from distill.config.synthetic import SyntheticConfig
from distill.config.teacher_base import TeacherConfig

if TYPE_CHECKING:
    from distill.teachers.base import Teacher
    from distill.teachers.builder_options import TeacherContext

Builder = Callable[[Any, Path, "TeacherContext"], "Teacher"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of teacher.

    Attributes:
        name: Value of ``kind`` in a config file and of ``--teacher``.
        config: Type of its configs.
        builder: ``module:function`` that is called with (config, folder of the config, `TeacherContext`) and returns
            the teacher; imported on first use, so that the registry imports no model library.
        generates_images: Its results are images that a store can hold; several samples per prompt are possible.
        stores_by_default: Its images cost money or hours, so that they are stored even without ``--store``.
        uses_all_cores: One process keeps the whole machine busy.
        uses_gpu: Runs on a GPU if there is one; several GPUs get one process each.
        own_photos: ``module:Class`` of its photo source, for kinds that need no input photos.
        service: Hosted kinds: ``module:Class`` of the `Service`.
        required_key: The config key that has no default, and how it is given on the command line.
        extra: Extra of this package that it needs.
    """

    name: str
    config: type[TeacherConfig]
    builder: str
    generates_images: bool = False
    stores_by_default: bool = False
    uses_all_cores: bool = False
    uses_gpu: bool = False
    own_photos: str = ""
    service: str = ""
    required_key: tuple[str, str] = ("", "")
    extra: str = ""

    def build(self, config: TeacherConfig, folder: Path, context: TeacherContext) -> Teacher:
        """The teacher of a config of this kind.

        Raises:
            UsageError: Its files are missing, or it cannot do the task.
        """
        build: Builder = load_object(self.builder)
        return build(config, folder, context)


def load_object(reference: str) -> Any:
    """The object that ``module:name`` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


_MODEL_KEY = ("model", "--set model=FOLDER, or a hub id")
_FUNCTION_KEY = ("function", "--set function=package.module:function")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "synthetic",
            SyntheticConfig,
            "distill.teachers.synthetic.generator:build_synthetic",
            generates_images=True,
            own_photos="distill.teachers.synthetic.rendering:ScenesSource",
        ),
        Kind(
            "replay",
            ReplayConfig,
            "distill.teachers.adapters.replay:build_replay",
            generates_images=True,
            required_key=("answers", "--answers FILE"),
        ),
        Kind("maps", MapsConfig, "distill.teachers.adapters.label_maps:build_maps"),
        Kind(
            "onnx",
            OnnxConfig,
            "distill.teachers.adapters.onnx:build_onnx",
            uses_all_cores=True,
            required_key=("model", "--set model=FILE, and outputs in a config file (docs/teachers.md)"),
            extra="cpu",
        ),
        Kind(
            "callable",
            CallableConfig,
            "distill.teachers.adapters.callable:build_callable",
            uses_all_cores=True,
            required_key=_FUNCTION_KEY,
        ),
        Kind(
            "generator",
            GeneratorConfig,
            "distill.teachers.adapters.generator:build_generator",
            generates_images=True,
            stores_by_default=True,
            uses_all_cores=True,
            required_key=_FUNCTION_KEY,
        ),
        Kind(
            "transformers",
            TransformersConfig,
            "distill.teachers.local.build:build_transformers",
            uses_all_cores=True,
            uses_gpu=True,
            required_key=_MODEL_KEY,
            extra="local",
        ),
        Kind(
            "diffusers",
            DiffusersConfig,
            "distill.teachers.local.build:build_diffusers",
            generates_images=True,
            stores_by_default=True,
            uses_all_cores=True,
            uses_gpu=True,
            required_key=_MODEL_KEY,
            extra="local",
        ),
        Kind(
            "marigold",
            MarigoldConfig,
            "distill.teachers.local.build:build_marigold",
            uses_all_cores=True,
            uses_gpu=True,
            required_key=_MODEL_KEY,
            extra="local",
        ),
        Kind(
            "gemini",
            GeminiConfig,
            "distill.teachers.hosted.build:build_hosted",
            generates_images=True,
            stores_by_default=True,
            service="distill.teachers.hosted.services.gemini:GeminiService",
            extra="gemini",
        ),
        Kind(
            "openai",
            OpenaiConfig,
            "distill.teachers.hosted.build:build_hosted",
            generates_images=True,
            stores_by_default=True,
            service="distill.teachers.hosted.services.openai:OpenaiService",
        ),
        Kind(
            "ensemble",
            EnsembleConfig,
            "distill.teachers.ensemble:build_ensemble",
            generates_images=True,
            uses_all_cores=True,
        ),
    )
}
"""Built-in kinds by name; `distill.teachers.plugins` finds those of installed packages."""


def kind_of(config: TeacherConfig) -> Kind:
    """The kind of a config. A plug-in's config has the name of the plug-in and the type of a built-in kind."""
    return KINDS.get(config.kind) or next(kind for kind in KINDS.values() if kind.config is type(config))
