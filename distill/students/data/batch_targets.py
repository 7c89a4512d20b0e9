"""Stored integers as training targets on the device, each with a weight per pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from distill.students.tasks.base import student_task
from distill.tasks import DepthKind, Task


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and targets on the device.

    Attributes:
        image: RGB in 0..255.
        targets: By task; see `StudentTask.target` of its module. Arbitrary where the weight is 0.
        weights: By task; 0 where there is no label.
        confidence: Teacher confidence in [0, 1], of the tasks whose losses read it beyond the weight.
    """

    image: Float[Tensor, "b 3 h w"]
    targets: dict[Task, Tensor]
    weights: dict[Task, Float[Tensor, "b h2 w2"]]
    confidence: dict[Task, Float[Tensor, "b h2 w2"]] = field(default_factory=dict[Task, Tensor])

    def with_image(self, image: Float[Tensor, "b 3 h w"]) -> Batch:
        """The same targets with another image."""
        return replace(self, image=image)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """All targets, weights and confidences changed by one function; the image stays as it is."""
        return Batch(
            image=self.image,
            targets={task: change(target) for task, target in self.targets.items()},
            weights={task: change(weight) for task, weight in self.weights.items()},
            confidence={task: change(confidence) for task, confidence in self.confidence.items()},
        )

    def subsample(self, stride: int, phase_hw: tuple[int, int]) -> Batch:
        """The targets in every `stride`-th row and column; the image stays as it is."""
        return self.map(lambda maps: maps[..., phase_hw[0] :: stride, phase_hw[1] :: stride])


def decode_batch(
    stored: dict[str, Tensor],
    tasks: tuple[Task, ...],
    depth_kind: DepthKind | None,
    *,
    use_confidence: bool = True,
    use_quality: bool = True,
) -> Batch:
    """The batch of these stored integers (see `distill.students.data.dataset`), on the device where they are."""
    targets, weights, confidences = dict[Task, Tensor](), dict[Task, Tensor](), dict[Task, Tensor]()
    for column, task in enumerate(tasks):
        rules, confidence = student_task(task), stored[f"{task}_confidence"]
        weight = confidence.float() / 255.0 if use_confidence else (confidence > 0).float()
        weights[task] = weight * stored["quality"][:, column, None, None] if use_quality else weight
        targets[task] = rules.target(stored[str(task)], depth_kind)
        if rules.uses_confidence:
            confidences[task] = confidence.float() / 255.0
    return Batch(stored["image"].permute(0, 3, 1, 2).float(), targets, weights, confidences)
