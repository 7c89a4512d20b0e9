"""Tasks, depth kinds, frames, ranges and ignore values that all layers share.

Depth is z-depth (distance from the camera plane) in meters. Normals are unit vectors in the camera frame x right, y up,
z out of the image toward the camera. Semantic ids are uint8, instance ids uint16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Literal, TypeVar

from distill.errors import UsageError

Number = TypeVar("Number")
"""float, numpy array or torch tensor: the warp is plain arithmetic."""


class Task(StrEnum):
    """A vision task; its properties are in `TASKS`, its code in the module of its name in each layer."""

    DEPTH = "depth"
    NORMALS = "normals"
    SEMANTIC = "semantic"
    INSTANCE = "instance"
    REFERRING = "referring"
    EDGES = "edges"


class DepthKind(StrEnum):
    """Unknowns of a depth map. Relative depth kinds have values in [0, 1]."""

    METRIC = "metric"
    """z-depth in meters; larger is farther."""
    SCALE_INVARIANT = "scale_invariant"
    """z-depth times an unknown positive factor; larger is farther."""
    AFFINE_INVARIANT_DEPTH = "affine_invariant_depth"
    """z-depth up to an unknown scale and shift; larger is farther."""
    AFFINE_INVARIANT_DISPARITY = "affine_invariant_disparity"
    """Inverse depth up to an unknown scale and shift; larger is nearer."""

    @property
    def near_is_large(self) -> bool:
        """Whether larger values are nearer to the camera."""
        return self is DepthKind.AFFINE_INVARIANT_DISPARITY


NORMALS_FRAME = "camera: x right, y up, z toward the camera"

IGNORE_SEMANTIC = 255
IGNORE_INSTANCE = 65535
BACKGROUND_INSTANCE = 0
MAX_CLASSES = 255

DEPTH_LAMBDA = -3.0
DEPTH_C = 10.0 / 3.0

FAR_WARP = 0.99
"""A warped depth above this is sky or infinity: 0.99 is 90 m, where one color level is already 2.8 m."""


def warp_depth(depth_m: Number, lam: float = DEPTH_LAMBDA, c: float = DEPTH_C) -> Number:
    """Meters in [0, inf) to [0, 1): ``1 - (1 - d / (lam c))^(lam + 1)``.

    Source: "Image Generators are Generalist Vision Learners", arXiv 2604.20329, equation 1; with the paper's constants
    ``1 - (1 + d/10)^-2``.
    """
    return 1.0 - (1.0 - depth_m / (lam * c)) ** (lam + 1.0)  # type: ignore[operator,no-any-return]


def unwarp_depth(warped: Number, lam: float = DEPTH_LAMBDA, c: float = DEPTH_C) -> Number:
    """[0, 1) back to meters; 1 is infinity. The inverse of `warp_depth`."""
    return lam * c * (1.0 - (1.0 - warped) ** (1.0 / (lam + 1.0)))  # type: ignore[operator,no-any-return]


FAR_DEPTH_M = float(unwarp_depth(FAR_WARP))
"""90 m. Depths beyond are treated as sky: invalid for losses and, by default, metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """Properties of a task that more than one layer needs; plain data.

    Attributes:
        title: Heading in reports.
        storage: Format in shards: a row of `distill.labels.formats.FORMATS`.
        dtype: Name of the stored map's numpy type.
        channels: Shape of one pixel of the stored map: () or (3,).
        ignore: Stored value of pixels without a label.
        fill: Value of invalid pixels in a decoded label.
        is_dense: Whether every pixel has a value that is comparable between images; False for instance ids.
        learnable: Whether a student has a head for it.
        learned_as: The task whose head learns it; None: its own.
        average: How several values of one pixel are combined: ``mean``, ``direction`` (mean, then unit length),
            ``vote``, or None where they cannot be.
        has_depth_kind: Whether its labels have a `DepthKind`.
        class_list: Manifest field that lists its classes: ``classes``, ``instance_classes``, ``referring`` or none.
        must_agree: Manifest fields that shard sets must share to be used together.
        prompt_names: Prompt key that must name something: ``classes``, ``instances``, ``referring`` or none.
        has_legend: Whether its prompts have a color legend.
        has_background: Whether its prompts have a background color.
        from_network: Whether the raw output maps of a network can be read as it.
        from_files: Whether maps on disk can be read as it.
        drawing: Row of `distill.visualization.label_drawers.DRAWERS`.
        headline: Score that stands for the task in reports.
        headline_title: Its name, with unit.
        difference: How two exported outputs are compared: a row of the differences in `distill.export.verification`.
        relative_difference: The same for depth that is not metric; empty where there is no such case.
        compares_values: Whether values mean the same in two runs; instance numbers do not.
        tolerance: Allowed change of the parity score by level: float32, half, eight_bit, device.
        good_below: A label with a smaller error is good, for the calibration of quality scores.
        label_bytes_per_pixel: Of the stored PNG, for estimates.
        hub_tag: Pipeline tag of model hubs; may be empty.
    """

    title: str
    storage: Literal["depth", "normals", "ids", "unit"]
    dtype: Literal["uint8", "uint16"]
    channels: tuple[int, ...] = ()
    ignore: int
    fill: int = 0
    is_dense: bool = True
    learnable: bool = True
    learned_as: Task | None = None
    average: Literal["mean", "direction", "vote"] | None
    has_depth_kind: bool = False
    class_list: Literal["", "classes", "instance_classes", "referring"] = ""
    must_agree: tuple[str, ...] = ()
    prompt_names: Literal["", "classes", "instances", "referring"] = ""
    has_legend: bool = False
    has_background: bool = False
    from_network: bool = True
    from_files: bool = True
    drawing: str
    headline: str
    headline_title: str
    difference: str = ""
    relative_difference: str = ""
    compares_values: bool = True
    tolerance: Mapping[str, float] = field(default_factory=dict)
    good_below: float
    label_bytes_per_pixel: float = 0.1
    hub_tag: str = ""


