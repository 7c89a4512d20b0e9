"""Stored integers to what losses compare: coordinates, unit vectors, class ids, each with a weight per pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.tasks import FAR_WARP, DepthKind, Task


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos and targets on the device; a task that is not learned is None.

    Attributes:
        image: RGB in 0..255.
        depth: The warp of meters, at most `FAR_WARP` (sky is learned as 90 m), or the relative depth kind's value; in [0,
            1].
        normals: Unit vectors.
        semantic: Class ids; meaningless where the weight is 0.
        instance: Instance ids, 0 = background; the same.
        weights: By task; 0 where there is no label.
        semantic_confidence: How sure the teacher is of `semantic`, in [0, 1].
    """

    image: Float[Tensor, "b 3 h w"]
    weights: dict[Task, Float[Tensor, "b h w"]]
    depth: Float[Tensor, "b h w"] | None = None
    normals: Float[Tensor, "b 3 h w"] | None = None
    semantic: Int[Tensor, "b h w"] | None = None
    instance: Int[Tensor, "b h w"] | None = None
    semantic_confidence: Float[Tensor, "b h w"] | None = None

    def with_image(self, image: Float[Tensor, "b 3 h w"]) -> Batch:
        """The same targets under another picture."""
        return replace(self, image=image)

    def subsample(self, stride: int, phase_hw: tuple[int, int]) -> Batch:
        """The targets in every `stride`-th row and column; the picture stays as it is."""

        def pick(maps: Tensor) -> Tensor:
            return maps[..., phase_hw[0] :: stride, phase_hw[1] :: stride]

        return Batch(
            image=self.image,
            weights={task: pick(weight) for task, weight in self.weights.items()},
            depth=None if self.depth is None else pick(self.depth),
            normals=None if self.normals is None else pick(self.normals),
            semantic=None if self.semantic is None else pick(self.semantic),
            instance=None if self.instance is None else pick(self.instance),
            semantic_confidence=None if self.semantic_confidence is None else pick(self.semantic_confidence),
        )


def decode_batch(
    stored: dict[str, Tensor],
    tasks: tuple[Task, ...],
    depth_kind: DepthKind | None,
    *,
    use_confidence: bool = True,
    use_quality: bool = True,
) -> Batch:
    """The batch of these stored integers (see `distill.students.data.dataset`), on the device where they are."""
    weights = {}
    for column, task in enumerate(tasks):
        confidence = stored[f"{task}_confidence"]
        weight = confidence.float() / 255.0 if use_confidence else (confidence > 0).float()
        weights[task] = weight * stored["quality"][:, column, None, None] if use_quality else weight
    return Batch(
        image=stored["image"].permute(0, 3, 1, 2).float(),
        weights=weights,
        depth=_depth(stored["depth"], depth_kind) if Task.DEPTH in tasks else None,
        normals=_normals(stored["normals"]) if Task.NORMALS in tasks else None,
        semantic=stored["semantic"].long() if Task.SEMANTIC in tasks else None,
        instance=stored["instance"].to(torch.int64) if Task.INSTANCE in tasks else None,
        semantic_confidence=stored["semantic_confidence"].float() / 255.0 if Task.SEMANTIC in tasks else None,
    )


def _depth(stored: Tensor, depth_kind: DepthKind | None) -> Float[Tensor, "b h w"]:
    # uint16 knows few operations in torch; a float32 holds its 65536 levels exactly.
    level = stored.to(torch.float32)
    if depth_kind is DepthKind.METRIC:
        return (level / 65535.0).clamp(max=FAR_WARP)
    return ((level - 1.0) / 65534.0).clamp(min=0.0)


def _normals(stored: Tensor) -> Float[Tensor, "b 3 h w"]:
    vector = stored.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    vector = torch.cat([-vector[:, :1], vector[:, 1:]], dim=1)
    return vector * torch.rsqrt((vector * vector).sum(dim=1, keepdim=True) + 1e-12)