def _tolerance(float32: float, half: float, eight_bit: float, device: float) -> Mapping[str, float]:
    return MappingProxyType({"float32": float32, "half": half, "eight_bit": eight_bit, "device": device})


TASKS: Mapping[Task, TaskInfo] = MappingProxyType(
    {
        Task.DEPTH: TaskInfo(
            title="Depth",
            storage="depth",
            dtype="uint16",
            ignore=0,
            average="mean",
            has_depth_kind=True,
            must_agree=("depth_kind",),
            drawing="depth",
            headline="abs_rel",
            headline_title="depth AbsRel",
            difference="ratio",
            relative_difference="relative",
            tolerance=_tolerance(0.001, 0.002, 0.005, 0.02),
            good_below=0.1,
            hub_tag="depth-estimation",
        ),
        Task.NORMALS: TaskInfo(
            title="Surface normals",
            storage="normals",
            dtype="uint8",
            channels=(3,),
            ignore=0,
            average="direction",
            drawing="normals",
            headline="mean_deg",
            headline_title="mean normal error, degrees",
            difference="angle_deg",
            tolerance=_tolerance(0.1, 0.2, 0.5, 1.0),
            good_below=15.0,
            label_bytes_per_pixel=0.7,
        ),
        Task.SEMANTIC: TaskInfo(
            title="Semantic segmentation",
            storage="ids",
            dtype="uint8",
            ignore=IGNORE_SEMANTIC,
            fill=IGNORE_SEMANTIC,
            average="vote",
            class_list="classes",
            must_agree=("classes",),
            prompt_names="classes",
            has_legend=True,
            drawing="classes",
            headline="miou",
            headline_title="mIoU",
            difference="ids",
            tolerance=_tolerance(0.001, 0.002, 0.005, 0.03),
            good_below=0.1,
            hub_tag="image-segmentation",
        ),
        Task.INSTANCE: TaskInfo(
            title="Instances",
            storage="ids",
            dtype="uint16",
            ignore=IGNORE_INSTANCE,
            fill=IGNORE_INSTANCE,
            is_dense=False,
            average=None,
            class_list="instance_classes",
            must_agree=("instance_classes",),
            prompt_names="instances",
            has_background=True,
            from_network=False,
            drawing="instances",
            headline="cgf1",
            headline_title="cgF1",
            difference="instances",
            compares_values=False,
            tolerance=_tolerance(0.005, 0.01, 0.02, 0.05),
            good_below=0.3,
            hub_tag="image-segmentation",
        ),
        Task.REFERRING: TaskInfo(
            title="Referring segmentation",
            storage="ids",
            dtype="uint8",
            ignore=IGNORE_SEMANTIC,
            fill=IGNORE_SEMANTIC,
            learnable=False,
            learned_as=Task.SEMANTIC,
            average=None,
            class_list="referring",
            must_agree=("referring",),
            prompt_names="referring",
            has_legend=True,
            has_background=True,
            from_network=False,
            from_files=False,
            drawing="classes",
            headline="ciou",
            headline_title="referring cIoU",
            good_below=0.1,
        ),
        Task.EDGES: TaskInfo(
            title="Edges",
            storage="unit",
            dtype="uint8",
            ignore=255,
            average="mean",
            drawing="edges",
            headline="ods",
            headline_title="edge F (ODS)",
            difference="absolute",
            tolerance=_tolerance(0.001, 0.002, 0.01, 0.02),
            good_below=0.3,
        ),
    }
)
"""One row per task."""


def task_module(package: str, task: Task) -> ModuleType:
    """Module of a task in a package that has one module per task, such as ``distill.students.tasks``.

    Raises:
        UsageError: The package has no module for this task.
    """
    name = f"{package}.{task}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(
            f"{task} is not supported by {package.removeprefix('distill.')}",
            hint="choose another --task, or add the module " + name,
        ) from None
